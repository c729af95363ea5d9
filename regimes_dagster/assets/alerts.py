"""The alert outbox: what the features' episodes say, recorded once, and its deliveries planned.

What belongs here: calling the recorder for the run's window. What does not: which event becomes an alert, and who
gets it (``alerts/``).
"""

import dagster as dg
from dagster import AssetExecutionContext

from regimes_dagster.alerts.records import record_window, recording_window
from regimes_dagster.assets.declare import OUTBOX, Declare
from regimes_dagster.assets.run import run_window
from regimes_dagster.platform import Platform
from regimes_dagster.resources.warehouse import Written

Result = dg.MaterializeResult[Written]

#: Features whose episodes become alerts.
SOURCES = ("volatility_features", "liquidation_features", "funding_features", "regimes", "correlation_features")


def alert_assets(declare: Declare) -> list[dg.AssetsDefinition]:
    """``alerts``."""

    @declare(group=OUTBOX, deps=SOURCES, code_version="1")
    def alerts(context: AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Result:
        """Every alert once, with its payload and why it fired; deliveries are planned in the same transaction.

        Ids follow from the episode, so that running a month again adds nothing. Rows are never deleted: an alert
        whose condition vanished is marked as retracted.
        """
        now = platform.clock.now()
        summary = record_window(
            platform.tables_engine,
            platform.settings,
            recording_window(run_window(context, platform), platform.settings, now),
            now,
            platform.settings.is_simulated,
            plan=platform.posts_alerts,
        )
        return dg.MaterializeResult(value=Written(), metadata=summary.as_metadata())

    return [alerts]
