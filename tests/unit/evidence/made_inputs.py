"""Made-up markets for the validity tests: prices of one's choosing, features and events as a test needs them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from regimes_dagster.evidence.inputs import Inputs
from regimes_dagster.partitions import Window, utc

START = utc("2024-01-01")
SYMBOLS = ("BTC/USDT", "ETH/USDT")
PAIR = "BTC/USDT/ETH/USDT"


def stamps(hours: int, start: pd.Timestamp = START) -> pd.DatetimeIndex:
    return pd.date_range(start + pd.Timedelta(hours=1), periods=hours, freq="h", unit="us")


def market(closes: np.ndarray, *, wick: float = 0.001, symbols: Sequence[str] = SYMBOLS) -> pd.DataFrame:
    """Rows of market_metrics from float[K, T] closes; bars reach ``wick`` beyond open and close."""
    parts = []
    for symbol, close in zip(symbols, closes, strict=False):
        opened = np.concatenate([close[:1], close[:-1]])
        top, bottom = np.maximum(opened, close), np.minimum(opened, close)
        parts.append(
            pd.DataFrame(
                {
                    "symbol": symbol,
                    "ts": stamps(len(close)),
                    "open": opened,
                    "high": top * (1 + wick),
                    "low": bottom * (1 - wick),
                    "close": close,
                    "ohlcv_venue": "made",
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def walk(hours: int, *, sigma: np.ndarray | float = 0.005, seed: int = 0, symbols: int = 2) -> np.ndarray:
    """float[K, T] geometric random walks."""
    rng = np.random.default_rng(seed)
    return np.asarray(100 * np.exp(np.cumsum(sigma * rng.standard_normal((symbols, hours)), axis=1)))


def rows(columns: dict[str, np.ndarray], *, key: str = "symbol", names: Sequence[str] = SYMBOLS) -> pd.DataFrame:
    """Rows of a feature table from arrays [K, T]."""
    hours = next(iter(columns.values())).shape[1]
    parts = [
        pd.DataFrame({key: name, "ts": stamps(hours), **{column: array[k] for column, array in columns.items()}})
        for k, name in enumerate(names[: len(next(iter(columns.values())))])
    ]
    return pd.concat(parts, ignore_index=True)


def event(event_type: str, symbol: str, hour: int, severity: str = "WARNING", **more: Any) -> dict[str, Any]:
    """An OPEN at the end of hour ``hour`` (0 is the first one)."""
    return {
        "feature": "x",
        "episode_id": f"{event_type}{symbol}{hour}",
        "phase": "OPEN",
        "level": 1,
        "event_type": event_type,
        "key": symbol,
        "symbol": symbol,
        "ts": stamps(hour + 1)[-1],
        "severity": severity,
        "data": {},
        "suppressed_reason": None,
        **more,
    }


def events(*opened: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(opened), columns=list(event("E", "S", 0)))


def inputs(closes: np.ndarray, **frames: pd.DataFrame) -> Inputs:
    """Inputs over all hours of the prices; feature tables that are not given are empty."""
    nothing = pd.DataFrame({"symbol": pd.Series(dtype=str), "ts": pd.Series(dtype="datetime64[us, UTC]")})
    tables = {
        name: frames.get(name, nothing)
        for name in ("volatility", "liquidation", "zones", "funding", "regimes", "correlation")
    }
    hours = closes.shape[1]
    return Inputs(
        period=Window(START, START + pd.Timedelta(hours=hours)),
        market=frames.get("market", market(closes)),
        events=frames.get("events", events()),
        **tables,
    )
