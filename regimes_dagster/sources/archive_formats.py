"""What is inside the archive's zip files.

What belongs here: opening a zip, sniffing header and time unit, and the columns of klines, funding and old
liquidation snapshots. What does not: which file to open (``archive.py``).

A first byte that is a digit means that there is no header (it came with newer files). A stamp above 1e13 is in
microseconds (spot files from 2025 on), else in milliseconds.
"""

import io
import zipfile
from collections.abc import Sequence

import numpy as np
import pandas as pd

from regimes_dagster.sources.archive_store import VENUE
from regimes_dagster.sources.protocol import BadResponse

KLINE = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades",
    "taker_buy_base", "taker_buy_quote", "ignore",
)  # fmt: skip
FUNDING = ("calc_time", "funding_interval_hours", "last_funding_rate")
SNAPSHOT = (
    "time", "side", "order_type", "time_in_force", "original_quantity", "price", "average_price", "order_status",
    "last_fill_quantity", "accumulated_fill_quantity",
)  # fmt: skip

_MICROSECONDS = 10**13
_HOUR_MS = 3_600_000


def klines(symbol: str, path: str, data: bytes) -> pd.DataFrame:
    """Bars: open_ms, open, high, low, close, volume, quote_volume; doubles removed, in order."""
    table = _table(symbol, path, data, KLINE)
    numbers = _numbers(symbol, path, table, ("open_time", "open", "high", "low", "close", "volume", "quote_volume"))
    numbers["open_ms"] = _milliseconds(numbers.pop("open_time"))
    return numbers.drop_duplicates("open_ms", keep="last").sort_values("open_ms", ignore_index=True)


def funding(symbol: str, path: str, data: bytes) -> pd.DataFrame:
    """Settlements: ms, rate, interval_hours."""
    numbers = _numbers(symbol, path, _table(symbol, path, data, FUNDING), FUNDING)
    rows = pd.DataFrame(
        {
            "ms": _milliseconds(numbers["calc_time"]),
            "rate": numbers["last_funding_rate"],
            "interval_hours": numbers["funding_interval_hours"],
        }
    )
    return rows.drop_duplicates("ms", keep="last").sort_values("ms", ignore_index=True)


def snapshots(symbol: str, path: str, data: bytes) -> pd.DataFrame:
    """Old liquidation snapshots: ms, side (of the position), price, quantity; doubled rows once.

    The file's side is the order's: a liquidation that sells closes a LONG. The quantity is what was filled in all,
    at the average price.
    """
    table = _table(symbol, path, data, SNAPSHOT)
    numbers = _numbers(symbol, path, table, ("time", "average_price", "accumulated_fill_quantity"))
    order_side = table["side"].astype("str").str.upper().str.strip()
    if not order_side.isin(["BUY", "SELL"]).all():
        bad = order_side[~order_side.isin(["BUY", "SELL"])].iloc[0]
        raise BadResponse(VENUE, symbol, f"{path}: side {bad!r} is neither BUY nor SELL")
    rows = pd.DataFrame(
        {
            "ms": _milliseconds(numbers["time"]),
            "side": np.where(order_side == "SELL", "LONG", "SHORT"),
            "price": numbers["average_price"],
            "quantity": numbers["accumulated_fill_quantity"],
        }
    )
    return rows[rows["price"] > 0].drop_duplicates().sort_values(["ms", "side", "price", "quantity"], ignore_index=True)


def _table(symbol: str, path: str, data: bytes, names: Sequence[str]) -> pd.DataFrame:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            inside = [name for name in packed.namelist() if name.endswith(".csv")]
            if len(inside) != 1:
                raise BadResponse(VENUE, symbol, f"{path} holds {len(inside)} CSV files; one is expected")
            text = packed.read(inside[0])
    except zipfile.BadZipFile as problem:
        raise BadResponse(VENUE, symbol, f"{path} is no zip file ({problem})") from problem
    first = text.lstrip()[:1]
    if not first:
        return pd.DataFrame({name: [] for name in names})
    headless = first.isdigit()
    try:
        table = pd.read_csv(io.BytesIO(text), header=None if headless else 0, dtype="str", skipinitialspace=True)
    except (pd.errors.ParserError, UnicodeDecodeError) as problem:
        raise BadResponse(VENUE, symbol, f"{path} is no readable CSV ({problem})") from problem
    if table.shape[1] < len(names):
        raise BadResponse(VENUE, symbol, f"{path} has {table.shape[1]} columns; {len(names)} are expected")
    # The order of the columns never changed, their names did: position decides.
    table = table.iloc[:, : len(names)]
    table.columns = list(names)
    return table


def _numbers(symbol: str, path: str, table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    numbers = pd.DataFrame({name: pd.to_numeric(table[name], errors="coerce").astype("float64") for name in columns})
    bad = numbers.isna().any(axis=1)
    if bad.any():
        row = int(np.argmax(bad.to_numpy()))
        raise BadResponse(
            VENUE, symbol, f"{path}: row {row + 1} holds something else than numbers: {table.iloc[row].tolist()}"
        )
    return numbers


def _milliseconds(stamps: pd.Series) -> pd.Series:
    whole = stamps.astype("int64")
    return whole.where(whole < _MICROSECONDS, whole // 1000)
