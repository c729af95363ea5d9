"""Liquidations of Gate: the venue's own hourly contract statistics, by side, in USD.

What belongs here: the statistics and the daily volume. What does not: rows and coverage (``ccxt_liquidations.py``).
There are no single events, so history costs one request per hundred hours and is not bounded in days.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from regimes_dagster.partitions import HOUR, Window
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.ccxt_liquidations import HourlyStat, LiquidationVenue, Seen, read
from regimes_dagster.sources.coverage import settled_edge
from regimes_dagster.sources.frames import milliseconds
from regimes_dagster.sources.instruments import Instrument
from regimes_dagster.sources.paging import Pager

_PAGE_HOURS = 100
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


def see(client: Client, instrument: Instrument, window: Window, now: pd.Timestamp) -> Seen:
    """Hourly sums; an hour that the statistics leave out stays unknown."""
    pager: Pager[HourlyStat] = Pager(
        ask=lambda page: _stats(client, instrument, page, now),
        stamp=lambda row: row.end_ms,
        key=lambda row: row.end_ms,
        page=_PAGE_HOURS * HOUR,
        step=HOUR,
    )
    return Seen(stats=pager.walk(window, settled_edge(now)).rows)


def volume(client: Client, instrument: Instrument, window: Window, now: pd.Timestamp) -> list[tuple[int, float]]:
    """Daily volume in the quote currency (``sum``) from the venue's candles."""
    params = {
        "settle": "usdt", "contract": instrument.native, "interval": "1d",
        "from": milliseconds(window.start) // 1000, "to": milliseconds(window.end) // 1000 - 1,
    }  # fmt: skip
    rows = client.ask(instrument.symbol, "publicFuturesGetSettleCandlesticks", params, now)
    return read(
        client,
        instrument.symbol,
        "daily candles",
        rows,
        lambda row: (int(row["t"]) * 1000 + _DAY_MS, float(row["sum"])),
    )


def _stats(client: Client, instrument: Instrument, page: Window, now: pd.Timestamp) -> list[HourlyStat]:
    # Seconds, not milliseconds; there is no end, so the answer is cut to the page by the paging loop.
    params = {
        "settle": "usdt", "contract": instrument.native, "interval": "1h",
        "from": milliseconds(page.start) // 1000, "limit": _PAGE_HOURS,
    }  # fmt: skip
    rows = client.ask(instrument.symbol, "publicFuturesGetSettleContractStats", params, now)

    def parse(row: Mapping[str, Any]) -> HourlyStat:
        return HourlyStat(int(row["time"]) * 1000 + _HOUR_MS, float(row["long_liq_usd"]), float(row["short_liq_usd"]))

    return read(client, instrument.symbol, "statistics", rows, parse)


VENUE = LiquidationVenue(see, volume, trade_by_trade=False)
