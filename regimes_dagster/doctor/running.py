"""What should be running: Dagster's daemon, the last runs, the delivery of alerts.

What belongs here: checks of Dagster's own tables (plain SQL: starting Dagster for it would take seconds) and of the
delivery ledger. What does not: posting anything.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from regimes_dagster import tables
from regimes_dagster.doctor.finding import Finding, fail, ok, skip, warn
from regimes_dagster.settings import Settings

#: Dagster's daemons write a heartbeat every 30 s and call one missing after 5 minutes.
HEARTBEAT = timedelta(minutes=5)
DAEMONS = ("SCHEDULER", "SENSOR", "QUEUED_RUN_COORDINATOR")

#: A delivery that is due for longer means that nobody delivers.
OVERDUE = timedelta(minutes=15)


def daemon(connection: sa.Connection, system_now: datetime, schema: str = "dagster") -> Finding:
    """The Dagster daemon beats: without it no hourly run starts and no alert is posted."""
    action = "Start it: regimes up"
    if not _has_table(connection, schema, "daemon_heartbeats"):
        return warn("Dagster daemon", "has never run on this database", action)
    table = sa.table("daemon_heartbeats", sa.column("daemon_type"), sa.column("timestamp"), schema=schema)
    beats = {
        row.daemon_type: row.timestamp.replace(tzinfo=row.timestamp.tzinfo or UTC)
        for row in connection.execute(sa.select(table.c.daemon_type, table.c.timestamp))
    }
    silent = [kind for kind in DAEMONS if kind not in beats or system_now - beats[kind] > HEARTBEAT]
    if not beats:
        return warn("Dagster daemon", "has never run on this database", action)
    if silent:
        newest = max(beats.values())
        return warn("Dagster daemon", f"{', '.join(silent)}: no heartbeat since {newest:%Y-%m-%d %H:%M:%S}", action)
    return ok("Dagster daemon", "beats")


def last_run(connection: sa.Connection, schema: str = "dagster") -> Finding:
    """The newest finished run succeeded."""
    if not _has_table(connection, schema, "runs"):
        return skip("last run", "no run yet")
    columns = ("id", "run_id", "pipeline_name", "status", "update_timestamp")
    table = sa.table("runs", *(sa.column(name) for name in columns), schema=schema)
    row = connection.execute(
        sa.select(table)
        .where(table.c.status.in_(("SUCCESS", "FAILURE", "CANCELED")))
        .order_by(table.c.id.desc())
        .limit(1)
    ).first()
    if row is None:
        return skip("last run", "no run has finished yet")
    text = f"{row.pipeline_name} {row.run_id[:8]}: {row.status}, {row.update_timestamp:%Y-%m-%d %H:%M}"
    if row.status == "FAILURE":
        return warn("last run", text, f"Read it on the Dagster pages: /runs/{row.run_id}")
    return ok("last run", text)


def webhooks(settings: Settings) -> Iterator[Finding]:
    """Receivers are configured; their addresses were checked when the settings were read."""
    endpoints = settings.endpoints
    if not settings.alerts.enabled:
        action = "Unset WEBHOOKS_ENABLED (alerts.enabled) to post again."
        yield warn("webhooks", "switched off: alerts are recorded, nothing is posted", action)
    if not endpoints:
        yield ok("webhooks", "none configured; alerts are shown on the dashboard only")
    for endpoint in endpoints:
        signed = "signed" if endpoint.secrets else "not signed"
        yield ok("webhooks", f"{endpoint.name}: {endpoint.label}, {endpoint.format}, {signed}")


def deliveries(connection: sa.Connection, settings: Settings, system_now: datetime) -> Iterator[Finding]:
    """Nothing waits too long, is dead, or is addressed to an endpoint that is switched off."""
    endpoints, ledger = tables.table("webhook_endpoints"), tables.table("alert_deliveries")
    configured = [endpoint.id for endpoint in settings.endpoints]
    off = connection.execute(
        sa.select(endpoints.c.name, endpoints.c.host, endpoints.c.state, endpoints.c.state_reason).where(
            endpoints.c.state.in_(("PAUSED", "DISABLED")), endpoints.c.endpoint.in_(configured)
        )
    ).all()
    for row in off:
        action = "Correct the receiver or its address, then: regimes alerts test NAME"
        yield warn("deliveries", f"{row.name} ({row.host}) is {row.state}: {row.state_reason or 'failures'}", action)
    dead, overdue = connection.execute(
        sa.select(
            sa.func.count().filter(ledger.c.state == "DEAD"),
            sa.func.count().filter(
                ledger.c.state.in_(("PENDING", "RETRYING")), ledger.c.next_attempt_at < system_now - OVERDUE
            ),
        )
    ).one()
    if overdue and settings.alerts.enabled:
        yield fail(
            "deliveries",
            f"{overdue} due for more than 15 minutes",
            "Is the Dagster daemon running? It delivers alerts.",
        )
    if dead:
        yield warn(
            "deliveries", f"{dead} given up", "Look: regimes alerts list --state DEAD; again: regimes alerts replay"
        )
    if not (off or dead or overdue):
        yield ok("deliveries", "none is late or given up")


def _has_table(connection: sa.Connection, schema: str, name: str) -> bool:
    found = connection.execute(sa.text("SELECT to_regclass(:name)"), {"name": f'"{schema}"."{name}"'}).scalar_one()
    return found is not None
