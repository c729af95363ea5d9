"""Which months the hourly run covers, and what the schedule and the demo's clock ask for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimes_dagster.partitions import HOUR, keys_window, partition_of, utc
from regimes_dagster.schedules import DEMO_CLOCK, demo_clock, evidence_schedule, hourly_schedule, months_to_run

moments = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))


class FakeClock:
    """A clock without a database."""

    def __init__(self, now: str, declared: str | None = None, set_by: str | None = None) -> None:
        self.system = utc(now)
        self.moment = utc(declared) if declared else None
        self.set_by = set_by

    def now(self) -> pd.Timestamp:
        return self.moment or self.system

    def system_now(self) -> pd.Timestamp:
        return self.system

    def declared(self) -> pd.Timestamp | None:
        return self.moment

    def declared_by(self, who: str) -> pd.Timestamp | None:
        return self.moment if self.set_by == who else None

    def declare(self, moment: pd.Timestamp, set_by: str) -> None:
        self.moment, self.set_by = moment, set_by

    def follow_system(self) -> None:
        self.moment = self.set_by = None


class FakePlatform:
    """As much of a platform as a tick needs."""

    def __init__(self, clock: FakeClock, open_since: str | None = None) -> None:
        self.clock = clock
        self.since = utc(open_since) if open_since else None

    def open_since(self) -> pd.Timestamp | None:
        return self.since


def tick(platform: FakePlatform, when: str) -> Any:
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime.fromisoformat(when), resources={"platform": platform}
    )
    return hourly_schedule(context)


@given(moments, st.integers(0, 2000))
def test_no_hour_since_the_newest_row_is_left_out(now: datetime, behind: int) -> None:
    newest = utc(now).floor("h") - behind * HOUR
    months = months_to_run(utc(now), newest)
    window = keys_window(months)
    for hour in (newest, utc(now).floor("h"), utc(now).floor("h") - 2 * HOUR):
        assert window.start < hour <= window.end


@given(moments)
def test_a_platform_that_is_up_to_date_touches_at_most_two_months(now: datetime) -> None:
    months = months_to_run(utc(now), utc(now).floor("h"))
    assert len(months) <= 2
    assert months == months_to_run(utc(now), None)
    assert months[-1] == partition_of(utc(now).floor("h"))


def test_two_ticks_of_one_month_have_different_run_keys() -> None:
    platform = FakePlatform(FakeClock("2024-02-10 05:01"))
    first, second = tick(platform, "2024-02-10T05:01:00+00:00"), tick(platform, "2024-02-10T06:01:00+00:00")
    assert first.run_key != second.run_key
    assert first.tags == second.tags | {}
    assert first.tags["dagster/asset_partition_range_start"] == "2024-02-01"


def test_the_first_hours_of_a_month_run_the_month_before_too() -> None:
    tags = tick(FakePlatform(FakeClock("2024-03-01 01:01")), "2024-03-01T01:01:00+00:00").tags
    assert tags["dagster/asset_partition_range_start"] == "2024-02-01"
    assert tags["dagster/asset_partition_range_end"] == "2024-03-01"


def test_after_a_week_offline_over_a_month_edge_both_months_run() -> None:
    platform = FakePlatform(FakeClock("2024-03-05 09:01"), open_since="2024-02-27 03:00")
    assert tick(platform, "2024-03-05T09:01:00+00:00").tags["dagster/asset_partition_range_start"] == "2024-02-01"


def test_the_schedule_leaves_a_declared_time_alone() -> None:
    platform = FakePlatform(FakeClock("2024-03-05 09:01", "2024-02-04 00:00", DEMO_CLOCK))
    assert isinstance(tick(platform, "2024-03-05T09:01:00+00:00"), dg.SkipReason)


def test_the_evidence_of_a_month_is_asked_for_on_the_first_of_the_next() -> None:
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2024, 3, 1, 5, 20, tzinfo=UTC),
        resources={"platform": FakePlatform(FakeClock("2024-03-01 05:20"))},
    )
    request: Any = evidence_schedule(context)
    assert request.tags["dagster/asset_partition_range_start"] == "2024-02-01"
    assert request.tags["dagster/asset_partition_range_end"] == "2024-02-01"


@pytest.fixture
def instance() -> Any:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def demo_tick(instance: dg.DagsterInstance, clock: FakeClock) -> Any:
    return demo_clock(dg.build_sensor_context(instance=instance, resources={"platform": FakePlatform(clock)}))


def test_the_demo_moves_one_hour_per_tick(instance: dg.DagsterInstance) -> None:
    clock = FakeClock("2024-03-05 09:20", "2024-02-04 00:00", DEMO_CLOCK)
    request = demo_tick(instance, clock)
    assert clock.moment == utc("2024-02-04 01:00")
    assert "2024-02-04T01:00" in request.run_key
    assert demo_tick(instance, clock).run_key != request.run_key


def test_the_demo_waits_while_its_history_is_computed(instance: dg.DagsterInstance) -> None:
    clock = FakeClock("2024-03-05 09:20", "2024-02-04 00:00", "demo backfill")
    assert isinstance(demo_tick(instance, clock), dg.SkipReason)
    assert clock.moment == utc("2024-02-04 00:00")


def test_the_demo_follows_wall_time_once_it_has_reached_it(instance: dg.DagsterInstance) -> None:
    clock = FakeClock("2024-03-05 09:20", "2024-03-05 08:00", DEMO_CLOCK)
    assert isinstance(demo_tick(instance, clock), dg.SkipReason)
    assert clock.moment is None
    assert clock.now() - utc("2024-03-05 09:20") == timedelta(0)
