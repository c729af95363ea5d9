"""Frames in and out of the database: the only place that writes rows of data.

What belongs here: reading a table as a typed frame, and writing frames in one transaction: validated against their
model, only the rows that changed, deleting only what the given scopes allow. What does not: Dagster
(``resources/warehouse.py``), which window to read or write (its callers), single-row ledgers of the alerts
(``alerts/`` uses SQLAlchemy on ``tables.py``).
"""

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from psycopg import Cursor, sql

from regimes_dagster import contracts, rows_as_csv, tables
from regimes_dagster.contracts import InvalidRowsError, StorageError
from regimes_dagster.database import clear_errors
from regimes_dagster.partitions import Window, utc

__all__ = ["InvalidRowsError", "Scope", "StorageError", "Values", "Warehouse", "Write", "WriteCounts"]

Values = str | Sequence[str]

#: Above so many rows the planner is told about the incoming rows before they are compared with the stored ones.
_ANALYZE_ABOVE = 2_000

#: Tables up to this size are counted; the size of larger ones is estimated.
_COUNT_BELOW = 1_000_000

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Scope:
    """Rows that a write replaces: those of a window, narrowed by column values.

    ``where`` maps a column to one value or to several; ``ts_column`` is the column that the window is about.
    """

    window: Window
    where: Mapping[str, Values] = field(default_factory=dict)
    ts_column: str = "ts"


@dataclass(frozen=True)
class Write:
    """A frame for a table. With scopes, only rows inside them are written and stored rows inside them that the frame
    does not have are deleted; without, rows are inserted or updated and none is deleted.
    """

    table: str
    frame: pd.DataFrame
    scopes: Sequence[Scope] = ()


@dataclass(frozen=True)
class WriteCounts:
    """What a write did to a table's rows.

    ``outside`` rows lay in no scope and were left out; ``since`` is the earliest stamp of a row that is not as it was.
    """

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    outside: int = 0
    since: pd.Timestamp | None = field(default=None, compare=False)

    def __add__(self, other: "WriteCounts") -> "WriteCounts":
        return WriteCounts(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.deleted + other.deleted,
            self.unchanged + other.unchanged,
            self.outside + other.outside,
            min((stamp for stamp in (self.since, other.since) if stamp is not None), default=None),
        )

    @property
    def changed(self) -> int:
        """Rows that are not as they were."""
        return self.inserted + self.updated + self.deleted


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
            columns=_names(names),
            table=self._name(table),
            where=sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL(""),
            order=sql.SQL(" ORDER BY ") + _names(contracts.keys_of(table)) if order else sql.SQL(""),
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
            parameters = [sorted(set(_several(where[by])))]
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
        inside = _inside(rows, write.scopes)
        kept = rows if inside.all() else rows[inside]
        return Write(write.table, kept, write.scopes), int(len(rows) - len(kept))

    def _lock(self, cursor: "Cursor[Any]", prepared: Iterable[tuple[Write, int]]) -> None:
        """One writer per table and month, until the transaction ends; in one order, so that none waits in a circle."""
        pairs = sorted({(self._lock_number(write.table), month) for write, _ in prepared for month in _months(write)})
        if pairs:
            query = "SELECT pg_advisory_xact_lock(a, b) FROM unnest(%s::int[], %s::int[]) AS pair(a, b)"
            self._step(cursor, query, ([pair[0] for pair in pairs], [pair[1] for pair in pairs]))

    def _lock_number(self, table: str) -> int:
        return zlib.crc32(f"{self.schema}.{table}".encode()) - 2**31

    def _store(self, cursor: "Cursor[Any]", incoming: str, write: Write, outside: int) -> WriteCounts:
        rows, table = write.frame, self._name(write.table)
        keys = contracts.keys_of(write.table)
        columns = list(rows.columns)
        others = [name for name in columns if name not in keys]
        names = {"table": table, "incoming": sql.Identifier(incoming), "columns": _names(columns), "keys": _names(keys)}
        same_key = sql.SQL(" AND ").join(sql.SQL("s.{0} = t.{0}").format(sql.Identifier(key)) for key in keys)

        # INCLUDING nothing but types and NOT NULL: the stored table's own checks come with the insert.
        self._step(cursor, sql.SQL("CREATE TEMP TABLE {incoming} (LIKE {table}) ON COMMIT DROP").format(**names))
        if not rows.empty:
            with cursor.copy(sql.SQL("COPY {incoming} ({columns}) FROM STDIN (FORMAT csv)").format(**names)) as copy:
                for piece in rows_as_csv.encode(write.table, rows):
                    copy.write(piece)
            if len(rows) > _ANALYZE_ABOVE:
                self._step(cursor, sql.SQL("ANALYZE {incoming}").format(**names))

        stamp = tables.time_column(write.table)
        edge = sql.SQL("NULL::timestamptz") if stamp is None else sql.Identifier(stamp)
        names |= {"edge": edge}
        counts = WriteCounts(outside=outside)
        for shape, group in _by_shape(write.scopes).items():
            counts += self._delete(cursor, names, same_key, shape, group)
        if not rows.empty:
            changed: sql.Composable = sql.SQL("t.{key} IS NULL").format(key=sql.Identifier(keys[0]))
            action: sql.Composable = sql.SQL("NOTHING")
            if others:
                changed = changed + sql.SQL(" OR ({stored}) IS DISTINCT FROM ({new})").format(
                    stored=_names(others, "t"), new=_names(others, "s")
                )
                action = sql.SQL("UPDATE SET ") + sql.SQL(", ").join(
                    sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in others
                )
            # The join leaves unchanged rows out before the insert sees them: ON CONFLICT would lock, so write, each.
            query = sql.SQL(
                "WITH done AS (INSERT INTO {table} ({columns}) SELECT {new} FROM {incoming} s LEFT JOIN {table} t "
                "ON {same_key} WHERE {changed} ON CONFLICT ({keys}) DO {action} "
                "RETURNING xmax = 0 AS fresh, {edge} AS at) "
                "SELECT count(*) FILTER (WHERE fresh), count(*) FILTER (WHERE NOT fresh), min(at) FROM done"
            ).format(**names, new=_names(columns, "s"), same_key=same_key, changed=changed, action=action)
            inserted, updated, since = self._step(cursor, query).fetchone() or (0, 0, None)
            counts += WriteCounts(inserted, updated, 0, len(rows) - inserted - updated, since=_stamp(since))
        return counts

    def _delete(
        self,
        cursor: "Cursor[Any]",
        names: Mapping[str, sql.Composable],
        same_key: sql.Composable,
        shape: tuple[str, tuple[str, ...]],
        group: Sequence[tuple[Any, ...]],
    ) -> WriteCounts:
        """Delete the stored rows of scopes with the same columns that the incoming rows do not have."""
        stamp, where = shape
        query = sql.SQL(
            "WITH gone AS (DELETE FROM {table} t "
            "USING unnest(%s::timestamptz[], %s::timestamptz[]{arrays}) AS scope({parts}) "
            "WHERE t.{stamp} > scope.a AND t.{stamp} <= scope.b{matches} "
            "AND NOT EXISTS (SELECT FROM {incoming} s WHERE {same_key}) RETURNING t.{stamp} AS at) "
            "SELECT count(*), min(at) FROM gone"
        ).format(
            table=names["table"],
            incoming=names["incoming"],
            arrays=sql.SQL(", %s::text[]" * len(where)),
            parts=sql.SQL(", ").join(
                sql.Identifier(name) for name in ("a", "b", *(f"w{i}" for i in range(len(where))))
            ),
            stamp=sql.Identifier(stamp),
            matches=sql.SQL("").join(
                sql.SQL(" AND t.{} = scope.{}").format(sql.Identifier(name), sql.Identifier(f"w{i}"))
                for i, name in enumerate(where)
            ),
            same_key=same_key,
        )
        deleted, since = self._step(
            cursor, query, [list(column) for column in zip(*group, strict=True)]
        ).fetchone() or (
            0,
            None,
        )
        return WriteCounts(deleted=deleted, since=_stamp(since))

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
            parameters.append(_several(values))
        return conditions, parameters


