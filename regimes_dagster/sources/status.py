"""The ``source_status`` rows of a run.

What belongs here: the latest state per (venue, symbol) and which venue's rows are in use. What does not: the
history of states (coverage and run metadata keep that).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from regimes_dagster.sources.frames import empty, table_frame
from regimes_dagster.sources.protocol import Kind, SourceError


@dataclass(frozen=True)
class _Entry:
    state: str
    last_ok_at: pd.Timestamp | None
    error: str | None
    message: str | None
    newest: pd.Timestamp | None = None


class StatusBoard:
    """Collects what each venue answered during a run."""

    def __init__(self, kind: Kind, now: pd.Timestamp, venues: Sequence[str], stored: pd.DataFrame | None) -> None:
        self.kind, self.now, self.venues = kind, now, tuple(venues)
        rows = [] if stored is None else stored[stored["kind"] == kind].to_dict("records")
        self._stored = {(row["venue"], row["symbol"]): row for row in rows}
        self._entries: dict[tuple[str, str], _Entry] = {}

    @staticmethod
    def nothing() -> pd.DataFrame:
        """No rows."""
        return empty("source_status")

    def served(self, venue: str, symbol: str, *, newest: pd.Timestamp) -> None:
        """The venue gave rows, or said that there are none, up to ``newest``."""
        before = self._entries.get((venue, symbol))
        if before is not None and before.newest is not None:
            newest = max(newest, before.newest)
        self._entries[(venue, symbol)] = _Entry("OK", self.now, None, None, newest)

    def answered(self, venue: str, symbol: str) -> None:
        """The venue answered, but has nothing for the window (before its listing, beyond its depth)."""
        before = self._entries.get((venue, symbol))
        if before is None:
            message = "nothing to give for the window asked"
            self._entries[(venue, symbol)] = _Entry("OK", self._last_ok(venue, symbol), None, message)

    def failed(self, venue: str, symbol: str, error: SourceError) -> None:
        """The venue could not serve."""
        before = self._entries.get((venue, symbol))
        entry = _Entry(error.state, self._last_ok(venue, symbol), type(error).__name__, error.message)
        if before is not None and before.newest is not None:
            entry = replace(entry, last_ok_at=before.last_ok_at, newest=before.newest)
        self._entries[(venue, symbol)] = entry

    def frame(self) -> pd.DataFrame:
        """Rows of every (venue, symbol) asked, and of those stored whose ``in_use`` changes."""
        used = self._in_use()
        records = []
        for (venue, symbol), entry in self._entries.items():
            in_use = (venue, symbol) in used
            records.append((venue, symbol, entry.state, entry.last_ok_at, entry.error, entry.message, in_use))
        asked = {symbol for _, symbol in used}
        for (venue, symbol), row in self._stored.items():
            listed = venue in self.venues
            if (venue, symbol) not in self._entries and row["in_use"] and (symbol in asked or not listed):
                error, message = _text(row["last_error_class"]), _text(row["message"])
                records.append((venue, symbol, row["state"], row["last_ok_at"], error, message, False))
        columns = list(zip(*records, strict=True)) if records else [()] * 7
        names = ("venue", "symbol", "state", "last_ok_at", "last_error_class", "message", "in_use")
        cells = {name: list(values) for name, values in zip(names, columns, strict=True)}
        return table_frame("source_status", {"kind": [self.kind] * len(records)} | cells)

    def _in_use(self) -> set[tuple[str, str]]:
        newest: dict[str, tuple[pd.Timestamp, str]] = {}
        every = {key for key, entry in self._entries.items() if entry.newest is not None and entry.state == "OK"}
        if self.kind == "liquidations":
            return every
        for venue in self.venues:
            for key in every:
                stamp = self._entries[key].newest
                if key[0] == venue and stamp is not None and (key[1] not in newest or stamp > newest[key[1]][0]):
                    newest[key[1]] = (stamp, venue)
        return {(venue, symbol) for symbol, (_, venue) in newest.items()}

    def _last_ok(self, venue: str, symbol: str) -> pd.Timestamp | None:
        entry = self._entries.get((venue, symbol))
        if entry is not None:
            return entry.last_ok_at
        row = self._stored.get((venue, symbol))
        return None if row is None or pd.isna(row["last_ok_at"]) else row["last_ok_at"]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
