"""Pages as lists of parts: what each part shows, which data it depends on, and what makes it change.

What belongs here: ``Context`` (everything a builder may look at), ``Part`` and ``Page``, and the rule that a part
is sent again only if its data or what the reader chose has changed. What does not: the parts themselves (``pages``)
and Dash (``wiring.py``).
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dash_app.reader import Reader, ReadError
from dash_app.snapshot import Snapshot
from dash_app.theme import Palette, palette
from dash_app.tree import Tree
from dash_app.view import View
from regimes_dagster.settings import Settings

log = logging.getLogger("dash_app.panels")

Figure = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """What a builder may look at: the view, the present state, and a reader for ranges."""

    view: View
    snap: Snapshot
    reader: Reader
    settings: Settings
    theme: str = "dark"
    zone: str = "UTC"
    notes: Sequence[str] = ()
    _cache: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def colours(self) -> Palette:
        """The palette of the theme."""
        return palette(self.theme)

    @cached_property
    def now(self) -> datetime:
        """The platform's now."""
        return self.snap.moment()

    @cached_property
    def window(self) -> tuple[datetime, datetime]:
        """``(start, end]`` of charts, ending at the newest hour."""
        newest = max((row["ts"] for row in self.snap.market.values()), default=self.now)
        start, end = self.view.window(newest)
        return start, min(end, newest + timedelta(days=1))

    @cached_property
    def _zone(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder of zones
            return ZoneInfo("UTC")

    @property
    def zone_name(self) -> str:
        """How the zone is named in headings."""
        return "local" if self.view.tz == "local" else "UTC"

    def local(self, moment: datetime) -> str:
        """A moment for a chart axis, in the reader's zone."""
        return moment.astimezone(self._zone).strftime("%Y-%m-%dT%H:%M:%S")

    def axis_times(self, rows: Sequence[dict[str, Any]], key: str = "ts") -> list[str]:
        """The stamps of rows for a chart axis."""
        return [self.local(row[key]) for row in rows]

    def once(self, name: str, read: Callable[[], T]) -> T:
        """The result of ``read``, shared by the parts of one answer (a chart and its summary)."""
        if name not in self._cache:
            self._cache[name] = read()
        found: T = self._cache[name]
        return found


@dataclass(frozen=True)
class Part:
    """One thing on a page that is refreshed on its own.

    Parameters
    ----------
    id : str
        Id of the element; ``<panel>-<name>``.
    build : callable
        Makes the tree or the figure.
    uses : tuple of str
        Sections of the snapshot it depends on.
    sees : tuple of str
        Values of the view it depends on.
    kind : "tree" or "figure"
    """

    id: str
    build: Callable[[Context], Tree | Figure]
    uses: tuple[str, ...]
    sees: tuple[str, ...] = ()
    kind: Literal["tree", "figure"] = "tree"

    @property
    def panel(self) -> str:
        """The panel that the part belongs to."""
        return self.id.split("-", 1)[0]

    def key(self, context: Context) -> str:
        """Changes exactly when the part has to be sent again."""
        seen = [getattr(context.view, name) for name in self.sees]
        look = [context.theme, context.zone] if self.kind == "figure" else [context.view.tz, context.view.theme]
        text = repr((context.snap.version(*self.uses), seen, look, context.snap.ready, context.snap.is_simulated))
        return hashlib.blake2s(text.encode(), digest_size=6).hexdigest()


@dataclass(frozen=True)
class Page:
    """One tab: its parts, and the skeleton that holds them."""

    path: str
    parts: tuple[Part, ...]
    layout: Callable[[], Any]


@dataclass(frozen=True)
class Update:
    """What an answer carries: new content per part, the keys of what the browser now has, and notes on failures."""

    content: dict[str, Tree | Figure]
    have: dict[str, str]
    problems: dict[str, str]


def update(parts: Sequence[Part], context: Context, have: dict[str, str]) -> Update:
    """Build the parts whose key differs from what the browser has; one that cannot be read keeps its content."""
    content: dict[str, Tree | Figure] = {}
    known = dict(have)
    problems: dict[str, str] = {}
    for part in parts:
        key = part.key(context)
        if have.get(part.id) == key:
            continue
        try:
            content[part.id] = part.build(context)
            known[part.id] = key
        except ReadError as error:
            problems[part.panel] = f"Not refreshed: {error}. Shown is the last state that could be read."
            known.pop(part.id, None)
        except Exception:
            log.exception("part %s could not be built", part.id)
            problems[part.panel] = "Not refreshed: this panel could not be drawn; the server's log has the details."
            known.pop(part.id, None)
    if context.snap.error and context.snap.ready:
        for part in parts:
            problems.setdefault(part.panel, f"Not refreshed: {context.snap.error}. Shown is the last state.")
    return Update(content, known, problems)
