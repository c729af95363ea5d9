"""Bringing a database to this release's schema.

What belongs here: running the migrations under a lock, and refusing what this release does not know. What does
not: the steps themselves (``versions/``) and roles (``access.py``).
"""

from pathlib import Path

import sqlalchemy as sa

from regimes_dagster.database import DatabaseError, clear_errors
from regimes_dagster.migrations import access

#: The revision of this release's schema; a test holds it against ``versions/``.
HEAD = "0001"

VERSION_TABLE = "schema_version"

#: Schema of Dagster's own tables, in the same database.
DAGSTER_SCHEMA = "dagster"

#: Key of the advisory lock under which one process at a time migrates; any constant does.
_LOCK = 7_203_114_551


class NewerSchemaError(DatabaseError):
    """The database was made by a newer release."""


def current_revision(engine: sa.Engine) -> str | None:
    """The revision of the database's schema, or None for an empty one.

    Raises
    ------
    DatabaseUnavailable
        If the database does not answer.
    """
    with clear_errors(engine.url), engine.connect() as connection:
        return _revision(connection)


def upgrade(engine: sa.Engine) -> bool:
    """Bring the schema to this release's revision; True if anything was to do.

    Safe when several processes call it at once: one works, the others wait and find nothing to do. All steps and
    the new version number are one transaction.

    Raises
    ------
    NewerSchemaError
        If the database was made by a newer release.
    DatabaseUnavailable
        If the database does not answer.
    """
    with clear_errors(engine.url):
        with engine.connect() as connection:
            if _revision(connection) == HEAD:
                return False
        with engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            found = _revision(connection)
            changed = found != HEAD
            if changed:
                _refuse_unknown(found)
                connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {DAGSTER_SCHEMA}"))
                _run_steps(connection)
        access.grant(engine)
    return changed


def _revision(connection: sa.Connection) -> str | None:
    if connection.execute(sa.select(sa.func.to_regclass(f"public.{VERSION_TABLE}"))).scalar() is None:
        return None
    found = connection.execute(sa.text(f"SELECT version_num FROM public.{VERSION_TABLE}")).scalar()  # noqa: S608 - a constant
    return None if found is None else str(found)


def _run_steps(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _refuse_unknown(found: str | None) -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    if found is None:
        return
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found not in known:
        raise NewerSchemaError(
            f"the database's schema has revision {found}, this release knows up to {HEAD}: a newer release made it. "
            "Install that release again, or restore a backup made before the upgrade with `regimes db restore FILE`"
        )
