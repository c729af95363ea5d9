"""Frames in and out of the database: the only place that writes rows of data.

What belongs here: reading a table as a typed frame, and writing frames in one transaction: validated against their
model, only the rows that changed, deleting only what the given scopes allow. What does not: Dagster
(``resources/warehouse.py``), which window to read or write (its callers), single-row ledgers of the alerts
(``alerts/`` uses SQLAlchemy on ``tables.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
import sqlalchemy as sa

from regimes_dagster.partitions import Window


@dataclass(frozen=True)
class Scope:
    """Rows that a write replaces: those of a window, narrowed by column values.

    ``where`` maps a column to one value or to several.
    """

    window: Window
    where: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    ts_column: str = "ts"


@dataclass(frozen=True)
class Write:
    """A frame for a table. With scopes, only rows inside them are written and rows of them that the frame does not
    have are deleted; without, rows are inserted or updated and none is deleted.
    """

    table: str
    frame: pd.DataFrame
    scopes: Sequence[Scope] = ()


@dataclass(frozen=True)
class WriteCounts:
    """What a write did to a table's rows."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0


class Warehouse:
    """Reads and writes the tables of one schema."""

    def __init__(self, engine: sa.Engine, schema: str = "public") -> None:
        self.engine = engine
        self.schema = schema
