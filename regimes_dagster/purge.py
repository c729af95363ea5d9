"""What may be forgotten: superseded hourly runs, and rows that are kept for a while only.

What belongs here: the daily `purge` job, which runs it deletes and how long rows are kept. What does not: ticks of
schedules and sensors, which Dagster purges itself (`retention` in ``dagster.yaml``).

Without it Dagster's tables grow for ever: an hourly run writes about 175 events (280 kB) and 80 kB of check rows.
Deleted are hourly runs whose every partition was materialised again by a later run that succeeded; what Dagster knows
of an asset's partitions, its newest metadata and 30 days of its checks stay as they are.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg
import pandas as pd
import sqlalchemy as sa

from regimes_dagster import tables
from regimes_dagster.jobs import EXECUTOR, HOURLY, RANGE_END_TAG, RANGE_START_TAG
from regimes_dagster.partitions import keys_between
from regimes_dagster.platform import Platform

PURGE = "purge"

#: Runs younger than this stay, so that yesterday can be looked at step by step.
KEEP_RUNS = timedelta(days=2)

#: Failed and cancelled runs stay longer: somebody may want to know why.
KEEP_FAILED = timedelta(days=30)

#: The last runs of this job itself.
KEEP_PURGES = timedelta(days=7)

#: History of the checks, which Dagster plots; the newest evaluation of each check always stays.
KEEP_CHECKS = timedelta(days=30)

#: table -> how long its rows are kept. Minute bars serve the leader test, whose results stay on record by day. Nothing
#: else that features read may be listed: funding predictions open INFO episodes, and a month that is computed again
#: without them would lose these and retract their alerts. They are about 200 rows a day.
KEEP_ROWS: Mapping[str, timedelta] = {"minute_bars": timedelta(days=14)}

#: Runs read at a time.
PAGE = 500

#: A purge stops after this and goes on the next day, so that it never stands in the way of an hourly run.
BUDGET_S = 600.0

_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


@dataclass(frozen=True)
class PastRun:
    """An ended run, as far as the decision needs it."""

    run_id: str
    ended: pd.Timestamp
    succeeded: bool
    partitions: frozenset[str]
    assets: frozenset[str] | None = None

    def covers(self) -> frozenset[tuple[str, str]]:
        """(asset, partition) pairs; ``*`` stands for every asset of the job."""
        return frozenset((asset, key) for asset in self.assets or {"*"} for key in self.partitions)


def superseded(runs: Iterable[PastRun], now: pd.Timestamp) -> list[str]:
    """Ids of the runs that may go.

    Parameters
    ----------
    runs
        Ended runs of one job, the newest first.

    Returns
    -------
    list of str
        Runs older than they must be kept, each of whose partitions a later run of the same assets (or of all)
        materialised. The newest successful run of every partition always stays; a failed run supersedes nothing.
    """
    newer: set[tuple[str, str]] = set()
    found = []
    for run in runs:
        mine = run.covers()
        done = all((asset, key) in newer or ("*", key) in newer for asset, key in mine)
        if done and now - run.ended > (KEEP_RUNS if run.succeeded else KEEP_FAILED):
            found.append(run.run_id)
        if run.succeeded:
            newer |= mine
    return found


def past_runs(instance: dg.DagsterInstance, job: str = HOURLY) -> Iterator[PastRun]:
    """Ended runs of a job, the newest first."""
    cursor = None
    while True:
        filters = dg.RunsFilter(job_name=job, statuses=list(_ENDED))
        records = instance.get_run_records(filters, limit=PAGE, cursor=cursor)
        for record in records:
            run = record.dagster_run
            chosen = run.asset_selection
            ended = pd.Timestamp(record.end_time or record.update_timestamp.timestamp(), unit="s", tz="UTC")
            yield PastRun(
                run.run_id,
                ended,
                run.status == dg.DagsterRunStatus.SUCCESS,
                frozenset(_partitions(run.tags)),
                frozenset(key.to_user_string() for key in chosen) if chosen else None,
            )
        if len(records) < PAGE:
            return
        cursor = records[-1].dagster_run.run_id


def purge_runs(instance: dg.DagsterInstance, now: pd.Timestamp, *, budget_s: float = BUDGET_S) -> int:
    """Delete superseded hourly runs, their events and their captured output; returns how many."""
    started = time.monotonic()
    done = 0
    old = [run.run_id for run in past_runs(instance, PURGE) if now - run.ended > KEEP_PURGES]
    for run_id in [*superseded(past_runs(instance), now), *old]:
        if time.monotonic() - started > budget_s:
            break
        instance.delete_run(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        done += 1
    return done


def purge_rows(engine: sa.Engine, now: pd.Timestamp) -> dict[str, int]:
    """Delete rows that have been kept long enough; returns how many per table."""
    deleted = {}
    for name, kept in KEEP_ROWS.items():
        table = tables.table(name)
        stamp = table.c[tables.time_column(name) or "ts"]
        with engine.begin() as connection:
            deleted[name] = connection.execute(sa.delete(table).where(stamp < (now - kept).to_pydatetime())).rowcount
    return deleted


_PLANNED = sa.text("""
    DELETE FROM dagster.asset_check_executions e
    WHERE e.execution_status = 'PLANNED' AND NOT EXISTS (
        SELECT 1 FROM dagster.runs r
        WHERE r.run_id = e.run_id AND r.status IN ('QUEUED', 'NOT_STARTED', 'STARTING', 'STARTED', 'CANCELING')
    )
