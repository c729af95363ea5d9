"""What a write is: rows for a table, and what it may replace.

What belongs here: the values that callers of the warehouse make (``Scope``, ``Write``) and get (``WriteCounts``), and
which rows lie in a scope. What does not: statements (``row_changes.py``), connections (``storage.py``).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from regimes_dagster import tables
from regimes_dagster.partitions import Window

Values = str | Sequence[str]

#: A scope's column of time and the other columns that it names.
Shape = tuple[str, tuple[str, ...]]

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


def several(values: Values) -> list[str]:
    """One value or several, as a list."""
    return [values] if isinstance(values, str) else list(values)


def rows_inside(rows: pd.DataFrame, scopes: Sequence[Scope]) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """True where a row lies in one of the scopes."""
    codes = {name: pd.factorize(rows[name]) for name in {name for scope in scopes for name in scope.where}}
    inside = np.zeros(len(rows), dtype=bool)
    for scope in scopes:
        mask = scope.window.mask(rows[scope.ts_column]).to_numpy(dtype=bool, copy=True)
        for name, values in scope.where.items():
            code, found = codes[name]
            mask &= np.isin(found, several(values))[code]
        inside |= mask
    return inside


def by_shape(scopes: Sequence[Scope]) -> dict[Shape, list[tuple[Any, ...]]]:
    """Scopes by the columns they name, each as rows (start, end, value of every column)."""
    shapes: dict[Shape, list[tuple[Any, ...]]] = defaultdict(list)
    for scope in scopes:
        names = tuple(sorted(scope.where))
        bounds = (scope.window.start.to_pydatetime(), scope.window.end.to_pydatetime())
        for values in product(*(several(scope.where[name]) for name in names)):
            shapes[scope.ts_column, names].append((*bounds, *values))
    return shapes


def months_of(write: Write) -> set[int]:
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
