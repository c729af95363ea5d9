"""Schema migrations: ``upgrade`` brings a database to this release's schema.

What belongs here: the order of schema versions (``versions/``, Alembic), the lock under which they run, the refusal
of a newer schema, and who may do what (``access.py``). What does not: the tables themselves (``tables.py``).

``upgrade`` runs at every start; on a database that is up to date it costs one query.
"""

from regimes_dagster.migrations.upgrade import HEAD, NewerSchemaError, current_revision, upgrade

__all__ = ["HEAD", "NewerSchemaError", "current_revision", "upgrade"]
