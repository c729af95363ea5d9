"""The database server: version, schema, roles, clock, connections.

What belongs here: checks of the server and of the schema. What does not: the rows (``data.py``).
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlalchemy as sa

from regimes_dagster.database import DASHBOARD_ROLE
from regimes_dagster.doctor.finding import Finding, fail, ok, warn
from regimes_dagster.settings import Settings

OLDEST_SERVER = 12

#: Rows are stamped by this machine and leases by the server: more than this and "newer" stops meaning anything.
SKEW_WARN, SKEW_FAIL = timedelta(seconds=5), timedelta(seconds=60)

#: Share of the server's connections in use from which a run may be refused one.
CONNECTIONS_WARN = 0.8


def server_version(connection: sa.Connection) -> Finding:
    """PostgreSQL is new enough."""
    number = int(connection.execute(sa.text("SHOW server_version_num")).scalar_one())
    major, minor = divmod(number, 10000)
    text = f"PostgreSQL {major}.{minor}"
    if major < OLDEST_SERVER:
        return fail("database version", f"{text} is too old", f"Use PostgreSQL {OLDEST_SERVER} or newer.")
    return ok("database version", text)


def schema_revision(found: str | None, known: tuple[str, ...], head: str) -> Finding:
    """The schema is that of this release."""
    if found == head:
        return ok("database schema", f"revision {found}")
    if found is None:
        return warn("database schema", "no tables yet", "Run: regimes db upgrade (every start does it as well).")
    if found in known:
        return warn("database schema", f"revision {found}, this release has {head}", "Run: regimes db upgrade")
    return fail(
        "database schema",
        f"revision {found} is newer than this release knows ({head})",
        "Run the release that made it, or restore a backup.",
    )


def dashboard_role(connection: sa.Connection, settings: Settings) -> Finding:
    """The dashboard has a role that can only read."""
    if settings.dashboard.db_url is not None:
        return ok("dashboard role", "its own address (DASHBOARD_DB_URL)")
    query = sa.text("SELECT pg_has_role(current_user, oid, 'MEMBER') FROM pg_catalog.pg_roles WHERE rolname = :role")
    member = connection.execute(query, {"role": DASHBOARD_ROLE}).scalar_one_or_none()
    if member:
        return ok("dashboard role", f"{DASHBOARD_ROLE} exists")
    what = "does not exist" if member is None else "may not be used by this database user"
    return warn(
        "dashboard role",
        f"{DASHBOARD_ROLE} {what}; the dashboard reads in a read-only session and cannot replay or silence",
        "Run `regimes db upgrade` as a user that may make roles, or set DASHBOARD_DB_URL.",
    )


def clock_skew(connection: sa.Connection, now: datetime) -> Finding:
    """The server's clock agrees with this machine's; ``now`` is taken right before the call."""
    theirs: datetime = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    skew = abs(theirs - now)
    text = f"the database's clock is {skew.total_seconds():.1f} s {'ahead' if theirs > now else 'behind'}"
    if skew >= SKEW_FAIL:
        return fail("clock", text, "Synchronise both machines (NTP): hours would be fetched too early or too late.")
    if skew >= SKEW_WARN:
        return warn("clock", text, "Synchronise both machines (NTP).")
    return ok("clock", text)


def connections(connection: sa.Connection) -> Finding:
    """There are connections left."""
    used, most = connection.execute(
        sa.text("SELECT (SELECT count(*) FROM pg_stat_activity), current_setting('max_connections')::int")
    ).one()
    text = f"{used} of {most} in use"
    if used >= CONNECTIONS_WARN * most:
        return warn("connections", text, "Raise max_connections, or stop other programs.")
    return ok("connections", text)


def database_size(connection: sa.Connection) -> Finding:
    """How large the database is."""
    size = int(connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one())
    return ok("database size", f"{size / 1024**2:.0f} MB")


def server(connection: sa.Connection, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Every check of this file but the schema's."""
    yield clock_skew(connection, now)
    yield server_version(connection)
    yield connections(connection)
    yield database_size(connection)
    yield dashboard_role(connection, settings)
