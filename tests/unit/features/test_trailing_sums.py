"""Trailing sums against pandas, and that the start of the data never shows in them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes_dagster.features.trailing_sums import lagged, trailing_moments, trailing_sum


@pytest.mark.parametrize("n", [1, 2, 24, 72, 500])
@pytest.mark.parametrize("first_bar", [0, 5, 470_001])
def test_a_trailing_sum_is_the_sum_of_the_last_n_bars(n: int, first_bar: int) -> None:
    x = np.random.default_rng(n).standard_normal((3, 300))
    expected = pd.DataFrame(x.T).rolling(n, min_periods=1).sum().to_numpy().T
    np.testing.assert_allclose(trailing_sum(x, n, first_bar), expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 90),
    first_bar=st.integers(0, 10_000),
    cut=st.integers(0, 100),
    end=st.integers(1, 50),
    seed=st.integers(0, 99),
)
def test_a_trailing_sum_is_the_same_float_wherever_the_data_begin_and_end(
    n: int, first_bar: int, cut: int, end: int, seed: int
) -> None:
    x = np.random.default_rng(seed).standard_normal((2, 300)) * 10.0 ** np.arange(300).clip(0, 12)
    whole = trailing_sum(x, n, first_bar)
    part = trailing_sum(x[:, cut:-end], n, first_bar + cut)
    warm = n - 1
    np.testing.assert_array_equal(part[:, warm:], whole[:, cut + warm : 300 - end])


def test_moments_leave_missing_bars_out() -> None:
    rng = np.random.default_rng(0)
    x = np.where(rng.random((2, 400)) < 0.2, np.nan, rng.normal(-4, 0.3, (2, 400)))
    count, mean, sd = trailing_moments(x, 50, 12345, centre=-4.0)
    rolling = pd.DataFrame(x.T).rolling(50, min_periods=1)
    np.testing.assert_array_equal(count, rolling.count().to_numpy().T)
    np.testing.assert_allclose(mean, rolling.mean().to_numpy().T, rtol=1e-9)
    np.testing.assert_allclose(sd[:, 60:], rolling.std().to_numpy().T[:, 60:], rtol=1e-9)


def test_the_deviation_of_a_constant_is_zero_and_of_one_value_unknown() -> None:
    _, mean, sd = trailing_moments(np.full((1, 10), 0.1), 5, 0, centre=1.0)
    assert np.isnan(sd[0, 0])
    np.testing.assert_allclose(sd[0, 1:], 0, atol=1e-7)
    np.testing.assert_allclose(mean, 0.1)


def test_a_lag_longer_than_the_data_is_all_unknown() -> None:
    assert np.isnan(lagged(np.ones((1, 3)), 5)).all()
    np.testing.assert_array_equal(lagged(np.array([[1.0, 2.0, 3.0]]), 1), [[np.nan, 1.0, 2.0]])
