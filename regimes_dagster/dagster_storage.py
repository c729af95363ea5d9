"""Dagster's PostgreSQL storage with connections that stay open.

What belongs here: the storage class that ``dagster.yaml`` names. What does not: the instance itself (``instance.py``)
and the platform's own engine (``database.py``).

dagster-postgres opens a connection for every statement, so that many instances do not pile up connections. Here an
hourly run of three symbols opened 552 of them, 3 to 4 ms each: more than a third of its time. It also asks the
catalogue before most writes whether columns of older releases exist (90 times in such a run).
"""

from typing import Any

import sqlalchemy as sa
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from dagster_postgres.utils import get_token_provider_from_config, pg_url_from_config
from sqlalchemy.engine import Connection

#: Connections a process keeps; more are opened when needed and closed after use.
KEPT = 2

#: Seconds after which a kept connection is replaced.
RENEW = 1800


class KeptConnections(DagsterPostgresStorage):
    """``DagsterPostgresStorage`` whose three parts share one pool; a connection that died is replaced when taken."""

    def __init__(self, postgres_url: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(postgres_url, *args, **kwargs)
        self._event_log_storage = _EventLog(
            postgres_url, self.should_autocreate_tables, token_provider=kwargs.get("token_provider")
        )
        engine = sa.create_engine(
            postgres_url,
            isolation_level="AUTOCOMMIT",
            pool_size=KEPT,
            max_overflow=-1,
            pool_pre_ping=True,
            pool_recycle=RENEW,
        )
        for part in (self._event_log_storage, self._run_storage, self._schedule_storage):
            part._engine = engine

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "KeptConnections":
        """Called by Dagster with the ``config`` of ``dagster.yaml``."""
        return cls(
            pg_url_from_config(config_value),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            inst_data=inst_data,
            token_provider=get_token_provider_from_config(config_value),
        )


class _EventLog(PostgresEventLogStorage):
    """Asks once which columns the asset table has (they change only with ``dagster instance migrate``), and closes the
    kept connections when the instance is closed."""

    _columns: frozenset[str] | None = None

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        if self._columns is None:
            found = sa.inspect(conn).get_columns("asset_keys")
            self._columns = frozenset(str(column["name"]) for column in found)
        return column_name in self._columns

    def dispose(self) -> None:
        super().dispose()
        self._engine.dispose()
