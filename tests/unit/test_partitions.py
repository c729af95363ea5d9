"""The window rule: which rows a partition holds, over month ends, leap years and years of ranges."""

import itertools
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimes_dagster.partitions import (
    HOUR,
    Window,
    keys_between,
    keys_touched,
    keys_window,
    month_edges,
    next_month,
    partition_of,
    partition_window,
    utc,
)

days = st.dates(date(2010, 1, 1), date(2040, 12, 31))
moments = st.datetimes(datetime(2010, 1, 1), datetime(2040, 12, 31), timezones=st.just(UTC))
keys = days.map(lambda day: day.replace(day=1).isoformat())


def test_a_month_holds_its_own_midnight_at_the_end_and_not_at_the_start() -> None:
    window = partition_window("2024-02-01")
    stamps = pd.Series([utc("2024-02-01"), utc("2024-02-01 01:00"), utc("2024-03-01"), utc("2024-03-01 01:00")])
    assert window.mask(stamps).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("key", "hours"),
    [
        ("2024-02-01", 29 * 24),
        ("2023-02-01", 28 * 24),
        ("2100-02-01", 28 * 24),
        ("2024-12-01", 744),
        ("2024-04-01", 720),
    ],
)
def test_a_month_has_its_own_number_of_hours(key: str, hours: int) -> None:
    assert len(partition_window(key).hours()) == hours


@given(moments)
def test_every_moment_lies_in_exactly_one_partition(moment: datetime) -> None:
    stamp = pd.Series([utc(moment)])
    key = partition_of(moment)
    window = partition_window(key)
    assert window.mask(stamp).all()
    before = partition_of(window.start)
    after = partition_of(window.end + timedelta(microseconds=1))
    assert not partition_window(before).mask(stamp).any()
    assert not partition_window(after).mask(stamp).any()


@given(days, st.integers(0, 2000))
def test_a_range_of_months_has_no_hole_and_no_overlap(first: date, length: int) -> None:
    last = min(first + timedelta(days=length), date(2041, 1, 1))
    names = keys_between(first, last)
    windows = [partition_window(name) for name in names]
    whole = keys_window(names)
    assert all(left.end == right.start for left, right in itertools.pairwise(windows))
    assert sum(len(window.hours()) for window in windows) == len(whole.hours())
    assert whole.start <= utc(first)
    assert utc(last) < whole.end
    assert names == sorted(set(names))


@given(keys)
def test_the_hours_of_a_month_map_back_to_it(key: str) -> None:
    hours = partition_window(key).hours()
    assert {partition_of(hours[0]), partition_of(hours[len(hours) // 2]), partition_of(hours[-1])} == {key}


@given(moments)
def test_the_hourly_run_touches_every_month_of_its_last_three_hours(moment: datetime) -> None:
    newest = utc(moment).floor("h")
    wanted = {partition_of(newest - lag * HOUR) for lag in range(3)}
    assert set(keys_touched(moment)) == wanted


@given(moments)
def test_a_run_that_slept_touches_every_month_since(moment: datetime) -> None:
    touched = keys_touched(moment, back=timedelta(days=70))
    assert 3 <= len(touched) <= 4
    keys_window(touched)


@given(keys, st.integers(1, 40))
def test_the_edges_of_a_window_end_its_partitions(key: str, months: int) -> None:
    window = partition_window(key)
    end = window.start
    for _ in range(months):
        end = next_month(end)
    edges = month_edges(Window(window.start, end))
    assert len(edges) == months
    assert edges[-1] == end
    assert all(partition_window(partition_of(edge)).end == edge for edge in edges)


def test_the_last_edge_of_a_running_month_is_its_newest_hour() -> None:
    now = utc("2024-03-10 05:00")
    assert month_edges(Window(utc("2024-02-01"), now)) == [utc("2024-03-01"), now]
    assert month_edges(Window(utc("2024-03-01"), now)) == [now]


def test_a_run_over_partitions_with_a_hole_is_refused() -> None:
    with pytest.raises(ValueError, match="hole"):
        keys_window(["2024-01-01", "2024-03-01"])
    with pytest.raises(ValueError, match="at least one"):
        keys_window([])


@pytest.mark.parametrize("key", ["2024-02-02", "2024-02", "yesterday", "2024-13-01"])
def test_a_key_that_is_no_first_of_a_month_is_refused_with_an_example(key: str) -> None:
    with pytest.raises(ValueError, match="no partition key"):
        partition_window(key)


def test_a_naive_moment_is_refused_and_a_date_is_utc() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        utc(datetime(2024, 1, 1))
    assert utc("2024-01-01") == pd.Timestamp("2024-01-01", tz="UTC")
    with pytest.raises(ValueError, match="before it starts"):
        Window(utc("2024-02-01"), utc("2024-01-01"))


def test_until_clips_and_never_turns_a_window_inside_out() -> None:
    window = partition_window("2024-02-01")
    assert window.until(utc("2024-02-03")).end == utc("2024-02-03")
    assert window.until(utc("2023-01-01")) == Window(window.start, window.start)
    assert len(window.until(utc("2023-01-01")).hours()) == 0
