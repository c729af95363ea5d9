"""What the reader looks at, read from and written to the address.

What belongs here: the pages, ranges and filters an address may carry, their defaults, and the rule that a wrong
value falls back with a note. What does not: what the pages show.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

PAGES: dict[str, str] = {
    "/": "Overview",
    "/cascades": "Cascades",
    "/funding": "Funding",
    "/volatility": "Volatility",
    "/regimes": "Regimes",
    "/correlation": "Correlation",
    "/alerts": "Alerts",
    "/health": "Data health",
}

RANGES: dict[str, timedelta] = {
    "24h": timedelta(hours=24),
    "72h": timedelta(hours=72),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "90d": timedelta(days=90),
    "1y": timedelta(days=365),
    "3y": timedelta(days=3 * 365),
}
DEFAULT_RANGE = {"/": "72h", "/cascades": "7d", "/alerts": "7d"}
SEVERITIES = ("INFO", "WARNING", "CRITICAL")
THEMES = ("dark", "light")
ZONES = ("utc", "local")


@dataclass(frozen=True, slots=True)
class View:
    """One state of the dashboard, complete enough to be shared as an address."""

    page: str = "/"
    symbol: str = ""
    pair: str = ""
    range: str = ""
    start: datetime | None = None
    end: datetime | None = None
    event: str = ""
    severity: str = ""
    search: str = ""
    alert: str = ""
    tz: str = "utc"
    theme: str = ""

    @property
    def range_key(self) -> str:
        """The range in force: the chosen one, or the page's default."""
        return self.range or DEFAULT_RANGE.get(self.page, "30d")

    def window(self, now: datetime) -> tuple[datetime, datetime]:
        """Moments ``(start, end]`` that charts show: the zoomed ones, or the range up to ``now``."""
        end = self.end or now
        return (self.start or end - RANGES[self.range_key], end)

    def href(self, **changes: Any) -> str:
        """The address of this view with some values changed; a new page drops what belongs to the old one."""
        if changes.get("page", self.page) != self.page:
            changes = {
                "range": "",
                "start": None,
                "end": None,
                "event": "",
                "severity": "",
                "search": "",
                "alert": "",
            } | changes
        elif {"range", "symbol"} & set(changes):
            changes = {"start": None, "end": None} | changes
        return _address(replace(self, **changes))


def _address(view: View) -> str:
    pairs = {
        "symbol": view.symbol,
        "pair": view.pair,
        "range": view.range,
        "from": _stamp(view.start),
        "to": _stamp(view.end),
        "event": view.event,
        "severity": view.severity,
        "q": view.search,
        "alert": view.alert,
        "tz": "" if view.tz == "utc" else view.tz,
        "theme": view.theme,
    }
    query = urlencode({name: value for name, value in pairs.items() if value}, safe="/:")
    return view.page + (f"?{query}" if query else "")


def _stamp(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def parse(
    path: str, query: str, *, symbols: Sequence[str], pairs: Sequence[str] = (), events: Sequence[str] = ()
) -> tuple[View, list[str]]:
    """The view that an address names, and a note for every value that had to be replaced.

    Parameters
    ----------
    path, query : str
        Path and query string (with or without ``?``) of the address.
    symbols, pairs, events : sequence of str
        What may be chosen; the first symbol and pair are the defaults.
    """
    notes: list[str] = []
    given = dict(parse_qsl(query.lstrip("?"), keep_blank_values=False))
    page = path.rstrip("/") or "/"
    if page not in PAGES:
        notes.append(f"There is no page {path[:60]!r}; this is the overview.")
        page = "/"

    def choose(name: str, allowed: Sequence[str], default: str) -> str:
        value = given.get(name, "")
        if not value or value in allowed:
            return value or default
        shown = ", ".join(allowed[:6]) + (", ..." if len(allowed) > 6 else "")
        notes.append(f"{name} {value[:40]!r} is not known; shown instead: {default or 'all'}. Possible: {shown}.")
        return default

    start, end = _moment(given, "from", notes), _moment(given, "to", notes)
    if start and end and start >= end:
        notes.append("from must lie before to; both are ignored.")
        start = end = None
    first_pair = next(
        (pair for pair in pairs if pair.startswith(f"{given.get('symbol', '')}/")), pairs[0] if pairs else ""
    )
    return (
        View(
            page=page,
            symbol=choose("symbol", symbols, symbols[0] if symbols else ""),
            pair=choose("pair", pairs, first_pair),
            range=choose("range", tuple(RANGES), ""),
            start=start,
            end=end,
            event=choose("event", events, ""),
            severity=choose("severity", SEVERITIES, ""),
            search=_plain(given.get("q", "")),
            alert=_plain(given.get("alert", "")),
            tz=choose("tz", ZONES, "utc"),
            theme=choose("theme", THEMES, ""),
        ),
        notes,
    )


def _moment(given: dict[str, str], name: str, notes: list[str]) -> datetime | None:
    text = given.get(name, "")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        notes.append(f"{name} {text[:40]!r} is no moment; write e.g. 2024-08-05T00:00Z.")
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not 2000 < moment.year < 2200:
        notes.append(f"{name} {text[:40]!r} lies outside the years 2001 to 2199.")
        return None
    return moment.astimezone(UTC)


def _plain(text: str) -> str:
    return "".join(letter for letter in text[:80] if letter.isprintable())
