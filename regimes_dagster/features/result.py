"""What a feature function takes as stored state and what it gives back.

What belongs here: the two value types that every feature shares, and the frames that turn machine states and
episodes into the rows of ``engine_state`` and ``episode_events``. What does not: the episode rules
(``episodes.py``) and any formula.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from regimes_dagster.partitions import Window, month_edges, utc

EVENT_COLUMNS = (
    "feature", "episode_id", "phase", "level", "event_type", "key", "symbol", "asset_pair", "ts", "onset_ts",
    "severity", "title", "description", "source", "data", "explain", "suppressed_reason", "config_hash",
)  # fmt: skip
STATE_COLUMNS = ("feature", "key", "ts", "config_hash", "state")

UTC_US = pd.DatetimeTZDtype("us", "UTC")


@dataclass(frozen=True)
class FeatureResult:
    """Rows, events and machine states of one feature over one window.

    Attributes
    ----------
    rows
        Table name -> rows with ``ts`` inside the window, columns as the table's model, sorted by its key.
    events
        Rows of ``episode_events`` with ``ts`` inside the window (``events_frame``).
    states
        Rows of ``engine_state``: one per machine key and checkpoint (``states_frame``).
    models
        Rows of ``volatility_models`` that were fitted now; ``None`` for features without models.
    """

    rows: dict[str, pd.DataFrame]
    events: pd.DataFrame
    states: pd.DataFrame
    models: pd.DataFrame | None = None


@dataclass(frozen=True)
class StoredState:
    """The state of every machine of a feature after the hour ``ts``.

    Attributes
    ----------
    ts
        Hour after which the states hold, UTC.
    by_key
        Machine key -> state as it was stored (JSON-able).
    """

    ts: pd.Timestamp
    by_key: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ts", utc(self.ts))


def events_frame(events: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of ``episode_events`` from one mapping per event; columns and dtypes also when there is none.

    Parameters
    ----------
    events
        Mappings with every key of ``EVENT_COLUMNS``; stamps UTC, ``None`` where a column is null.

    Returns
    -------
    DataFrame
        Columns ``EVENT_COLUMNS``, sorted by ``ts``, ``key``, ``phase`` and ``level``, RangeIndex.
    """
    frame = pd.DataFrame(list(events), columns=list(EVENT_COLUMNS), dtype=object)
    for column in ("ts", "onset_ts"):
        frame[column] = pd.to_datetime(frame[column], utc=True).astype(UTC_US)
    frame["level"] = frame["level"].astype("Int64")
    # An outage can end and begin episodes of several keys in one hour: a stable order keeps reruns equal.
    return frame.sort_values(["ts", "key", "phase", "level"], kind="stable").reset_index(drop=True)


def states_frame(
    feature: str, config_hash: str, states: Mapping[pd.Timestamp, Mapping[str, Mapping[str, Any]]]
) -> pd.DataFrame:
    """Rows of ``engine_state`` from checkpoint -> key -> state.

    Returns
    -------
    DataFrame
        Columns ``STATE_COLUMNS``, sorted by ``ts`` and ``key``, RangeIndex; ``state`` holds dicts.
    """
    rows = [
        {"feature": feature, "key": key, "ts": ts, "config_hash": config_hash, "state": dict(state)}
        for ts in sorted(states)
        for key, state in sorted(states[ts].items())
    ]
    frame = pd.DataFrame(rows, columns=list(STATE_COLUMNS), dtype=object)
    frame["ts"] = pd.to_datetime(frame["ts"], utc=True).astype(UTC_US)
    return frame


def checkpoints_within(
    window: Window, newest: pd.Timestamp | None, checkpoints: Sequence[pd.Timestamp] | None = None
) -> list[pd.Timestamp]:
    """The moments at which states are kept: the given ones or the month edges, none after the newest row.

    A checkpoint after ``newest`` becomes ``newest`` (the running month is kept at its newest hour).

    Parameters
    ----------
    newest
        Newest row given; ``None`` (no rows at all) gives no checkpoints.
    """
    if newest is None:
        return []
    wanted = month_edges(window) if checkpoints is None else [utc(moment) for moment in checkpoints]
    newest = utc(newest)
    return sorted({min(moment, newest) for moment in wanted if min(moment, newest) > window.start})


def hours_index(first: pd.Timestamp, last: pd.Timestamp) -> pd.DatetimeIndex:
    """Every hour from ``first`` to ``last``, both included: the complete grid that machines run on."""
    return pd.date_range(utc(first), utc(last), freq="h", unit="us")


def require_sorted(market: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a frame that is not sorted by (symbol, ts), has duplicates, lacks columns or is not hourly UTC.

    Raises
    ------
    ValueError
        With what is wrong and what to do.
    """
    missing = [column for column in ("symbol", "ts", *columns) if column not in market.columns]
    if missing:
        raise ValueError(f"market rows lack {', '.join(missing)}; read them with these columns")
    if not isinstance(market["ts"].dtype, pd.DatetimeTZDtype) or str(market["ts"].dt.tz) != "UTC":
        raise ValueError(f"ts must be UTC stamps, it is {market['ts'].dtype}; convert it with dt.tz_convert('UTC')")
    if market.empty:
        return
    symbols = market["symbol"].to_numpy(dtype=object)
    micros = market["ts"].to_numpy(dtype="datetime64[us]").astype(np.int64)
    if (micros % 3_600_000_000).any():
        raise ValueError("ts must be full hours (the END of each hour); label bars with open time + 1 h")
    later = symbols[1:] > symbols[:-1]
    same = symbols[1:] == symbols[:-1]
    if not bool(np.all(later | (same & (micros[1:] > micros[:-1])))):
        raise ValueError(
            "market rows must be sorted by symbol and ts without duplicates; sort_values(['symbol', 'ts'])"
        )
