"""The one paging loop: forward, in windows bounded on both sides.

What belongs here: walking, filtering to the window, removing doubles, noticing pages that are cut short or empty.
What does not: how a page is asked, and what an empty page means (the venue's file decides).

The client library's own pagination is not used: it gave the newest 10,000 bars when five years were asked, nothing
for old windows, and lost half of a 4-hour funding series. The loop advances by the window, not by the last row,
because gaps are legal; and because a venue may give fewer rows than it promises, what a page lacks at its edges
is asked once more.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

import pandas as pd

from regimes_dagster.partitions import Window

Row = TypeVar("Row")


@dataclass
class Paged(Generic[Row]):
    """Rows in order of their stamp, each key once; and the pages that came back empty."""

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
        The ``ts`` of a row.
    key
        What makes a row unique; the later of two with one key wins.
    page
        Span of the rows that one answer can hold.
    step
        Usual distance of two rows; an edge that lacks more than this is asked again. None: edges are not looked at.
    """

    ask: Callable[[Window], list[Row]]
    stamp: Callable[[Row], pd.Timestamp]
    key: Callable[[Row], Hashable]
    page: timedelta
    step: timedelta | None = None

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
        rows = self._inside(page)
        if not rows or self.step is None:
            return rows
        first, last = min(map(self.stamp, rows)), max(map(self.stamp, rows))
        # Newest-first venues cut the head, others the tail; an answer that adds nothing ends the matter.
        while last + self.step <= page.end and last + self.step <= settled:
            more = self._inside(Window(last, page.end))
            if not more:
                break
            rows, last = rows + more, max(map(self.stamp, more))
        while first - self.step > page.start:
            more = self._inside(Window(page.start, first - timedelta(microseconds=1)))
            if not more:
                break
            rows, first = more + rows, min(map(self.stamp, more))
        return rows

    def _inside(self, page: Window) -> list[Row]:
        return [row for row in self.ask(page) if page.start < self.stamp(row) <= page.end]
