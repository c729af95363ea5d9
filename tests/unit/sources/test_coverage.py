"""Windows as sets of hours, and what is remembered about them."""

import itertools

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.schemas import SourceCoverage
from regimes_dagster.sources import coverage
from regimes_dagster.sources.coverage import Known, coverage_frame
from regimes_dagster.sources.frames import empty

ORIGIN = utc("2025-01-30")
NOW = utc("2025-02-02 10:20")

windows = st.lists(
    st.tuples(st.integers(0, 90), st.integers(0, 20)).map(
        lambda p: Window(ORIGIN + p[0] * HOUR, ORIGIN + (p[0] + p[1]) * HOUR)
    ),
    max_size=6,
)


def hours(some: list[Window]) -> set[pd.Timestamp]:
    return {hour for window in some for hour in window.hours()}


@settings(deadline=None)
@given(windows, windows)
def test_subtracting_and_intersecting_are_set_operations_on_hours(left: list[Window], right: list[Window]) -> None:
    assert hours(coverage.subtract(left, right)) == hours(left) - hours(right)
    assert hours(coverage.intersect(left, right)) == hours(left) & hours(right)
    assert hours(coverage.merge(left)) == hours(left)


@settings(deadline=None)
@given(windows)
def test_merged_windows_neither_touch_nor_overlap(some: list[Window]) -> None:
    merged = coverage.merge(some)
    assert all(a.end < b.start for a, b in itertools.pairwise(merged))


@settings(deadline=None)
@given(windows, windows)
def test_what_was_read_is_complete_except_the_hours_that_may_still_be_revised(
    read: list[Window], denied: list[Window]
) -> None:
    month = Window(utc("2025-01-01"), utc("2025-03-01"))
    known = Known(empty("source_coverage"), NOW)
    read = [window.until(NOW.floor("h")) for window in read]
    known.add(read, denied)
    stored = SourceCoverage.validate(coverage_frame("ohlcv", {("v", "BTC/USDT"): known.records(month)}))
    again = Known(stored, NOW)
    edge = NOW.floor("h") - 3 * HOUR
    assert hours(again.complete) == {hour for hour in hours(read) if hour <= edge}
    asked_next = hours(again.missing(month))
    assert not asked_next & {hour for hour in hours(read) if hour <= edge}
    assert {hour for hour in hours(read) if hour > edge} <= asked_next
    assert not asked_next & (hours(denied) - hours(read))


@settings(deadline=None)
@given(windows, windows)
def test_learning_in_two_runs_equals_learning_in_one(first: list[Window], second: list[Window]) -> None:
    month = Window(utc("2025-01-01"), utc("2025-03-01"))
    at_once = Known(empty("source_coverage"), NOW)
    at_once.add([*first, *second], [])
    step = Known(empty("source_coverage"), NOW)
    step.add(first, [])
    later = Known(coverage_frame("ohlcv", {("v", "BTC/USDT"): step.records(month)}), NOW)
    later.add(second, [])
    assert later.records(month) == at_once.records(month)


def test_rows_never_cross_the_edge_of_a_month() -> None:
    known = Known(empty("source_coverage"), NOW)
    known.add([Window(utc("2025-01-10"), utc("2025-02-01 05:00"))], [])
    records = known.records(Window(utc("2025-01-01"), utc("2025-03-01")))
    assert [window for window, _, _ in records] == [
        Window(utc("2025-01-10"), utc("2025-02-01")),
        Window(utc("2025-02-01"), utc("2025-02-01 05:00")),
    ]


def test_what_a_venue_could_not_give_is_asked_again_a_day_later() -> None:
    month = Window(utc("2025-01-01"), utc("2025-02-01"))
    known = Known(empty("source_coverage"), NOW)
    known.add([], [month])
    stored = coverage_frame("ohlcv", {("v", "BTC/USDT"): known.records(month)})
    assert Known(stored, NOW + 23 * HOUR).missing(month) == []
    assert Known(stored, NOW + 25 * HOUR).missing(month) == [month]


def test_an_outage_over_a_months_edge_is_found_as_unfinished() -> None:
    now = utc("2025-03-01 09:01")
    known = Known(empty("source_coverage"), now)
    known.add(
        [Window(utc("2025-02-20"), utc("2025-02-28 21:00")), Window(utc("2025-03-01 02:00"), utc("2025-03-01 09:00"))],
        [],
    )
    records = known.records(Window(utc("2025-02-01"), utc("2025-04-01")))
    stored = coverage_frame("ohlcv", {("v", "BTC/USDT"): records})
    assert coverage.oldest_unfinished(stored, now) == utc("2025-02-28 22:00")


def test_hours_that_another_venue_has_or_that_may_still_be_revised_are_not_unfinished() -> None:
    now = utc("2025-03-01 09:01")
    first, second = Known(empty("source_coverage"), now), Known(empty("source_coverage"), now)
    first.add([Window(utc("2025-02-20"), utc("2025-02-28 21:00"))], [])
    second.add([Window(utc("2025-02-28 20:00"), utc("2025-03-01 09:00"))], [])
    months = Window(utc("2025-02-01"), utc("2025-04-01"))
    records = {("a", "BTC/USDT"): first.records(months), ("b", "BTC/USDT"): second.records(months)}
    assert coverage.oldest_unfinished(coverage_frame("ohlcv", records), now) is None
    assert coverage.oldest_unfinished(empty("source_coverage"), now) is None
    assert coverage.oldest_unfinished(coverage_frame("ohlcv", records), now + 1000 * HOUR) is None
