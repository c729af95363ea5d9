"""Alerts, their deliveries and what was asked of the delivery sensor.

What belongs here: every select over the alert tables. What does not: the decisions about them, which the pipeline
makes.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dash_app.reader import Reader, Rows
from regimes_dagster import tables

SEVERITY_RANK = {"INFO": 0, "WARNING": 1, "CRITICAL": 2}


def _conditions(
    alerts: sa.Table,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    event: str = "",
    severity: str = "",
    symbol: str = "",
    search: str = "",
) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if start is not None:
        found.append(alerts.c.ts > start)
    if end is not None:
        found.append(alerts.c.ts <= end)
    if event:
        found.append(alerts.c.event_type == event)
    if severity:
        found.append(
            alerts.c.severity.in_([name for name, rank in SEVERITY_RANK.items() if rank >= SEVERITY_RANK[severity]])
        )
    if symbol:
        found.append(
            sa.or_(
                alerts.c.symbol == symbol,
                alerts.c.symbol.startswith(f"{symbol}/"),
                alerts.c.symbol.endswith(f"/{symbol}"),
            )
        )
    if search:
        found.append(
            sa.or_(
                alerts.c.title.icontains(search, autoescape=True),
                alerts.c.description.icontains(search, autoescape=True),
            )
        )
    return found


def _deliveries(alert_id: sa.ColumnElement[str]) -> sa.sql.selectable.LateralFromClause:
    deliveries = tables.table("alert_deliveries")
    state = deliveries.c.state
    return (
        sa.select(
            sa.func.count().filter(state == "DELIVERED").label("delivered"),
            sa.func.count().filter(state.in_(("PENDING", "RETRYING"))).label("waiting"),
            sa.func.count().filter(state.in_(("DEAD", "EXPIRED"))).label("dead"),
            sa.func.count().filter(state != "SUPPRESSED").label("planned"),
        )
        .where(deliveries.c.alert_id == alert_id)
        .lateral("outcome")
    )


def listing(reader: Reader, *, limit: int = 100, offset: int = 0, phases: Sequence[str] = (), **filters: Any) -> Rows:
    """Alerts that match, newest first, each with the counts of its deliveries.

    Index: (ts desc), or (event_type, ts desc) with one event type.
    """
    alerts = tables.table("alerts")
    chosen = _conditions(alerts, **filters)
    if phases:
        chosen.append(alerts.c.phase.in_(phases))
    page = (
        sa.select(alerts)
        .where(*chosen)
        .order_by(alerts.c.ts.desc(), alerts.c.alert_id)
        .limit(limit)
        .offset(offset)
        .subquery("page")
    )
    outcome = _deliveries(page.c.alert_id)
    statement = sa.select(page, outcome).join(outcome, sa.true()).order_by(page.c.ts.desc(), page.c.alert_id)
    return reader.rows(statement)


def cascades(reader: Reader, start: datetime, end: datetime, *, symbol: str = "", limit: int = 500) -> Rows:
    """Cascades of the range: OPEN rows of LIQUIDATION_CASCADE, suppressed ones included, retracted ones left out.

    Index: (event_type, ts desc).
    """
    alerts = tables.table("alerts")
    statement = (
        sa.select(alerts)
        .where(
            alerts.c.phase == "OPEN",
            alerts.c.retracted_at.is_(None),
            *_conditions(alerts, start=start, end=end, event="LIQUIDATION_CASCADE", symbol=symbol),
        )
        .order_by(alerts.c.ts.desc(), alerts.c.alert_id)
        .limit(limit)
    )
    return reader.rows(statement)


def opened(reader: Reader, since: datetime, until: datetime) -> Rows:
    """How many episodes opened per event type and severity after ``since``; retracted ones left out.

    Index: (ts desc).
    """
    alerts = tables.table("alerts")
    statement = (
        sa.select(
            alerts.c.event_type, alerts.c.severity, sa.func.count().label("n"), sa.func.max(alerts.c.ts).label("newest")
        )
        .where(alerts.c.ts > since, alerts.c.ts <= until, alerts.c.phase == "OPEN", alerts.c.retracted_at.is_(None))
        .group_by(alerts.c.event_type, alerts.c.severity)
    )
    return reader.rows(statement)


def known_episodes(reader: Reader, episodes: Sequence[str]) -> set[str]:
    """Which of the episodes have an alert. Index: (episode_id)."""
    alerts = tables.table("alerts")
    statement = (
        sa.select(alerts.c.episode_id)
        .distinct()
        .where(alerts.c.episode_id.in_(episodes), alerts.c.retracted_at.is_(None))
    )
    return {row["episode_id"] for row in reader.rows(statement)}


def one(reader: Reader, alert_id: str) -> dict[str, Any] | None:
    """One alert with every column. Index: primary key."""
    alerts = tables.table("alerts")
    found = reader.rows(sa.select(alerts).where(alerts.c.alert_id == alert_id))
    return found[0] if found else None


def attempts(reader: Reader, alert_id: str) -> Rows:
    """Deliveries of one alert with the name of each endpoint, never its URL. Index: primary key."""
    deliveries, endpoints = tables.table("alert_deliveries"), tables.table("webhook_endpoints")
    statement = (
        sa.select(deliveries, endpoints.c.name, endpoints.c.host, endpoints.c.format)
        .select_from(deliveries.outerjoin(endpoints, endpoints.c.endpoint == deliveries.c.endpoint))
        .where(deliveries.c.alert_id == alert_id)
        .order_by(deliveries.c.series, endpoints.c.name, deliveries.c.endpoint)
    )
    return reader.rows(statement)


def totals(reader: Reader, since: datetime) -> dict[str, int]:
    """Deliveries per state: planned after ``since``, or still waiting.

    Indexes: (created_at) and (state, next_attempt_at), combined.
    """
    deliveries = tables.table("alert_deliveries")
    waiting = deliveries.c.state.in_(("PENDING", "RETRYING"))
    statement = (
        sa.select(deliveries.c.state, sa.func.count().label("n"))
        .where(sa.or_(deliveries.c.created_at > since, waiting))
        .group_by(deliveries.c.state)
    )
    return {row["state"]: row["n"] for row in reader.rows(statement)}


def endpoints(reader: Reader) -> Rows:
    """Every endpoint of the configuration that is not removed. Small table, read whole."""
    table = tables.table("webhook_endpoints")
    return reader.rows(sa.select(table).where(table.c.state != "REMOVED").order_by(table.c.name))


def silences(reader: Reader, now: datetime) -> Rows:
    """Silences that hold or will hold. Small table, read whole."""
    table = tables.table("alert_silences")
    return reader.rows(sa.select(table).where(table.c.ends_at > now).order_by(table.c.ends_at))


def requests(reader: Reader, limit: int = 10) -> Rows:
    """What was asked of the sensor lately, newest first. Small table."""
    table = tables.table("alert_requests")
    return reader.rows(sa.select(table).order_by(table.c.requested_at.desc()).limit(limit))
