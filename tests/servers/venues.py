"""Every venue's local server by kind and name, with the addresses that make the real client ask it.

What belongs here: which wire format stands for which venue, what it calls the symbols, and the ``urls`` of the
client. What does not: the wire formats themselves.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from regimes_dagster.sources.instruments import perpetual, spot_id
from tests.servers import funding, liquidations, spot
from tests.servers.http import VenueServer

Market = spot.SpotMarket | funding.FundingMarket | liquidations.LiquidationMarket

_URLS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "binanceus": lambda url: {"public": f"{url}/api/v3"},
    "binance": lambda url: {"public": f"{url}/api/v3"},
    "coinbaseexchange": lambda url: {"public": url},
    "kraken": lambda url: {"public": url},
    "hyperliquid": lambda url: {"public": url},
    "krakenfutures": lambda url: {
        "public": f"{url}/derivatives/api/",
        "charts": f"{url}/api/charts/",
        "history": f"{url}/api/history/",
    },
    "deribit": lambda url: {"rest": url},
    "binanceusdm": lambda url: {"fapiPublic": f"{url}/fapi/v1"},
    "bybit": lambda url: {"public": url},
    "okx": lambda url: {"rest": url},
    "gate": lambda url: {"public": {"futures": url}},
    "bitfinex": lambda url: {"public": url},
}

_SPOT = {"binanceus": spot.binance, "binance": spot.binance, "coinbaseexchange": spot.coinbase, "kraken": spot.kraken}
_FUNDING = {
    "hyperliquid": (funding.hyperliquid, 1),
    "krakenfutures": (funding.krakenfutures, 1),
    "deribit": (funding.deribit, 1),
    "binanceusdm": (funding.binanceusdm, 8),
    "bybit": (funding.bybit, 8),
    "okx": (funding.okx, 8),
}
_LIQUIDATIONS = {
    "krakenfutures": (liquidations.krakenfutures, 1000),
    "deribit": (liquidations.deribit, 1000),
    "gate": (liquidations.gate, 100),
    "bitfinex": (liquidations.bitfinex, 500),
}


def options(venue: str, url: str) -> dict[str, Any]:
    """Options that send the client of a venue to a local server."""
    return {"urls": {"api": _URLS[venue](url)}}


def speak(
    server: VenueServer, kind: str, venue: str, symbols: Sequence[str], now_ms: int, *, interval_hours: int = 0
) -> Market:
    """Teach a server a venue's wire format for these symbols; ``interval_hours`` overrides the venue's usual one."""
    if kind == "ohlcv":
        bars = spot.SpotMarket({spot_id(venue, symbol): symbol for symbol in symbols}, now_ms)
        _SPOT[venue](server, bars)
        return bars
    natives = {perpetual(venue, symbol).native: symbol for symbol in symbols}
    if kind == "funding":
        tell, usual = _FUNDING[venue]
        rates = funding.FundingMarket(natives, now_ms, interval_hours or usual)
        tell(server, rates)
        return rates
    describe, page = _LIQUIDATIONS[venue]
    trades = liquidations.LiquidationMarket(list(natives), now_ms)
    trades.page = page
    # On a small venue few symbols are ever liquidated; one list holds all of them.
    trades.active = trades.natives[:3]
    describe(server, trades)
    return trades
