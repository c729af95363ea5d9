"""The health sensors: a failed run and missing data become operational alerts.

What belongs here: what Dagster knows of a failure, and looking for gaps. What does not: when an episode opens and
ends (``alerts/operational.py``).
"""

from datetime import timedelta

import dagster as dg
import pandas as pd
import sqlalchemy as sa

from regimes_dagster import tables
from regimes_dagster.alerts import operational
from regimes_dagster.alerts.records import record_window, recording_window
from regimes_dagster.clock import system_now
from regimes_dagster.partitions import Window
from regimes_dagster.platform import Platform

#: A run that has been at work for less than this may be filling the gap.
PATIENCE = timedelta(hours=2)

_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


@dg.run_failure_sensor(
    name="pipeline_failed",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="A failed run becomes a PIPELINE_FAILED alert, once until a run of the job succeeds.",
)
def pipeline_failed(context: dg.RunFailureSensorContext, platform: dg.ResourceParam[Platform]) -> None:
    """Records the failure with the class of its error; the text stays in Dagster, since it may hold an address.

    A feature that fails keeps the ``alerts`` asset from running; what the other features found in the last hours is
    recorded here instead, so that one broken feature silences no other.
    """
    step, error_class = _cause(context)
    moment, now = system_now(), platform.clock.now()
    newest = now.floor("h")
    record_window(
        platform.engine,
        platform.settings,
        recording_window(Window(newest, newest), platform.settings, now),
        now,
        platform.settings.is_simulated,
    )
    with platform.engine.begin() as connection:
        operational.pipeline_failed(
            connection,
            platform.settings,
            job=context.dagster_run.job_name,
            run_id=context.dagster_run.run_id,
            error_class=error_class,
            step=step,
            moment=moment,
            now=now,
        )


@dg.sensor(
    name="platform_health",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="A symbol without data for more than 2 h 10 min becomes a DATA_GAP alert; recoveries end episodes.",
)
def platform_health(context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]) -> dg.SkipReason:
    """Looks for gaps, and for jobs that succeed again; it never starts a run."""
    moment, now = system_now(), platform.clock.now()
    recovered = _recovered_jobs(context.instance, platform.engine)
    with platform.engine.begin() as connection:
        for job in recovered:
            operational.pipeline_recovered(connection, platform.settings, job=job, moment=moment, now=now)
        if _is_busy(context.instance, moment):
            return dg.SkipReason("a run is at work; gaps are looked for after it")
        made = operational.data_gaps(connection, platform.settings, moment=moment, now=now)
    return dg.SkipReason(f"{len(made)} new gaps, {len(recovered)} jobs recovered")


def _cause(context: dg.RunFailureSensorContext) -> tuple[str | None, str]:
    """Failed step and class of its error."""
    for event in context.get_step_failure_events():
        data = event.step_failure_data
        error = data.error
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            return event.step_key, error.cls_name or "an unknown error"
    return None, "an error outside any step"


def _recovered_jobs(instance: dg.DagsterInstance, engine: sa.Engine) -> list[str]:
    """Jobs with an open PIPELINE_FAILED whose newest finished run after it succeeded."""
    alerts = tables.table("alerts")
    query = sa.select(alerts.c.key, sa.func.max(alerts.c.recorded_at)).where(
        alerts.c.event_type == "PIPELINE_FAILED", alerts.c.phase == "OPEN", alerts.c.ended_ts.is_(None)
    )
    with engine.connect() as connection:
        failing = connection.execute(query.group_by(alerts.c.key)).all()
    found = []
    for job, since in failing:
        finished = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
        records = instance.get_run_records(dg.RunsFilter(job_name=job, statuses=finished, updated_after=since), limit=1)
        if records and records[0].dagster_run.status == dg.DagsterRunStatus.SUCCESS:
            found.append(str(job))
    return found


def _is_busy(instance: dg.DagsterInstance, moment: pd.Timestamp) -> bool:
    """Whether a run has been at work, for not so long that it would hide a gap for ever."""
    since = (moment - PATIENCE).to_pydatetime()
    return instance.get_runs_count(dg.RunsFilter(statuses=_AT_WORK, created_after=since)) > 0
