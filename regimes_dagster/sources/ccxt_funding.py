"""Funding over REST: settlements, and the prediction of the next one.

What belongs here: per venue, how settlements are asked and what a row of them means, how the intervals of 1, 4 or
8 h are found out, and the hourly snapshot of predictions (they have no history). What does not: paging, retries,
classification, validation, which have files of their own.

Settlement stamps jitter by milliseconds: rows are keyed on the rounded minute and keep the raw stamp. Raw endpoints
are asked: the library's unified rate of Deribit, for example, is the 8 h figure on hourly rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pandas as pd

from regimes_dagster.partitions import HOUR, Window
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.coverage import final_edge, settled_edge, subtract
from regimes_dagster.sources.frames import empty, from_milliseconds, milliseconds, table_frame
from regimes_dagster.sources.instruments import perpetual
from regimes_dagster.sources.paging import Paged, Pager
from regimes_dagster.sources.protocol import (
    BadResponse,
    Batch,
    Kind,
    MarketClosed,
    NotAvailable,
    Outage,
    SourceError,
    UnknownSymbol,
    charged,
)

#: Asked before the window, so that the first settlement in it has one before it to measure its interval from.
_MARGIN = timedelta(hours=24)
_LONGEST = timedelta(hours=8)
_NULL = "It said: null"
_INTERVALS = (1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Settlement:
    """One settlement as the venue gave it: stamp in milliseconds, rate of one interval as a fraction."""

    ms: int
    rate: float

    @property
    def minute_ms(self) -> int:
        """The stamp rounded to the minute, milliseconds since 1970."""
        return (self.ms + 30_000) // 60_000 * 60_000


@dataclass(frozen=True)
class Prediction:
    """The next rate as it looks now."""

    rate: float
    interval_hours: float | None = None
    next_settlement: pd.Timestamp | None = None


Ask = Callable[[Client, str, str, Window, pd.Timestamp], list[Settlement]]
Predict = Callable[[Client, str, str, pd.Timestamp], dict[str, Prediction]]


@dataclass(frozen=True)
class FundingVenue:
    """What is particular about a venue.

    Attributes
    ----------
    page_hours
        Span that is asked at once.
    full
        Rows of a full answer.
    interval_hours
        Fixed interval; None where it has to be found out from the stamps.
    depth_hours
        How far back the venue goes; None for all its history.
    predict
        Predictions by native name, of every symbol where one call gives them all.
    whole_history
        One answer holds everything the venue has of a symbol, whatever is asked.
    lists_all
        The predictions name every symbol, and a server error may mean that it is none of them.
    """

    page_hours: int
    full: int
    ask: Ask
    interval_hours: float | None = None
    depth_hours: int | None = None
    predict: Predict | None = None
    whole_history: bool = False
    lists_all: bool = False


class FundingSource:
    """Funding of one venue."""

    kinds = frozenset({"funding"})
    always_read = False

    def __init__(self, client: Client, *, name: str | None = None) -> None:
        self.client = client
        self.name = name or client.venue
        self.venue = FUNDING_VENUES[client.venue]
        self._predicted: tuple[pd.Timestamp, dict[str, Prediction]] | None = None
        self._whole: dict[str, tuple[pd.Timestamp, list[Settlement]]] = {}

    def fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        """Settlements of the window, and at its live edge the prediction of the next one."""
        with charged(self.client):
            return self._fetch(kind, symbol, window, now)

    def _fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        if kind != "funding" or not self.client.has("fetchFundingRateHistory"):
            raise NotAvailable(self.name, symbol, f"it has no {kind}; take it out of [sources] {kind}")
        spent = self.client.requests
        wanted = window.until(final_edge(now))
        native = perpetual(self.client.venue, symbol).native
        beyond = self._beyond(wanted, now)
        asked = subtract([wanted], beyond)
        paged = self._listed_settlements(symbol, native, asked[-1], now) if asked else Paged()
        rows = paged.rows
        self._must_settle(symbol, native, asked, rows, now)
        covered, unavailable = self._known(asked, paged, now)
        tables = {"funding_rates": self._frame(symbol, rows, wanted)}
        notes: tuple[str, ...] = ()
        if self.venue.predict is not None and wanted.end >= final_edge(now):
            tables["funding_predictions"], notes = self._prediction(symbol, native, rows, now)
        return Batch(tables, tuple(covered), tuple(beyond + unavailable), self.client.requests - spent, notes)

    def _beyond(self, wanted: Window, now: pd.Timestamp) -> list[Window]:
        if self.venue.depth_hours is None:
            return []
        edge = min(now.floor("h") - self.venue.depth_hours * HOUR, wanted.end)
        return [Window(wanted.start, edge)] if edge > wanted.start else []

    def _listed_settlements(self, symbol: str, native: str, asked: Window, now: pd.Timestamp) -> Paged[Settlement]:
        """The settlements, where a server error may mean that the venue does not know the name."""
        if not self.venue.lists_all:
            return self._settlements(symbol, native, asked, now)
        unknown = UnknownSymbol(
            self.name, symbol, f"the venue lists no {native}; remove the symbol or name another venue"
        )
        if self._predicted is not None and self._predicted[0] == now and native not in self._predicted[1]:
            raise unknown
        try:
            return self._settlements(symbol, native, asked, now)
        except Outage as problem:
            # An outage proper says something, or nothing at all; a name that is not known is answered with "null".
            if not problem.message.endswith(_NULL) or native in self._predictions(symbol, native, now):
                raise
            raise unknown from problem

    def _settlements(self, symbol: str, native: str, asked: Window, now: pd.Timestamp) -> Paged[Settlement]:
        margin = timedelta(0) if self.venue.interval_hours is not None else _MARGIN
        pager: Pager[Settlement] = Pager(
            ask=lambda page: self._ask(symbol, native, page, now),
            stamp=lambda row: row.minute_ms,
            key=lambda row: row.minute_ms,
            page=self.venue.page_hours * HOUR,
            step=HOUR,
            # Settlements are an hour apart or, where that is not fixed, eight at most.
            full=None if self.venue.interval_hours is not None else self.venue.full,
            gap=_LONGEST,
        )
        return pager.walk(Window(asked.start - margin, asked.end), settled_edge(now))

    def _ask(self, symbol: str, native: str, page: Window, now: pd.Timestamp) -> list[Settlement]:
        if not self.venue.whole_history:
            return self.venue.ask(self.client, symbol, native, page, now)
        # One answer holds the venue's whole history of the symbol: ask once per hour, not once per month.
        kept = self._whole.get(native)
        if kept is None or kept[0] != now.floor("h") or not kept[1]:
            kept = (now.floor("h"), self.venue.ask(self.client, symbol, native, page, now))
            self._whole[native] = kept
        return kept[1]

    def _must_settle(
        self, symbol: str, native: str, asked: Sequence[Window], rows: Sequence[Settlement], now: pd.Timestamp
    ) -> None:
        """A venue goes on answering for a perpetual that it has closed: a day without a settlement says so."""
        if rows or not asked or asked[-1].end < settled_edge(now):
            return
        margin = timedelta(0) if self.venue.interval_hours is not None else _MARGIN
        if asked[-1].end - asked[-1].start + margin >= _MARGIN:
            raise MarketClosed(
                self.name,
                symbol,
                f"{native} has had no settlement for a day; if it stays so, remove the symbol or name another venue",
            )

    def _known(
        self, asked: Sequence[Window], paged: Paged[Settlement], now: pd.Timestamp
    ) -> tuple[list[Window], list[Window]]:
        """What counts as covered, and what the venue does not have: a lead of more than a day without a row, a tail of
        more than eight hours, a page that stays empty. A perpetual settles every eight hours at least.
        """
        if not asked:
            return [], []
        window, rows = asked[-1], paged.rows
        if not rows:
            return ([], [window]) if window.end < settled_edge(now) else ([], [])
        first = _epoch(rows[0].minute_ms)
        start = min(first.floor("h") - _LONGEST, window.end) if first - window.start > _MARGIN else window.start
        end = max(start, min(window.end, _epoch(rows[-1].minute_ms).ceil("h") + _LONGEST))
        known = subtract([Window(start, end)], paged.empty)
        lacking = subtract([window.until(settled_edge(now))], known)
        return known, lacking

    def _frame(self, symbol: str, rows: Sequence[Settlement], window: Window) -> pd.DataFrame:
        if not rows:
            return empty("funding_rates")
        hours = intervals([row.minute_ms for row in rows], self.venue.interval_hours)
        start, end = milliseconds(window.start), milliseconds(window.end)
        inside = [index for index, row in enumerate(rows) if start < row.minute_ms <= end]
        return table_frame(
            "funding_rates",
            {
                "venue": self.name,
                "symbol": symbol,
                "ts": from_milliseconds([rows[index].minute_ms for index in inside]),
                "rate": [rows[index].rate for index in inside],
                "interval_hours": [hours[index] for index in inside],
                "settled_at_raw": from_milliseconds([rows[index].ms for index in inside]),
                "is_simulated": False,
            },
        )

    def _predictions(self, symbol: str, native: str, now: pd.Timestamp) -> dict[str, Prediction]:
        """By native name, kept for the run: one answer of most venues holds every symbol."""
        assert self.venue.predict is not None
        kept = self._predicted[1] if self._predicted is not None and self._predicted[0] == now else {}
        if native not in kept:
            kept = kept | self.venue.predict(self.client, symbol, native, now)
            self._predicted = (now, kept)
        return kept

    def _prediction(
        self, symbol: str, native: str, rows: Sequence[Settlement], now: pd.Timestamp
    ) -> tuple[pd.DataFrame, tuple[str, ...]]:
        try:
            found = self._predictions(symbol, native, now).get(native)
        except SourceError as problem:
            # A prediction is an extra: the settlements are stored without it.
            return empty("funding_predictions"), (f"no predicted funding: {problem}",)
        if found is None:
            return empty("funding_predictions"), (f"{self.name} {symbol}: no predicted funding in the answer",)
        hours = found.interval_hours or self.venue.interval_hours
        if hours is None:
            hours = intervals([row.minute_ms for row in rows], None)[-1] if rows else 8.0
        columns = {
            "venue": self.name, "symbol": symbol, "observed_at": [now], "rate": [found.rate],
            "interval_hours": [hours], "next_settlement": [found.next_settlement],
        }  # fmt: skip
        return table_frame("funding_predictions", columns), ()


def intervals(stamps_ms: Sequence[int], fixed: float | None) -> list[float]:
    """Hours each settlement pays for: the time since the one before it, if that is 1, 2, 4 or 8 h.

    Where it is not (a missing settlement, the first row), the interval of the row before counts, or of the row after
    for the first; a lone row is taken for 8 h, the most common interval.
    """
    if fixed is not None:
        return [fixed] * len(stamps_ms)
    hours: list[float | None] = [None]
    for before, after in pairwise(stamps_ms):
        distance = round((after - before) / 3_600_000, 1)
        hours.append(distance if distance in _INTERVALS else None)
    known = next((value for value in hours if value is not None), 8.0)
    filled = []
    for value in hours[: len(stamps_ms)]:
        known = value if value is not None else known
        filled.append(known)
    return filled


def _list(client: Client, symbol: str, answer: Any, *path: str) -> list[Any]:
    """The list at ``path`` inside an answer."""
    for name in path:
        answer = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(answer, list):
        raise BadResponse(
            client.venue, symbol, f"the answer has no list of settlements (it starts with {str(answer)[:80]!r})"
        )
    return answer


def _read(client: Client, symbol: str, rows: Sequence[Any], read: Callable[[Any], Settlement]) -> list[Settlement]:
    try:
        return [read(row) for row in rows]
    except (KeyError, TypeError, ValueError, IndexError) as problem:
        raise BadResponse(
            client.venue, symbol, f"a settlement lacks a stamp or a rate ({type(problem).__name__}: {problem})"
        ) from problem


def _hyperliquid(client: Client, symbol: str, native: str, page: Window, now: pd.Timestamp) -> list[Settlement]:
    # A settlement's stamp lies some milliseconds after the hour; half a minute covers the jitter at the page's end.
    body = {
        "type": "fundingHistory",
        "coin": native,
        "startTime": milliseconds(page.start) + 30_000,
        "endTime": milliseconds(page.end) + 29_999,
    }
    rows = _list(client, symbol, client.ask(symbol, "publicPostInfo", body, now))
    return _read(client, symbol, rows, lambda row: Settlement(int(row["time"]), float(row["fundingRate"])))


def _hyperliquid_next(client: Client, symbol: str, native: str, now: pd.Timestamp) -> dict[str, Prediction]:
    answer = client.ask(symbol, "publicPostInfo", {"type": "metaAndAssetCtxs"}, now)
    try:
        names = [entry["name"] for entry in answer[0]["universe"]]
        ahead = now.floor("h") + HOUR
        return {name: Prediction(float(ctx["funding"]), 1.0, ahead) for name, ctx in zip(names, answer[1], strict=True)}
    except (KeyError, TypeError, ValueError, IndexError) as problem:
        raise BadResponse(client.venue, symbol, f"the contexts cannot be read ({problem})") from problem


def _krakenfutures(client: Client, symbol: str, native: str, page: Window, now: pd.Timestamp) -> list[Settlement]:
    rows = _list(
        client, symbol, client.ask(symbol, "publicGetHistoricalfundingrates", {"symbol": native}, now), "rates"
    )
    return _read(
        client,
        symbol,
        rows,
        lambda row: Settlement(milliseconds(_iso(row["timestamp"])), float(row["relativeFundingRate"])),
    )


def _krakenfutures_next(client: Client, symbol: str, native: str, now: pd.Timestamp) -> dict[str, Prediction]:
    tickers = _list(client, symbol, client.ask(symbol, "publicGetTickers", {}, now), "tickers")
    ahead = now.floor("h") + HOUR
    found = {}
    for ticker in tickers:
        # The prediction is in USD per contract; the fraction is that over the mark price.
        absolute, mark = ticker.get("fundingRatePrediction"), ticker.get("markPrice")
        if absolute is not None and mark:
            rate = max(-0.2, min(0.2, float(absolute) / float(mark)))
            found[str(ticker.get("symbol", "")).upper()] = Prediction(rate, 1.0, ahead)
    return found


def _deribit(client: Client, symbol: str, native: str, page: Window, now: pd.Timestamp) -> list[Settlement]:
    params = {
        "instrument_name": native,
        "start_timestamp": milliseconds(page.start) + 1,
        "end_timestamp": milliseconds(page.end),
    }
    rows = _list(client, symbol, client.ask(symbol, "publicGetGetFundingRateHistory", params, now), "result")
    return _read(client, symbol, rows, lambda row: Settlement(int(row["timestamp"]), float(row["interest_1h"])))


def _binance(client: Client, symbol: str, native: str, page: Window, now: pd.Timestamp) -> list[Settlement]:
    params = {
        "symbol": native,
        "startTime": milliseconds(page.start) + 30_000,
        "endTime": milliseconds(page.end) + 29_999,
        "limit": 1000,
    }
    rows = _list(client, symbol, client.ask(symbol, "fapiPublicGetFundingRate", params, now))
    return _read(client, symbol, rows, lambda row: Settlement(int(row["fundingTime"]), float(row["fundingRate"])))


def _binance_next(client: Client, symbol: str, native: str, now: pd.Timestamp) -> dict[str, Prediction]:
    rows = _list(client, symbol, client.ask(symbol, "fapiPublicGetPremiumIndex", {}, now))
    return {
        str(row["symbol"]): Prediction(float(row["lastFundingRate"]), None, _epoch(row["nextFundingTime"]))
        for row in rows
        if row.get("lastFundingRate") and row.get("nextFundingTime")
    }


def _bybit(client: Client, symbol: str, native: str, page: Window, now: pd.Timestamp) -> list[Settlement]:
    params = {
        "category": "linear",
        "symbol": native,
        "startTime": milliseconds(page.start) + 1,
        "endTime": milliseconds(page.end),
        "limit": 200,
    }
    rows = _list(client, symbol, client.ask(symbol, "publicGetV5MarketFundingHistory", params, now), "result", "list")
    return _read(
        client, symbol, rows, lambda row: Settlement(int(row["fundingRateTimestamp"]), float(row["fundingRate"]))
    )


def _bybit_next(client: Client, symbol: str, native: str, now: pd.Timestamp) -> dict[str, Prediction]:
    rows = _list(
        client, symbol, client.ask(symbol, "publicGetV5MarketTickers", {"category": "linear"}, now), "result", "list"
    )
    return {
        str(row["symbol"]): Prediction(
            float(row["fundingRate"]),
            float(row["fundingIntervalHour"]) if row.get("fundingIntervalHour") else None,
            _epoch(row["nextFundingTime"]),
        )
        for row in rows
        if row.get("fundingRate") and row.get("nextFundingTime")
    }


def _okx(client: Client, symbol: str, native: str, page: Window, now: pd.Timestamp) -> list[Settlement]:
    # `before` and `after` mean newer and older than; the newest come first, 100 at most, so a page walks backwards.
    params = {"instId": native, "after": milliseconds(page.end) + 1, "before": milliseconds(page.start), "limit": 100}
    rows = _list(client, symbol, client.ask(symbol, "publicGetPublicFundingRateHistory", params, now), "data")
    return _read(
        client,
        symbol,
        rows,
        lambda row: Settlement(int(row["fundingTime"]), float(row["realizedRate"] or row["fundingRate"])),
    )


def _okx_next(client: Client, symbol: str, native: str, now: pd.Timestamp) -> dict[str, Prediction]:
    rows = _list(client, symbol, client.ask(symbol, "publicGetPublicFundingRate", {"instId": native}, now), "data")
    return {str(row["instId"]): Prediction(float(row["fundingRate"]), None, _epoch(row["fundingTime"])) for row in rows}


def _iso(text: str) -> pd.Timestamp:
    stamp = pd.Timestamp(text)
    return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")


def _epoch(value: Any) -> pd.Timestamp:
    return pd.Timestamp(int(value), unit="ms", tz="UTC").as_unit("us")


FUNDING_VENUES: Mapping[str, FundingVenue] = {
    "hyperliquid": FundingVenue(500, 500, _hyperliquid, interval_hours=1.0, predict=_hyperliquid_next, lists_all=True),
    "krakenfutures": FundingVenue(
        24 * 400, 10**9, _krakenfutures, interval_hours=1.0, predict=_krakenfutures_next, whole_history=True
    ),
    "deribit": FundingVenue(744, 744, _deribit, interval_hours=1.0),
    "binanceusdm": FundingVenue(24 * 100, 1000, _binance, predict=_binance_next),
    "bybit": FundingVenue(24 * 60, 200, _bybit, predict=_bybit_next),
    "okx": FundingVenue(24 * 32, 100, _okx, depth_hours=24 * 90, predict=_okx_next),
}
