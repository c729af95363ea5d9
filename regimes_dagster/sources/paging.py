"""The one paging loop: forward, in windows bounded on both sides.

What belongs here: walking, filtering to the window, removing doubles, noticing pages that are cut short or empty.
What does not: how a page is asked, and what an empty page means (the venue's file decides).

The client library's own pagination is not used: it gave the newest 10,000 bars when five years were asked, nothing
for old windows, and lost half of a 4-hour funding series. The loop advances by the window, not by the last row,
because gaps are legal; and because a venue may give fewer rows than it promises, what a page lacks at its edges
is asked once more, and so is a page that comes back empty.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

import pandas as pd

from regimes_dagster.partitions import Window
from regimes_dagster.sources.frames import milliseconds

Row = TypeVar("Row")


@dataclass
class Paged(Generic[Row]):
    """Rows in order of their stamp, each key once; and the pages that came back empty, twice."""

    rows: list[Row] = field(default_factory=list)
    answered: list[Window] = field(default_factory=list)
    empty: list[Window] = field(default_factory=list)


@dataclass(frozen=True)
class Pager(Generic[Row]):
    """How a venue's pages work.

    Attributes
    ----------
    ask
        Rows of one page, in any order; rows outside it are ignored.
    stamp
        The ``ts`` of a row, milliseconds since 1970 (a ``Timestamp`` per row costs more than all the rest).
    key
        What makes a row unique; the later of two with one key wins.
    page
        Span of the rows that one answer can hold.
    step
        Usual distance of two rows; an edge that lacks more than this is asked again. None: edges are not looked at.
    full
        Rows of a full answer: only after one ``step`` is the measure. None: after every answer.
    gap
        The measure after an answer that is not full, where rows may be further apart. None: its edges are taken as
        they are.
    """

    ask: Callable[[Window], list[Row]]
    stamp: Callable[[Row], int]
    key: Callable[[Row], Hashable]
    page: timedelta
    step: timedelta | None = None
    full: int | None = None
    gap: timedelta | None = None

    def walk(self, window: Window, settled: pd.Timestamp) -> Paged[Row]:
        """All rows of the window.

        Parameters
        ----------
        settled
            Edges after this moment are not asked again: a venue may publish the last hours late, and the next run
            reads them anyway.
        """
        result: Paged[Row] = Paged()
        found: dict[Hashable, Row] = {}
        start = window.start
        while start < window.end:
            page = Window(start, min(start + self.page, window.end))
            rows = self._page(page, settled)
            (result.answered if rows else result.empty).append(page)
            found.update((self.key(row), row) for row in rows)
            start = page.end
        result.rows = sorted(found.values(), key=self.stamp)
        return result

    def _page(self, page: Window, settled: pd.Timestamp) -> list[Row]:
        rows, measure = self._inside(page)
        if not rows:
            # An empty answer may be a fault; a page is believed to be empty when it is so twice.
            rows, measure = self._inside(page)
        if not rows:
            return rows
        start, end, reliable = milliseconds(page.start), milliseconds(page.end), milliseconds(settled)
        first, last = min(map(self.stamp, rows)), max(map(self.stamp, rows))
        # Newest-first venues cut the head, others the tail; an answer that adds nothing ends the matter.
        ahead = measure
        while ahead is not None and last + ahead <= min(end, reliable):
            more, ahead = self._inside(Window(_stamp(last), page.end))
            if not more:
                break
            rows, last = rows + more, max(map(self.stamp, more))
        before = measure
        while before is not None and first - before > start:
            more, before = self._inside(Window(page.start, _stamp(first - 1)))
            if not more:
                break
            rows, first = more + rows, min(map(self.stamp, more))
        return rows

    def _inside(self, page: Window) -> tuple[list[Row], int | None]:
        """Rows of the page, and how much may lack at an edge before it counts as cut, ms; None: nothing does."""
        answer = self.ask(page)
        start, end = milliseconds(page.start), milliseconds(page.end)
        rows = [row for row in answer if start < self.stamp(row) <= end]
        measure = self.step if self.full is None or len(answer) >= self.full else self.gap
        return rows, None if measure is None else measure // timedelta(milliseconds=1)


def _stamp(ms: int) -> pd.Timestamp:
    return pd.Timestamp(ms, unit="ms", tz="UTC").as_unit("us")
