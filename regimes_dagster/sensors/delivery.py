"""The delivery sensor: every ten seconds, post what is due.

What belongs here: the sensor's interval and its report. What does not: the work (``alerts/tick.py``).

The ledger in the database is the truth, so the sensor keeps no cursor: a tick may be killed at any point, and two
daemons may run it at once. Dagster kills a tick after 60 s and saves its cursor only when it ends.
"""

import dagster as dg

from regimes_dagster.resources.webhooks import Webhooks
from regimes_dagster.settings import Settings

NAME = "alert_delivery"


def delivery_sensor(settings: Settings) -> dg.SensorDefinition:
    """``alert_delivery``, at the configured interval."""

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=settings.alerts.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Posts alerts to the configured webhooks; carries out replays, silences and tests.",
    )
    def alert_delivery(webhooks: dg.ResourceParam[Webhooks]) -> dg.SkipReason:
        """Posts what is due and says what it did; it never starts a run."""
        return dg.SkipReason(str(webhooks.deliver()))

    return alert_delivery