def _cursor(connection: sa.Connection) -> "Cursor[Any]":
    """psycopg's own cursor in SQLAlchemy's transaction: COPY exists only there."""
    driver = connection.connection.driver_connection
    assert driver is not None
    cursor: Cursor[Any] = driver.cursor()
    return cursor


def _stamp(moment: Any) -> pd.Timestamp | None:
    return None if moment is None else utc(moment)


def _names(columns: Iterable[str], alias: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(*([alias] if alias else []), name) for name in columns)


def _several(values: Values) -> list[str]:
    return [values] if isinstance(values, str) else list(values)


def _inside(rows: pd.DataFrame, scopes: Sequence[Scope]) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """True where a row lies in one of the scopes."""
    codes = {name: pd.factorize(rows[name]) for name in {name for scope in scopes for name in scope.where}}
    inside = np.zeros(len(rows), dtype=bool)
    for scope in scopes:
        mask = scope.window.mask(rows[scope.ts_column]).to_numpy(dtype=bool, copy=True)
        for name, values in scope.where.items():
            code, found = codes[name]
            mask &= np.isin(found, _several(values))[code]
        inside |= mask
    return inside


def _by_shape(scopes: Sequence[Scope]) -> dict[tuple[str, tuple[str, ...]], list[tuple[Any, ...]]]:
    """Scopes by the columns they name, each as rows (start, end, value of every column)."""
    shapes: dict[tuple[str, tuple[str, ...]], list[tuple[Any, ...]]] = defaultdict(list)
    for scope in scopes:
        names = tuple(sorted(scope.where))
        bounds = (scope.window.start.to_pydatetime(), scope.window.end.to_pydatetime())
        for values in product(*(_several(scope.where[name]) for name in names)):
            shapes[scope.ts_column, names].append((*bounds, *values))
    return shapes


def _months(write: Write) -> set[int]:
    """Months (counted from year 0) that a write touches; -1 for a table without time."""
    stamp = tables.time_column(write.table)
    if stamp is None:
        return {-1}
    months: set[int] = set()
    for scope in write.scopes:
        # Midnight of the first belongs to the month before, as everywhere (partitions.py).
        first, last = scope.window.start, scope.window.end - _TICK
        months.update(range(first.year * 12 + first.month, last.year * 12 + last.month + 1))
    if not write.scopes and not write.frame.empty:
        stamps = write.frame[stamp].dropna() - _TICK
        months.update((stamps.dt.year * 12 + stamps.dt.month).unique().tolist())
    return months or {-1}
