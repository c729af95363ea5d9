"""Hourly spot bars over REST: binanceus, binance (its public data mirror), coinbaseexchange, kraken.

What belongs here: per venue, how one page is asked and what a row of it means. What does not: paging, retries,
classification, validation, which have files of their own.

Every venue returns the running bar and the library never drops it: bars are kept when they end at or before the
window's end, which is never after the last full hour. Raw endpoints are asked, because the library's parsed bars
drop the quote volume, and because no market list needs loading for them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from regimes_dagster.partitions import HOUR, Window
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.coverage import final_edge, merge, settled_edge, subtract
from regimes_dagster.sources.frames import from_milliseconds, milliseconds, table_frame
from regimes_dagster.sources.instruments import spot_id
from regimes_dagster.sources.paging import Paged, Pager
from regimes_dagster.sources.protocol import BadResponse, Batch, Kind, NotAvailable, charged


@dataclass(frozen=True)
class Bar:
    """One bar as a venue gave it; ``quote_volume`` is None where it gives none."""

    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float | None

    @property
    def end_ms(self) -> int:
        """End of the bar, milliseconds since 1970."""
        return self.open_ms + 3_600_000


Ask = Callable[[Client, str, str, Window, pd.Timestamp], list[Bar]]


@dataclass(frozen=True)
class SpotVenue:
    """What is particular about a venue.

    Attributes
    ----------
    page_hours
        Bars per answer.
    depth_hours
        How far back the venue goes whatever is asked; None for all its history.
    ask
        Bars of one page.
    first_after
        Open time of the first bar at or after a moment, for venues where one call tells that.
    """

    page_hours: int
    ask: Ask
    depth_hours: int | None = None
    first_after: Callable[[Client, str, str, pd.Timestamp, pd.Timestamp], pd.Timestamp | None] | None = None


class SpotSource:
    """The spot bars of one venue."""

    kinds = frozenset({"ohlcv"})
    always_read = False

    def __init__(self, client: Client, *, name: str | None = None) -> None:
        self.client = client
        self.name = name or client.venue
        self.venue = SPOT_VENUES[client.venue]
        self._listed: dict[str, pd.Timestamp] = {}

    def fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        """Final bars of the window."""
        with charged(self.client):
            return self._fetch(kind, symbol, window, now)

    def _fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        if kind != "ohlcv" or not self.client.has("fetchOHLCV"):
            raise NotAvailable(self.name, symbol, f"it has no {kind}; take it out of [sources] {kind}")
        spent = self.client.requests
        wanted = window.until(final_edge(now))
        beyond = self._beyond(symbol, wanted, now)
        native = spot_id(self.client.venue, symbol)
        pager: Pager[Bar] = Pager(
            ask=lambda page: self.venue.ask(self.client, symbol, native, page, now),
            stamp=lambda bar: bar.end_ms,
            key=lambda bar: bar.open_ms,
            page=self.venue.page_hours * HOUR,
            step=HOUR,
        )
        rows: list[Bar] = []
        covered: list[Window] = []
        unavailable: list[Window] = list(beyond)
        for part in subtract([wanted], beyond):
            paged = pager.walk(part, settled_edge(now))
            rows += paged.rows
            covered += _claimed(paged, settled_edge(now))
            for page in paged.empty:
                unavailable += self._empty(symbol, native, page, now)
        return Batch(
            {"ohlcv": self._frame(symbol, rows)},
            tuple(merge(covered)),
            tuple(merge(unavailable)),
            self.client.requests - spent,
        )

    def _beyond(self, symbol: str, wanted: Window, now: pd.Timestamp) -> list[Window]:
        """What is known to lie before the venue's depth or the symbol's listing."""
        edges = [wanted.start]
        if self.venue.depth_hours is not None:
            edges.append(now.floor("h") - self.venue.depth_hours * HOUR)
        if symbol in self._listed:
            edges.append(self._listed[symbol])
        edge = min(max(edges), wanted.end)
        return [Window(wanted.start, edge)] if edge > wanted.start else []

    def _empty(self, symbol: str, native: str, page: Window, now: pd.Timestamp) -> list[Window]:
        """A page that stays empty: a fault, a later listing, or a market that stopped. Gives what is unavailable."""
        if self.venue.first_after is not None:
            first = self.venue.first_after(self.client, symbol, native, page.start, now)
            if first is not None and first < page.end:
                raise BadResponse(
                    self.name,
                    symbol,
                    f"gives no bars for {page}, yet has one that opens at {first}; the next run asks again",
                )
            if first is not None:
                self._listed[symbol] = first
                return [page]
        self.client.listing(symbol, native, now)
        # The newest hours without a trade: nothing is claimed, and the next run asks again.
        return [page] if page.end < settled_edge(now) else []

    def _frame(self, symbol: str, bars: Sequence[Bar]) -> pd.DataFrame:
        bars = sorted(bars, key=lambda bar: bar.open_ms)
        columns: Mapping[str, Any] = {
            "venue": self.name,
            "symbol": symbol,
            "ts": from_milliseconds([bar.open_ms + 3_600_000 for bar in bars]),
            "open": [bar.open for bar in bars],
            "high": [bar.high for bar in bars],
            "low": [bar.low for bar in bars],
            "close": [bar.close for bar in bars],
            "volume": [bar.volume for bar in bars],
            "quote_volume": [
                bar.volume * (bar.high + bar.low + bar.close) / 3.0 if bar.quote_volume is None else bar.quote_volume
                for bar in bars
            ],
            "is_simulated": False,
        }
        return table_frame("ohlcv", columns)


def _opens(page: Window) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Open times of the first and the last bar of a page."""
    return page.start.ceil("h"), page.end.floor("h") - HOUR


