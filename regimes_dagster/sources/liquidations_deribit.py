"""Liquidations of Deribit: trades that carry a liquidation flag.

What belongs here: walking the trades, the meaning of the flag, the daily volume. What does not: rows and coverage
(``ccxt_liquidations.py``).

``liquidation`` names the side that was liquidated: T the taker, M the maker, MT both. ``direction`` is the taker's.
A liquidated taker who sells, or a liquidated maker against a buying taker, held a LONG. Amounts are USD on inverse
instruments (BTC, ETH) and base units on linear ones.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from regimes_dagster.partitions import Window
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.ccxt_liquidations import TRADES_PAGE, Liquidation, LiquidationVenue, Seen, Side, read
from regimes_dagster.sources.coverage import settled_edge
from regimes_dagster.sources.frames import milliseconds
from regimes_dagster.sources.instruments import Instrument
from regimes_dagster.sources.paging import Pager
from regimes_dagster.sources.protocol import BadResponse

_PAGE_ROWS = 1000
_MOST_PAGES = 2000
_DAY_MS = 86_400_000


class _Trade(NamedTuple):
    """A trade, and the liquidations in it: mostly none, at most two."""

    ms: int
    trade_id: str
    events: list[Liquidation]


def see(client: Client, instrument: Instrument, window: Window, now: pd.Timestamp) -> Seen:
    """Liquidations among all trades of the window."""
    pager: Pager[_Trade] = Pager(
        ask=lambda page: _trades(client, instrument, page, now),
        stamp=lambda row: row.ms,
        key=lambda row: row.trade_id,
        page=TRADES_PAGE,
    )
    return Seen([event for row in pager.walk(window, settled_edge(now)).rows for event in row.events])


def volume(client: Client, instrument: Instrument, window: Window, now: pd.Timestamp) -> list[tuple[int, float]]:
    """Daily volume in USD (``cost``) from the venue's chart data."""
    params = {
        "instrument_name": instrument.native, "resolution": "1D",
        "start_timestamp": milliseconds(window.start), "end_timestamp": milliseconds(window.end) - 1,
    }  # fmt: skip
    answer = client.ask(instrument.symbol, "publicGetGetTradingviewChartData", params, now)
    result = answer.get("result") if isinstance(answer, dict) else None
    ticks, cost = (result.get("ticks"), result.get("cost")) if isinstance(result, dict) else (None, None)
    if not isinstance(ticks, list) or not isinstance(cost, list) or len(ticks) != len(cost):
        raise BadResponse(client.venue, instrument.symbol, "the daily chart data cannot be read")
    pairs = [list(pair) for pair in zip(ticks, cost, strict=True)]
    return read(client, instrument.symbol, "days", pairs, lambda pair: (int(pair[0]) + _DAY_MS, float(pair[1])))


def _trades(client: Client, instrument: Instrument, page: Window, now: pd.Timestamp) -> list[_Trade]:
    start, end = milliseconds(page.start) + 1, milliseconds(page.end)
    found: list[_Trade] = []
    for _ in range(_MOST_PAGES):
        params = {
            "instrument_name": instrument.native, "start_timestamp": start, "end_timestamp": end,
            "count": _PAGE_ROWS, "sorting": "asc",
        }  # fmt: skip
        answer = client.ask(instrument.symbol, "publicGetGetLastTradesByInstrumentAndTime", params, now)
        result = answer.get("result") if isinstance(answer, dict) else None
        trades = result.get("trades") if isinstance(result, dict) else None
        rows = read(
            client, instrument.symbol, "trades", trades,
            lambda row: _Trade(int(row["timestamp"]), str(row["trade_id"]), _events(instrument, row)),
        )  # fmt: skip
        found += rows
        if not rows or not (isinstance(result, dict) and result.get("has_more")):
            return found
        # The next page starts at the last stamp again, because several trades may share it; ids remove the doubles.
        last = rows[-1].ms
        start = last if last > start else last + 1
    raise BadResponse(client.venue, instrument.symbol, f"the trades of {page} do not come to an end")


def _events(instrument: Instrument, trade: Mapping[str, Any]) -> list[Liquidation]:
    flag = trade.get("liquidation")
    if flag is None:
        return []
    if flag not in ("T", "M", "MT"):
        raise ValueError(f"liquidation flag {flag!r}")
    taker_sells = trade["direction"] == "sell"
    sides: list[tuple[str, Side]] = []
    if "T" in flag:
        sides.append(("T", "LONG" if taker_sells else "SHORT"))
    if "M" in flag:
        sides.append(("M", "SHORT" if taker_sells else "LONG"))
    price, quantity = float(trade["price"]), float(trade["amount"])
    return [
        Liquidation(
            event_id=str(trade["trade_id"]) if len(sides) == 1 else f"{trade['trade_id']}:{role}",
            ms=int(trade["timestamp"]),
            side=side,
            price=price,
            amount=instrument.base_amount(quantity, price),
            usd=instrument.usd(quantity, price),
        )
        for role, side in sides
    ]


VENUE = LiquidationVenue(see, volume)
