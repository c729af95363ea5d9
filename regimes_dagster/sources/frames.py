"""Typed frames of the raw tables, built from plain columns.

What belongs here: the dtypes of the raw tables, applied in one place, so that an empty answer and a full one
have the same shape. What does not: parsing of any venue's format, and checks of the values (``validate.py``).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

_TEXT, _FLOAT, _STAMP, _COUNT, _FLAG = "text", "float", "stamp", "count", "flag"

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "ohlcv": {
        "venue": _TEXT, "symbol": _TEXT, "ts": _STAMP, "open": _FLOAT, "high": _FLOAT, "low": _FLOAT, "close": _FLOAT,
        "volume": _FLOAT, "quote_volume": _FLOAT, "is_simulated": _FLAG,
    },
    "funding_rates": {
        "venue": _TEXT, "symbol": _TEXT, "ts": _STAMP, "rate": _FLOAT, "interval_hours": _FLOAT,
        "settled_at_raw": _STAMP, "is_simulated": _FLAG,
    },
    "funding_predictions": {
        "venue": _TEXT, "symbol": _TEXT, "observed_at": _STAMP, "rate": _FLOAT, "interval_hours": _FLOAT,
        "next_settlement": _STAMP,
    },
    "liquidations": {
        "venue": _TEXT, "symbol": _TEXT, "ts": _STAMP, "long_usd": _FLOAT, "short_usd": _FLOAT, "n_events": _COUNT,
        "coverage": _FLOAT, "is_lower_bound": _FLAG, "is_simulated": _FLAG,
    },
    "liquidation_events": {
        "venue": _TEXT, "symbol": _TEXT, "event_id": _TEXT, "ts": _STAMP, "liquidated_side": _TEXT, "price": _FLOAT,
        "amount": _FLOAT, "usd": _FLOAT, "is_simulated": _FLAG,
    },
    "minute_bars": {
        "venue": _TEXT, "symbol": _TEXT, "ts": _STAMP, "close": _FLOAT, "volume": _FLOAT, "is_simulated": _FLAG,
    },
    "perp_volume_usd": {"venue": _TEXT, "symbol": _TEXT, "ts": _STAMP, "volume_usd": _FLOAT},
    "source_coverage": {
        "kind": _TEXT, "venue": _TEXT, "symbol": _TEXT, "start_ts": _STAMP, "end_ts": _STAMP, "state": _TEXT,
        "checked_at": _STAMP,
    },
    "source_status": {
        "kind": _TEXT, "venue": _TEXT, "symbol": _TEXT, "state": _TEXT, "last_ok_at": _STAMP, "last_error_class": _TEXT,
        "message": _TEXT, "in_use": _FLAG,
    },
}  # fmt: skip

_DTYPES: Mapping[str, Any] = {
    _TEXT: "str",
    _FLOAT: "float64",
    _STAMP: "datetime64[us, UTC]",
    _COUNT: "Int64",
    _FLAG: "bool",
}


def table_frame(table: str, columns: Mapping[str, Any]) -> pd.DataFrame:
    """A frame with exactly the columns and dtypes of ``table``.

    Parameters
    ----------
    table
        Name of a raw or source table.
    columns
        Column name -> array, list or scalar (a scalar is repeated). At least one value must be an array
        unless all columns are empty.
    """
    kinds = COLUMNS[table]
    unknown = set(columns) ^ set(kinds)
    if unknown:
        raise KeyError(f"columns of {table} do not match its model: {', '.join(sorted(unknown))}")
    sized = [value for value in columns.values() if not _is_scalar(value)]
    rows = len(sized[0]) if sized else 0
    return pd.DataFrame({name: _column(columns[name], kinds[name], rows) for name in kinds})


def empty(table: str) -> pd.DataFrame:
    """No rows, all columns."""
    return table_frame(table, {name: [] for name in COLUMNS[table]})


def joined(table: str, frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The frames below each other; empty frames do not disturb the dtypes."""
    filled = [frame for frame in frames if len(frame)]
    if not filled:
        return empty(table)
    return pd.concat(filled, ignore_index=True) if len(filled) > 1 else filled[0].reset_index(drop=True)


def from_milliseconds(stamps: Sequence[int] | np.ndarray[Any, Any]) -> pd.DatetimeIndex:
    """UTC stamps from milliseconds since 1970."""
    return pd.DatetimeIndex(
        np.asarray(stamps, dtype="int64").astype("datetime64[ms]").astype("datetime64[us]")
    ).tz_localize("UTC")


def milliseconds(moment: pd.Timestamp) -> int:
    """Milliseconds since 1970."""
    return int(moment.value // 1_000_000)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, bytes, bool, int, float, pd.Timestamp, np.generic))


def _column(value: Any, kind: str, rows: int) -> Any:
    """The values as an array of the column's dtype; arrays are assembled faster than series, by far."""
    if _is_scalar(value):
        return _repeated(value, kind, rows)
    if kind == _STAMP:
        return _stamps(value)
    values = value.array if isinstance(value, (pd.Series, pd.Index)) else value
    if kind == _FLOAT:
        return np.asarray(values, dtype="float64")
    if kind == _FLAG:
        return np.asarray(values, dtype="bool")
    return pd.array(values, dtype=_DTYPES[kind])


def _repeated(value: Any, kind: str, rows: int) -> Any:
    if kind == _FLOAT:
        return np.full(rows, value, dtype="float64")
    if kind == _FLAG:
        return np.full(rows, value, dtype="bool")
    if kind == _STAMP:
        return _stamps([value] * rows)
    return pd.array([value], dtype=_DTYPES[kind]).repeat(rows)


def _stamps(value: Any) -> pd.DatetimeIndex:
    if not (isinstance(value, pd.DatetimeIndex) and value.tz is not None):
        values = value.array if isinstance(value, pd.Series) else value
        value = pd.DatetimeIndex(pd.to_datetime(values, utc=True))
    stamps: pd.DatetimeIndex = value.as_unit("us")
    return stamps
