"""Rows to write, as small as they can be."""

from collections.abc import Callable

import pandas as pd
import pytest

from regimes_dagster.partitions import Window, utc

MakeBars = Callable[..., pd.DataFrame]


def bars(
    start: str = "2024-02-01 01:00", hours: int = 3, symbol: str = "BTC/USDT", venue: str = "kraken"
) -> pd.DataFrame:
    """Rows of ``ohlcv``, one per hour, prices rising from 100."""
    ts = pd.date_range(utc(start), periods=hours, freq="h", unit="us")
    close = [100.0 + i for i in range(hours)]
    return pd.DataFrame(
        {
            "venue": venue, "symbol": symbol, "ts": ts, "open": close, "high": [c + 2 for c in close],
            "low": [c - 2 for c in close], "close": close, "volume": 1.5, "quote_volume": 150.0, "is_simulated": False,
        }
    )  # fmt: skip


@pytest.fixture
def make_bars() -> MakeBars:
    """Builds rows of ``ohlcv``."""
    return bars


@pytest.fixture
def february() -> Window:
    """The window of the partition 2024-02-01."""
    return Window(utc("2024-02-01"), utc("2024-03-01"))
