"""What recording reads: computed events and recorded alerts around a window, and the cooldowns in force.

What belongs here: the queries before the reconciliation. What does not: the reconciliation (``reconcile.py``) and
what is written (``records.py``).
"""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from regimes_dagster import tables
from regimes_dagster.alerts.reconcile import Event, Recorded
from regimes_dagster.partitions import Window, utc
from regimes_dagster.settings import Settings
from regimes_dagster.vocabulary import EVENT_TYPES

#: Alerts and events this far around the window are looked at, so that an episode over its edge is seen whole.
_MARGIN = timedelta(days=4)


def cooldowns(settings: Settings) -> dict[str, timedelta]:
    """Silence after an episode per event type, as the features' sections say."""
    hours = {
        "LIQUIDATION_CASCADE": settings.liquidation.cooldown_h,
        "FUNDING_ANOMALY": settings.funding.cooldown_h,
        "FUNDING_REVERSAL": settings.funding.cooldown_h,
        "VOLATILITY_REGIME_CHANGE": settings.volatility.cooldown_h,
        "CORRELATION_BREAK": settings.correlation.cooldown_h,
        "REGIME_CONFIRMED": settings.multi_timeframe.cooldown_h,
    }
    return {event_type: timedelta(hours=value) for event_type, value in hours.items()}


def event_rows(connection: sa.Connection, window: Window) -> list[Any]:
    """Events in and near the window, and the other events of their episodes."""
    events, alerts = tables.table("episode_events"), tables.table("alerts")
    start, end = (window.start - _MARGIN).to_pydatetime(), (window.end + _MARGIN).to_pydatetime()
    near = sa.select(events.c.episode_id).where(events.c.ts > start, events.c.ts <= end)
    on_record = sa.select(alerts.c.episode_id).where(alerts.c.ts > start, alerts.c.ts <= end)
    query = (
        sa.select(events)
        .where(events.c.episode_id.in_(near.union(on_record)))
        .order_by(events.c.ts, events.c.feature, events.c.episode_id)
    )
    return list(connection.execute(query))


def recorded_near(connection: sa.Connection, window: Window) -> list[Recorded]:
    """Alerts on record of episodes near the window, and of those computed there."""
    events, alerts = tables.table("episode_events"), tables.table("alerts")
    start, end = (window.start - _MARGIN).to_pydatetime(), (window.end + _MARGIN).to_pydatetime()
    near = sa.select(alerts.c.episode_id).where(alerts.c.ts > start, alerts.c.ts <= end)
    computed = sa.select(events.c.episode_id).where(events.c.ts > start, events.c.ts <= end)
    query = sa.select(alerts).where(alerts.c.episode_id.in_(near.union(computed)), alerts.c.event_type.in_(EVENT_TYPES))
    return [
        Recorded(
            episode_id=row.episode_id,
            event_type=row.event_type,
            key=row.key,
            phase=row.phase,
            level=row.level,
            ts=utc(row.ts),
            onset_ts=utc(row.onset_ts),
            ended_ts=utc(row.ended_ts) if row.ended_ts is not None else None,
            retracted=row.retracted_at is not None,
        )
        for row in connection.execute(query)
    ]


def event_of(row: Any, index: int) -> Event:
    """A row of ``episode_events`` as the reconciliation sees it; ``index`` finds the row again."""
    return Event(
        episode_id=row.episode_id,
        event_type=row.event_type,
        key=row.key,
        phase=row.phase,
        level=row.level,
        ts=utc(row.ts),
        onset_ts=utc(row.onset_ts),
        suppressed_reason=row.suppressed_reason,
        index=index,
    )