""")

_EVALUATED = sa.text("""
    DELETE FROM dagster.asset_check_executions e
    WHERE e.execution_status <> 'PLANNED' AND e.evaluation_event_timestamp < :old AND e.id < (
        SELECT max(n.id) FROM dagster.asset_check_executions n
        WHERE n.asset_key = e.asset_key AND n.check_name = e.check_name AND n.execution_status <> 'PLANNED'
    )
""")


def purge_checks(engine: sa.Engine, now: pd.Timestamp) -> int:
    """Delete rows of checks that nothing needs; returns how many.

    Dagster 1.13 plans a check once per partition of the run and records its result without one, so that every run
    leaves rows that stay PLANNED for ever; it has no call that deletes them, nor old results.
    """
    old = (now - KEEP_CHECKS).to_pydatetime().replace(tzinfo=None)
    with engine.begin() as connection:
        deleted = connection.execute(_PLANNED).rowcount + connection.execute(_EVALUATED, {"old": old}).rowcount
    return int(deleted)


def log_size(engine: sa.Engine) -> dict[str, int]:
    """Bytes of Dagster's own tables, largest first."""
    query = sa.text(
        "SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'dagster' AND c.relkind = 'r' ORDER BY 2 DESC"
    )
    with engine.connect() as connection:
        return {str(name): int(size) for name, size in connection.execute(query)}


@dg.op(description="Deletes superseded hourly runs and rows that are kept for a while only.")
def forget(context: dg.OpExecutionContext, platform: dg.ResourceParam[Platform]) -> None:
    """Every deletion, and what is left."""
    runs = purge_runs(context.instance, platform.clock.system_now())
    checks = purge_checks(platform.engine, platform.clock.system_now())
    rows = purge_rows(platform.tables_engine, platform.clock.now())
    context.log.info(f"{runs} superseded runs deleted, {checks} rows of checks; rows: {rows}")
    sizes = log_size(platform.engine)
    shown = {"runs_deleted": runs, "check_rows_deleted": checks, **rows}
    context.add_output_metadata({**shown, "dagster_mb": round(sum(sizes.values()) / 1e6, 1)})


@dg.job(name=PURGE, executor_def=EXECUTOR, description="Keeps Dagster's event log and short-lived rows small.")
def purge_job() -> None:
    """One step."""
    forget()


@dg.schedule(
    # Well after the hourly run of 03:01 has ended and before that of 04:01.
    cron_schedule="31 3 * * *",
    job=purge_job,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Once a day, between two hourly runs.",
)
def purge_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Requests the purge; its key is the tick's own time."""
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())


def _partitions(tags: Mapping[str, str]) -> Sequence[str]:
    if RANGE_START_TAG in tags:
        return keys_between(tags[RANGE_START_TAG], tags[RANGE_END_TAG])
    return [tags["dagster/partition"]] if "dagster/partition" in tags else []
