"""The forecast and the persistence figures against independent computations."""

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.tsa.stattools import acf

from regimes_dagster.features.volatility_forecast import Design, design, fit, to_volatility
from regimes_dagster.features.volatility_persistence import (
    autocorrelation,
    daily_persistence,
    half_life,
    log_levels,
    quintile,
    weekday_rank,
)
from regimes_dagster.features.volatility_regime import analyze_volatility_persistence
from regimes_dagster.parameters import VolatilityParameters
from regimes_dagster.partitions import Window

PARAMS = VolatilityParameters(har_max_days=50, har_min_days=20)
START = pd.Timestamp("2024-03-04 04:00", tz="UTC")
FIRST = START.value // 3_600_000_000_000
HOURS = 24 * 100


def simulated(hours: int = HOURS, seed: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hours, Garman-Klass variances and returns with volatility that lasts, a weekend dip and a few holes."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.12, hours)
    log_sd = np.full(hours, -5.3)
    for t in range(1, hours):
        log_sd[t] = -5.3 + 0.98 * (log_sd[t - 1] + 5.3) + noise[t]
    stamps = FIRST + np.arange(hours)
    weekend = ((stamps - 1) // 24 + 3) % 7 >= 5
    sd = np.exp(log_sd - 0.4 * weekend)
    returns = rng.normal(0, 1, hours) * sd
    variance = sd**2 * rng.gamma(4, 0.25, hours)
    holes = rng.choice(hours, 25, replace=False)
    returns[holes], variance[holes] = np.nan, np.nan
    return stamps, variance, returns


@pytest.fixture(scope="module")
def inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return simulated()


@pytest.fixture(scope="module")
def rows(inputs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Design:
    return design(*inputs, PARAMS)


def midnight(day: int) -> int:
    return (FIRST // 24 + day) * 24


def plain_row(stamps: np.ndarray, variance: np.ndarray, returns: np.ndarray, t: int) -> tuple[list[float], float]:
    """Terms and target of hour ``t`` as the formulas say, without any window trick."""

    def mean(values: np.ndarray, need: int) -> float:
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) >= need else float("nan")

    v = [24 * mean(variance[max(t - n + 1, 0) : t + 1], need) for n, need in ((24, 22), (168, 152), (720, 648))]
    last = returns[max(t - 23, 0) : t + 1]
    moved = float(np.nansum(last)) if (~np.isnan(last)).sum() >= 22 else float("nan")
    shares = [0.0] * 7
    for hour in range(24):
        # The hour after label s begins at s: its weekday is that of the moment s itself.
        moment = pd.Timestamp((int(stamps[t]) + hour) * 3_600_000_000_000, tz="UTC")
        shares[moment.weekday()] += 1 / 24
    ahead = returns[t + 1 : t + 25]
    target = float("nan")
    if len(ahead) == 24 and (~np.isnan(ahead)).sum() >= 22:
        target = float(np.log(24 * np.nanmean(ahead**2)))
    return [1.0, *np.log(v), min(moved, 0.0) / np.sqrt(v[0]), shares[5], shares[6], shares[0]], target


def test_terms_and_targets_are_what_the_formulas_say(rows: Design, inputs: Any) -> None:
    for t in [5, 23, 24, 200, 719, 720, 1000, 1337, HOURS - 25, HOURS - 24, HOURS - 1]:
        terms, target = plain_row(*inputs, t)
        mine = rows.x[:, t].copy()
        mine[1:4] += -7.5
        np.testing.assert_allclose(mine, terms, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(rows.y[t], target, rtol=1e-11)


def test_the_fit_is_ordinary_least_squares_on_the_known_rows_with_duans_smearing(rows: Design, inputs: Any) -> None:
    at = midnight(80)
    plain = [plain_row(*inputs, t) for t in range(HOURS)]
    known = (rows.hours <= at - 24) & (rows.hours > at - 50 * 24)
    X = np.array([terms for terms, _ in plain])[known]
    y = np.array([target for _, target in plain])[known]
    usable = np.isfinite(y) & np.isfinite(X).all(axis=1)
    reference = sm.OLS(y[usable], X[usable]).fit()
    fits = fit(rows, np.array([at]), PARAMS)
    assert fits.enough[0]
    assert fits.n_rows[0] == usable.sum()
    np.testing.assert_allclose(fits.coefficients[0][1:], reference.params[1:], rtol=1e-7)
    assert fits.smear[0] == pytest.approx(np.exp(reference.resid).mean(), rel=1e-9)
    t = int(at - FIRST) + 5
    expected = np.exp(np.dot(reference.params, plain[t][0])) * np.exp(reference.resid).mean()
    mine = np.exp(fits.coefficients[0] @ rows.x[:, t]) * fits.smear[0]
    assert mine == pytest.approx(expected, rel=1e-9)


def test_a_fit_knows_nothing_of_targets_that_end_after_its_midnight(inputs: Any) -> None:
    stamps, variance, returns = inputs
    at = midnight(80)
    later = stamps > at
    poisoned = returns.copy()
    poisoned[later] = 9.9
    one = fit(design(stamps, variance, returns, PARAMS), np.array([at]), PARAMS)
    two = fit(design(stamps, np.where(later, 9.9, variance), poisoned, PARAMS), np.array([at]), PARAMS)
    assert (one.coefficients == two.coefficients).all()
    assert (one.smear == two.smear).all()


@pytest.mark.parametrize("cut", [0, 1, 23, 24 * 9 + 5])
def test_a_fit_has_the_same_digits_wherever_its_rows_begin(rows: Design, inputs: Any, cut: int) -> None:
    at = np.array([midnight(99), midnight(98)])
    whole = fit(rows, at, PARAMS)
    late = fit(design(*(part[cut:] for part in inputs), PARAMS), at[:1], PARAMS)
    assert late.n_rows[0] == whole.n_rows[0]
    assert (late.coefficients[0] == whole.coefficients[0]).all()
    assert late.smear[0] == whole.smear[0]


def test_prices_that_never_move_do_not_stop_the_fit() -> None:
    stamps = FIRST + np.arange(HOURS)
    still = np.zeros(HOURS)
    fits = fit(design(stamps, still, still, PARAMS), np.array([midnight(90)]), PARAMS)
    assert fits.enough[0]
    assert np.isfinite(fits.coefficients).all()
    assert np.isfinite(fits.smear).all()


def test_the_ewma_weighs_daily_variances_by_powers_of_point_eight(rows: Design, inputs: Any) -> None:
    _, _, returns = inputs
    for t in [24 * 19 + 3, 1500, HOURS - 1]:
        total = weight = 0.0
        for k in range(19):
            day = returns[t - 24 * (k + 1) + 1 : t - 24 * k + 1]
            day = day[~np.isnan(day)]
            if len(day) >= 22:
                total += 0.8**k * 24 * (day**2).mean()
                weight += 0.8**k
        assert rows.ewma[t] == pytest.approx(total / weight, rel=1e-12)


def test_the_ewma_needs_nine_tenths_of_its_weight() -> None:
    stamps, variance, returns = simulated()
    returns = np.nan_to_num(returns)
    known = np.isfinite(design(stamps, variance, returns, PARAMS).ewma)
    assert int(np.argmax(known)) == 9 * 24 + 22 - 1, "nine days and the 22 bars that make a tenth"


def test_forecasts_stay_inside_what_a_volatility_can_be() -> None:
    assert to_volatility(np.array([0.0, 1e300, 0.0004])).tolist() == [1e-6, 5.0, 0.02]
    assert np.isnan(to_volatility(np.array([np.nan]))).all()


# --- persistence -----------------------------------------------------------------------------------------------


def test_the_half_life_is_that_of_an_ar1_by_least_squares() -> None:
    rng = np.random.default_rng(1)
    values = np.zeros(300)
    for t in range(1, 300):
        values[t] = 0.6 * values[t - 1] + rng.normal()
    values[[40, 90, 91]] = np.nan
    x, y = values[:-1], values[1:]
    both = ~(np.isnan(x) | np.isnan(y))
    phi = sm.OLS(y[both], sm.add_constant(x[both])).fit().params[1]
    assert half_life(values) == pytest.approx(np.log(0.5) / np.log(phi), rel=1e-10)


def test_what_does_not_decay_has_no_half_life() -> None:
    assert half_life(np.tile([1.0, -1.0], 50)) is None
    assert half_life(np.ones(100)) is None
    assert half_life(np.full(100, np.nan)) is None


def test_the_autocorrelation_is_the_textbook_one_up_to_its_divisor() -> None:
    values = np.random.default_rng(2).normal(size=400).cumsum()
    biased = acf(values, nlags=7, fft=False)[7]
    assert autocorrelation(values, 7) == pytest.approx(biased * 400 / 393, rel=1e-10)
    assert autocorrelation(np.ones(50), 7) is None
    assert autocorrelation(np.ones(3), 7) is None


def test_weekday_factors_shares_and_half_life_use_the_known_days_only(rows: Design, inputs: Any) -> None:
    stamps = rows.hours
    rng = np.random.default_rng(5)
    volatility = np.exp(rng.normal(-3.6, 0.4, HOURS))
    volatility[rng.choice(HOURS, 40, replace=False)] = np.nan
    raw = np.where(np.isnan(volatility), -1, (volatility > 0.03).astype(int)).astype(np.int8)
    at = midnight(80)
    (mine,) = daily_persistence(stamps, rows.y, volatility, raw, np.array([at]), PARAMS)
    lower, total = np.zeros(4), np.zeros(4)
    days: list[tuple[pd.Timestamp, float]] = []
    for t, s in enumerate(stamps):
        if not at - 50 * 24 < s <= at - 24:
            continue
        if not np.isnan(volatility[t]) and not np.isnan(volatility[t + 24]):
            total[raw[t]] += 1
            lower[raw[t]] += volatility[t + 24] < volatility[t]
        if s % 24 == 0:
            days.append((pd.Timestamp(int(s) * 3_600_000_000_000, tz="UTC"), 0.5 * rows.y[t]))
    assert mine.reversion is not None
    np.testing.assert_allclose(mine.reversion, (lower + 2) / (total + 4), rtol=1e-12)
    assert len(days) == 49
    series = pd.Series([v for _, v in days], index=[d.weekday() for d, _ in days])
    means = series.groupby(level=0).mean()
    np.testing.assert_allclose(mine.weekday_log_factors, (means - means.mean()).to_numpy(), rtol=1e-10, atol=1e-14)
    adjusted = series.to_numpy() - (means - means.mean())[series.index].to_numpy()
    assert mine.half_life_days == pytest.approx(half_life(adjusted), rel=1e-10)
    assert mine.acf7 == pytest.approx(autocorrelation(adjusted, 7), rel=1e-10)


def test_too_short_a_history_gives_no_figures_and_the_ewma(rows: Design) -> None:
    (figures,) = daily_persistence(
        rows.hours, rows.y, np.full(HOURS, 0.02), np.ones(HOURS, dtype=np.int8), np.array([midnight(15)]), PARAMS
    )
    assert (figures.weekday_log_factors, figures.half_life_days, figures.acf7, figures.reversion) == (None,) * 4
    assert not fit(rows, np.array([midnight(15)]), PARAMS).enough[0]


def test_the_rank_counts_lower_weekday_adjusted_hours_of_ninety_days() -> None:
    rng = np.random.default_rng(9)
    hours = FIRST + np.arange(24 * 120)
    volatility = np.round(np.exp(rng.normal(-3.6, 0.4, len(hours))), 4)
    volatility[rng.choice(len(hours), 60, replace=False)] = np.nan
    factors = rng.normal(0, 0.2, 7)
    rows = np.arange(2500, 2524)
    adjusted = []
    for s, value in zip(hours, volatility, strict=True):
        shares = np.zeros(7)
        for back in range(24):
            moment = pd.Timestamp((int(s) - 1 - back) * 3_600_000_000_000, tz="UTC")
            shares[moment.weekday()] += 1 / 24
        adjusted.append(np.log(value) - shares @ factors)
    expected = []
    for r in rows:
        others = np.array(adjusted[r - 2159 : r])
        others = others[~np.isnan(others)]
        expected.append(np.nan if np.isnan(adjusted[r]) else (others < adjusted[r] - 1e-12).mean())
    mine = weekday_rank(hours, log_levels(volatility), rows, factors)
    np.testing.assert_allclose(mine, expected, atol=3e-3, err_msg="ties aside")
    assert np.isnan(weekday_rank(hours, log_levels(volatility), np.array([1900]), factors)).all(), (
        "81 of 90 days are needed"
    )


def test_equal_hours_rank_in_the_middle() -> None:
    hours = FIRST + np.arange(24 * 100)
    rank = weekday_rank(hours, np.full(len(hours), -4.0), np.array([len(hours) - 1]), np.zeros(7))
    assert rank.tolist() == [0.5]


def test_the_fifths_have_names() -> None:
    names = quintile(np.array([0.0, 0.2, 0.21, 0.5, 0.8, 0.81, 1.0, np.nan])).tolist()
    assert names == ["VERY_LOW", "VERY_LOW", "LOW", "NORMAL", "HIGH", "VERY_HIGH", "VERY_HIGH", None]


# --- stored models ---------------------------------------------------------------------------------------------


def test_only_absent_models_are_fitted_and_stored_ones_are_used_as_they_are() -> None:
    rng = np.random.default_rng(11)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.006, HOURS)))
    wiggle = np.exp(np.abs(rng.normal(0, 0.002, HOURS)))
    market = pd.DataFrame(
        {
            "symbol": "BTC/USDT",
            "ts": pd.date_range(START, periods=HOURS, freq="h", unit="us"),
            "open": close / wiggle**0.5,
            "high": close * wiggle,
            "low": close / wiggle,
            "close": close,
        }
    )
    end = market["ts"].iloc[-1]
    window = Window(end - timedelta(days=5), end)
    fresh, models = analyze_volatility_persistence(market, PARAMS, window=window)
    assert len(models) == 6
    assert set(models["model"]) == {"HAR"}
    again, fitted = analyze_volatility_persistence(market, PARAMS, window=window, models=models)
    assert fitted.empty
    pd.testing.assert_frame_equal(fresh, again, check_exact=True)
    some, fitted = analyze_volatility_persistence(market, PARAMS, window=window, models=models.drop(index=[2]))
    pd.testing.assert_frame_equal(fitted, models.iloc[[2]].reset_index(drop=True))
    pd.testing.assert_frame_equal(fresh, some, check_exact=True)
    other = models.assign(config_hash="0" * 16)
    assert len(analyze_volatility_persistence(market, PARAMS, window=window, models=other)[1]) == 6
    doubled = models.assign(smear=models["smear"] * 4)
    twice, _ = analyze_volatility_persistence(market, PARAMS, window=window, models=doubled)
    np.testing.assert_allclose(twice["vol_forecast_24h"], 2 * fresh["vol_forecast_24h"])
