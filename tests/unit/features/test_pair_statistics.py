"""Every figure of a pair against pandas' rolling windows and a slow loop, with missing hours."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from regimes_dagster.features.pair_statistics import PairedReturns, history_h, pair_figures
from regimes_dagster.parameters import CorrelationParameters

PARAMS = CorrelationParameters()
FIRST_HOUR = 473_001


def returns(hours: int = 4200, seed: int = 1, rho: float = 0.7, missing: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_t(4, (3, hours)) * 0.004
    a = math.sqrt(rho) * x[0] + math.sqrt(1 - rho) * x[1]
    b = 1.3 * (math.sqrt(rho) * x[0] + math.sqrt(1 - rho) * x[2])
    a[rng.random(hours) < missing] = np.nan
    b[rng.random(hours) < missing] = np.nan
    return a, b


def rolling_corr(a: np.ndarray, b: np.ndarray, window: int, minimum: int) -> np.ndarray:
    both = ~(np.isnan(a) | np.isnan(b))
    left, right = pd.Series(np.where(both, a, np.nan)), pd.Series(np.where(both, b, np.nan))
    return left.rolling(window, min_periods=minimum).corr(right).to_numpy()


@pytest.mark.parametrize("missing", [0.0, 0.03])
def test_correlations_are_those_of_pandas(missing: float) -> None:
    a, b = returns(missing=missing)
    figures = pair_figures(PairedReturns(a[None], b[None], FIRST_HOUR), PARAMS)
    for name, window, minimum in [
        ("rho", 72, 65),
        ("corr_24h", 24, 22),
        ("corr_168h", 168, 152),
        ("corr_720h", 720, 648),
    ]:
        mine, theirs = getattr(figures, name)[0], rolling_corr(a, b, window, minimum)
        assert_array_equal(np.isnan(mine), np.isnan(theirs))
        assert_allclose(mine, theirs, rtol=1e-7, atol=1e-9)


def test_baseline_band_and_score_are_those_of_a_slow_loop() -> None:
    a, b = returns(missing=0.02)
    figures = pair_figures(PairedReturns(a[None], b[None], FIRST_HOUR), PARAMS)
    fisher = np.arctanh(np.clip(figures.rho[0], -0.999999, 0.999999))
    for t in (1000, 2500, 3300, 4199):
        past = fisher[max(t - 72 - 2160 + 1, 0) : t - 72 + 1]
        past = past[~np.isnan(past)]
        mean, sd = past.mean(), past.std(ddof=1)
        assert figures.baseline[0, t] == pytest.approx(math.tanh(mean), rel=1e-9)
        assert figures.band_low[0, t] == pytest.approx(math.tanh(mean - 1.645 * sd), rel=1e-9)
        assert figures.band_high[0, t] == pytest.approx(math.tanh(mean + 1.645 * sd), rel=1e-9)
        assert figures.break_z[0, t] == pytest.approx((fisher[t] - mean) / max(sd, 0.05), rel=1e-7)
        room = (math.tanh(mean) - figures.rho[0, t]) / (1 + math.tanh(mean))
        assert figures.break_strength[0, t] == pytest.approx(min(max(room, 0), 1), rel=1e-7)


def test_hedge_ratio_and_spread_are_those_of_a_slow_loop() -> None:
    a, b = returns(missing=0.02)
    figures = pair_figures(PairedReturns(a[None], b[None], FIRST_HOUR), PARAMS)
    both = ~(np.isnan(a) | np.isnan(b))

    def beta(t: int) -> float:
        span = slice(t - 72 - 720 + 1, t - 72 + 1)
        x, y = a[span][both[span]], b[span][both[span]]
        return float(np.cov(x, y)[0, 1] / x.var(ddof=1))

    def spread(t: int) -> float:
        span = slice(t - 71, t + 1)
        return float((b[span] - beta(t) * a[span])[both[span]].sum())

    for t in (1700, 4100):
        assert figures.beta[0, t] == pytest.approx(beta(t), rel=1e-9)
        assert figures.spread[0, t] == pytest.approx(spread(t), rel=1e-9)
    t = 4100
    known = [u for u in range(t - 72 - 2160 + 1, t - 72 + 1) if both[u - 71 : u + 1].sum() >= 65]
    assert figures.spread_z[0, t] == pytest.approx(spread(t) / np.std([spread(u) for u in known], ddof=1), rel=1e-7)


def test_the_baseline_needs_720_hours_and_ends_a_window_ago() -> None:
    a, b = returns(1500)
    figures = pair_figures(PairedReturns(a[None], b[None], FIRST_HOUR), PARAMS)
    first = int(np.flatnonzero(np.isfinite(figures.baseline[0]))[0])
    assert first == 64 + 72 + 719
    jump = b.copy()
    jump[-72:] = -a[-72:]
    moved = pair_figures(PairedReturns(a[None], jump[None], FIRST_HOUR), PARAMS)
    assert moved.baseline[0, -1] == figures.baseline[0, -1]
    assert moved.beta[0, -1] == figures.beta[0, -1]
    assert moved.rho[0, -1] == pytest.approx(-1)
    assert moved.break_strength[0, -1] == pytest.approx(1)


@settings(max_examples=10, deadline=None)
@given(cut=st.integers(0, 700), end=st.integers(0, 300), seed=st.integers(0, 20))
def test_the_lookback_is_enough_for_the_very_same_floats(cut: int, end: int, seed: int) -> None:
    a, b = returns(4300, seed, missing=0.01)
    whole = pair_figures(PairedReturns(a[None], b[None], FIRST_HOUR), PARAMS)
    stop = len(a) - end
    part = pair_figures(PairedReturns(a[None, cut:stop], b[None, cut:stop], FIRST_HOUR + cut), PARAMS)
    warm = history_h(PARAMS)
    for name in vars(whole):
        assert_array_equal(getattr(part, name)[:, warm:], getattr(whole, name)[:, cut + warm : stop], err_msg=name)


@pytest.mark.parametrize("constant", [0.0, 0.001])
def test_a_price_that_does_not_move_has_no_correlation(constant: float) -> None:
    a, b = returns(1200)
    figures = pair_figures(PairedReturns(np.full_like(a, constant)[None], b[None], FIRST_HOUR), PARAMS)
    assert np.isnan(figures.rho).all()
    assert np.isnan(figures.beta).all()


def test_a_pair_that_moves_as_one_has_finite_figures() -> None:
    a, _ = returns(3200)
    figures = pair_figures(PairedReturns(a[None], a[None], FIRST_HOUR), PARAMS)
    assert figures.rho[0, -1] == pytest.approx(1)
    assert figures.break_z[0, -1] == pytest.approx(0, abs=1e-3)
    assert not any(np.isinf(values).any() for values in vars(figures).values())


def test_a_strength_needs_room_below_the_baseline() -> None:
    a, _ = returns(3200)
    figures = pair_figures(PairedReturns(a[None], -a[None], FIRST_HOUR), PARAMS)
    assert figures.baseline[0, -1] == pytest.approx(-1, abs=1e-5)
    assert np.isnan(figures.break_strength[0, -1])
