"""Funding of every venue as one value per 8 hours.

What belongs here: settlements to 8-hour equivalents on a grid of 8-hour slots, and which slot is in force at an hour.
What does not: statistics of those values (``funding_statistics.py``) and what counts as an anomaly.

A settlement that pays for 8 hours or more is a value of its own, ``x = rate 8 / interval_hours``. Settlements of
shorter intervals are summed over the UTC blocks (00, 08], (08, 16], (16, 24]; a block whose intervals do not add up
to 8 hours gives no value. Slots are those blocks, so that "24 hours ago" is three slots ago also across a gap.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.features.market_rows import HOUR_US, Floats, Ints, MarketRows, micros

BLOCK_H = 8
_BLOCK_US = BLOCK_H * HOUR_US


@dataclass(frozen=True)
class Blocks:
    """8-hour-equivalent rates of every venue and symbol; arrays [M series, S slots].

    Attributes
    ----------
    series
        [M] (venue, symbol), sorted.
    first_slot
        Number of the first slot; slot n ends n x 8 hours after 1970.
    x
        Fraction per 8 hours, NaN where there is none.
    settled
        Microseconds since 1970 at which the value became known.
    """

    series: list[tuple[str, str]]
    first_slot: int
    x: Floats
    settled: Ints

    def slot_in_force(self, m: int, hours_us: Ints, max_age_h: int) -> npt.NDArray[np.int32]:
        """Column of the newest value at each hour, not older than ``max_age_h``; -1 where there is none."""
        columns = np.flatnonzero(np.isfinite(self.x[m]))
        known = self.settled[m, columns]
        place = np.searchsorted(known, hours_us, side="right") - 1
        fresh = (place >= 0) & (hours_us - known[place] <= max_age_h * HOUR_US) if len(columns) else place >= 0
        return (
            np.where(fresh, columns[place], -1).astype(np.int32)
            if len(columns)
            else np.full(len(hours_us), -1, np.int32)
        )


def to_blocks(places: MarketRows, funding_rates: pd.DataFrame) -> Blocks:
    """8-hour equivalents of the settlements of the market's symbols, none after the market's last hour.

    Parameters
    ----------
    funding_rates
        Rows of ``funding_rates`` (venue, symbol, ts, rate, interval_hours), any order.
    """
    known = funding_rates["symbol"].isin(places.symbols)
    if places.newest is not None:
        known &= funding_rates["ts"] <= places.newest
    rows = funding_rates.loc[known, ["venue", "symbol", "ts", "rate", "interval_hours"]]
    rows = rows.sort_values(["venue", "symbol", "ts"], kind="stable")
    if rows.empty:
        return Blocks([], 0, np.zeros((0, 0)), np.zeros((0, 0), dtype=np.int64))
    names = pd.MultiIndex.from_frame(rows[["venue", "symbol"]])
    m, series = pd.factorize(names)
    settled_at = micros(rows["ts"])
    rate = rows["rate"].to_numpy(dtype=np.float64)
    interval = rows["interval_hours"].to_numpy(dtype=np.float64)
    slot = -(-settled_at // _BLOCK_US)
    first = int(slot.min())
    shape = (len(series), int(slot.max()) - first + 1)
    slot -= first

    short = interval < BLOCK_H
    cell = m[short] * shape[1] + slot[short]
    size = shape[0] * shape[1]
    paid = np.bincount(cell, interval[short], size).reshape(shape)
    total = np.bincount(cell, rate[short], size).reshape(shape)
    ends = np.broadcast_to((first + np.arange(shape[1], dtype=np.int64)) * _BLOCK_US, shape)
    x = np.where(np.abs(paid - BLOCK_H) < 1e-6, total, np.nan)
    settled = ends.copy()
    long = ~short  # sorted by time: the last settlement of a slot stays
    x[m[long], slot[long]] = rate[long] * BLOCK_H / interval[long]
    settled[m[long], slot[long]] = settled_at[long]
    return Blocks([(str(venue), str(symbol)) for venue, symbol in series], first, x, settled)
