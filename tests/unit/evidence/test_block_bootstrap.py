"""Intervals from resampled weeks: right on known cases, wide enough for dependent hours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimes_dagster.evidence.block_bootstrap import (
    combined_interval,
    generator,
    mean_interval,
    percentile_interval,
    ratio_interval,
    resampled_sums,
    statistic_interval,
)


def slow_sums(parts: np.ndarray, name: str, block: int, draws: int) -> np.ndarray:
    """Circular blocks copied one by one until the period is full."""
    length = parts.shape[1]
    blocks = -(-length // block)
    starts = generator(name).integers(0, length, (draws, blocks))
    out = np.empty((draws, len(parts)))
    for d in range(draws):
        hours = np.concatenate([(start + np.arange(block)) % length for start in starts[d]])[:length]
        out[d] = parts[:, hours].sum(axis=1)
    return out


@given(st.integers(3, 60), st.integers(1, 60), st.integers(0, 1000))
def test_sums_of_resampled_time_are_those_of_blocks_copied_one_by_one(length: int, block: int, seed: int) -> None:
    parts = np.random.default_rng(seed).standard_normal((2, length))
    block = min(block, length)
    fast = resampled_sums(parts, f"n{seed}", block=block, draws=7)
    assert np.allclose(fast, slow_sums(parts, f"n{seed}", block, 7))


def autoregression(rng: np.random.Generator, markets: int, length: int, phi: float) -> np.ndarray:
    """A stationary AR(1) with mean 0 and innovations of size 1."""
    x = rng.standard_normal(markets) / np.sqrt(1 - phi**2)
    out = np.empty((markets, length))
    for t in range(length):
        x = phi * x + rng.standard_normal(markets)
        out[:, t] = x
    return out


def test_intervals_of_dependent_hours_cover_the_truth_about_as_often_as_they_say() -> None:
    series = autoregression(np.random.default_rng(1), 150, 24 * 180, 0.9)
    blocks = [mean_interval(row[None], f"c{i}", draws=200) for i, row in enumerate(series)]
    naive = [mean_interval(row[None], f"c{i}", block=1, draws=100) for i, row in enumerate(series[:30])]
    covered = np.mean([i.low <= 0 <= i.high for i in blocks])
    assert 0.89 <= covered <= 0.985
    # Without blocks the same intervals would be wrong most of the time.
    assert np.mean([i.low <= 0 <= i.high for i in naive]) < 0.5


def test_a_figure_has_the_same_interval_every_time_and_another_figure_other_draws() -> None:
    values = np.random.default_rng(0).standard_normal((1, 2000))
    assert mean_interval(values, "a") == mean_interval(values, "a")
    assert mean_interval(values, "a") != mean_interval(values, "b")


def test_missing_hours_do_not_enter_and_weights_do() -> None:
    values = np.array([[1.0, np.nan, 3.0, np.nan], [np.nan, 5.0, np.nan, np.nan]])
    assert mean_interval(values, "x", block=2).value == 3.0
    weights = np.array([[2.0, 9.0, 1.0, 9.0], [9.0, 1.0, 9.0, 9.0]])
    assert mean_interval(values, "x", weights=weights, block=2).value == pytest.approx((2 * 1 + 3 + 5) / 4)


def test_a_ratio_is_the_ratio_of_sums() -> None:
    top, bottom = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])
    assert ratio_interval(top, bottom, "r", block=1).value == 1.0
    assert np.isnan(ratio_interval(top, np.zeros(3), "r", block=1).value)


def test_the_two_ways_to_resample_agree() -> None:
    x = autoregression(np.random.default_rng(3), 1, 3000, 0.5)[0]
    by_sums = combined_interval(np.stack([x, np.ones_like(x)]), lambda s: s[:, 0] / s[:, 1], "w", draws=2000)
    by_hours = statistic_interval(lambda hours: float(x[hours].mean()), len(x), "w", draws=2000)
    assert by_sums.value == pytest.approx(by_hours.value)
    width = by_sums.high - by_sums.low
    assert abs(by_sums.low - by_hours.low) < 0.1 * width
    assert abs(by_sums.high - by_hours.high) < 0.1 * width


def test_no_time_at_all_gives_an_unknown_figure() -> None:
    assert np.isnan(mean_interval(np.empty((2, 0)), "empty").value)
    assert np.isnan(statistic_interval(lambda hours: 1.0, 0, "empty").low)


def test_a_figure_that_mostly_cannot_be_computed_gets_no_interval() -> None:
    draws = np.array([1.0] * 90 + [np.nan] * 10)
    assert np.isnan(percentile_interval(1.0, draws).low)
    assert percentile_interval(1.0, np.array([0.5] + [1.0] * 98 + [np.nan])).high == 1.0


def test_ten_successes_of_ten_are_no_certainty() -> None:
    values = np.full((1, 1000), np.nan)
    values[0, ::100] = 1.0
    found = mean_interval(values, "always")
    assert found.value == 1.0
    assert np.isnan(found.low)
    assert np.isnan(found.high)
