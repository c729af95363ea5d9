"""The names that users write: venues, kinds of data, events and severities.

What belongs here: closed lists of words that the settings check and that rows, messages and pages repeat.
It imports nothing, so that reading the settings stays cheap. What does not: the meaning of columns
(``schemas.py``) and how a venue is spoken to (``sources/``).
"""

from typing import Final, Literal

Severity = Literal["INFO", "WARNING", "CRITICAL"]
WebhookFormat = Literal["json", "discord", "slack", "telegram"]
EventType = Literal[
    "LIQUIDATION_CASCADE",
    "FUNDING_ANOMALY",
    "FUNDING_REVERSAL",
    "VOLATILITY_REGIME_CHANGE",
    "CORRELATION_BREAK",
    "REGIME_CONFIRMED",
    "PIPELINE_FAILED",
    "DATA_GAP",
]

SEVERITIES: Final[tuple[Severity, ...]] = ("INFO", "WARNING", "CRITICAL")

#: Market events, in the guide's order and then the one it adds for confirmed regimes.
EVENT_TYPES: Final[tuple[EventType, ...]] = (
    "LIQUIDATION_CASCADE",
    "FUNDING_ANOMALY",
    "FUNDING_REVERSAL",
    "VOLATILITY_REGIME_CHANGE",
    "CORRELATION_BREAK",
    "REGIME_CONFIRMED",
)

#: Events about the platform itself.
OPERATIONAL_EVENT_TYPES: Final[tuple[EventType, ...]] = ("PIPELINE_FAILED", "DATA_GAP")

#: Short names that the guide's examples use.
EVENT_ALIASES: Final[dict[str, EventType]] = {"CASCADE": "LIQUIDATION_CASCADE"}

#: The guide's webhook variables and the events each stands for; ``None`` means every event.
WEBHOOK_VARIABLES: Final[dict[str, tuple[EventType, ...] | None]] = {
    "WEBHOOKS_CASCADE": ("LIQUIDATION_CASCADE",),
    "WEBHOOKS_FUNDING": ("FUNDING_ANOMALY", "FUNDING_REVERSAL"),
    "WEBHOOKS_VOLATILITY": ("VOLATILITY_REGIME_CHANGE",),
    "WEBHOOKS_CORRELATION": ("CORRELATION_BREAK",),
    "WEBHOOKS_REGIME": ("REGIME_CONFIRMED",),
    "WEBHOOKS_ALL": None,
}

#: Sources that are not venues: bulk archive, own files, simulated market.
OFFLINE_SOURCES: Final[tuple[str, ...]] = ("archive", "files", "simulated")

#: Venues known to serve each kind of data, in the order in which they are tried by default.
VENUES: Final[dict[str, tuple[str, ...]]] = {
    "ohlcv": (
        "binanceus",
        "coinbaseexchange",
        "binance",
        "kraken",
        "bitfinex",
        "bybit",
        "okx",
        "gate",
        "hyperliquid",
    ),
    "funding": (
        "hyperliquid",
        "krakenfutures",
        "deribit",
        "binanceusdm",
        "bybit",
        "okx",
        "gate",
    ),
    "liquidations": (
        "krakenfutures",
        "deribit",
        "gate",
        "bitfinex",
        "binanceusdm",
        "bybit",
        "okx",
    ),
    "minute_bars": ("binance", "binanceus", "coinbaseexchange"),
}

#: Every name that may stand in a list of sources.
SOURCE_NAMES: Final[tuple[str, ...]] = tuple(
    dict.fromkeys([*(venue for venues in VENUES.values() for venue in venues), *OFFLINE_SOURCES])
)
