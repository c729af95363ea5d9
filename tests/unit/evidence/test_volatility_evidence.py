"""Regimes and forecasts of volatility: planted truth is found, chance is not, and rivals do not look ahead."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from regimes_dagster.evidence.forecast_quality import FULL, MODELS, daily_forecasts, forecast_tests, log_r2, qlike
from regimes_dagster.evidence.regime_volatility import regime_forward_volatility
from regimes_dagster.evidence.rival_forecasts import rival_forecasts
from regimes_dagster.parameters import VolatilityParameters
from tests.unit.evidence.made_inputs import SYMBOLS, inputs, market, rows, walk

PARAMS = VolatilityParameters()
DAYS = 240
HOURS = 24 * DAYS


def found(test: object, metric: str, symbol: str = SYMBOLS[0]) -> object:
    return next(f for f in test.findings if (f.metric, f.symbol) == (metric, symbol))  # type: ignore[attr-defined]


def spells(rng: np.random.Generator) -> np.ndarray:
    """int[HOURS] calm (0) and wild (1) spells of ten days."""
    return np.repeat(rng.integers(0, 2, DAYS // 10), 240)


def test_a_regime_that_tells_the_next_day_holds_and_one_that_does_not_fails() -> None:
    rng = np.random.default_rng(0)
    wild = spells(rng)
    closes = walk(HOURS, sigma=np.where(wild, 0.01, 0.003))
    named = np.where(wild, "EXPLOSIVE", "HIGH_VOL")
    told = regime_forward_volatility(inputs(closes, volatility=rows({"regime": np.stack([named, named])})))
    assert found(told, "rises_with_regime").holds is True
    assert found(told, "trend_p_value").holds is True
    assert found(told, "forward_volatility_EXPLOSIVE").value > 2 * found(told, "forward_volatility_HIGH_VOL").value

    shuffled = np.where(spells(np.random.default_rng(9)), "EXPLOSIVE", "HIGH_VOL")
    blind = regime_forward_volatility(inputs(closes, volatility=rows({"regime": np.stack([shuffled, shuffled])})))
    assert found(blind, "trend_p_value").holds is False


def test_few_days_decide_nothing() -> None:
    closes = walk(24 * 30)
    regime = np.full((2, 24 * 30), "HIGH_VOL", dtype=object)
    regime[:, ::2] = "EXPLOSIVE"
    test = regime_forward_volatility(inputs(closes, volatility=rows({"regime": regime})))
    assert found(test, "rises_with_regime").holds is None
    assert "too little data" in found(test, "rises_with_regime").note


def test_losses_by_hand() -> None:
    loss = qlike(np.array([4.0, 1.0]), np.array([2.0, 1.0]))
    assert loss == pytest.approx([2 - np.log(2) - 1, 0.0])
    y = np.exp(np.array([0.0, 1.0, 2.0, 5.0]))
    assert log_r2(y, 3 * y) == pytest.approx(1.0)  # a constant factor is no error of the logs
    assert log_r2(y, np.ones(4)) == pytest.approx(0.0)


def test_rivals_are_what_their_names_say() -> None:
    closes = walk(HOURS, sigma=np.where(spells(np.random.default_rng(2)), 0.01, 0.004))
    made = inputs(closes)
    midnights = np.array([23 + 24 * d for d in (150, 190, 220)])
    rivals = rival_forecasts(made, 0, midnights, PARAMS)
    returns = np.diff(np.log(closes[0]), prepend=np.nan)
    daily = np.array([(returns[24 * d + (d == 0) : 24 * d + 24] ** 2).sum() for d in range(DAYS)])
    daily[0] *= 24 / 23
    assert rivals.random_walk == pytest.approx(daily[[150, 190, 220]])
    level = daily[0]
    by_day = [level := level if d == 0 else 0.8 * level + 0.2 * daily[d] for d in range(DAYS)]
    assert rivals.ewma == pytest.approx(np.array(by_day)[[150, 190, 220]])


def test_the_log_har_is_a_regression_on_what_was_known_a_day_before() -> None:
    closes = walk(HOURS, sigma=np.where(spells(np.random.default_rng(3)), 0.01, 0.004))
    made = inputs(closes)
    t = 23 + 24 * 200
    bars = market(closes)
    bars = bars[bars["symbol"] == SYMBOLS[0]]
    span, body = np.log(bars["high"] / bars["low"]) ** 2, np.log(bars["close"] / bars["open"]) ** 2
    variance = 0.5 * span - (2 * np.log(2) - 1) * body
    means = {n: variance.rolling(n, min_periods=int(np.ceil(0.9 * n))).mean() for n in (24, 168, 720)}
    x = pd.DataFrame({n: np.log(24 * mean) for n, mean in means.items()})
    r = np.log(bars["close"]).diff()
    y = np.log(24 * (r**2).rolling(24, min_periods=22).mean()).shift(-24)
    fit_at = t - 24  # the midnight before, whose newest known target ends then
    known = np.arange(len(x)) <= fit_at - 24
    usable = known & x.notna().all(axis=1).to_numpy() & y.notna().to_numpy()
    fitted = sm.OLS(y[usable], sm.add_constant(x[usable])).fit()
    forecast = np.exp(fitted.params["const"] + (x.iloc[t] * fitted.params[[24, 168, 720]]).sum())
    forecast *= np.exp(fitted.resid).mean()
    assert rival_forecasts(made, 0, np.array([t]), PARAMS).log_har[0] == pytest.approx(forecast, rel=1e-6)


def test_rivals_do_not_see_what_comes_later() -> None:
    closes = walk(HOURS)
    midnights = np.array([23 + 24 * 180])
    before = rival_forecasts(inputs(closes), 0, midnights, PARAMS)
    poisoned = closes.copy()
    poisoned[:, midnights[0] + 1 :] *= np.exp(np.cumsum(np.full(HOURS - midnights[0] - 1, 0.05)))
    after = rival_forecasts(inputs(poisoned), 0, midnights, PARAMS)
    assert before == after


def test_every_model_is_judged_on_the_same_days_and_a_perfect_one_wins() -> None:
    wild = spells(np.random.default_rng(4))
    sigma = np.where(wild, 0.01, 0.003)
    closes = walk(HOURS, sigma=sigma)
    truth = np.sqrt(24) * np.concatenate([sigma[1:], sigma[-1:]])
    volatility = rows({"vol_forecast_24h": np.stack([truth, truth])})
    made = inputs(closes, volatility=volatility)
    realised, forecasts = daily_forecasts(made, 0, PARAMS)
    assert {len(forecasts[name]) for name in MODELS} == {len(realised)}
    assert 0 < len(realised) < DAYS - 120
    losses, shares = forecast_tests(made, PARAMS)
    best = found(losses, "qlike_full_model")
    assert best.value < min(found(losses, f"qlike_{name}").value for name in ("random_walk", "ewma_080", "log_har"))
    assert found(losses, "dm_t_against_random_walk").value > 3
    assert found(shares, "log_r2_full_model").value > 0.7
    assert best.n == len(realised)
    assert FULL in forecasts
