"""Where the rows of the hourly tables lie on a complete grid of hours, and where each machine starts on it.

What belongs here: placing rows of any (symbol, ts) table in arrays [K symbols, T hours] for the liquidation and
funding features, picking a window's rows out of them again, and running episode machines from stored state. What
does not: any formula.

Arrays are [K, T], contiguous along time, because windows run along time. Hours without a row are NaN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.features.episodes import EpisodeRule, Episodes, run_episodes
from regimes_dagster.features.result import StoredState, hours_index, require_sorted
from regimes_dagster.partitions import Window

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

HOUR_US = 3_600_000_000
_EPOCH = pd.Timestamp(0, unit="us", tz="UTC")


@dataclass(frozen=True)
class MarketRows:
    """Every hour between the first and the last row of a market frame, for every symbol in it.

    Attributes
    ----------
    ts
        [T] hours, UTC.
    symbols
        [K] symbols, sorted.
    row_symbol, row_hour
        [n] place of each market row, in the order of the frame (by symbol, then ts).
    """

    ts: pd.DatetimeIndex
    symbols: tuple[str, ...]
    row_symbol: Ints
    row_hour: Ints

    @classmethod
    def of(cls, market: pd.DataFrame, columns: Sequence[str] = ()) -> "MarketRows":
        """The places of a frame sorted by (symbol, ts).

        Raises
        ------
        ValueError
            If the frame lacks ``columns``, is unsorted, has duplicates or is not hourly UTC.
        """
        require_sorted(market, columns)
        codes, symbols = pd.factorize(market["symbol"])
        stamps = micros(market["ts"])
        if not len(stamps):
            return cls(hours_index(_EPOCH, _EPOCH)[:0], (), codes.astype(np.int64), stamps)
        first, last = int(stamps.min()), int(stamps.max())
        ts = hours_index(pd.Timestamp(first, unit="us", tz="UTC"), pd.Timestamp(last, unit="us", tz="UTC"))
        hours = (stamps - first) // HOUR_US
        return cls(ts, tuple(str(symbol) for symbol in symbols), codes.astype(np.int64), hours)

    @property
    def shape(self) -> tuple[int, int]:
        """(K, T)."""
        return len(self.symbols), len(self.ts)

    @property
    def newest(self) -> pd.Timestamp | None:
        """The last hour; ``None`` without rows."""
        return self.ts[-1] if len(self.ts) else None

    def wide(self, values: "pd.Series[Any]") -> Floats:
        """A numeric market column as [K, T]; NaN where there is no row or the value is null."""
        out = np.full(self.shape, np.nan)
        out[self.row_symbol, self.row_hour] = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return out

    def wide_codes(self, values: "pd.Series[Any]") -> tuple[Ints, list[str]]:
        """A text market column as codes [K, T] and their names; -1 where there is no row or the value is null."""
        codes, names = pd.factorize(values, sort=True)
        out = np.full(self.shape, -1, dtype=np.int64)
        out[self.row_symbol, self.row_hour] = codes
        return out, [str(name) for name in names]

    def place(self, symbol: "pd.Series[Any]", ts: "pd.Series[Any]") -> tuple[Ints, Ints, Bools]:
        """Place of rows of another table: symbol number, hour number (rounded up), and which rows lie on the grid."""
        k = pd.Index(self.symbols).get_indexer(pd.Index(symbol)).astype(np.int64)
        if not len(self.ts):
            return k, k, np.zeros(len(k), dtype=bool)
        hour = -(-(micros(ts) - int(self.ts.asi8[0])) // HOUR_US)
        on = (k >= 0) & (hour >= 0) & (hour < len(self.ts))
        return np.where(on, k, 0), np.where(on, hour, 0), on

    def rows_within(self, window: Window) -> Ints:
        """Numbers of the market rows whose ts lies in the window."""
        lower, upper = (self.ts.searchsorted(edge, side="right") for edge in (window.start, window.end))
        return np.flatnonzero((self.row_hour >= lower) & (self.row_hour < upper)).astype(np.int64)

    def first_hours(self) -> dict[str, pd.Timestamp]:
        """First row of each symbol."""
        _, first = np.unique(self.row_symbol, return_index=True)
        return {symbol: self.ts[self.row_hour[n]] for symbol, n in zip(self.symbols, first, strict=True)}


def run_machines(
    ts: pd.DatetimeIndex,
    keys: Sequence[str],
    level: npt.NDArray[Any],
    release: Bools,
    valid: Bools,
    rule: EpisodeRule,
    state: StoredState | None,
    stored: Mapping[str, Mapping[str, Any]],
    checkpoints: Sequence[pd.Timestamp],
) -> Episodes:
    """Run one machine per key: from its stored state if there is one, else from the first hour of the grid.

    Parameters
    ----------
    level, release, valid
        [K, T], as ``run_episodes`` takes them transposed.
    state
        Tells when the stored states hold; hours up to then are history only.
    stored
        Key -> the machine's own stored state.

    Returns
    -------
    Episodes
        On the whole grid; a resumed key is UNKNOWN up to the hour of its stored state.

    Raises
    ------
    ValueError
        If the grid begins later than the hour after the stored state.
    """
    resumed = [k for k, key in enumerate(keys) if state is not None and key in stored]
    fresh = [k for k, key in enumerate(keys) if state is None or key not in stored]
    start = 0
    if state is not None and resumed and len(ts):
        start = int(ts.searchsorted(state.ts, side="right"))
        if start == 0 and ts[0] - state.ts != pd.Timedelta(hours=1):
            raise ValueError(
                f"{rule.event_type}: rows begin at {ts[0]}, the stored state ends at {state.ts}; "
                "read the rows between them too (and the lookback before)"
            )
    parts: list[tuple[list[int], int, Episodes]] = []
    for chosen, first in ((fresh, 0), (resumed, start)):
        if chosen:
            hours = ts[first:]
            wanted = [moment for moment in checkpoints if len(hours) and moment >= hours[0]]
            tier, off, ok = (np.asarray(array)[chosen, first:].T for array in (level, release, valid))
            names = [keys[k] for k in chosen]
            parts.append((chosen, first, run_episodes(hours, names, tier, off, ok, rule, stored, wanted)))
    return parts[0][2] if len(parts) == 1 and parts[0][1] == 0 else _merged(ts, keys, parts)


def _merged(ts: pd.DatetimeIndex, keys: Sequence[str], parts: list[tuple[list[int], int, Episodes]]) -> Episodes:
    shape = (len(ts), len(keys))
    state = np.full(shape, "UNKNOWN", dtype=object)
    ids = np.full(shape, None, dtype=object)
    onset = np.full(shape, np.datetime64("NaT", "us"), dtype="datetime64[us]")
    states: dict[pd.Timestamp, dict[str, dict[str, Any]]] = {}
    for chosen, first, part in parts:
        state[first:, chosen] = part.state
        ids[first:, chosen] = part.episode_id
        onset[first:, chosen] = part.onset
        for moment, by_key in part.states.items():
            states.setdefault(moment, {}).update(by_key)
    if not parts:
        nothing = np.empty((0, 0))
        return run_episodes(ts[:0], [], nothing, nothing, nothing, EpisodeRule("NONE", 0))
    events = pd.concat([part.events for *_, part in parts], ignore_index=True)
    order = events["key"].map({key: k for k, key in enumerate(keys)})
    events = events.assign(order=order).sort_values(["ts", "order"], kind="stable").drop(columns="order")
    return Episodes(state, ids, onset, events.reset_index(drop=True), states)


def text_rows(codes: npt.NDArray[np.integer[Any]], names: Sequence[str]) -> "pd.Series[Any]":
    """Codes as a text column; a negative code is null. Much cheaper than an object array of millions of words."""
    return pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(list(names)))).astype("str")


def micros(ts: "pd.Series[Any]") -> Ints:
    """Stamps as microseconds since 1970, UTC."""
    return ts.to_numpy(dtype="datetime64[us]").astype(np.int64)
