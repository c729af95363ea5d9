"""The webhooks as a Dagster resource: what the delivery sensor posts with.

What belongs here: handing the platform's settings, clock and database to the delivery engine. What does not: the
engine (``alerts/delivery.py``) and when it runs (``sensors/delivery.py``).
"""

from regimes_dagster.alerts.delivery import Engine
from regimes_dagster.alerts.metrics import DeliveryFigures, figures
from regimes_dagster.alerts.tick import BUDGET_S, TickSummary, tick
from regimes_dagster.clock import system_now
from regimes_dagster.platform import Platform


class Webhooks:
    """Posts to the configured endpoints over HTTP.

    Parameters
    ----------
    platform
        Settings, clock and database.
    parts
        Resolver, TLS context and limits other than the usual ones; for tests.
    """

    def __init__(self, platform: Platform, parts: Engine | None = None) -> None:
        self._platform = platform
        self._parts = parts

    def deliver(self, budget_s: float = BUDGET_S) -> TickSummary:
        """Carry out requests and post what is due, for at most ``budget_s`` seconds and one last post."""
        platform = self._platform
        return tick(platform.engine, platform.settings, platform.clock.now(), budget_s=budget_s, parts=self._parts)

    def figures(self) -> DeliveryFigures:
        """Queue depth, latency and failures by endpoint."""
        with self._platform.engine.connect() as connection:
            return figures(connection, system_now())
