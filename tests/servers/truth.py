"""A small market that the servers tell the truth about, so that stored rows can be compared with it exactly.

What belongs here: bars, settlements and liquidations by simple formulas. What does not: wire formats.
"""

import math

HOUR_MS = 3_600_000
MINUTE_MS = 60_000


def bar(symbol: str, open_ms: int) -> tuple[float, float, float, float, float, float]:
    """Open, high, low, close, volume and quote volume of the hour that starts at ``open_ms``."""
    hour = open_ms // HOUR_MS
    base = 100.0 + sum(map(ord, symbol)) % 50
    opened, close = base + math.sin(hour / 7.0), base + math.sin((hour + 1) / 7.0)
    high, low = max(opened, close) + 0.25, min(opened, close) - 0.25
    volume = 10.0 + hour % 24
    values = (opened, high, low, close, volume)
    return (*(round(value, 6) for value in values), round(volume * base, 6))  # type: ignore[return-value]


def minute(symbol: str, open_ms: int) -> tuple[float, float]:
    """Close and volume of the minute that starts at ``open_ms``."""
    number = open_ms // MINUTE_MS
    return round(100.0 + sum(map(ord, symbol)) % 50 + math.sin(number / 50.0), 6), 1.0 + number % 7


def rate(symbol: str, settled_ms: int) -> float:
    """Funding rate of one settlement."""
    return round(0.0001 * math.sin(settled_ms / HOUR_MS / 11.0 + len(symbol)), 10)
