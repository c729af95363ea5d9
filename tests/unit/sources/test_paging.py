"""The paging loop against venues with every habit that was seen."""

import itertools
from collections.abc import Callable

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.sources.frames import milliseconds
from regimes_dagster.sources.paging import Pager

ORIGIN = utc("2025-01-01")
FAR = utc("2030-01-01")


def pager(ask: Callable[[Window], list[pd.Timestamp]], page: int = 10) -> Pager[pd.Timestamp]:
    return Pager(ask=ask, stamp=milliseconds, key=lambda row: row, page=page * HOUR, step=HOUR)


def habit(name: str, truth: list[pd.Timestamp], cap: int) -> Callable[[Window], list[pd.Timestamp]]:
    def ask(page: Window) -> list[pd.Timestamp]:
        inside = [row for row in truth if page.start < row <= page.end]
        return {
            "plain": inside,
            "newest first": inside[::-1],
            "caps the tail": inside[:cap],
            "caps the head": inside[-cap:],
            "doubles": inside + inside[-1:],
            "ignores the end": [row for row in truth if row > page.start][:10],
        }[name]

    return ask


habits = st.sampled_from(["plain", "newest first", "caps the tail", "caps the head", "doubles", "ignores the end"])


@settings(deadline=None)
@given(
    present=st.lists(st.booleans(), min_size=1, max_size=90),
    name=habits,
    cap=st.integers(1, 9),
    first=st.integers(0, 40),
    hours=st.integers(1, 60),
)
def test_every_row_of_the_window_comes_once_and_in_order(
    present: list[bool], name: str, cap: int, first: int, hours: int
) -> None:
    truth = [ORIGIN + (i + 1) * HOUR for i, there in enumerate(present) if there]
    window = Window(ORIGIN + first * HOUR, ORIGIN + (first + hours) * HOUR)
    paged = pager(habit(name, truth, cap)).walk(window, FAR)
    assert paged.rows == [row for row in truth if window.start < row <= window.end]
    pages = sorted(paged.answered + paged.empty)
    assert pages[0].start == window.start
    assert pages[-1].end == window.end
    assert all(a.end == b.start for a, b in itertools.pairwise(pages))


def test_the_edges_of_hours_that_may_come_late_are_not_asked_again() -> None:
    asked: list[Window] = []

    def ask(page: Window) -> list[pd.Timestamp]:
        asked.append(page)
        return [ORIGIN + HOUR]

    pager(ask).walk(Window(ORIGIN, ORIGIN + 4 * HOUR), ORIGIN + HOUR)
    assert len(asked) == 1
