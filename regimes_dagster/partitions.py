"""The monthly partitions, and the one rule which rows a partition holds.

What belongs here: everything that turns a partition key, a calendar range or a clock reading into a
half-open window of row stamps. Nothing else in the project repeats the rule: a row is labelled with the
moment it becomes true (the END of its hour), so the partition ``2024-02-01`` holds
``2024-02-01 00:00 < ts <= 2024-03-01 00:00``.

What does not: Dagster (``definitions.py`` builds its partitions definition from ``first_month``), storage,
and the clock itself.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pandas as pd

HOUR = timedelta(hours=1)

#: The hourly run looks back this far, so that late revisions of the last bars are taken in.
REVISABLE = timedelta(hours=3)

KEY_FORMAT = "%Y-%m-%d"


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Row stamps ``start < ts <= end``, both timezone-aware UTC.

    Raises
    ------
    ValueError
        If a bound is naive or not UTC, or ``end < start``.
    """

    start: pd.Timestamp
    end: pd.Timestamp

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            stamp = utc(getattr(self, name))
            object.__setattr__(self, name, stamp)
        if self.end < self.start:
            raise ValueError(f"a window must not end before it starts: {self.start} .. {self.end}")

    def mask(self, ts: "pd.Series[pd.Timestamp]") -> "pd.Series[bool]":
        """True where a stamp lies in the window."""
        return (ts > self.start) & (ts <= self.end)

    def hours(self) -> pd.DatetimeIndex:
        """Every hour-end stamp the window holds, in order."""
        first = self.start.floor("h") + HOUR
        return pd.date_range(first, self.end.floor("h"), freq="h", unit="us")

    def until(self, moment: pd.Timestamp | datetime) -> "Window":
        """The part of the window not after ``moment`` (empty, ``start == end``, if it lies before)."""
        end = min(self.end, utc(moment))
        return Window(self.start, max(self.start, end))

    def __str__(self) -> str:
        return f"({self.start:%Y-%m-%d %H:%M}, {self.end:%Y-%m-%d %H:%M}] UTC"


def utc(moment: pd.Timestamp | datetime | date | str) -> pd.Timestamp:
    """A UTC timestamp from anything that names a moment; text and dates without an offset are UTC.

    Raises
    ------
    ValueError
        For a naive ``datetime`` or ``Timestamp`` (its zone would be a guess).
    """
    stamp = pd.Timestamp(moment)
    if stamp.tzinfo is None:
        if isinstance(moment, datetime):
            raise ValueError(f"{moment!r} has no time zone; give an aware UTC moment")
        return stamp.tz_localize("UTC").as_unit("us")
    return stamp.tz_convert("UTC").as_unit("us")


def month_start(moment: pd.Timestamp | datetime | date | str) -> pd.Timestamp:
    """Midnight of the first day of the calendar month that contains ``moment``."""
    return utc(moment).normalize().replace(day=1)


def next_month(start: pd.Timestamp) -> pd.Timestamp:
    """The first moment of the month after the one that starts at ``start``."""
    return month_start(start + timedelta(days=32))


def partition_window(key: str) -> Window:
    """The window of one partition key such as ``2024-02-01``.

    Raises
    ------
    ValueError
        If the key is not the first day of a month.
    """
    try:
        start = utc(date.fromisoformat(key))
    except ValueError:
        raise ValueError(f"{key!r} is no partition key; write the first day of a month, e.g. 2024-02-01") from None
    if start.day != 1:
        raise ValueError(
            f"{key!r} is no partition key; partitions start on the first of a month, e.g. {start:%Y-%m}-01"
        )
    return Window(start, next_month(start))


def partition_of(ts: pd.Timestamp | datetime) -> str:
    """The key of the partition that holds the row labelled ``ts``; midnight of the 1st belongs to the month before."""
    stamp = utc(ts)
    return month_start(stamp - timedelta(microseconds=1)).strftime(KEY_FORMAT)


def keys_window(keys: Iterable[str]) -> Window:
    """The one window that a run over consecutive partition keys covers.

    Raises
    ------
    ValueError
        If there is no key, or the keys leave a hole.
    """
    windows = [partition_window(key) for key in sorted(keys)]
    if not windows:
        raise ValueError("a run needs at least one partition")
    for left, right in itertools.pairwise(windows):
        if left.end != right.start:
            raise ValueError(f"the partitions of one run must follow each other; there is a hole after {left}")
    return Window(windows[0].start, windows[-1].end)


def keys_between(first: date | str, last: date | str) -> list[str]:
    """Keys of every month from the one that contains ``first`` to the one that contains ``last``, both included.

    These are calendar days as a person types them: ``2023-01-01`` to ``2024-12-31`` is 24 months.
    """
    start, stop = month_start(first), month_start(last)
    if stop < start:
        raise ValueError(f"the range ends ({last}) before it starts ({first})")
    return [month.strftime(KEY_FORMAT) for month in _months(start, stop)]


def keys_touched(now: pd.Timestamp | datetime, back: timedelta = REVISABLE) -> list[str]:
    """Keys of the months in which a row of the last ``back`` before ``now`` may lie (one, or two near an edge)."""
    newest = utc(now).floor("h")
    oldest = newest - back + HOUR
    return [
        month.strftime(KEY_FORMAT)
        for month in _months(month_start(partition_of(oldest)), month_start(partition_of(newest)))
    ]


def month_edges(window: Window) -> list[pd.Timestamp]:
    """Ends of the partitions inside ``window``, in order, always ending with ``window.end``."""
    edges = [
        m
        for m in _months(next_month(month_start(window.start)), month_start(window.end))
        if window.start < m <= window.end
    ]
    if not edges or edges[-1] != window.end:
        edges.append(window.end)
    return edges


def _months(first: pd.Timestamp, last: pd.Timestamp) -> Iterator[pd.Timestamp]:
    month = first
    while month <= last:
        yield month
        month = next_month(month)
