"""What every asset of the platform promises, said once.

What belongs here: partitions, backfill policy, owner, storage, tags and the order of groups. What does not: what
an asset computes (its own module), and when it runs (``schedules.py``).
"""

import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dagster as dg

from regimes_dagster.resources.table_metadata import definition_metadata
from regimes_dagster.settings import Settings

OWNER = "team:regimes"

#: Groups in the order of the data flow; the names sort the same way in the lineage picture.
RAW, JOINED, FEATURES, OUTBOX = "raw", "market", "features", "alerts"

#: The hourly run is late after 75 minutes and missing after 2 h 10 min (decision 27). Dagster judges the newest
#: materialisation, which a backfill of an old month renews; the check `freshness` looks at the newest row instead.
FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(minutes=130), warn_window=timedelta(minutes=75))

Declare = Callable[..., Callable[[Callable[..., Any]], dg.AssetsDefinition]]


def months(settings: Settings) -> dg.MonthlyPartitionsDefinition:
    """Calendar months from ``history_start`` to the running one."""
    return dg.MonthlyPartitionsDefinition(start_date=settings.history_start.strftime("%Y-%m-01"), end_offset=1)


def declarer(partitions: dg.MonthlyPartitionsDefinition) -> Declare:
    """A decorator like ``dagster.asset`` that carries the platform-wide promises."""

    def declare(*, group: str, **options: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        options.setdefault("kinds", {"postgres", "pandas"})
        options.setdefault("freshness_policy", FRESHNESS)

        def declared(function: Callable[..., Any]) -> dg.AssetsDefinition:
            # Dagster reads a MaterializeResult annotation as "no value for the IO manager"; ours carry one.
            if getattr(function.__annotations__.get("return"), "__origin__", None) is dg.MaterializeResult:
                del function.__annotations__["return"]
            with warnings.catch_warnings():
                # Still marked beta in Dagster 1.13, with one warning per asset.
                warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)
                asset: dg.AssetsDefinition = dg.asset(
                    group_name=group,
                    partitions_def=partitions,
                    backfill_policy=dg.BackfillPolicy.single_run(),
                    owners=[OWNER],
                    io_manager_key="warehouse",
                    metadata=definition_metadata(function.__name__),
                    **options,
                )(function)
            return asset

        return declared

    return declare
