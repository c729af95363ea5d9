"""What ``dagster.yaml`` promises, as Dagster itself understands it; each line has cost somebody a night."""

from typing import Any

import pytest
from dagster import DagsterInstance
from dagster._core.run_coordinator import QueuedRunCoordinator

from regimes_dagster.schedules import ONE_AT_A_TIME


def test_the_queue_keeps_a_slot_for_the_hourly_run_and_runs_one_of_them_at_a_time(instance: DagsterInstance) -> None:
    assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
    queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None
    limits = {limit["key"]: limit["limit"] for limit in queue.tag_concurrency_limits}
    assert limits["dagster/backfill"] < queue.max_concurrent_runs
    assert limits == {"dagster/backfill": 2, next(iter(ONE_AT_A_TIME)): 1}


def test_a_killed_run_gives_its_slot_back(instance: DagsterInstance) -> None:
    config = instance.get_concurrency_config().pool_config
    assert str(config.pool_granularity).endswith("RUN"), "with `op` a killed run leaks its slot"
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_start_timeout_seconds == 180
    settings: Any = instance.get_settings("run_monitoring")
    assert settings["free_slots_after_run_end_seconds"] == 60, "has no default"


def test_a_lost_run_is_tried_again_and_a_failed_step_is_not_tried_twice_over(instance: DagsterInstance) -> None:
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 2
    assert instance.run_retries_retry_on_asset_or_op_failure is False


@pytest.mark.parametrize("kind", ["schedule", "sensor"])
def test_ticks_are_forgotten_after_a_while(instance: DagsterInstance, kind: str) -> None:
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.scheduler.instigation import TickStatus

    days = instance.get_tick_retention_settings(InstigatorType[kind.upper()])
    assert all(days[status] > 0 for status in (TickStatus.SKIPPED, TickStatus.FAILURE, TickStatus.SUCCESS)), days


def test_the_platforms_own_log_lines_are_recorded_and_nobody_elses(instance: DagsterInstance) -> None:
    assert instance.managed_python_loggers == ["regimes_dagster"], "`root` records every library (dagster#32217)"
    assert instance.python_log_level == "INFO"


def test_nothing_is_told_to_anybody(instance: DagsterInstance) -> None:
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled
