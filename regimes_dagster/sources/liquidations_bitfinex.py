"""Liquidations of Bitfinex: one list of all symbols, three calls a minute.

What belongs here: the list, kept so that all symbols of a run share it, and the daily volume. What does not: rows
and coverage (``ccxt_liquidations.py``).

A row is ["pos", position id, time, null, symbol, amount, base price, null, is match, is market sold, null, price
acquired]. Every liquidation comes twice, when it starts and when it is matched: only the matched one counts. The
amount's sign is the position's: above zero a LONG was liquidated.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pandas as pd

from regimes_dagster.partitions import Window
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.ccxt_liquidations import Liquidation, LiquidationVenue, Seen, read
from regimes_dagster.sources.coverage import settled_edge
from regimes_dagster.sources.frames import milliseconds
from regimes_dagster.sources.instruments import Instrument
from regimes_dagster.sources.paging import Pager
from regimes_dagster.sources.protocol import BadResponse, Outage, UnknownSymbol

_PAGE_ROWS = 500
_MOST_PAGES = 500
_PAGE = timedelta(days=7)
_DAY_MS = 86_400_000


class _Shared:
    """The list of all symbols, by page, for as long as the same hour is now."""

    def __init__(self) -> None:
        self.listed: frozenset[str] = frozenset()
        self.pages: dict[tuple[Window, pd.Timestamp], list[tuple[str, Liquidation]]] = {}

    def see(self, client: Client, instrument: Instrument, window: Window, now: pd.Timestamp) -> Seen:
        """Liquidations of one symbol in the window."""
        self._must_be_listed(client, instrument, now)
        pager: Pager[Liquidation] = Pager(
            ask=lambda page: [
                row for native, row in self._page(client, instrument, page, now) if native == instrument.native
            ],
            stamp=lambda row: row.ms,
            key=lambda row: row.event_id,
            page=_PAGE,
        )
        return Seen(pager.walk(window, settled_edge(now)).rows)

    def _must_be_listed(self, client: Client, instrument: Instrument, now: pd.Timestamp) -> None:
        """The list of liquidations has no errors for a symbol that does not exist: its hours would all be zero."""
        if not self.listed:
            answer = client.ask(instrument.symbol, "publicGetConfPubListPairFutures", {}, now)
            pairs = read(client, instrument.symbol, "markets", answer, list)
            self.listed = frozenset(f"t{name}" for name in (pairs[0] if pairs else []))
            if not self.listed:
                raise Outage(
                    client.venue, instrument.symbol, "the venue's market list is empty; the next run asks again"
                )
        if instrument.native not in self.listed:
            raise UnknownSymbol(
                client.venue,
                instrument.symbol,
                f"the venue lists no {instrument.native}; remove the symbol or the venue",
            )

    def _page(
        self, client: Client, instrument: Instrument, page: Window, now: pd.Timestamp
    ) -> list[tuple[str, Liquidation]]:
        key = (page, now.floor("h"))
        if key not in self.pages:
            self.pages = {old: rows for old, rows in self.pages.items() if old[1] == key[1]}
            # Days without a liquidation of any symbol are rarer than an empty answer that is a fault.
            self.pages[key] = _all_symbols(client, instrument, page, now) or _all_symbols(client, instrument, page, now)
        return self.pages[key]


def volume(client: Client, instrument: Instrument, window: Window, now: pd.Timestamp) -> list[tuple[int, float]]:
    """Daily volume from the venue's candles: base units times the typical price."""
    params = {
        "timeframe": "1D", "symbol": instrument.native, "start": milliseconds(window.start),
        "end": milliseconds(window.end) - 1, "limit": 1000, "sort": 1,
    }  # fmt: skip
    rows = client.ask(instrument.symbol, "publicGetCandlesTradeTimeframeSymbolHist", params, now)

    def parse(row: Sequence[Any]) -> tuple[int, float]:
        _, close, high, low, amount = (float(cell) for cell in row[1:6])
        return int(row[0]) + _DAY_MS, instrument.usd(amount, (high + low + close) / 3.0)

    return read(client, instrument.symbol, "daily candles", rows, parse)


def _all_symbols(
    client: Client, instrument: Instrument, page: Window, now: pd.Timestamp
) -> list[tuple[str, Liquidation]]:
    start, end = milliseconds(page.start) + 1, milliseconds(page.end)
    found: dict[str, tuple[str, Liquidation]] = {}
    for _ in range(_MOST_PAGES):
        params = {"start": start, "end": end, "limit": _PAGE_ROWS, "sort": 1}
        answer = client.ask(instrument.symbol, "publicGetLiquidationsHist", params, now)
        rows = read(client, instrument.symbol, "liquidations", answer, lambda row: _row(row[0]))
        found.update((row.event_id, (native, row)) for native, row, matched in rows if matched)
        if len(rows) < _PAGE_ROWS:
            return list(found.values())
        last = max(row.ms for _, row, _ in rows)
        start = last if last > start else last + 1
    raise BadResponse(client.venue, instrument.symbol, f"the liquidations of {page} do not come to an end")


def _row(cells: Sequence[Any]) -> tuple[str, Liquidation, bool]:
    position, ms, native, amount = int(cells[1]), int(cells[2]), str(cells[4]), float(cells[5])
    acquired = cells[11] if len(cells) > 11 else None
    price = float(acquired if acquired is not None else cells[6])
    row = Liquidation(
        event_id=f"{position}-{ms}-{cells[5]}",
        ms=ms,
        side="LONG" if amount > 0 else "SHORT",
        price=price,
        amount=abs(amount),
        usd=abs(amount) * price,
    )
    return native, row, str(cells[8]) == "1"


def venue() -> LiquidationVenue:
    """A venue with a shared list of its own."""
    return LiquidationVenue(_Shared().see, volume)
