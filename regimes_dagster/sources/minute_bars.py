"""One-minute spot closes over REST: binance (its public data mirror), binanceus, coinbaseexchange.

What belongs here: per venue, how one page of minutes is asked and what a row of it means. What does not: hourly bars
(``ccxt_spot.py``), paging, retries, classification, validation, which have files of their own; and how many days are
asked for (``assets/minute_bars.py``).

Venues that keep the last few hundred minutes only (kraken: 720) are not here: the leader test needs two weeks. The
running minute is never inside the windows asked, which end on a full hour at the latest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import pandas as pd

from regimes_dagster.partitions import Window
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.coverage import final_edge, merge, settled_edge
from regimes_dagster.sources.frames import from_milliseconds, milliseconds, table_frame
from regimes_dagster.sources.instruments import spot_id
from regimes_dagster.sources.paging import Pager
from regimes_dagster.sources.protocol import BadResponse, Batch, Kind, NotAvailable, charged

MINUTE = timedelta(minutes=1)
MINUTE_MS = 60_000


class MinuteBar(NamedTuple):
    """One minute as a venue gave it."""

    open_ms: int
    close: float
    volume: float

    @property
    def end_ms(self) -> int:
        """End of the minute, milliseconds since 1970."""
        return self.open_ms + MINUTE_MS


@dataclass(frozen=True)
class MinuteVenue:
    """What is particular about a venue.

    Attributes
    ----------
    page
        Minutes per answer.
    edge
        An answer that lacks more than this at an end of its page was cut and is completed. One minute where every
        minute has a row; more where minutes without a trade have none.
    ask
        Bars of one page.
    """

    page: int
    edge: timedelta
    ask: Callable[[Client, str, str, Window, pd.Timestamp], list[MinuteBar]]


class MinuteSource:
    """The minute closes of one venue."""

    kinds = frozenset({"minute_bars"})
    always_read = False

    def __init__(self, client: Client, *, name: str | None = None) -> None:
        self.client = client
        self.name = name or client.venue
        self.venue = MINUTE_VENUES[client.venue]

    def fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        """Minutes of the window that were over at the last full hour."""
        with charged(self.client):
            return self._fetch(kind, symbol, window, now)

    def _fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        if kind != "minute_bars" or not self.client.has("fetchOHLCV"):
            raise NotAvailable(self.name, symbol, f"it has no {kind}; take it out of [sources] {kind}")
        spent = self.client.requests
        native = spot_id(self.client.venue, symbol)
        pager: Pager[MinuteBar] = Pager(
            ask=lambda page: self.venue.ask(self.client, symbol, native, page, now),
            stamp=lambda bar: bar.end_ms,
            key=lambda bar: bar.open_ms,
            page=self.venue.page * MINUTE,
            step=self.venue.edge,
        )
        paged = pager.walk(window.until(final_edge(now)), settled_edge(now))
        rows, covered, unavailable = list(paged.rows), list(paged.answered), []
        if paged.empty:
            # Listed later, no trade for hours, or no longer traded: the market list tells the last, and raises.
            self.client.listing(symbol, native, now)
        for page in paged.empty:
            again = pager.walk(page, settled_edge(now))
            rows += again.rows
            covered += again.answered
            unavailable += again.empty
        return Batch(
            {"minute_bars": self._frame(symbol, sorted(rows))},
            tuple(merge(covered)),
            tuple(merge(unavailable)),
            self.client.requests - spent,
        )

    def _frame(self, symbol: str, bars: Sequence[MinuteBar]) -> pd.DataFrame:
        columns: Mapping[str, Any] = {
            "venue": self.name,
            "symbol": symbol,
            "ts": from_milliseconds([bar.end_ms for bar in bars]),
            "close": [bar.close for bar in bars],
            "volume": [bar.volume for bar in bars],
            "is_simulated": False,
        }
        return table_frame("minute_bars", columns)


def _opens(page: Window) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Open times of the first and the last minute of a page."""
    return page.start.ceil("min"), page.end.floor("min") - MINUTE


def _bars(client: Client, symbol: str, answer: Any, close: int, scale: int) -> list[MinuteBar]:
    """Bars of an answer: cell 0 is the open time in units of ``scale`` milliseconds, cell 5 the volume."""
    if not isinstance(answer, list) or any(not isinstance(row, list) or len(row) < 6 for row in answer):
        raise BadResponse(client.venue, symbol, f"the answer is no list of bars (it starts with {str(answer)[:80]!r})")
    try:
        return [MinuteBar(int(row[0]) * scale, float(row[close]), float(row[5])) for row in answer]
    except (TypeError, ValueError) as problem:
        raise BadResponse(client.venue, symbol, "a minute bar holds something else than numbers") from problem


def _binance(client: Client, symbol: str, native: str, page: Window, now: pd.Timestamp) -> list[MinuteBar]:
    first, last = _opens(page)
    params = {
        "symbol": native,
        "interval": "1m",
        "startTime": milliseconds(first),
        "endTime": milliseconds(last),
        "limit": 1000,
    }
    return _bars(client, symbol, client.ask(symbol, "publicGetKlines", params, now), close=4, scale=1)


def _coinbase(client: Client, symbol: str, native: str, page: Window, now: pd.Timestamp) -> list[MinuteBar]:
    first, last = _opens(page)
    stamps = {"start": f"{first:%Y-%m-%dT%H:%M:%SZ}", "end": f"{last:%Y-%m-%dT%H:%M:%SZ}"}
    answer = client.ask(symbol, "publicGetProductsIdCandles", {"id": native, "granularity": 60} | stamps, now)
    # Newest first; cells: time in seconds, low, high, open, close, volume.
    return _bars(client, symbol, answer, close=4, scale=1000)


MINUTE_VENUES: Mapping[str, MinuteVenue] = {
    "binance": MinuteVenue(1000, MINUTE, _binance),
    "binanceus": MinuteVenue(1000, MINUTE, _binance),
    "coinbaseexchange": MinuteVenue(300, timedelta(minutes=30), _coinbase),
}