def _rows(client: Client, symbol: str, answer: Any, cells: int) -> list[list[Any]]:
    if not isinstance(answer, list) or any(not isinstance(row, list) or len(row) < cells for row in answer):
        raise BadResponse(client.venue, symbol, f"the answer is no list of bars (it starts with {str(answer)[:80]!r})")
    return answer


def _bar(client: Client, symbol: str, cells: Sequence[Any]) -> Bar:
    try:
        quote = None if cells[6] is None else float(cells[6])
        opened, high, low, close, volume = (float(cell) for cell in cells[1:6])
        return Bar(int(cells[0]), opened, high, low, close, volume, quote)
    except (TypeError, ValueError) as problem:
        raise BadResponse(
            client.venue, symbol, f"a bar holds something else than numbers: {str(cells)[:120]}"
        ) from problem


def _binance(client: Client, symbol: str, native: str, page: Window, now: pd.Timestamp) -> list[Bar]:
    first, last = _opens(page)
    params = {
        "symbol": native,
        "interval": "1h",
        "startTime": milliseconds(first),
        "endTime": milliseconds(last),
        "limit": 1000,
    }
    answer = client.ask(symbol, "publicGetKlines", params, now)
    return [_bar(client, symbol, [*row[:6], row[7]]) for row in _rows(client, symbol, answer, 8)]


def _binance_first(
    client: Client, symbol: str, native: str, moment: pd.Timestamp, now: pd.Timestamp
) -> pd.Timestamp | None:
    params = {"symbol": native, "interval": "1h", "startTime": milliseconds(moment), "limit": 1}
    rows = _rows(client, symbol, client.ask(symbol, "publicGetKlines", params, now), 8)
    return pd.Timestamp(int(rows[0][0]), unit="ms", tz="UTC").as_unit("us") if rows else None


def _coinbase(client: Client, symbol: str, native: str, page: Window, now: pd.Timestamp) -> list[Bar]:
    first, last = _opens(page)
    stamps = {"start": f"{first:%Y-%m-%dT%H:%M:%SZ}", "end": f"{last:%Y-%m-%dT%H:%M:%SZ}"}
    answer = client.ask(symbol, "publicGetProductsIdCandles", {"id": native, "granularity": 3600} | stamps, now)
    # Newest first; cells: time in seconds, low, high, open, close, volume.
    rows = _rows(client, symbol, answer, 6)
    return [_bar(client, symbol, [_seconds(client, symbol, r[0]), r[3], r[2], r[1], r[4], r[5], None]) for r in rows]


def _kraken(client: Client, symbol: str, native: str, page: Window, now: pd.Timestamp) -> list[Bar]:
    # Whatever `since` says, only the last 720 bars are given, the running one included.
    since = milliseconds(page.start) // 1000 - 1
    answer = client.ask(symbol, "publicGetOHLC", {"pair": native, "interval": 60, "since": since}, now)
    result = answer.get("result") if isinstance(answer, dict) else None
    lists = [value for key, value in result.items() if key != "last"] if isinstance(result, dict) else []
    if len(lists) != 1:
        raise BadResponse(client.venue, symbol, f"the answer holds no bars (it starts with {str(answer)[:80]!r})")
    bars = []
    for row in _rows(client, symbol, lists[0], 7):
        bar = _bar(client, symbol, [_seconds(client, symbol, row[0]), row[1], row[2], row[3], row[4], row[6], None])
        # Cell 5 is the volume-weighted average price; bars without a trade have 0 there and no volume.
        bars.append(Bar(bar.open_ms, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.volume * float(row[5])))
    return bars


def _seconds(client: Client, symbol: str, value: Any) -> int:
    try:
        return int(value) * 1000
    except (TypeError, ValueError) as problem:
        raise BadResponse(client.venue, symbol, f"a bar has {value!r} for its time") from problem


SPOT_VENUES: Mapping[str, SpotVenue] = {
    "binanceus": SpotVenue(1000, _binance, first_after=_binance_first),
    "coinbaseexchange": SpotVenue(300, _coinbase),
    "binance": SpotVenue(1000, _binance, first_after=_binance_first),
    "kraken": SpotVenue(720, _kraken, depth_hours=719),
}


def _claimed(paged: Paged[Bar], settled: pd.Timestamp) -> list[Window]:
    """Answered pages, the newest one up to its last bar only.

    An hour without a bar is a gap once later bars exist or it is no longer revisable. Until then the venue may have
    halted, lag, or this machine's clock may be ahead: the hour stays open, so that the next venue is asked for it.
    """
    claimed = []
    for page in paged.answered:
        last = max((bar.end_ms for bar in paged.rows if bar.end_ms <= milliseconds(page.end)), default=0)
        newest = pd.Timestamp(last, unit="ms", tz="UTC")
        claimed.append(Window(page.start, newest) if page.end > settled and newest > page.start else page)
    return claimed
