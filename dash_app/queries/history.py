"""Rows over a range, thinned out in SQL so that a chart never gets more points than it can show.

What belongs here: the choice of the resolution and the grouped selects. What does not: "now" (``latest.py``) and
exports at full resolution (``export.py``).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from dash_app.queries.latest import KEYS
from dash_app.reader import Reader, Rows
from regimes_dagster import tables

How = Literal["first", "last", "max", "min", "sum", "avg", "any", "widest"]

#: Points per trace that a chart asks for at most.
MAX_POINTS = 1_500
STEPS_H = (1, 2, 3, 4, 6, 8, 12, 24, 48, 72, 168, 336, 720)


def step(start: datetime, end: datetime, points: int = MAX_POINTS) -> timedelta:
    """The smallest step (of a fixed list) that brings the range to at most ``points`` points."""
    span = (end - start) / timedelta(hours=1)
    return timedelta(hours=next((hours for hours in STEPS_H if span / hours <= points), STEPS_H[-1]))


def _aggregate(column: sa.ColumnElement[Any], how: How, ts: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    if how in ("first", "last"):
        order = ts.asc() if how == "first" else ts.desc()
        return sa.func.array_agg(sa.dialects.postgresql.aggregate_order_by(column, order)).filter(column.isnot(None))[1]
    if how == "widest":
        by_size = sa.dialects.postgresql.aggregate_order_by(column, sa.func.abs(column).desc())
        return sa.func.array_agg(by_size).filter(column.isnot(None))[1]
    functions: dict[str, Any] = {
        "max": sa.func.max,
        "min": sa.func.min,
        "sum": sa.func.sum,
        "avg": sa.func.avg,
        "any": sa.func.bool_or,
    }
    made: sa.ColumnElement[Any] = functions[how](column)
    return made


def series(
    reader: Reader,
    table: str,
    key: str,
    start: datetime,
    end: datetime,
    columns: Mapping[str, How],
    *,
    points: int = MAX_POINTS,
) -> tuple[Rows, timedelta]:
    """Columns of one symbol or pair over ``start < ts <= end``, and the step they were grouped by.

    Each group is labelled with the END of its step, like every row. ``columns`` says how a column is grouped:
    ``widest`` takes the value furthest from zero, the others are what they say.

    Index: the table's primary key.
    """
    source, key_column = tables.table(table), KEYS[table]
    width = step(start, end, points)
    chosen = (source.c[key_column] == key, source.c.ts > start, source.c.ts <= end)
    if width == timedelta(hours=1):
        own = [source.c.ts, *(source.c[name] for name in columns)]
        return reader.rows(sa.select(*own).where(*chosen).order_by(source.c.ts)), width
    interval = sa.text(f"interval '{int(width.total_seconds())} seconds'")
    group = (
        sa.func.date_bin(
            interval, source.c.ts - sa.text("interval '1 microsecond'"), sa.text("timestamptz '2000-01-03 00:00:00+00'")
        )
        + interval
    ).label("ts")
    grouped = [_aggregate(source.c[name], how, source.c.ts).label(name) for name, how in columns.items()]
    statement = sa.select(group, *grouped).where(*chosen).group_by(sa.text("1")).order_by(sa.text("1"))
    return reader.rows(statement), width
