"""Frames in and out of the database: the only place that writes rows of data.

What belongs here: reading a table as a typed frame, and writing frames in one transaction: validated against their
model, only the rows that changed, deleting only what the given scopes allow. What does not: Dagster
(``resources/warehouse.py``), which window to read or write (its callers), single-row ledgers of the alerts
(``alerts/`` uses SQLAlchemy on ``tables.py``), the statements of a write (``row_changes.py``).
"""

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import sqlalchemy as sa
from psycopg import Cursor, sql

from regimes_dagster import contracts, rows_as_csv, tables
from regimes_dagster.contracts import InvalidRowsError, StorageError
from regimes_dagster.database import clear_errors
from regimes_dagster.partitions import Window
from regimes_dagster.row_changes import Change, column_names
from regimes_dagster.writes import Scope, Values, Write, WriteCounts, months_of, rows_inside, several

__all__ = ["InvalidRowsError", "Scope", "StorageError", "Values", "Warehouse", "Write", "WriteCounts"]

#: Tables up to this size are counted; the size of larger ones is estimated.
_COUNT_BELOW = 1_000_000


class Warehouse:
    """Reads and writes the tables of one schema.

    Parameters
    ----------
    engine : sqlalchemy.Engine
        From ``database.make_engine`` (its sessions are in UTC).
    schema : str
        ``public``, or the scratch schema of a replay.
    """

    def __init__(self, engine: sa.Engine, schema: str = "public") -> None:
        self.engine = engine
        self.schema = schema

    # --- reading ------------------------------------------------------------------------------------------

    def read(
        self,
        table: str,
        *,
        window: Window | None = None,
        symbols: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        where: Mapping[str, Values] | None = None,
        order: bool = True,
    ) -> pd.DataFrame:
        """Rows of a table with the dtypes of its contract, sorted by key, with a fresh index.

        Parameters
        ----------
        window : Window, optional
            Only rows whose stamp (``tables.time_column``) lies in it.
        symbols : sequence of str, optional
            Only these; an empty one gives no row.
        columns : sequence of str, optional
            Only these, in this order; all by default.
        where : mapping, optional
            Column -> value or values.
        order : bool
            Sort by primary key; false where the order does not matter.

        Raises
        ------
        KeyError
            If the table or a column does not exist.
        DatabaseUnavailable
            If the database does not answer.
        """
        names = list(columns) if columns is not None else list(contracts.schema_of(table).columns)
        conditions, parameters = self._conditions(table, window, symbols, where)
        for name in names:
            self._known(table, name)
        query = sql.SQL("COPY (SELECT {columns} FROM {table}{where}{order}) TO STDOUT (FORMAT csv)").format(
            columns=column_names(names),
            table=self._name(table),
            where=sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL(""),
            order=sql.SQL(" ORDER BY ") + column_names(contracts.keys_of(table)) if order else sql.SQL(""),
        )
        text = bytearray()
        with (
            clear_errors(self.engine.url),
            self.engine.connect() as connection,
            _cursor(connection) as cursor,
            cursor.copy(query, parameters) as copy,
        ):
            for row in copy:
                text += row
        return rows_as_csv.decode(table, names, text)

    def newest(self, table: str, *, by: str | None = None, where: Mapping[str, Values] | None = None) -> pd.DataFrame:
        """The newest stamp of the whole table, or per value of column ``by``.

        Returns
        -------
        pd.DataFrame
            Columns ``by`` (if given) and ``ts`` (UTC); values without rows are left out.
        """
        return self._edge("max", table, by, where)

    def oldest(self, table: str, *, by: str | None = None, where: Mapping[str, Values] | None = None) -> pd.DataFrame:
        """The oldest stamp; otherwise as ``newest``."""
        return self._edge("min", table, by, where)

    def _edge(self, edge: str, table: str, by: str | None, where: Mapping[str, Values] | None) -> pd.DataFrame:
        stamp = tables.time_column(table)
        if stamp is None:
            raise KeyError(f"{table} has no time column")
        conditions, parameters = self._conditions(table, None, None, where)
        names = {"edge": sql.SQL(edge), "ts": sql.Identifier(stamp), "table": self._name(table)}
        if by is not None and where is not None and list(where) == [by]:
            # One step in the index per value; grouping would read the whole table.
            query = sql.SQL(
                "SELECT v, (SELECT {edge}({ts}) FROM {table} WHERE {by} = v) FROM unnest(%s::text[]) AS v"
            ).format(**names, by=sql.Identifier(by))
            parameters = [sorted(set(several(where[by])))]
        else:
            query = sql.SQL("SELECT {by}{edge}({ts}) FROM {table}{where}{group}").format(
                **names,
                by=sql.SQL("{}, ").format(sql.Identifier(by)) if by else sql.SQL(""),
                where=sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL(""),
                group=sql.SQL(" GROUP BY 1 ORDER BY 1") if by else sql.SQL(""),
            )
        with clear_errors(self.engine.url), self.engine.connect() as connection, _cursor(connection) as cursor:
            found = [row for row in cursor.execute(query, parameters).fetchall() if row[-1] is not None]
        frame = pd.DataFrame(found, columns=[*([by] if by else []), "ts"])
        return frame.astype({"ts": "datetime64[us, UTC]"})

    def distinct(
        self,
        table: str,
        column: str,
        *,
        window: Window | None = None,
        where: Mapping[str, Values] | None = None,
    ) -> list[str]:
        """Sorted values of a text column."""
        self._known(table, column)
        conditions, parameters = self._conditions(table, window, None, where)
        query = sql.SQL("SELECT DISTINCT {column} FROM {table}{where}").format(
            column=sql.Identifier(column),
            table=self._name(table),
            where=sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL(""),
        )
        with clear_errors(self.engine.url), self.engine.connect() as connection, _cursor(connection) as cursor:
            return sorted(str(row[0]) for row in cursor.execute(query, parameters).fetchall() if row[0] is not None)

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """A connection on which the project's tables mean those of this warehouse's schema."""
        with clear_errors(self.engine.url), self.engine.connect() as connection:
            yield connection.execution_options(schema_translate_map={None: self.schema})

    def row_count(self, table: str) -> int:
        """Rows of the table; the planner's estimate above a million, where counting takes long."""
        estimate = "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(%s)"
        with clear_errors(self.engine.url), self.engine.connect() as connection, _cursor(connection) as cursor:
            name = self._name(table).as_string(cursor)
            guess = int((cursor.execute(estimate, (name,)).fetchone() or (0,))[0])
            if guess > _COUNT_BELOW:
                return guess
            counted = cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(self._name(table))).fetchone()
        return int((counted or (0,))[0])

    # --- writing ------------------------------------------------------------------------------------------

    def write(
        self,
        writes: Sequence[Write],
        *,
        also: Callable[[sa.Connection], None] | None = None,
        then: Callable[[sa.Connection, Mapping[str, WriteCounts]], None] | None = None,
    ) -> dict[str, WriteCounts]:
        """Write all frames, or none: everything is validated first, then written in one transaction.

        Rows that are stored as they are stay untouched. Two writers of the same table and month take turns. A
        process that dies in between leaves what was there before.

        Parameters
        ----------
        writes : sequence of Write
            Several for the same table must not overlap in their scopes.
        also : callable, optional
            Called once in the same transaction, after the locks are held and before any row changes, with a
            connection on which the project's tables mean those of this warehouse's schema.
        then : callable, optional
            Called once in the same transaction, after all rows have changed, with such a connection and the counts.

        Returns
        -------
        dict
            Counts per table.

        Raises
        ------
        InvalidRowsError
            If a row breaks its contract; nothing is written.
        DatabaseUnavailable
            If the database goes away; nothing is written, and the same call may be repeated.
        """
        prepared = [self._prepared(write) for write in writes]
        counts: dict[str, WriteCounts] = defaultdict(WriteCounts)
        with clear_errors(self.engine.url), self.engine.begin() as connection, _cursor(connection) as cursor:
            self._lock(cursor, prepared)
            ours = connection.execution_options(schema_translate_map={None: self.schema})
            if also is not None:
                also(ours)
            for number, (write, outside) in enumerate(prepared):
                counts[write.table] += self._store(cursor, f"incoming_{number}", write, outside)
            if then is not None:
                then(ours, counts)
        return dict(counts)

    def _prepared(self, write: Write) -> tuple[Write, int]:
        """The write with checked rows of its scopes only, and how many rows were outside."""
        rows = contracts.check(write.table, write.frame)
        for scope in write.scopes:
            for name in (scope.ts_column, *scope.where):
                self._known(write.table, name)
        if not write.scopes or rows.empty:
            return Write(write.table, rows, write.scopes), 0
        inside = rows_inside(rows, write.scopes)
        kept = rows if inside.all() else rows[inside]
        return Write(write.table, kept, write.scopes), int(len(rows) - len(kept))

    def _lock(self, cursor: "Cursor[Any]", prepared: Iterable[tuple[Write, int]]) -> None:
        """One writer per table and month, until the transaction ends; in one order, so that none waits in a circle."""
        pairs = sorted({(self._lock_number(write.table), month) for write, _ in prepared for month in months_of(write)})
        if pairs:
            query = "SELECT pg_advisory_xact_lock(a, b) FROM unnest(%s::int[], %s::int[]) AS pair(a, b)"
            self._step(cursor, query, ([pair[0] for pair in pairs], [pair[1] for pair in pairs]))

    def _lock_number(self, table: str) -> int:
        return zlib.crc32(f"{self.schema}.{table}".encode()) - 2**31

    def _store(self, cursor: "Cursor[Any]", incoming: str, write: Write, outside: int) -> WriteCounts:
        change = Change(self._step, cursor, self._name(write.table), sql.Identifier(incoming), write)
        return change.run() + WriteCounts(outside=outside)

    def _step(self, cursor: "Cursor[Any]", query: Any, parameters: Sequence[Any] | None = None) -> "Cursor[Any]":
        """Every statement of a write passes here (a test ends the process at each of them)."""
        return cursor.execute(query, parameters, prepare=False)

    # --- inside -------------------------------------------------------------------------------------------

    def _name(self, table: str) -> sql.Identifier:
        return sql.Identifier(self.schema, table)

    def _known(self, table: str, column: str) -> None:
        known = contracts.schema_of(table).columns
        if column not in known:
            raise KeyError(f"{table} has no column {column!r}; it has {', '.join(known)}")

    def _conditions(
        self, table: str, window: Window | None, symbols: Sequence[str] | None, where: Mapping[str, Values] | None
    ) -> tuple[list[sql.Composable], list[Any]]:
        conditions: list[sql.Composable] = []
        parameters: list[Any] = []
        if window is not None:
            stamp = tables.time_column(table)
            if stamp is None:
                raise KeyError(f"{table} has no time column; read it without a window")
            conditions.append(sql.SQL("{0} > %s AND {0} <= %s").format(sql.Identifier(stamp)))
            parameters += [window.start.to_pydatetime(), window.end.to_pydatetime()]
        narrowed = dict(where or {})
        if symbols is not None:
            narrowed["symbol"] = list(symbols)
        for name, values in narrowed.items():
            self._known(table, name)
            conditions.append(sql.SQL("{} = ANY(%s)").format(sql.Identifier(name)))
            parameters.append(several(values))
        return conditions, parameters


def _cursor(connection: sa.Connection) -> "Cursor[Any]":
    """psycopg's own cursor in SQLAlchemy's transaction: COPY exists only there."""
    driver = connection.connection.driver_connection
    assert driver is not None
    cursor: Cursor[Any] = driver.cursor()
    return cursor
