"""When the platform runs by itself.

What belongs here: the hourly schedule, the demo's clock, and the pure functions that say which months a run must
cover. What does not: what runs (``jobs.py``).
"""

import dagster as dg
import pandas as pd

from regimes_dagster.jobs import EVIDENCE, HOURLY, range_tags
from regimes_dagster.partitions import HOUR, REVISABLE, keys_touched, month_start, partition_of, partition_window
from regimes_dagster.platform import Platform

#: Who declared the clock while the demo's time moves by itself; see ``commands/demo.py``.
DEMO_CLOCK = "demo"

#: An hourly run whose process vanished without a word (a machine that lost power) is failed after this many seconds by
#: Dagster's monitoring; without it the run would hold one of the slots for ever.
MAX_RUNTIME = {"dagster/max_runtime": "3000"}

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


#: ``dagster.yaml`` lets one run with this tag work at a time.
ONE_AT_A_TIME = {"regimes/hourly": "true"}


def months_to_run(now: pd.Timestamp, open_since: pd.Timestamp | None) -> list[str]:
    """Keys of the months that the hourly run covers.

    Parameters
    ----------
    now
        The platform's moment.
    open_since
        Earliest hour that is to be done (``Platform.open_since``), or None before the first run.

    Returns
    -------
    list of str
        The months the last three hours touch; after a pause, a killed run or an outage also those since then.
    """
    back = REVISABLE
    if open_since is not None:
        back = max(back, now.floor("h") - open_since + HOUR)
    return keys_touched(now, back=back)


def _request(platform: Platform, run_key: str) -> dg.RunRequest:
    months = months_to_run(platform.clock.now(), platform.open_since())
    return dg.RunRequest(run_key=run_key, tags={**range_tags(months[0], months[-1]), **MAX_RUNTIME, **ONE_AT_A_TIME})


@dg.schedule(
    cron_schedule="1 * * * *",
    job_name=HOURLY,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="One run a minute after every hour, over the months that the last three hours touch.",
)
def hourly_schedule(
    context: dg.ScheduleEvaluationContext, platform: dg.ResourceParam[Platform]
) -> dg.RunRequest | dg.SkipReason:
    """Requests the hourly run; its key is the tick's own time, so that no tick is dropped and none doubled."""
    if platform.clock.declared() is not None:
        return dg.SkipReason("a demo or replay has declared its own time; it starts its own runs")
    return _request(platform, context.scheduled_execution_time.isoformat())


@dg.schedule(
    cron_schedule="20 5 1 * *",
    job_name=EVIDENCE,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="On the first of a month, over the year that ended with the month before.",
)
def evidence_schedule(
    context: dg.ScheduleEvaluationContext, platform: dg.ResourceParam[Platform]
) -> dg.RunRequest | dg.SkipReason:
    """Requests the monthly judgement of the signals."""
    if platform.clock.declared() is not None:
        return dg.SkipReason("a demo or replay has declared its own time")
    month = partition_window(partition_of(month_start(context.scheduled_execution_time)))
    day = month.start.date().isoformat()
    return dg.RunRequest(run_key=f"evidence {day}", tags=range_tags(day, day))


@dg.sensor(
    job_name=HOURLY,
    minimum_interval_seconds=20,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Moves the demo's clock: one simulated hour per tick interval, until it reaches wall time.",
)
def demo_clock(
    context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]
) -> dg.RunRequest | dg.SkipReason:
    """Advances the declared time by an hour and requests the hourly run for it.

    It waits for the run before it, so that time never outruns the machine.
    """
    declared = platform.clock.declared_by(DEMO_CLOCK)
    if declared is None:
        return dg.SkipReason("the clock is the system's")
    if context.instance.get_runs_count(dg.RunsFilter(job_name=HOURLY, statuses=UNFINISHED)):
        return dg.SkipReason("the run of the hour before has not ended")
    now = platform.clock.system_now()
    moment = declared + HOUR
    if moment >= now.floor("h"):
        platform.clock.follow_system()
        return dg.SkipReason("simulated time has reached wall time and follows it from here on")
    platform.clock.declare(moment, DEMO_CLOCK)
    return _request(platform, f"demo {moment.isoformat()}")
