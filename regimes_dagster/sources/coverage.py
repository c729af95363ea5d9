"""Arithmetic on windows: what is known, what is missing, and how that is written down.

What belongs here: subtracting, joining and cutting windows, and turning them into ``source_coverage`` rows and
back. What does not: deciding whom to ask (``ingest.py``).

A stretch is COMPLETE once it lay more than the revisable three hours in the past when it was read; the stretch
after that is PARTIAL and is read again. Rows never cross a month's edge, so that a run over one month rewrites
the rows of that month only and the table holds few rows per month, however often the hourly run extends them.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

import pandas as pd

from regimes_dagster.partitions import HOUR, REVISABLE, Window, month_edges
from regimes_dagster.sources.frames import table_frame

Record = tuple[Window, str, pd.Timestamp]

COMPLETE, PARTIAL, UNAVAILABLE = "COMPLETE", "PARTIAL", "UNAVAILABLE"

#: What a venue could not give is asked again after this long (a listing, a lifted block, a wrong answer).
RECHECK = timedelta(days=1)


def merge(windows: Iterable[Window]) -> list[Window]:
    """The same hours as few windows, in order; empty windows vanish."""
    result: list[Window] = []
    for window in sorted(w for w in windows if w.end > w.start):
        if result and window.start <= result[-1].end:
            result[-1] = Window(result[-1].start, max(result[-1].end, window.end))
        else:
            result.append(window)
    return result


def subtract(windows: Iterable[Window], taken: Iterable[Window]) -> list[Window]:
    """What of ``windows`` is not in ``taken``."""
    rest = merge(windows)
    for hole in merge(taken):
        pieces = []
        for window in rest:
            if hole.end <= window.start or window.end <= hole.start:
                pieces.append(window)
                continue
            if window.start < hole.start:
                pieces.append(Window(window.start, hole.start))
            if hole.end < window.end:
                pieces.append(Window(hole.end, window.end))
        rest = pieces
    return rest


def intersect(windows: Iterable[Window], inside: Iterable[Window]) -> list[Window]:
    """What of ``windows`` is also in ``inside``."""
    left, right = merge(windows), merge(inside)
    both = []
    for a in left:
        for b in right:
            start, end = max(a.start, b.start), min(a.end, b.end)
            if start < end:
                both.append(Window(start, end))
    return merge(both)


def by_month(window: Window) -> list[Window]:
    """The window cut at the edges of the months."""
    pieces, start = [], window.start
    for edge in month_edges(window):
        if edge > start:
            pieces.append(Window(start, edge))
        start = edge
    return pieces


def final_edge(now: pd.Timestamp) -> pd.Timestamp:
    """Up to here hours are over."""
    return now.floor("h")


def settled_edge(now: pd.Timestamp) -> pd.Timestamp:
    """Up to here hours are over and no longer revisable."""
    return final_edge(now) - REVISABLE


class Known:
    """What ``source_coverage`` says about one (kind, venue, symbol), and what a run adds to it."""

    def __init__(self, rows: pd.DataFrame, now: pd.Timestamp) -> None:
        self.now = now
        self.complete = _windows(rows[rows["state"] == COMPLETE])
        self._old_partial = _windows(rows[rows["state"] == PARTIAL])
        denied = rows[rows["state"] == UNAVAILABLE]
        self._denied_at = {w: at for w, at in zip(_windows(denied, merged=False), denied["checked_at"], strict=True)}
        self._new: list[Window] = []
        self._newly_denied: list[Window] = []

    def missing(self, window: Window) -> list[Window]:
        """What must be asked: neither complete nor denied lately."""
        fresh = [w for w, at in self._denied_at.items() if abs(self.now - at) < RECHECK]
        return subtract([window.until(final_edge(self.now))], self.complete + fresh)

    def denied(self, window: Window) -> list[Window]:
        """What the venue said lately it cannot give."""
        fresh = [w for w, at in self._denied_at.items() if abs(self.now - at) < RECHECK]
        return intersect([window], fresh + self._newly_denied)

    def add(self, covered: Iterable[Window], unavailable: Iterable[Window]) -> None:
        """Take in what a fetch brought."""
        self._new.extend(covered)
        self._newly_denied.extend(unavailable)

    def served(self, window: Window) -> list[Window]:
        """What is known now, complete or still revisable."""
        return intersect([window], self.complete + self._new)

    def changed(self) -> bool:
        """Whether this run learnt anything."""
        return bool(self._new or self._newly_denied)

    def records(self, window: Window) -> list[Record]:
        """What ``source_coverage`` says of ``window`` (whole months) after this run, in order of start."""
        edge = settled_edge(self.now)
        complete = merge(self.complete + [w.until(edge) for w in self._new if w.start < edge])
        partial = subtract(self._new + self._old_partial, complete)
        known = complete + partial
        records: list[Record] = []
        for part in by_month(window):
            records += [(w, COMPLETE, self.now) for w in intersect(complete, [part])]
            records += [(w, PARTIAL, self.now) for w in intersect(partial, [part])]
            records += [(w, UNAVAILABLE, self.now) for w in subtract(intersect(self._newly_denied, [part]), known)]
            for denied, at in self._denied_at.items():
                kept = subtract(intersect([denied], [part]), known + self._newly_denied)
                records += [(w, UNAVAILABLE, at) for w in kept]
        return sorted(records)


def coverage_frame(kind: str, records: Mapping[tuple[str, str], Sequence[Record]]) -> pd.DataFrame:
    """``source_coverage`` rows from records by (venue, symbol)."""
    flat = [(venue, symbol, *record) for (venue, symbol), some in records.items() for record in some]
    return table_frame(
        "source_coverage",
        {
            "kind": [kind] * len(flat),
            "venue": [venue for venue, *_ in flat],
            "symbol": [symbol for _, symbol, *_ in flat],
            "start_ts": [window.start for _, _, window, _, _ in flat],
            "end_ts": [window.end for _, _, window, _, _ in flat],
            "state": [state for _, _, _, state, _ in flat],
            "checked_at": [at for *_, at in flat],
        },
    )


def _windows(rows: pd.DataFrame, *, merged: bool = True) -> list[Window]:
    windows = [Window(start, end) for start, end in zip(rows["start_ts"], rows["end_ts"], strict=True)]
    return merge(windows) if merged else windows


def oldest_unfinished(
    coverage: pd.DataFrame, now: pd.Timestamp, back: timedelta = timedelta(days=14)
) -> pd.Timestamp | None:
    """The oldest hour that should be known by now and is not, or None.

    The hourly run touches the months of the last three hours only; after an outage across a month's edge, hours of
    the month before would stay open for ever. A run that starts at the month of this hour closes them.

    Parameters
    ----------
    coverage
        Rows of ``source_coverage``, all kinds.
    now
        The clock's reading.
    back
        How far back to look; older holes are for a backfill.

    Returns
    -------
    Timestamp or None
        End of the first open hour, over all kinds and symbols of which anything is known before it. An hour counts
        as known when any venue has it, or says that it cannot give it.
    """
    edge = settled_edge(now)
    oldest: pd.Timestamp | None = None
    recent = coverage[(coverage["end_ts"] > now - back) & (coverage["state"] != PARTIAL)]
    for _, rows in recent.groupby(["kind", "symbol"]):
        known = merge(_windows(rows))
        span = Window(max(known[0].start, now - back), max(edge, known[0].start, now - back))
        open_hours = subtract([span], known)
        if open_hours:
            first = open_hours[0].start.floor("h") + HOUR
            oldest = first if oldest is None else min(oldest, first)
    return oldest
