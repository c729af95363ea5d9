"""HAC errors, Diebold-Mariano, Jonckheere and Holm against other libraries, slow loops and a textbook."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from regimes_dagster.evidence.hac import default_lags, diebold_mariano, mean_t, regression, two_sided_p
from regimes_dagster.evidence.multiple_testing import holm
from regimes_dagster.evidence.trend_test import explained_share, jonckheere


def autocorrelated(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.convolve(rng.standard_normal(n + 23), np.ones(24), mode="valid")


@pytest.mark.parametrize("lags", [0, 3, 48])
def test_slopes_and_errors_are_those_of_statsmodels(lags: int) -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(900), rng.standard_normal(900), autocorrelated(rng, 900) > 0]).astype(float)
    y = x @ [1.0, 0.5, -0.2] + autocorrelated(rng, 900) * (1 + x[:, 2])
    y[5], x[7, 1] = np.nan, np.nan
    ours = regression(y, x, lags)
    keep = np.isfinite(y) & np.isfinite(x).all(axis=1)
    theirs = sm.OLS(y[keep], x[keep]).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False})
    assert ours.n == 898
    assert ours.coefficients == pytest.approx(theirs.params, rel=1e-10)
    assert ours.errors == pytest.approx(theirs.bse, rel=1e-8)
    assert ours.t == pytest.approx(theirs.tvalues, rel=1e-8)


def test_a_slope_that_the_rows_do_not_determine_is_unknown() -> None:
    x = np.column_stack([np.ones(50), np.zeros(50)])
    assert np.isnan(regression(np.arange(50.0), x, 2).coefficients).all()


def test_diebold_mariano_is_the_mean_difference_over_its_long_run_error() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.gamma(2, 1, 300), rng.gamma(2, 0.9, 300)
    d = a - b
    lags = default_lags(300)
    assert lags == int(4 * 3 ** (2 / 9)) == 5
    centred = d - d.mean()
    long_run = sum(centred * centred) / 300
    for lag in range(1, lags + 1):
        covariance = sum(centred[i] * centred[i - lag] for i in range(lag, 300)) / 300
        long_run += 2 * (1 - lag / (lags + 1)) * covariance
    by_hand = d.mean() / math.sqrt(long_run / 300)
    assert diebold_mariano(a, b) == pytest.approx(by_hand)
    assert diebold_mariano(b, a) == pytest.approx(-by_hand)


def test_a_mean_without_variation_or_of_one_value_has_no_t() -> None:
    assert np.isnan(mean_t(np.array([1.0])))
    assert np.isnan(mean_t(np.array([])))


@given(st.floats(-6, 6))
def test_p_values_are_those_of_the_normal_distribution(t: float) -> None:
    assert two_sided_p(t) == pytest.approx(2 * stats.norm.sf(abs(t)), rel=1e-9)


# Hollander & Wolfe, table 6.6: pieces made by workers with no, rough and accurate information about their output.
NONE, ROUGH, ACCURATE = (
    [40.0, 35.0, 38.0, 43.0, 44.0, 41.0],
    [38.0, 40.0, 47.0, 44.0, 40.0, 42.0],
    [48.0, 40.0, 45.0, 43.0, 46.0, 44.0],
)


def test_jonckheere_gives_the_textbooks_figures() -> None:
    found = jonckheere([np.array(NONE), np.array(ROUGH), np.array(ACCURATE)])
    assert found.statistic == 79
    assert found.z == pytest.approx((79 - 54) / math.sqrt(150.29), rel=1e-3)
    assert found.p == pytest.approx(0.0207, abs=2e-4)


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=8), min_size=2, max_size=4))
def test_jonckheere_counts_pairs_in_rising_order(groups: list[list[int]]) -> None:
    arrays = [np.array(group, dtype=float) for group in groups]
    slow = 0.0
    for i, low in enumerate(groups):
        for high in groups[i + 1 :]:
            slow += sum((a < b) + 0.5 * (a == b) for a in low for b in high)
    assert jonckheere(arrays).statistic == slow


def test_the_variance_of_jonckheere_is_that_of_shuffled_groups() -> None:
    rng = np.random.default_rng(4)
    values = np.concatenate([NONE, ROUGH, ACCURATE, NONE])
    drawn = []
    for _ in range(4000):
        shuffled = rng.permutation(values)
        drawn.append(jonckheere([shuffled[:6], shuffled[6:13], shuffled[13:]]).statistic)
    observed = jonckheere([values[:6], values[6:13], values[13:]])
    z = (observed.statistic - np.mean(drawn)) / np.std(drawn)
    assert observed.z == pytest.approx(z, abs=0.08)


def test_a_trend_among_equal_values_or_in_one_group_is_unknown() -> None:
    assert np.isnan(jonckheere([np.ones(5), np.ones(4)]).p)
    assert np.isnan(jonckheere([np.arange(5.0)]).p)


def test_the_explained_share_is_one_minus_the_variance_within() -> None:
    groups = [np.array([1.0, 2.0, 3.0]), np.array([5.0, 6.0])]
    everything = np.concatenate(groups)
    within = sum(((g - g.mean()) ** 2).sum() for g in groups)
    assert explained_share(groups) == pytest.approx(1 - within / ((everything - everything.mean()) ** 2).sum())


@pytest.mark.parametrize("seed", range(12))
def test_holm_is_that_of_statsmodels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p_values = (rng.random(1 + 2 * seed) ** 3).round(2).tolist()  # with ties, zeros and small values
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, float("nan")])
