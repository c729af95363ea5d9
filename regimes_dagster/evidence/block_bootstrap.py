"""How uncertain is a figure, when neighbouring hours are not independent? Intervals from resampled weeks.

What belongs here: the circular moving-block bootstrap and its percentile intervals. What does not: which figure is
resampled (the tests), and p-values of event studies (``event_study.py``).

Blocks of 168 consecutive hours are drawn with replacement until the period is filled (Politis & Romano 1992; circular,
so that every hour is drawn equally often); all series are drawn at the same hours, so that what moves together stays
together. Draws depend on the name of the figure and on nothing else: the same data give the same interval.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: A week: longer than the memory of hourly returns and their signs, and every weekday enters each block.
BLOCK_H = 168
DRAWS = 1_000
LEVEL = 0.95

#: A figure that cannot be computed in more than this share of the draws gets no interval.
_MAX_FAILED = 0.05


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its interval; NaN where unknown."""

    value: float
    low: float
    high: float

    def contains(self, low: float, high: float) -> bool:
        """Whether the interval overlaps [low, high]."""
        return bool(self.low <= high and self.high >= low)


def generator(name: str) -> np.random.Generator:
    """A generator that always draws the same for the same name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def mean_interval(
    values: Floats, name: str, *, weights: Floats | None = None, block: int = BLOCK_H, draws: int = DRAWS
) -> Interval:
    """Mean of all known values, with its interval.

    Parameters
    ----------
    values
        float[..., T] over consecutive hours (or whatever ``block`` counts), NaN where unknown.
    weights
        Same shape; default 1 for each known value.
    """
    weight = np.where(np.isfinite(values), 1.0 if weights is None else weights, 0.0)
    total = np.where(weight != 0, np.nan_to_num(values) * weight, 0.0)
    axes = tuple(range(values.ndim - 1))
    return ratio_interval(total.sum(axis=axes), weight.sum(axis=axes), name, block=block, draws=draws)


def ratio_interval(
    numerator: Floats, denominator: Floats, name: str, *, block: int = BLOCK_H, draws: int = DRAWS
) -> Interval:
    """Sum of ``numerator`` over sum of ``denominator`` (float[T] each), with its interval."""
    sums = resampled_sums(np.stack([numerator, denominator]), name, block=block, draws=draws)
    bottom = denominator.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        return percentile_interval(numerator.sum() / bottom if bottom != 0 else np.nan, sums[:, 0] / sums[:, 1])


def combined_interval(
    parts: Floats,
    combine: Callable[[Floats], Floats],
    name: str,
    *,
    block: int = BLOCK_H,
    draws: int = DRAWS,
) -> Interval:
    """A figure that follows from several sums over time, with its interval.

    Parameters
    ----------
    parts
        float[M, T], one series per sum.
    combine
        float[D, M] sums -> float[D] figures.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value = combine(parts.sum(axis=1)[None])[0]
        return percentile_interval(float(value), combine(resampled_sums(parts, name, block=block, draws=draws)))


def resampled_sums(parts: Floats, name: str, *, block: int = BLOCK_H, draws: int = DRAWS) -> Floats:
    """float[draws, M]: sums of float[M, T] over resampled time; NaN where there is no time to resample."""
    length = parts.shape[1]
    if not length:
        return np.full((draws, len(parts)), np.nan)
    block = min(block, length)
    whole, rest = divmod(length, block)
    starts = generator(name).integers(0, length, (draws, whole + (rest > 0)))
    ends = np.zeros((len(parts), length + block + 1))
    np.cumsum(np.concatenate([parts, parts[:, :block]], axis=1), axis=1, out=ends[:, 1:])
    total = np.zeros((draws, len(parts)))
    for m, end in enumerate(ends):
        total[:, m] = (end[starts[:, :whole] + block] - end[starts[:, :whole]]).sum(axis=1)
        if rest:
            total[:, m] += end[starts[:, -1] + rest] - end[starts[:, -1]]
    return total


def statistic_interval(
    statistic: Callable[[Ints], float], length: int, name: str, *, block: int = BLOCK_H, draws: int = DRAWS
) -> Interval:
    """Any figure of a set of hours, with its interval.

    Parameters
    ----------
    statistic
        int[n] positions in time, with repetitions -> figure.
    length
        Hours of the period.
    """
    if not length:
        return Interval(float("nan"), float("nan"), float("nan"))
    block = min(block, length)
    rng = generator(name)
    offsets = np.arange(block)
    found = np.empty(draws)
    for d in range(draws):
        starts = rng.integers(0, length, -(-length // block))
        found[d] = statistic(((starts[:, None] + offsets).ravel()[:length]) % length)
    return percentile_interval(statistic(np.arange(length)), found)


def percentile_interval(value: float, draws: Floats) -> Interval:
    """The central share of the draws; NaN ends if too many of them failed.

    NaN ends too if all draws are equal (ten successes of ten): that resampling cannot make a failure out of them is no
    certainty.
    """
    known = draws[np.isfinite(draws)]
    if not np.isfinite(value) or len(known) < (1 - _MAX_FAILED) * len(draws):
        return Interval(float(value), float("nan"), float("nan"))
    if np.ptp(known) <= 1e-12 * abs(value):
        return Interval(float(value), float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))
