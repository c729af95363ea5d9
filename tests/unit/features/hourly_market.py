"""Simulated hourly markets for the tests of the trend and correlation features, and comparisons of results.

What belongs here: building ``market_metrics``-like frames and saying how two results differ. What does not: any
expectation about a feature.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.features.result import FeatureResult, StoredState
from regimes_dagster.partitions import utc

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
COLUMNS = ["symbol", "ts", "close", "quote_volume", "ohlcv_venue"]


def paths(n_symbols: int, hours: int, seed: int, *, common: float = 0.85) -> npt.NDArray[np.float64]:
    """float[K, T] closes: fat tails, changing volatility, drifts of some weeks, one common factor."""
    rng = np.random.default_rng(seed)

    def shocks(*shape: int) -> npt.NDArray[np.float64]:
        return np.asarray(rng.standard_t(5, shape) / np.sqrt(5 / 3))

    level = np.exp(np.cumsum(rng.normal(0, 0.02, hours)) * 0.3)
    level = np.clip(level / np.median(level), 0.3, 4)
    drift = np.repeat(rng.normal(0, 0.0006, hours // 400 + 1), 400)[:hours]
    returns = 0.005 * level * (np.sqrt(common) * shocks(hours) + np.sqrt(1 - common) * shocks(n_symbols, hours)) + drift
    return np.asarray(100 * np.exp(np.cumsum(returns, axis=1)))


def market(
    hours: int = 24 * 320,
    seed: int = 1,
    symbols: Sequence[str] = SYMBOLS,
    *,
    end: str = "2024-04-03",
    closes: npt.NDArray[np.float64] | None = None,
    common: float = 0.85,
) -> pd.DataFrame:
    """Rows of every symbol for each hour up to ``end``, sorted by (symbol, ts)."""
    closes = paths(len(symbols), hours, seed, common=common) if closes is None else closes
    rng = np.random.default_rng(seed + 1)
    ts = pd.date_range(end=utc(end), periods=hours, freq="h", unit="us")
    frames = [
        pd.DataFrame(
            {
                "symbol": symbol,
                "ts": ts,
                "close": closes[k],
                "quote_volume": np.exp(rng.normal(15, 0.5, hours)),
                "ohlcv_venue": "binanceus",
            }
        )
        for k, symbol in enumerate(symbols)
    ]
    return pd.concat(frames).sort_values(["symbol", "ts"]).reset_index(drop=True)


def rough(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with a late listing, a delisting, outages of 1, 5 and 30 h, and a change of venue."""
    frame = frame.copy()
    ts = frame["ts"]
    hours = ts.drop_duplicates().sort_values().to_list()
    n = len(hours)
    symbols = sorted(frame["symbol"].unique())

    def blank(symbol: str, first: int, length: int) -> None:
        span = (frame["symbol"] == symbol) & ts.isin(hours[first : first + length])
        frame.loc[span, ["close", "quote_volume", "ohlcv_venue"]] = np.nan

    blank(symbols[0], n - 700, 1)
    blank(symbols[0], n - 500, 5)
    blank(symbols[1], n - 350, 30)
    blank(symbols[1], n - 90, 1)
    blank(symbols[0], n - 60, 60)
    frame.loc[(frame["symbol"] == symbols[1]) & (ts >= hours[n - 220]), "ohlcv_venue"] = "coinbaseexchange"
    listed_late = (frame["symbol"] == symbols[2]) & (ts < hours[n // 3])
    return pd.DataFrame(frame[~listed_late]).reset_index(drop=True)


def recorded(folder: Path) -> pd.DataFrame:
    """``market_metrics`` columns from the recorded history, a row for every hour."""
    bars = pd.read_parquet(folder / "ohlcv.parquet")
    bars["ts"] = (bars["open_time"] + pd.Timedelta(hours=1)).astype("datetime64[us, UTC]")
    bars["quote_volume"] = bars["volume"] * (bars["high"] + bars["low"] + bars["close"]) / 3
    frames = []
    for symbol, group in bars.groupby("symbol"):
        hours = pd.date_range(group["ts"].min(), group["ts"].max(), freq="h", unit="us", name="ts")
        full = group.set_index("ts").reindex(hours).reset_index().assign(symbol=symbol)
        frames.append(full)
    frame = pd.concat(frames, ignore_index=True)
    frame["ohlcv_venue"] = pd.Series("files", index=frame.index).where(frame["close"].notna())
    return frame[COLUMNS]


def stored(result: FeatureResult, moment: pd.Timestamp) -> StoredState:
    """The state at a checkpoint, through JSON as the database keeps it."""
    rows = result.states[result.states["ts"] == moment]
    by_key = {
        key: json.loads(json.dumps(state, allow_nan=False))
        for key, state in zip(rows["key"], rows["state"], strict=True)
    }
    return StoredState(moment, by_key)


def differences(left: pd.DataFrame, right: pd.DataFrame, *, rtol: float = 0.0) -> list[str]:
    """Columns in which two frames of equal keys differ; exact unless ``rtol`` is given. JSON columns by their text."""
    if len(left) != len(right):
        return [f"{len(left)} rows against {len(right)}"]
    bad = []
    for column in left.columns:
        a, b = left[column].reset_index(drop=True), right[column].reset_index(drop=True)
        if a.dtype == np.float64:
            same = np.isclose(a, b, rtol=rtol, atol=0, equal_nan=True)
        elif column in ("data", "explain", "state"):
            same = np.array([dumped(x) == dumped(y) for x, y in zip(a, b, strict=True)], dtype=bool)
        else:
            same = ((a == b) | (a.isna() & b.isna())).to_numpy(dtype=bool)
        if not same.all():
            bad.append(f"{column}: {int((~same).sum())} of {len(left)}")
    return bad


def dumped(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def no_infinities(frame: pd.DataFrame) -> bool:
    numbers = frame.select_dtypes("float64").to_numpy()
    return not bool(np.isinf(numbers).any())
