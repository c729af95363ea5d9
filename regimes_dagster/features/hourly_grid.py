"""Long hourly rows as wide arrays: one row per series, one column per hour, no hour left out.

What belongs here: the reshaping between tidy rows and the arrays that the multi-timeframe and correlation
features compute on, and the one definition of an hourly log return. What does not: any window statistic
(``trailing_sums.py``) and any rule of a feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.features.result import hours_index, require_sorted

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

HOUR_US = 3_600_000_000
HOUR_NS = HOUR_US * 1000


@dataclass(frozen=True)
class HourlyGrid:
    """Market rows on a complete grid of hours.

    Attributes
    ----------
    ts
        [T] every hour from the first to the last row, UTC.
    first_hour
        Hours since 1970-01-01 00:00 UTC of ``ts[0]``.
    symbols
        [K] names of the series.
    present
        bool[K, T], a row exists (its values may be missing).
    values
        Column -> float[K, T], NaN where there is no row or no value.
    venue
        int[K, T], a code per venue of the bar, -1 where unknown.
    """

    ts: pd.DatetimeIndex
    first_hour: int
    symbols: tuple[str, ...]
    present: Bools
    values: dict[str, Floats]
    venue: Ints

    def column_of(self, moment: pd.Timestamp) -> int:
        """Column of an hour; negative or beyond the end where the grid does not hold it."""
        return hour_number(moment) - self.first_hour

    def first_column(self) -> Ints:
        """int[K], column of each symbol's first row; T where it has none."""
        return np.asarray(
            np.where(self.present.any(axis=1), self.present.argmax(axis=1), self.present.shape[1]), dtype=np.int64
        )


def hour_number(moment: pd.Timestamp) -> int:
    """Whole hours since 1970-01-01 00:00 UTC."""
    return int(moment.value // HOUR_NS)


def to_grid(
    rows: pd.DataFrame,
    columns: Sequence[str],
    *,
    symbols: Sequence[str],
    first: pd.Timestamp | None = None,
    last: pd.Timestamp,
) -> HourlyGrid:
    """Spread sorted hourly rows over a complete grid.

    Parameters
    ----------
    rows
        Columns symbol, ts, ``columns`` and, if returns are wanted, ohlcv_venue; sorted by (symbol, ts).
    symbols
        Series of the grid, in this order; rows of other symbols are ignored, symbols without rows stay empty.
    first
        First hour of the grid; default the earliest row.
    last
        Rows after this hour are ignored; the grid ends with the newest row up to here.

    Raises
    ------
    ValueError
        If the rows are unsorted, repeated, not hourly or not UTC (``require_sorted``).
    """
    require_sorted(rows, columns)
    micros = rows["ts"].to_numpy(dtype="datetime64[us]").astype(np.int64)
    row_of = pd.Index(list(symbols)).get_indexer(pd.Index(rows["symbol"]))
    keep = (row_of >= 0) & (micros <= last.value // 1000)
    hours = micros[keep] // HOUR_US
    begin = int(hours.min()) if len(hours) else hour_number(last)
    end = int(hours.max()) if len(hours) else begin - 1
    if first is not None:
        begin = min(begin, hour_number(first))
    shape = (len(symbols), max(end - begin + 1, 0))
    at = (row_of[keep], hours - begin)
    values = {}
    for column in columns:
        array = np.full(shape, np.nan)
        array[at] = rows[column].to_numpy(dtype=np.float64, na_value=np.nan)[keep]
        values[column] = array
    present = np.zeros(shape, dtype=bool)
    present[at] = True
    venue = np.full(shape, -1, dtype=np.int64)
    if "ohlcv_venue" in rows.columns:
        venue[at] = pd.factorize(rows["ohlcv_venue"].to_numpy(dtype=object)[keep])[0]
    start = pd.Timestamp(begin * HOUR_US, unit="us", tz="UTC")
    ts = (
        hours_index(start, start + pd.Timedelta(hours=shape[1] - 1))
        if shape[1]
        else pd.DatetimeIndex([], tz="UTC").as_unit("us")
    )
    return HourlyGrid(ts, begin, tuple(symbols), present, values, venue)


def log_returns(close: Floats, venue: Ints) -> Floats:
    """Log return of each hour; NaN where a price is missing and across a change of venue.

    Parameters
    ----------
    close
        float[K, T] prices.
    venue
        int[K, T] venue codes; two hours are comparable if their codes are equal.

    Returns
    -------
    ndarray
        float[K, T]; the first column is NaN.
    """
    returns = np.full(close.shape, np.nan)
    if close.shape[1] > 1:
        log_price = np.log(close)
        step = np.diff(log_price, axis=1)
        step[np.diff(venue, axis=1) != 0] = np.nan
        returns[:, 1:] = step
    return returns


def text_column(codes: npt.NDArray[Any], names: Sequence[str]) -> pd.api.extensions.ExtensionArray:
    """Names by code as a ``str`` column; ten times faster than by way of Python objects."""
    return pd.array(list(names), dtype="str").take(codes.astype(np.intp))


def on_grid(rows: pd.DataFrame, column: str, grid: HourlyGrid) -> Floats:
    """One column of another hourly frame, sorted by (symbol, ts), on an existing grid; NaN where it has no value.

    Returns
    -------
    ndarray
        float[K, T].
    """
    require_sorted(rows, [column])
    out = np.full(grid.present.shape, np.nan)
    hours = rows["ts"].to_numpy(dtype="datetime64[us]").astype(np.int64) // HOUR_US - grid.first_hour
    row_of = pd.Index(list(grid.symbols)).get_indexer(pd.Index(rows["symbol"]))
    keep = (row_of >= 0) & (hours >= 0) & (hours < len(grid.ts))
    out[row_of[keep], hours[keep]] = rows[column].to_numpy(dtype=np.float64, na_value=np.nan)[keep]
    return out


def hour_stamps(hours: Ints) -> pd.DatetimeIndex:
    """UTC stamps from hours since 1970; NaT for negative ones."""
    micros = np.where(hours >= 0, hours * HOUR_US, np.iinfo(np.int64).min)
    return pd.DatetimeIndex(micros.view("datetime64[us]")).tz_localize("UTC")


def whole_numbers(values: npt.NDArray[Any], missing: Bools | None = None) -> pd.arrays.IntegerArray:
    """Nullable integers; null where ``missing``."""
    mask = np.zeros(len(values), dtype=bool) if missing is None else missing
    return pd.arrays.IntegerArray(values.astype(np.int64), mask)
