"""The columns of the user's own files, and the rows they become.

What belongs here: one function per layout, from the cells of a file to rows by symbol. What does not: reading
cells (``file_reading.py``) and serving windows (``files.py``).

Layouts
-------
``ohlcv``: open_time, symbol, open, high, low, close, volume and, if known, quote_volume.
``funding``: settled_at, symbol, rate, interval_hours.
``liquidations`` as hourly sums: hour_start, symbol, long_usd, short_usd; or as single events: time, symbol,
liquidated_side, price, amount and, if known, usd. ``coverage``: symbol, gap_start, gap_end, the stretches that the
recorder of single events missed; an empty symbol means all of them.
"""

from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.partitions import HOUR
from regimes_dagster.sources.file_reading import Cells

Floats = npt.NDArray[np.float64]

OHLCV = ("open_time", "symbol", "open", "high", "low", "close", "volume")
FUNDING = ("settled_at", "symbol", "rate", "interval_hours")
HOURLY_SUMS = ("hour_start", "symbol", "long_usd", "short_usd")
EVENTS = ("time", "symbol", "liquidated_side", "price", "amount")
GAPS = ("symbol", "gap_start", "gap_end")


def ohlcv_rows(cells: Cells) -> pd.DataFrame:
    """Bars: symbol, ts (end of the hour), open, high, low, close, volume, quote_volume."""
    cells.need(OHLCV, "ohlcv")
    rows = pd.DataFrame({"symbol": cells.symbols(), "ts": cells.stamps("open_time", on_the_hour=True) + HOUR})
    for column in ("open", "high", "low", "close"):
        rows[column] = cells.numbers(column, "a price above 0", lambda v: v > 0)
    rows["volume"] = cells.numbers("volume", "0 or more, in units of the base asset", lambda v: v >= 0)
    cells.check(
        "low", (rows["low"] <= rows[["open", "close"]].min(axis=1)).to_numpy(), "a low not above open and close"
    )
    cells.check(
        "high", (rows["high"] >= rows[["open", "close"]].max(axis=1)).to_numpy(), "a high not below open and close"
    )
    if cells.has("quote_volume"):
        rows["quote_volume"] = cells.numbers("quote_volume", "0 or more, in the quote currency", lambda v: v >= 0)
    else:
        rows["quote_volume"] = rows["volume"] * (rows["high"] + rows["low"] + rows["close"]) / 3.0
    return _unique(cells, rows, ["symbol", "ts"])


def funding_rows(cells: Cells) -> pd.DataFrame:
    """Settlements: symbol, ts (rounded to the minute), settled_at_raw, rate, interval_hours."""
    cells.need(FUNDING, "funding")
    raw = cells.stamps("settled_at")
    rows = pd.DataFrame({"symbol": cells.symbols(), "ts": raw.dt.round("min"), "settled_at_raw": raw})
    rows["rate"] = cells.numbers("rate", "a fraction, -0.2 .. 0.2 (0.0001 is 0.01 %)", lambda v: np.abs(v) <= 0.2)
    rows["interval_hours"] = cells.numbers("interval_hours", "hours above 0, at most 24", lambda v: (v > 0) & (v <= 24))
    return _unique(cells, rows, ["symbol", "ts"])


def liquidations_layout(cells: Cells) -> str:
    """``sums`` or ``events``, by the columns."""
    if cells.has("time") or cells.has("liquidated_side"):
        cells.need(EVENTS, "a file of single liquidations")
        return "events"
    cells.need(
        HOURLY_SUMS,
        "a file of hourly liquidation sums (single events need time, symbol, liquidated_side, price, amount)",
    )
    return "sums"


def hourly_sum_rows(cells: Cells) -> pd.DataFrame:
    """Hourly sums: symbol, ts (end of the hour), long_usd, short_usd."""
    rows = pd.DataFrame({"symbol": cells.symbols(), "ts": cells.stamps("hour_start", on_the_hour=True) + HOUR})
    for column in ("long_usd", "short_usd"):
        rows[column] = cells.numbers(column, "USD, 0 or more", lambda v: v >= 0)
    return _unique(cells, rows, ["symbol", "ts"])


def event_rows(cells: Cells) -> pd.DataFrame:
    """Single liquidations: symbol, ts, liquidated_side, price, amount, usd; ``repeat`` counts equal rows of a file."""
    rows = pd.DataFrame({"symbol": cells.symbols(), "ts": cells.stamps("time")})
    rows["liquidated_side"] = cells.choice("liquidated_side", ("LONG", "SHORT")).to_numpy()
    rows["price"] = cells.numbers("price", "a price above 0", lambda v: v > 0)
    rows["amount"] = cells.numbers("amount", "a quantity of 0 or more, in units of the base asset", lambda v: v >= 0)
    if cells.has("usd"):
        rows["usd"] = cells.numbers("usd", "USD, 0 or more", lambda v: v >= 0)
    else:
        rows["usd"] = rows["price"] * rows["amount"]
    rows["repeat"] = rows.groupby(["symbol", "ts", "liquidated_side", "price", "amount"]).cumcount()
    return rows


def gap_rows(cells: Cells) -> pd.DataFrame:
    """Gaps of the recorder: symbol (empty for all), gap_start, gap_end."""
    cells.need(GAPS, "coverage")
    symbols = cells.table["symbol"].astype("str").str.strip().reset_index(drop=True).replace("*", "")
    rows = pd.DataFrame({"symbol": symbols, "gap_start": cells.stamps("gap_start"), "gap_end": cells.stamps("gap_end")})
    cells.check("gap_end", (rows["gap_end"] >= rows["gap_start"]).to_numpy(), "a moment not before gap_start")
    return rows


def observed_share(hours: pd.DatetimeIndex, first: pd.Timestamp, last: pd.Timestamp, gaps: pd.DataFrame) -> Floats:
    """Share of each hour (given by its end) that lies between ``first`` and ``last`` and in no gap."""
    ends = hours.as_unit("us").asi8.astype("float64")
    starts = ends - HOUR / timedelta(microseconds=1)

    def overlap(start: pd.Timestamp, end: pd.Timestamp) -> Floats:
        left, right = start.value / 1000.0, end.value / 1000.0
        return np.asarray(np.clip(np.minimum(ends, right) - np.maximum(starts, left), 0.0, None), dtype="float64")

    seen = overlap(first, last)
    edge = first
    for start, end in sorted(zip(gaps["gap_start"], gaps["gap_end"], strict=True)):
        start, end = max(start, edge), min(end, last)
        if end > start:
            seen = seen - overlap(start, end)
            edge = end
    return np.asarray(np.clip(seen / (ends - starts), 0.0, 1.0), dtype="float64")


def _unique(cells: Cells, rows: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Equal rows once; two different rows for one key are refused."""
    twice = rows.duplicated(key, keep="first")
    if not twice.any():
        return rows
    values = [column for column in rows.columns if column not in key]
    firsts = rows.drop_duplicates(key).set_index(key)
    repeated = rows[twice]
    same = (firsts.loc[pd.MultiIndex.from_frame(repeated[key]), values].to_numpy() == repeated[values].to_numpy()).all(
        axis=1
    )
    if not same.all():
        row = int(repeated.index[int(np.argmin(same))])
        match = rows.index[(rows[key] == rows.loc[row, key]).all(axis=1)][0]
        what = " ".join(str(rows.loc[row, column]) for column in key)
        cells.refuse(
            row, f"{what} is there twice with different values (also line {cells.lines[int(match)]}); keep one of them"
        )
    return rows[~twice].reset_index(drop=True)
