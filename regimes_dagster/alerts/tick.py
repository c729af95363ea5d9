"""One tick of the delivery sensor: settings to rows, requests carried out, deliveries sent.

What belongs here: the order of the steps. What does not: any of them, and Dagster (``sensors/delivery.py``).
"""

from dataclasses import dataclass
from time import monotonic
from typing import Any

import pandas as pd
import sqlalchemy as sa

from regimes_dagster.alerts import endpoints, requests
from regimes_dagster.alerts.delivery import Engine, Tally, deliver
from regimes_dagster.clock import system_now
from regimes_dagster.settings import Settings

#: Seconds of work per tick; Dagster kills a tick after 60.
BUDGET_S = 40.0


@dataclass(frozen=True)
class TickSummary:
    """What a tick did."""

    requests: int
    tally: Tally
    seconds: float

    def as_metadata(self) -> dict[str, Any]:
        """Name and figure."""
        return {"requests": self.requests, **self.tally.as_metadata(), "seconds": round(self.seconds, 3)}

    def __str__(self) -> str:
        tally = self.tally
        if not (tally.posts or tally.expired or tally.suppressed or self.requests):
            return tally.stopped_by
        return (
            f"{tally.posts} posts to {len(tally.endpoints)} endpoints: {tally.delivered} delivered, "
            f"{tally.retrying} to retry, {tally.dead} dead, {tally.expired} expired, {tally.suppressed} suppressed; "
            f"{self.requests} requests; {self.seconds:.1f} s"
        )


def tick(
    engine: sa.Engine,
    settings: Settings,
    now: pd.Timestamp,
    *,
    budget_s: float = BUDGET_S,
    parts: Engine | None = None,
) -> TickSummary:
    """Do what is due.

    Safe to run in several processes at once and to be killed at any point.

    Parameters
    ----------
    now
        The platform's moment.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        If the database fails; the next tick goes on from what it holds.
    """
    started = monotonic()
    moment = parts.now() if parts is not None else system_now()
    with engine.begin() as connection:
        endpoints.sync(connection, settings, now, remove=True)
    carried_out = requests.execute_pending(engine, settings, now, moment)
    tally = deliver(engine, settings, budget_s=budget_s - (monotonic() - started), parts=parts)
    return TickSummary(carried_out, tally, monotonic() - started)
