"""Wire formats of the funding venues, settled and predicted.

What belongs here: how each venue says what ``truth.py`` holds, with the habits that matter: jitter, newest first,
small pages, the 8 h figure beside the hourly one. What does not: faults.
"""

# A row of a wire format stays on one line, as the venue sends it.
# ruff: noqa: E501

import re
from datetime import UTC, datetime
from typing import Any

from tests.servers.http import Fault, VenueServer
from tests.servers.truth import HOUR_MS, rate


class FundingMarket:
    """Settlement times and rates of the symbols a venue lists; ``interval`` may change with time."""

    def __init__(self, natives: dict[str, str], now_ms: int, interval_hours: int = 8) -> None:
        self.natives = natives
        self.now_ms = now_ms
        self.interval_hours = interval_hours
        #: From this moment on, another interval.
        self.changes: list[tuple[int, int]] = []
        self.listed_ms = 1_600_000_000_000 // HOUR_MS * HOUR_MS
        self.missing: set[int] = set()

    def stamps(self, first: int, last: int) -> list[int]:
        """Settlements with ``first <= stamp <= last``, none in the future."""
        last = min(last, self.now_ms)
        found = []
        for ms in range(max(first, self.listed_ms, 0) // HOUR_MS * HOUR_MS, last + 1, HOUR_MS):
            hours = self.interval_hours
            for since, other in self.changes:
                hours = other if ms > since else hours
            if ms >= max(first, self.listed_ms) and ms % (hours * HOUR_MS) == 0 and ms not in self.missing:
                found.append(ms)
        return found

    def rate(self, native: str, ms: int) -> float:
        """Rate of a settlement."""
        return rate(self.natives[native], ms)


def jitter(ms: int) -> int:
    """Some milliseconds late, as real stamps are."""
    return ms + (ms // HOUR_MS) % 9


def hyperliquid(server: VenueServer, market: FundingMarket) -> None:
    """``POST /info``; 500 rows from the start asked, oldest first."""

    def info(query: dict[str, Any], _: "re.Match[str]") -> Any:
        if query["type"] == "metaAndAssetCtxs":
            names = list(market.natives)
            return [
                {"universe": [{"name": name, "szDecimals": 5, "maxLeverage": 40} for name in names]},
                [
                    {"funding": f"{market.rate(name, market.now_ms):.10f}", "markPx": "100.0", "oraclePx": "100.1"}
                    for name in names
                ],
            ]
        if query["coin"] not in market.natives:
            return Fault(500, "null")
        first, last = int(query["startTime"]), int(query.get("endTime", market.now_ms))
        inside = [ms for ms in market.stamps(first - HOUR_MS, last) if first <= jitter(ms) <= last]
        return [
            {
                "coin": query["coin"],
                "fundingRate": f"{market.rate(query['coin'], ms):.10f}",
                "premium": "0.0001",
                "time": jitter(ms),
            }
            for ms in inside[:500]
        ]

    server.route(r"^/info$", info)


def krakenfutures(server: VenueServer, market: FundingMarket, depth_days: int = 365) -> None:
    """``historicalfundingrates`` gives everything it has; predictions are in USD per contract."""

    def rates(query: dict[str, str], _: "re.Match[str]") -> Any:
        if query["symbol"] not in market.natives:
            return {"result": "error", "error": "contractNotFound", "serverTime": "2025-01-01T00:00:00.000Z"}
        rows = []
        for ms in market.stamps(market.now_ms - depth_days * 24 * HOUR_MS, market.now_ms):
            value = market.rate(query["symbol"], ms)
            stamp = datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            rows.append({"timestamp": stamp, "fundingRate": value * 100, "relativeFundingRate": value})
        return {"result": "success", "rates": rows}

    def tickers(_: dict[str, str], __: "re.Match[str]") -> Any:
        return {
            "result": "success",
            "tickers": [
                {
                    "symbol": name,
                    "markPrice": 100.0,
                    "fundingRate": 0.001,
                    "fundingRatePrediction": market.rate(name, market.now_ms) * 100,
                }
                for name in market.natives
            ],
        }

    server.route(r"/v4/historicalfundingrates$", rates)
    server.route(r"/v3/tickers$", tickers)


def deribit(server: VenueServer, market: FundingMarket) -> None:
    """Hourly rows, at most 744, that carry the 8 h figure beside the hourly one."""

    def history(query: dict[str, str], _: "re.Match[str]") -> Any:
        native = query["instrument_name"]
        if native not in market.natives:
            return Fault(
                400,
                '{"jsonrpc":"2.0","error":{"message":"Invalid params","data":{"reason":"instrument not found","param":"instrument_name"},"code":-32602}}',
            )
        rows = [
            {
                "timestamp": ms,
                "index_price": 100.0,
                "prev_index_price": 100.0,
                "interest_8h": 8 * market.rate(native, ms),
                "interest_1h": market.rate(native, ms),
            }
            for ms in market.stamps(int(query["start_timestamp"]), int(query["end_timestamp"]))
        ]
        return {"jsonrpc": "2.0", "result": rows[-744:]}

    server.route(r"/public/get_funding_rate_history$", history)


def binanceusdm(server: VenueServer, market: FundingMarket) -> None:
    """``fundingRate`` oldest first with jitter, at most 1000; ``premiumIndex`` for every symbol at once."""

    def history(query: dict[str, str], _: "re.Match[str]") -> Any:
        native = query["symbol"]
        if native not in market.natives:
            return Fault(400, '{"code":-1121,"msg":"Invalid symbol."}')
        first, last = int(query["startTime"]), int(query["endTime"])
        stamps = [ms for ms in market.stamps(first - HOUR_MS, last) if first <= jitter(ms) <= last]
        return [
            {
                "symbol": native,
                "fundingTime": jitter(ms),
                "fundingRate": f"{market.rate(native, ms):.10f}",
                "markPrice": "100",
            }
            for ms in stamps[: int(query.get("limit", 100))]
        ]

    def index(_: dict[str, str], __: "re.Match[str]") -> Any:
        ahead = (market.now_ms // (8 * HOUR_MS) + 1) * 8 * HOUR_MS
        return [
            {
                "symbol": native,
                "lastFundingRate": f"{market.rate(native, market.now_ms):.10f}",
                "nextFundingTime": ahead,
                "time": market.now_ms,
            }
            for native in market.natives
        ]

    server.route(r"/fapi/v1/fundingRate$", history)
    server.route(r"/fapi/v1/premiumIndex$", index)


def bybit(server: VenueServer, market: FundingMarket) -> None:
    """Newest first, at most 200, of the range asked."""

    def history(query: dict[str, str], _: "re.Match[str]") -> Any:
        native = query["symbol"]
        if native not in market.natives:
            return {"retCode": 10001, "retMsg": "params error: Symbol Is Invalid", "result": {}, "time": market.now_ms}
        stamps = market.stamps(int(query["startTime"]), int(query["endTime"]))[::-1][: int(query["limit"])]
        rows = [
            {"symbol": native, "fundingRate": f"{market.rate(native, ms):.10f}", "fundingRateTimestamp": str(ms)}
            for ms in stamps
        ]
        return {"retCode": 0, "retMsg": "OK", "result": {"category": "linear", "list": rows}, "time": market.now_ms}

    def tickers(_: dict[str, str], __: "re.Match[str]") -> Any:
        ahead = (market.now_ms // (8 * HOUR_MS) + 1) * 8 * HOUR_MS
        rows = [
            {
                "symbol": native,
                "fundingRate": f"{market.rate(native, market.now_ms):.10f}",
                "nextFundingTime": str(ahead),
                "fundingIntervalHour": "8",
            }
            for native in market.natives
        ]
        return {"retCode": 0, "retMsg": "OK", "result": {"category": "linear", "list": rows}, "time": market.now_ms}

    server.route(r"/v5/market/funding/history$", history)
    server.route(r"/v5/market/tickers$", tickers)


def okx(server: VenueServer, market: FundingMarket) -> None:
    """Newest first, at most 100, older than ``after`` and newer than ``before``."""

    def history(query: dict[str, str], _: "re.Match[str]") -> Any:
        native = query["instId"]
        if native not in market.natives:
            return {"code": "51001", "data": [], "msg": "Instrument ID doesn't exist."}
        stamps = market.stamps(int(query["before"]) + 1, int(query["after"]) - 1)[::-1][: int(query["limit"])]
        rows = [
            {
                "instType": "SWAP",
                "instId": native,
                "fundingRate": "0.5",
                "realizedRate": f"{market.rate(native, ms):.10f}",
                "fundingTime": str(ms),
            }
            for ms in stamps
        ]
        return {"code": "0", "msg": "", "data": rows}

    def upcoming(query: dict[str, str], _: "re.Match[str]") -> Any:
        native = query["instId"]
        ahead = (market.now_ms // (8 * HOUR_MS) + 1) * 8 * HOUR_MS
        row = {
            "instId": native,
            "fundingRate": f"{market.rate(native, market.now_ms):.10f}",
            "fundingTime": str(ahead),
            "nextFundingRate": "",
        }
        return {"code": "0", "msg": "", "data": [row]}

    server.route(r"/public/funding-rate-history$", history)
    server.route(r"/public/funding-rate$", upcoming)
