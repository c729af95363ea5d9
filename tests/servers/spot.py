"""Wire formats of the spot venues: Binance family, Coinbase Exchange, Kraken.

What belongs here: how each venue says what ``truth.py`` holds, including the running bar. What does not: faults.
"""

# A row of a wire format stays on one line, as the venue sends it.
# ruff: noqa: E501

import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from tests.servers.http import Fault, VenueServer
from tests.servers.truth import HOUR_MS, MINUTE_MS, bar, minute

_NO_SYMBOL = Fault(400, '{"code":-1121,"msg":"Invalid symbol."}')


class SpotMarket:
    """What a venue knows: symbols by native name, listing time, hours without trades, the clock."""

    def __init__(self, symbols: dict[str, str], now_ms: int) -> None:
        self.symbols = symbols
        self.now_ms = now_ms
        self.listed_ms = dict.fromkeys(symbols, 0)
        self.closed_ms: dict[str, int] = {}
        self.gaps: dict[str, Collection[int]] = {}
        #: A bar younger than this shows a tenth less volume than it will have in the end.
        self.revised_for_ms = 0
        #: Minutes without a trade: they have a row on the Binance family, and none on Coinbase.
        self.quiet_minutes: dict[str, Collection[int]] = {}

    def minutes(self, native: str, first: int, last: int) -> list[int]:
        """Open times of the minutes the venue has, the running one included."""
        first = max(first, self.listed_ms[native], 0)
        last = min(last, self.now_ms, self.closed_ms.get(native, self.now_ms))
        return list(range(-(-first // MINUTE_MS) * MINUTE_MS, last + 1, MINUTE_MS))

    def minute(self, native: str, open_ms: int) -> tuple[float, float]:
        """Close and volume of a minute; the running one is half done."""
        close, volume = minute(self.symbols[native], open_ms)
        running = open_ms + MINUTE_MS > self.now_ms
        return (close - 1.0, volume / 2) if running else (close, volume)

    def opens(self, native: str, first: int, last: int) -> list[int]:
        """Open times of the bars the venue has, the running one included."""
        first = max(first, self.listed_ms[native], 0)
        last = min(last, self.now_ms, self.closed_ms.get(native, self.now_ms))
        start = -(-first // HOUR_MS) * HOUR_MS
        return [ms for ms in range(start, last + 1, HOUR_MS) if ms not in self.gaps.get(native, ())]

    def bar(self, native: str, open_ms: int) -> tuple[float, ...]:
        """The bar as it stands now; the running one is half done, fresh ones may still be revised."""
        opened, high, low, close, volume, quote = bar(self.symbols[native], open_ms)
        if open_ms + HOUR_MS > self.now_ms:
            return opened, high, low, (opened + close) / 2, volume / 2, quote / 2
        factor = 0.9 if open_ms + HOUR_MS > self.now_ms - self.revised_for_ms else 1.0
        return opened, high, low, close, volume * factor, quote * factor


def binance(server: VenueServer, market: SpotMarket, prefix: str = "/api/v3") -> None:
    """``klines`` and ``exchangeInfo`` as Binance, Binance.US and the public mirror give them."""

    def klines(query: dict[str, str], _: "re.Match[str]") -> Any:
        native = query["symbol"]
        if native not in market.symbols:
            return _NO_SYMBOL
        limit = min(int(query.get("limit", 500)), 1000)
        if query["interval"] == "1m":
            first, last = int(query.get("startTime", 0)), int(query.get("endTime", market.now_ms))
            return [_kline(ms, *market.minute(native, ms)) for ms in market.minutes(native, first, last)[:limit]]
        opens = market.opens(native, int(query.get("startTime", 0)), int(query.get("endTime", market.now_ms)))
        rows = []
        for ms in opens[:limit]:
            opened, high, low, close, volume, quote = market.bar(native, ms)
            text = [f"{value:.8f}" for value in (opened, high, low, close, volume)]
            rows.append([ms, *text, ms + HOUR_MS - 1, f"{quote:.8f}", 308, "1.0", "2.0", "0"])
        return rows

    def info(_: dict[str, str], __: "re.Match[str]") -> Any:
        rows = []
        for native, symbol in market.symbols.items():
            base, quote = symbol.split("/")
            status = "BREAK" if native in market.closed_ms else "TRADING"
            rows.append(
                {
                    "symbol": native,
                    "status": status,
                    "baseAsset": base,
                    "quoteAsset": quote,
                    "filters": [],
                    "permissions": ["SPOT"],
                }
            )
        return {"timezone": "UTC", "serverTime": market.now_ms, "symbols": rows}

    server.route(rf"^{prefix}/klines$", klines)
    server.route(rf"^{prefix}/exchangeInfo$", info)
    server.route(rf"^{prefix}/time$", lambda *_: {"serverTime": market.now_ms})


def _kline(ms: int, close: float, volume: float) -> list[Any]:
    text = [f"{value:.8f}" for value in (close, close, close, close, volume)]
    return [ms, *text, ms + MINUTE_MS - 1, f"{close * volume:.8f}", 3, "1.0", "2.0", "0"]


def coinbase(server: VenueServer, market: SpotMarket) -> None:
    """``candles`` newest first, at most 300."""

    def candles(query: dict[str, str], match: "re.Match[str]") -> Any:
        native = match[1]
        if native not in market.symbols:
            return Fault(404, '{"message":"NotFound"}')
        first, last = (
            int(datetime.fromisoformat(query[name]).astimezone(UTC).timestamp() * 1000) for name in ("start", "end")
        )
        step = int(query["granularity"]) * 1000
        if (last - first) // step >= 300:
            return Fault(
                400,
                '{"message":"granularity too small for the requested time range. Count of aggregations requested exceeds 300"}',
            )
        if step == MINUTE_MS:
            known = [ms for ms in market.minutes(native, first, last) if ms not in market.quiet_minutes.get(native, ())]
            closes = [(ms, *market.minute(native, ms)) for ms in reversed(known)]
            return [[ms // 1000, close, close, close, close, volume] for ms, close, volume in closes]
        rows = []
        for ms in reversed(market.opens(native, first, last)):
            opened, high, low, close, volume, _ = market.bar(native, ms)
            rows.append([ms // 1000, low, high, opened, close, volume])
        return rows

    def products(_: dict[str, str], __: "re.Match[str]") -> Any:
        rows = []
        for native, symbol in market.symbols.items():
            base, quote = symbol.split("/")
            status = "delisted" if native in market.closed_ms else "online"
            rows.append(
                {"id": native, "base_currency": base, "quote_currency": quote, "base_increment": "0.00000001", "quote_increment": "0.01",
                 "status": status,
                 "trading_disabled": native in market.closed_ms, "min_market_funds": "1"}
            )  # fmt: skip
        return rows

    server.route(r"^/products/([^/]+)/candles$", candles)
    server.route(r"^/products$", products)
    server.route(r"^/time$", lambda *_: {"iso": "2026-01-01T00:00:00Z", "epoch": market.now_ms / 1000})


def kraken(server: VenueServer, market: SpotMarket) -> None:
    """``OHLC``: the last 720 whatever ``since`` says, the running bar included."""

    def ohlc(query: dict[str, str], _: "re.Match[str]") -> Any:
        native = query["pair"]
        if native not in market.symbols:
            return {"error": ["EQuery:Unknown asset pair"]}
        opens = market.opens(native, 0, market.now_ms)[-720:]
        rows = []
        for ms in opens:
            if ms // 1000 <= int(query.get("since", 0)):
                continue
            opened, high, low, close, volume, quote = market.bar(native, ms)
            rows.append([ms // 1000, *(f"{v:.6f}" for v in (opened, high, low, close, quote / volume, volume)), 25])
        return {"error": [], "result": {f"X{native}": rows, "last": opens[-2] // 1000 if len(opens) > 1 else 0}}

    server.route(r"^/0/public/OHLC$", ohlc)
