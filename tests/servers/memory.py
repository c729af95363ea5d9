"""A warehouse in memory: the rule of a write, without a database.

What belongs here: enough of ``storage.Warehouse`` for tests that run many hours. What does not: validation, locks
and types, which the tests of the real one cover.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from regimes_dagster.partitions import Window
from regimes_dagster.schemas import TABLES, primary_key
from regimes_dagster.sources.frames import empty, joined
from regimes_dagster.storage import Write


class MemoryWarehouse:
    """Reads and writes frames by table name."""

    def __init__(self) -> None:
        self._tables: dict[str, pd.DataFrame] = {}

    def read(self, table: str, *, window: Window | None = None, where: Mapping[str, str] | None = None) -> pd.DataFrame:
        """Rows of a table, sorted by key."""
        rows = self._tables.get(table, empty(table))
        if window is not None:
            rows = rows[window.mask(rows["ts"])]
        for column, value in (where or {}).items():
            rows = rows[rows[column] == value]
        return rows.sort_values(list(primary_key(TABLES[table])), ignore_index=True)

    def write(self, writes: Sequence[Write]) -> None:
        """Delete what lies in the scopes, then insert or replace the frame's rows by key."""
        for write in writes:
            rows = self._tables.get(write.table, empty(write.table))
            for scope in write.scopes:
                inside = scope.window.mask(rows[scope.ts_column])
                for column, value in scope.where.items():
                    inside &= rows[column] == value
                rows = rows[~inside]
            key = list(primary_key(TABLES[write.table]))
            self._tables[write.table] = joined(write.table, [rows, write.frame]).drop_duplicates(key, keep="last")
