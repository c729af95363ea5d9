"""How figures are written for people: one place, so that every panel and table agrees.

What belongs here: number to text. Units: money in USD, funding in basis points, volatility in per cent, scores
in sigma, confidence in whole per cent. A missing value is an en dash, never 0. What does not: moments (the
browser writes them in the zone the reader chose) and colours.
"""

from datetime import timedelta

MISSING = "–"
MINUS = "−"


def _signed(text: str) -> str:
    return text.replace("-", MINUS)


def money(value: float | None, *, per_hour: bool = False) -> str:
    """USD with at most three significant digits: ``$812``, ``$375k``, ``$1.50M``, ``$2.10B``; ``/h`` on request."""
    if value is None:
        return MISSING
    size = abs(value)
    if size >= 999.5e6:
        text = f"${value / 1e9:.2f}B"
    elif size >= 999.5e3:
        text = f"${value / 1e6:.2f}M"
    elif size >= 9_999.5:
        text = f"${value / 1e3:.0f}k"
    elif size >= 999.5:
        text = f"${value / 1e3:.1f}k"
    else:
        text = f"${value:.0f}"
    return _signed(text.replace("$-", "-$")) + ("/h" if per_hour else "")


def price(value: float | None) -> str:
    """A price with the digits that its size needs: ``$67,412``, ``$152.37``, ``$0.4821``."""
    if value is None:
        return MISSING
    if value >= 10_000:
        return f"${value:,.0f}"
    if value >= 1:
        return f"${value:,.2f}"
    return f"${value:.4g}"


def percent(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """A fraction as per cent: ``3.10 %``; with ``sign`` ``+3.10 %``."""
    if value is None:
        return MISSING
    return _signed(f"{100 * value:{'+' if sign else ''}.{digits}f} %")


def whole_percent(value: float | None) -> str:
    """A share as whole per cent: ``75 %``."""
    return percent(value, 0)


def basis_points(rate: float | None, digits: int = 2) -> str:
    """A rate (fraction) in basis points: ``+1.25 bp``."""
    return MISSING if rate is None else _signed(f"{1e4 * rate:+.{digits}f} bp")


def sigma(value: float | None, digits: int = 1) -> str:
    """A score: ``+4.1σ``."""
    return MISSING if value is None else _signed(f"{value:+.{digits}f}σ")


def times(value: float | None, digits: int = 1) -> str:
    """A factor: ``×1.2``."""
    return MISSING if value is None else f"×{value:.{digits}f}"


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """A plain number with fixed digits."""
    return MISSING if value is None else _signed(f"{value:{'+' if sign else ''},.{digits}f}")


def count(value: int | None) -> str:
    """A whole number with thousands separators."""
    return MISSING if value is None else f"{value:,d}"


def hours(value: float | None) -> str:
    """Hours in the unit that reads best: ``30 min``, ``1 h``, ``8.5 h``, ``3.2 d``."""
    if value is None or value >= 48 or 0 < value < 1:
        return MISSING if value is None else duration(timedelta(hours=value))
    return f"{value:.0f} h" if float(value).is_integer() else f"{value:.1f} h"


def duration(span: timedelta | None) -> str:
    """A length of time in its largest fitting unit."""
    if span is None:
        return MISSING
    seconds = max(0.0, span.total_seconds())
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.0f} h" if seconds % 3600 == 0 or seconds > 12 * 3600 else f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} d" if seconds < 10 * 86400 else f"{seconds / 86400:.0f} d"


def base(symbol: str) -> str:
    """The asset of a symbol: ``BTC`` for ``BTC/USDT``."""
    return symbol.split("/", 1)[0]


def pair_name(pair: str) -> str:
    """A pair as people say it: ``BTC/ETH`` for ``BTC/USDT/ETH/USDT``."""
    parts = pair.split("/")
    return f"{parts[0]} · {parts[2]}" if len(parts) == 4 else pair


def event_name(event_type: str) -> str:
    """An event type in words: ``Liquidation cascade``."""
    return event_type.replace("_", " ").capitalize()


def label_name(label: str) -> str:
    """A regime label in words: ``Bull trend``; four-letter abbreviations stay as they are."""
    return label.replace("_", " ").capitalize()
