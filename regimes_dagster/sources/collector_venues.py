"""The live liquidation streams: what is subscribed and what a raw message means.

What belongs here: per venue (okx, bybit, binanceusdm), the subscription and the reading of raw messages. What does
not: connections (``collector_stream.py``) and storage (``collector.py``).

Raw messages are read, because the library loses most of a burst: it keeps the first item of a message, takes a
letter of the symbol for the side, or the ordered for the filled quantity.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regimes_dagster.sources.ccxt_liquidations import Liquidation, Side
from regimes_dagster.sources.instruments import Instrument


@dataclass(frozen=True)
class Item:
    """One liquidation of a message, with the venue's name of the instrument."""

    native: str
    ms: int
    side: Side
    price: float
    quantity: float


@dataclass(frozen=True)
class LiveVenue:
    """What is particular about a venue's stream.

    Attributes
    ----------
    exchange
        Id of the class in ``ccxt.pro``.
    address
        Where the stream is, from the exchange's ``urls['api']['ws']``.
    subscription
        Message that subscribes to the natives.
    items
        Liquidations in a raw message.
    sampled
        Whether the venue leaves some out, so that sums are lower bounds.
    sizes
        Asks the contract sizes by native name where quantities are contracts; None where they are base units.
    """

    exchange: str
    address: Callable[[Any], str]
    subscription: Callable[[Sequence[str]], dict[str, Any]]
    items: Callable[[Mapping[str, Any]], list[Item]]
    sampled: bool
    sizes: str | None = None


def liquidation(item: Item, instrument: Instrument, repeat: int) -> Liquidation:
    """The item as a liquidation; equal items get ids of their own by ``repeat``."""
    return Liquidation(
        event_id=f"{item.native}-{item.ms}-{item.side}-{item.quantity!r}-{item.price!r}-{repeat}",
        ms=item.ms,
        side=item.side,
        price=item.price,
        amount=instrument.base_amount(item.quantity, item.price),
        usd=instrument.usd(item.quantity, item.price),
    )


def _okx(message: Mapping[str, Any]) -> list[Item]:
    # One message holds several instruments, each with several details: every one of them counts.
    return [
        Item(
            str(entry["instId"]),
            int(detail["ts"]),
            "LONG"
            if detail["posSide"] == "long" or (detail["posSide"] == "net" and detail["side"] == "sell")
            else "SHORT",
            float(detail["bkPx"]),
            float(detail["sz"]),
        )
        for entry in message.get("data", [])
        for detail in entry.get("details", [])
    ]


def _bybit(message: Mapping[str, Any]) -> list[Item]:
    # S is the side of the position, not of the order.
    return [
        Item(str(row["s"]), int(row["T"]), "LONG" if row["S"] == "Buy" else "SHORT", float(row["p"]), float(row["v"]))
        for row in message.get("data", [])
    ]


def _binance(message: Mapping[str, Any]) -> list[Item]:
    # S is the side of the order: a liquidation that sells closes a LONG. z is what was filled, ap at which price.
    order = message["o"]
    filled = float(order["z"])
    if filled <= 0:
        return []
    side: Side = "LONG" if order["S"] == "SELL" else "SHORT"
    return [Item(str(order["s"]), int(order["T"]), side, float(order["ap"]), filled)]


def _binance_address(addresses: Any) -> str:
    base = str(addresses["linear"])
    return f"{base.removesuffix('/ws')}/market/ws/0" if base.endswith("/ws") else f"{base}/0"


LIVE_VENUES: Mapping[str, LiveVenue] = {
    "okx": LiveVenue(
        "okx",
        lambda addresses: f"{addresses}/public",
        lambda natives: {"op": "subscribe", "args": [{"channel": "liquidation-orders", "instType": "SWAP"}]},
        _okx,
        sampled=True,
        sizes="publicGetPublicInstruments",
    ),
    "bybit": LiveVenue(
        "bybit",
        lambda addresses: str(addresses["public"]["linear"]),
        lambda natives: {"op": "subscribe", "args": [f"allLiquidation.{native}" for native in natives]},
        _bybit,
        sampled=False,
    ),
    "binanceusdm": LiveVenue(
        "binanceusdm",
        _binance_address,
        lambda natives: {
            "method": "SUBSCRIBE",
            "params": [f"{native.lower()}@forceOrder" for native in natives],
            "id": 1,
        },
        _binance,
        sampled=True,
    ),
}
