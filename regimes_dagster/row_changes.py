"""The statements that bring stored rows to what a frame says: insert, update, delete, and only where they differ.

What belongs here: SQL for one table within an open transaction. What does not: the transaction and its locks
(``storage.py``), which rows may be replaced (``writes.py``).

The rows are copied into a temporary table first. Unchanged rows are left out by a join before the insert sees them:
``ON CONFLICT`` alone would lock, and so write, each of them. Many rows for scopes in which nothing is stored (the first
backfill) are copied straight into the table, which costs the server about half as much.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pandas as pd
from psycopg import Cursor, sql

from regimes_dagster import contracts, rows_as_csv, tables
from regimes_dagster.partitions import utc
from regimes_dagster.writes import Shape, Write, WriteCounts, by_shape

#: Executes one statement of a write.
Step = Callable[..., "Cursor[Any]"]

#: Above so many rows it is worth a question whether anything is stored at all, and the planner is told about the
#: incoming rows before they are compared with the stored ones.
MANY = 2_000


@dataclass(frozen=True)
class Change:
    """One write in progress: the rows of ``write`` against the stored ``table``, by way of ``incoming``."""

    step: Step
    cursor: "Cursor[Any]"
    table: sql.Identifier
    incoming: sql.Identifier
    write: Write

    def run(self) -> WriteCounts:
        """Make the stored rows those of the write, and count what that took."""
        if self._nothing_stored():
            return self._fill()
        # LIKE takes types and NOT NULL; the stored table's other checks come with the insert.
        self._step("CREATE TEMP TABLE {incoming} (LIKE {table}) ON COMMIT DROP")
        if not self.write.frame.empty:
            self._copy(self.incoming)
        if len(self.write.frame) > MANY:
            self._step("ANALYZE {incoming}")
        counts = WriteCounts()
        for shape, group in by_shape(self.write.scopes).items():
            counts += self._delete(shape, group)
        return counts if self.write.frame.empty else counts + self._upsert()

    def _nothing_stored(self) -> bool:
        """Whether no stored row lies in the scopes of a large write, so that none can be changed or in its way."""
        stamp, keys = tables.time_column(self.write.table), set(contracts.keys_of(self.write.table))
        shapes = by_shape(self.write.scopes)
        if len(self.write.frame) <= MANY or not shapes:
            return False
        # A stored row with the key of an incoming one lies in the same scope, if scopes speak of key columns alone.
        if any(on != stamp or not {on, *where} <= keys for on, where in shapes):
            return False
        return not any(self._any_stored(shape, group) for shape, group in shapes.items())

    def _any_stored(self, shape: Shape, group: Sequence[tuple[Any, ...]]) -> bool:
        found = self._step(
            "SELECT EXISTS (SELECT FROM unnest(%s::timestamptz[], %s::timestamptz[]{arrays}) AS scope({parts}) "
            "WHERE EXISTS (SELECT FROM {table} t WHERE {inside}))",
            [list(column) for column in zip(*group, strict=True)],
            **_scope_parts(shape),
        ).fetchone()
        return bool(found and found[0])

    def _fill(self) -> WriteCounts:
        rows = self.write.frame
        self._copy(self.table)
        return WriteCounts(len(rows), since=_stamp(rows[tables.time_column(self.write.table)].min()))

    def _copy(self, target: sql.Identifier) -> None:
        rows = self.write.frame
        query = self._sql(
            "COPY {target} ({columns}) FROM STDIN (FORMAT csv)", target=target, columns=column_names(rows.columns)
        )
        pieces = rows_as_csv.encode(self.write.table, rows)
        with self.cursor.copy(query) as copy:
            # A single piece, as of nearly every hourly write, has no next one and needs no thread.
            for piece in _one_ahead(pieces) if len(rows) > rows_as_csv.PIECE else pieces:
                copy.write(piece)

    def _upsert(self) -> WriteCounts:
        columns = [str(name) for name in self.write.frame.columns]
        keys = contracts.keys_of(self.write.table)
        others = [name for name in columns if name not in keys]
        stamp = tables.time_column(self.write.table)
        changed, action = "t.{key} IS NULL", "NOTHING"
        if others:
            changed += " OR ({stored}) IS DISTINCT FROM ({new_others})"
            action = "UPDATE SET {assignments}"
        # The parts in braces are identifiers, filled in by psycopg.
        query = (
            "WITH done AS (INSERT INTO {table} ({columns}) SELECT {new} FROM {incoming} s LEFT JOIN {table} t "  # noqa: S608
            f"ON {{same_key}} WHERE {changed} ON CONFLICT ({{keys}}) DO {action} "
            "RETURNING xmax = 0 AS fresh, {edge} AS at) "
            "SELECT count(*) FILTER (WHERE fresh), count(*) FILTER (WHERE NOT fresh), min(at) FROM done"
        )
        found = self._step(
            query,
            columns=column_names(columns),
            new=column_names(columns, "s"),
            key=sql.Identifier(keys[0]),
            keys=column_names(keys),
            same_key=self._same_key(),
            stored=column_names(others, "t"),
            new_others=column_names(others, "s"),
            assignments=sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(o)) for o in others),
            edge=sql.SQL("NULL::timestamptz") if stamp is None else sql.Identifier(stamp),
        ).fetchone()
        inserted, updated, since = found or (0, 0, None)
        return WriteCounts(inserted, updated, 0, len(self.write.frame) - inserted - updated, since=_stamp(since))

    def _delete(self, shape: Shape, group: Sequence[tuple[Any, ...]]) -> WriteCounts:
        """Delete the stored rows of scopes of one shape that the write does not have."""
        found = self._step(
            "WITH gone AS (DELETE FROM {table} t "
            "USING unnest(%s::timestamptz[], %s::timestamptz[]{arrays}) AS scope({parts}) "
            "WHERE {inside} AND NOT EXISTS (SELECT FROM {incoming} s WHERE {same_key}) RETURNING t.{stamp} AS at) "
            "SELECT count(*), min(at) FROM gone",
            [list(column) for column in zip(*group, strict=True)],
            stamp=sql.Identifier(shape[0]),
            same_key=self._same_key(),
            **_scope_parts(shape),
        ).fetchone()
        deleted, since = found or (0, None)
        return WriteCounts(deleted=deleted, since=_stamp(since))

    def _same_key(self) -> sql.Composable:
        keys = contracts.keys_of(self.write.table)
        return sql.SQL(" AND ").join(sql.SQL("s.{0} = t.{0}").format(sql.Identifier(key)) for key in keys)

    def _sql(self, text: str, **parts: sql.Composable) -> sql.Composed:
        # The text is this module's own; names and values reach it as identifiers and parameters alone.
        return sql.SQL(text).format(table=self.table, incoming=self.incoming, **parts)

    def _step(self, text: str, parameters: Sequence[Any] | None = None, **parts: sql.Composable) -> "Cursor[Any]":
        return self.step(self.cursor, self._sql(text, **parts), parameters)


def _one_ahead(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces; while one is being sent and stored, the next is made in a thread (Arrow works outside the GIL)."""
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            coming = worker.submit(next, pieces, None)
            yield piece


def _scope_parts(shape: Shape) -> dict[str, sql.Composable]:
    """What a statement needs to join the table (``t``) with scopes of one shape, which are given as arrays."""
    stamp, where = shape
    names = [f"w{number}" for number in range(len(where))]
    inside: sql.Composable = sql.SQL("t.{0} > scope.a AND t.{0} <= scope.b").format(sql.Identifier(stamp))
    for column, name in zip(where, names, strict=True):
        inside += sql.SQL(" AND t.{} = scope.{}").format(sql.Identifier(column), sql.Identifier(name))
    return {
        "arrays": sql.SQL(", %s::text[]" * len(where)),
        "parts": column_names(["a", "b", *names]),
        "inside": inside,
    }


def column_names(columns: Iterable[str], alias: str | None = None) -> sql.Composed:
    """Column names as a list in SQL, each with ``alias`` if one is given."""
    return sql.SQL(", ").join(sql.Identifier(*([alias] if alias else []), str(name)) for name in columns)


def _stamp(moment: Any) -> pd.Timestamp | None:
    return None if moment is None else utc(moment)
