"""Minutes of the simulated market: numbers only, no frames and no windows.

What belongs here: how the price walks inside the hours of ``simulated_market.py``. What does not: the hours
themselves, and rows (``simulated.py``).

A minute path starts at its hour's open, stays between the hour's low and high, and ends on its close, so that minutes
and hours are one market: a small random walk, and the rest of the hour's move in one minute that all symbols share.
Nobody leads here. A Brownian bridge would look nicer, and its drift through every minute of an hour showed up as
lagged correlations that were called a lead for 1 to 8 of 100 pairs and days (measured).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.sources import simulated_market as market

MINUTES = 60

Floats = npt.NDArray[np.float64]

#: Share of the walk's variance that all symbols have in common, and its volatility as a share of the hour's.
_SHARED, _NOISE = 0.8, 0.5
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
    together = market.stream(seed, "minutes", block=block)
    shared = together.standard_normal((hours, MINUTES))
    move_at = together.integers(0, MINUTES, hours)
    rng = market.stream(seed, "minutes", symbol, block)
    own = rng.standard_normal((hours, MINUTES))
    step = _NOISE * market.factor(seed, block).sigma * market.character(seed, symbol).beta / np.sqrt(MINUTES)
    walk = np.cumsum(np.sqrt(_SHARED) * shared + np.sqrt(1.0 - _SHARED) * own, axis=1) * step[:, None]
    rest = bars.log_close - bars.log_open - walk[:, -1]
    path = bars.log_open[:, None] + walk + rest[:, None] * (np.arange(MINUTES) >= move_at[:, None])
    path = np.clip(path, bars.log_low[:, None], bars.log_high[:, None])
    path[:, -1] = bars.log_close
    weight = rng.exponential(1.0, (hours, MINUTES)) + 0.05
    return Minutes(path, bars.usd_volume[:, None] * weight / weight.sum(axis=1, keepdims=True))


def minute_ends(start_us: int, hours: npt.NDArray[np.int64]) -> pd.DatetimeIndex:
    """Ends of all minutes of some hours, given their positions after ``start_us`` (microseconds since 1970)."""
    minutes = hours[:, None] * MINUTES + np.arange(1, MINUTES + 1)
    micro = start_us + minutes.ravel() * _MINUTE_US
    return pd.DatetimeIndex(micro.astype("datetime64[us]")).tz_localize("UTC")
