"""Wire formats of the liquidation venues: Kraken Futures, Deribit, Gate, Bitfinex.

What belongs here: how each venue says which positions were liquidated, among all the trades that were not, and its
daily volume. What does not: faults.
"""

# A row of a wire format stays on one line, as the venue sends it.
# ruff: noqa: E501

import re
from dataclasses import dataclass
from typing import Any

from tests.servers.http import Fault, VenueServer
from tests.servers.truth import HOUR_MS

DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True)
class Trade:
    """A trade; ``liquidated`` says whose position was taken over, and on which side it was."""

    ms: int
    price: float
    amount: float
    taker_sells: bool
    liquidated: str = ""

    @property
    def sides(self) -> list[str]:
        """Sides of the liquidated positions: the taker's, the maker's."""
        taker = "LONG" if self.taker_sells else "SHORT"
        maker = "SHORT" if self.taker_sells else "LONG"
        return [side for flag, side in (("T", taker), ("M", maker)) if flag in self.liquidated]


def trades(first_ms: int, last_ms: int) -> list[Trade]:
    """A trade every 97 seconds; some are liquidations, in some hours none is."""
    found = []
    for index, ms in enumerate(range(-(-first_ms // 97_000) * 97_000, last_ms + 1, 97_000)):
        quiet = (ms // HOUR_MS) % 3 == 0
        number = ms // 97_000
        flag = "" if quiet or number % 5 else ("T", "M", "MT")[number % 3]
        found.append(Trade(ms, 100.0 + number % 17, 1.0 + number % 4, number % 2 == 0, flag))
        assert index >= 0
    return found


class LiquidationMarket:
    """What a venue knows of its symbols."""

    def __init__(self, natives: list[str], now_ms: int) -> None:
        self.natives = natives
        self.now_ms = now_ms
        #: Rows of one answer; small, so that paging is needed.
        self.page = 50
        #: Of the list of all symbols, those that ever have a liquidation.
        self.active = natives
        self.late_ms: dict[int, int] = {}

    def trades(self, first_ms: int, last_ms: int) -> list[Trade]:
        """Trades the venue shows now."""
        return [t for t in trades(first_ms, min(last_ms, self.now_ms)) if self.late_ms.get(t.ms, 0) <= self.now_ms]

    def days(self, first_ms: int, last_ms: int) -> list[int]:
        """Starts of the days that begin in the range."""
        return list(range(-(-first_ms // DAY_MS) * DAY_MS, last_ms + 1, DAY_MS))


def krakenfutures(server: VenueServer, market: LiquidationMarket, *, inverse: bool = False) -> None:
    """Executions with a continuation token, the hourly total, candles. Only taker liquidations exist here."""

    def executions(query: dict[str, str], match: "re.Match[str]") -> Any:
        if match[1] not in market.natives:
            return Fault(404, '{"status":"NOT_FOUND","result":"error","errors":["contract not found"]}')
        rows = [t for t in market.trades(int(query["since"]), int(query["before"]) - 1)]
        start = int(query.get("continuationToken", 0))
        elements = []
        for trade in rows[start : start + market.page]:
            kind = "Liquidation" if "T" in trade.liquidated else "Market"
            quantity = trade.amount * trade.price if inverse else trade.amount
            order = {
                "uid": f"o{trade.ms}",
                "tradeable": match[1],
                "direction": "Sell" if trade.taker_sells else "Buy",
                "quantity": f"{quantity}",
                "orderType": kind,
            }
            execution = {
                "uid": f"e{trade.ms}",
                "makerOrder": {},
                "takerOrder": order,
                "timestamp": trade.ms,
                "quantity": f"{quantity}",
                "price": f"{trade.price}",
                "markPrice": "100",
            }
            elements.append(
                {
                    "uid": f"u{trade.ms}",
                    "timestamp": trade.ms,
                    "event": {"Execution": {"execution": execution, "takerReducedQuantity": ""}},
                }
            )
        answer: dict[str, Any] = {"elements": elements, "len": len(elements)}
        if start + market.page < len(rows):
            answer["continuationToken"] = str(start + market.page)
        return answer

    def total(query: dict[str, str], _: "re.Match[str]") -> Any:
        hours = range(
            int(query["since"]) * 1000, min(int(query["to"]) * 1000, market.now_ms // HOUR_MS * HOUR_MS), HOUR_MS
        )
        data = [sum(t.amount for t in market.trades(h + 1, h + HOUR_MS) if "T" in t.liquidated) for h in hours]
        return {
            "result": {"timestamp": [h // 1000 for h in hours], "more": False, "data": [f"{value}" for value in data]},
            "errors": [],
        }

    def candles(query: dict[str, str], _: "re.Match[str]") -> Any:
        rows = market.days(int(query["from"]) * 1000, int(query["to"]) * 1000)
        return {
            "candles": [
                {"time": ms, "open": "100", "high": "120", "low": "90", "close": "90", "volume": "50"} for ms in rows
            ],
            "more_candles": False,
        }

    server.route(r"/history/v3/market/([^/]+)/executions$", executions)
    server.route(r"/charts/v1/analytics/([^/]+)/liquidation-volume$", total)
    server.route(r"/charts/v1/trade/([^/]+)/1d$", candles)


def deribit(server: VenueServer, market: LiquidationMarket) -> None:
    """Trades with a flag, USD amounts on inverse instruments; those in USDC are linear."""

    def by_time(query: dict[str, str], _: "re.Match[str]") -> Any:
        if query["instrument_name"] not in market.natives:
            return Fault(
                400,
                '{"jsonrpc":"2.0","error":{"message":"Invalid params","data":{"reason":"instrument not found"},"code":-32602}}',
            )
        inverse = "_USDC" not in query["instrument_name"]
        rows = market.trades(int(query["start_timestamp"]), int(query["end_timestamp"]))
        shown = []
        for t in rows[: market.page]:
            row = {
                "trade_id": f"{t.ms}",
                "timestamp": t.ms,
                "price": t.price,
                "amount": t.amount * t.price if inverse else t.amount,
                "direction": "sell" if t.taker_sells else "buy",
            }
            shown.append(row | ({"liquidation": t.liquidated} if t.liquidated else {}))
        return {"jsonrpc": "2.0", "result": {"trades": shown, "has_more": len(rows) > market.page}}

    def chart(query: dict[str, str], _: "re.Match[str]") -> Any:
        days = market.days(int(query["start_timestamp"]), int(query["end_timestamp"]))
        return {
            "jsonrpc": "2.0",
            "result": {"status": "ok", "ticks": days, "cost": [5000.0] * len(days), "volume": [1.0] * len(days)},
        }

    server.route(r"/public/get_last_trades_by_instrument_and_time$", by_time)
    server.route(r"/public/get_tradingview_chart_data$", chart)


def gate(server: VenueServer, market: LiquidationMarket) -> None:
    """Hourly statistics from a second on, at most a hundred."""

    def stats(query: dict[str, str], _: "re.Match[str]") -> Any:
        if query["contract"] not in market.natives:
            return Fault(400, '{"label":"CONTRACT_NOT_FOUND","message":"contract not found"}')
        first = int(query["from"]) * 1000
        assert first < 10**13, "seconds are due, milliseconds came"
        rows = []
        for hour in range(-(-first // HOUR_MS) * HOUR_MS, market.now_ms + 1, HOUR_MS)[: int(query["limit"])]:
            sums = {"LONG": 0.0, "SHORT": 0.0}
            for trade in market.trades(hour + 1, hour + HOUR_MS):
                for side in trade.sides:
                    sums[side] += trade.amount * trade.price
            rows.append(
                {
                    "time": hour // 1000,
                    "long_liq_size": 1,
                    "short_liq_size": 1,
                    "long_liq_usd": sums["LONG"],
                    "short_liq_usd": sums["SHORT"],
                    "mark_price": 100,
                }
            )
        return rows

    def candles(query: dict[str, str], _: "re.Match[str]") -> Any:
        return [
            {"t": ms // 1000, "v": 1, "c": "1", "h": "1", "l": "1", "o": "1", "sum": "7000"}
            for ms in market.days(int(query["from"]) * 1000, int(query["to"]) * 1000)
        ]

    server.route(r"/futures/usdt/contract_stats$", stats)
    server.route(r"/futures/usdt/candlesticks$", candles)


def bitfinex(server: VenueServer, market: LiquidationMarket) -> None:
    """All symbols in one list, every liquidation twice."""

    def history(query: dict[str, str], _: "re.Match[str]") -> Any:
        rows: list[Any] = []
        for trade in market.trades(int(query["start"]), int(query["end"])):
            if not trade.liquidated:
                continue
            for number, native in enumerate(market.active):
                for side in trade.sides:
                    signed = trade.amount if side == "LONG" else -trade.amount
                    position = trade.ms // 1000 * 10 + number * 2 + (side == "LONG")
                    start = ["pos", position, trade.ms, None, native, signed, trade.price, None, 0, 0, None, None]
                    rows += [[start], [[*start[:8], 1, 1, None, trade.price]]]
        return rows[: int(query["limit"])]

    def candles(query: dict[str, str], _: "re.Match[str]") -> Any:
        return [[ms, 100, 90, 120, 90, 50] for ms in market.days(int(query["start"]), int(query["end"]))]

    server.route(r"/v2/conf/pub:list:pair:futures$", lambda *_: [[native[1:] for native in market.natives]])
    server.route(r"/v2/liquidations/hist$", history)
    server.route(r"/v2/candles/trade:1D:[^/]+/hist$", candles)
