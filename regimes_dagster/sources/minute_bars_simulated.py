"""Minutes of the simulated market: numbers only, no frames and no windows.

What belongs here: how the price walks inside the hours of ``simulated_market.py``. What does not: the hours
themselves, and rows (``simulated.py``).

A minute path starts at its hour's open, touches the hour's high and low, and ends on its close: a random walk bent to
pass through these four points (a Brownian bridge), so that minutes and hours are one market. Part of the walk is
shared by all symbols, at the same minute: nobody leads here.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.sources import simulated_market as market

MINUTES = 60

Floats = npt.NDArray[np.float64]

#: Share of the variance inside an hour that all symbols have in common.
_SHARED = 0.6
_MINUTE_US = 60_000_000


@dataclass(frozen=True)
class Minutes:
    """Closes and turnover of one symbol and block, float[720, 60]: row 0 is the block's first hour."""

    log_close: Floats
    usd_volume: Floats


def minute_paths(seed: int, symbol: str, block: int) -> Minutes:
    """The minutes of one block; they depend on (seed, symbol, block) alone."""
    bars = market.prices(seed, symbol, block)
    hours = market.BLOCK_HOURS
    shared = market.stream(seed, "minutes", block=block).standard_normal((hours, MINUTES))
    rng = market.stream(seed, "minutes", symbol, block)
    own = rng.standard_normal((hours, MINUTES))
    walk = np.zeros((hours, MINUTES + 1))
    np.cumsum(np.sqrt(_SHARED) * shared + np.sqrt(1.0 - _SHARED) * own, axis=1, out=walk[:, 1:])
    # The range of a random walk over an hour is about 1.6 of its standard deviations.
    walk *= ((bars.log_high - bars.log_low) / 1.6 / np.sqrt(MINUTES))[:, None]
    # Minutes of the two extremes, both strictly inside the hour and different.
    first = rng.integers(1, MINUTES - 1, hours)
    second = rng.integers(first + 1, MINUTES)
    high_first = rng.random(hours) < 0.5
    at = np.stack([np.zeros(hours, dtype=np.int64), first, second, np.full(hours, MINUTES)], axis=1)
    extremes = np.where(high_first[:, None], [[1, 0]], [[0, 1]])
    ends = np.stack([bars.log_low, bars.log_high], axis=1)
    value = np.column_stack([bars.log_open, np.take_along_axis(ends, extremes, axis=1), bars.log_close])
    bend = value - np.take_along_axis(walk, at, axis=1)
    minute = np.arange(MINUTES + 1)[None, :]
    piece = (minute > at[:, 1:2]).astype(np.int64) + (minute > at[:, 2:3])
    left, right = np.take_along_axis(at, piece, axis=1), np.take_along_axis(at, piece + 1, axis=1)
    share = (minute - left) / (right - left)
    path = walk + np.take_along_axis(bend, piece, axis=1) * (1.0 - share)
    path += np.take_along_axis(bend, piece + 1, axis=1) * share
    path = np.clip(path[:, 1:], bars.log_low[:, None], bars.log_high[:, None])
    path[:, -1] = bars.log_close
    weight = rng.exponential(1.0, (hours, MINUTES)) + 0.05
    return Minutes(path, bars.usd_volume[:, None] * weight / weight.sum(axis=1, keepdims=True))


def minute_ends(start_us: int, hours: npt.NDArray[np.int64]) -> pd.DatetimeIndex:
    """Ends of all minutes of some hours, given their positions after ``start_us`` (microseconds since 1970)."""
    minutes = hours[:, None] * MINUTES + np.arange(1, MINUTES + 1)
    micro = start_us + minutes.ravel() * _MINUTE_US
    return pd.DatetimeIndex(micro.astype("datetime64[us]")).tz_localize("UTC")
