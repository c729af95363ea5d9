"""The unit-root test and its p-value against statsmodels, the half-life against least squares."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from statsmodels.tsa.adfvalues import mackinnonp
from statsmodels.tsa.stattools import adfuller

from regimes_dagster.features.pair_statistics import PairedReturns
from regimes_dagster.features.spread_reversion import ar1_half_life, dickey_fuller, mackinnon_p, spread_reversion


def test_the_p_value_is_that_of_the_published_surface() -> None:
    tau = np.array([-25.0, -18.9, -6.0, -3.43, -2.86, -1.62, -1.61, -1.60, 0.0, 1.0, 2.7, 2.8])
    expected = [mackinnonp(t, regression="c", N=1) for t in tau]
    assert_allclose(mackinnon_p(tau), expected, rtol=1e-12)
    assert np.isnan(mackinnon_p(np.array([np.nan])))[0]


def walks(n: int, hours: int = 720, pull: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(5)
    steps = rng.normal(0, 0.01, (n, hours))
    level = np.zeros((n, hours))
    for t in range(1, hours):
        level[:, t] = (1 - pull) * level[:, t - 1] + steps[:, t]
    return level


@pytest.mark.filterwarnings("ignore:adfuller currently returns:FutureWarning")
@pytest.mark.parametrize("pull", [0.0, 0.02, 0.2])
def test_the_statistic_is_that_of_statsmodels(pull: float) -> None:
    level = walks(20, pull=pull)
    step = np.concatenate([level[:, :1], np.diff(level, axis=1)], axis=1)
    tau = dickey_fuller(step, level, np.ones(level.shape, dtype=bool))
    expected = [adfuller(row, maxlag=1, regression="c", autolag=None)[:2] for row in level]
    assert_allclose(tau, [t for t, _ in expected], rtol=1e-8)
    assert_allclose(mackinnon_p(tau), [p for _, p in expected], rtol=1e-6)


def test_the_half_life_is_that_of_the_least_squares_slope() -> None:
    level = walks(10, pull=0.05)
    step = np.concatenate([level[:, :1], np.diff(level, axis=1)], axis=1)
    half_life = ar1_half_life(step, level, np.ones(level.shape, dtype=bool))
    slopes = [np.polyfit(row[:-1], row[1:], 1)[0] for row in level]
    assert_allclose(half_life, [math.log(0.5) / math.log(phi) for phi in slopes], rtol=1e-7)


def test_a_random_walk_is_rejected_about_as_often_as_it_should_be() -> None:
    level = walks(1500)
    step = np.concatenate([level[:, :1], np.diff(level, axis=1)], axis=1)
    rejected = np.mean(mackinnon_p(dickey_fuller(step, level, np.ones(level.shape, dtype=bool))) < 0.05)
    assert 0.03 < rejected < 0.07


def pair(pull: float, hours: int = 900) -> PairedReturns:
    rng = np.random.default_rng(6)
    a = rng.normal(0, 0.01, (1, hours))
    level = walks(1, hours, pull)
    return PairedReturns(a, 1.5 * a + np.concatenate([level[:, :1], np.diff(level, axis=1)], axis=1), 0)


def test_a_spread_that_comes_back_is_told_from_one_that_does_not() -> None:
    at = np.array([0]), np.array([880])
    beta = np.full((1, 900), 1.5)
    back = spread_reversion(pair(0.1), beta, *at)
    away = spread_reversion(pair(0.0), beta, *at)
    assert back.adf_p[0] < 0.001
    assert 3 < back.half_life_h[0] < 15
    assert away.adf_p[0] > 0.05


def test_missing_hours_are_left_out_and_too_many_make_it_unknown() -> None:
    beta = np.full((1, 900), 1.5)
    at = np.array([0]), np.array([880])
    whole = pair(0.1)
    some = np.zeros((1, 900), dtype=bool)
    some[0, 300:340] = True
    holed = PairedReturns(np.where(some, np.nan, whole.a), whole.b, 0)
    result = spread_reversion(holed, beta, *at)
    assert result.adf_p[0] < 0.001
    some[0, 300:400] = True
    result = spread_reversion(PairedReturns(np.where(some, np.nan, whole.a), whole.b, 0), beta, *at)
    assert np.isnan(result.adf_p[0])
    assert np.isnan(result.half_life_h[0])


def test_no_hedge_ratio_or_too_short_a_history_is_unknown() -> None:
    beta = np.full((1, 900), np.nan)
    assert np.isnan(spread_reversion(pair(0.1), beta, np.array([0]), np.array([880])).adf_p[0])
    assert np.isnan(spread_reversion(pair(0.1), beta + 1, np.array([0]), np.array([700])).adf_p[0])


def test_a_residual_that_does_not_move_is_unknown_not_infinite() -> None:
    a = np.random.default_rng(7).normal(0, 0.01, (1, 900))
    result = spread_reversion(PairedReturns(a, a, 0), np.ones((1, 900)), np.array([0]), np.array([880]))
    assert np.isnan(result.adf_p[0])
    assert np.isnan(result.half_life_h[0])
