"""The jobs: one over all assets, run by the hour and by backfills alike.

What belongs here: which assets run together and in which executor. What does not: when (``schedules.py``).
"""

from typing import Any

import dagster as dg

from regimes_dagster.partitions import keys_between

#: In process: the default executor starts a process per step, about 7 s each.
EXECUTOR = dg.in_process_executor

HOURLY = "hourly"

EVIDENCE = "evidence"

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"


#: Run configuration for runs in a command's own process: the terminal shows warnings, the event log everything.
QUIET = {"loggers": {"console": {"config": {"log_level": "WARNING"}}}}


#: Groups that the hourly run leaves out: they are computed on demand.
ON_DEMAND = ("evidence",)


def hourly_job() -> Any:
    """Raw fetch, join, features and alerts, over whichever months a run names."""
    return dg.define_asset_job(
        HOURLY,
        selection=dg.AssetSelection.all() - dg.AssetSelection.groups(*ON_DEMAND),
        executor_def=EXECUTOR,
        description="Fetches what is missing, joins it, computes the features and records alerts.",
    )


def evidence_job() -> Any:
    """The validity of the signals over the last year, monthly or on demand."""
    return dg.define_asset_job(
        EVIDENCE,
        selection=dg.AssetSelection.groups("evidence"),
        executor_def=EXECUTOR,
        description="Measures what the signals of the last year were worth.",
    )


def range_tags(first: str, last: str) -> dict[str, str]:
    """Tags that make ONE run cover every month from ``first`` to ``last``."""
    keys = keys_between(first, last)
    return {RANGE_START_TAG: keys[0], RANGE_END_TAG: keys[-1]}
