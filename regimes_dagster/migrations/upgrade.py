"""Bringing a database to this release's schema.

What belongs here: running the migrations under a lock, and refusing what this release does not know. What does
not: the steps themselves (``versions/``) and roles (``access.py``).
"""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from regimes_dagster.database import DatabaseError, clear_errors
from regimes_dagster.migrations import access

if TYPE_CHECKING:
    from alembic.config import Config

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


def upgrade(engine: sa.Engine, *, again: bool = False) -> bool:
    """Bring the schema to this release's revision; True if anything was to do.

    Safe when several processes call it at once: one works, the others wait and find nothing to do. All steps and
    the new version number are one transaction.

    Parameters
    ----------
    engine : sqlalchemy.Engine
        On any database, empty ones included.
    again : bool
        Give the rights of the dashboard's role again even if the schema is up to date.

    Raises
    ------
    NewerSchemaError
        If the database was made by a newer release.
    DatabaseUnavailable
        If the database does not answer.
    """
    with clear_errors(engine.url):
        with engine.connect() as connection:
            if _revision(connection) == HEAD and not again:
                return False
        with engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            found = _revision(connection)
            changed = found != HEAD
            if changed:
                if found is not None:
                    refuse_unknown(found)
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

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def refuse_unknown(found: str, whose: str = "the database's") -> None:
    """Refuse a schema revision that this release does not know.

    Raises
    ------
    NewerSchemaError
        If ``found`` is none of this release's revisions.
    """
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found not in known:
        raise NewerSchemaError(
            f"{whose} schema has revision {found}, this release knows up to {HEAD}: a newer release made it. "
            "Install that release again, or restore a backup made before the upgrade with `regimes db restore FILE`"
        )


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
