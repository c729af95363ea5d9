"""Funding by settlement.

What belongs here: selects that want one row per settlement instead of one per hour. What does not: the newest row
(``latest.py``).
"""

from datetime import datetime

import sqlalchemy as sa

from dash_app.queries.history import MAX_POINTS
from dash_app.reader import Reader, Rows
from regimes_dagster import tables

COLUMNS = (
    "funding_rate_8h",
    "funding_z_score",
    "funding_mean",
    "funding_volatility",
    "is_anomaly",
    "change_24h_pp",
    "venue",
    "reasons",
    "funding_apr",
)


def settled(reader: Reader, symbol: str, start: datetime, end: datetime, points: int = MAX_POINTS) -> Rows:
    """The rows of hours in which a new settlement came into force; thinned to the newest ``points``.

    Index: primary key of ``funding_features``.
    """
    table = tables.table("funding_features")
    hours = (
        sa.select(
            table.c.ts,
            *(table.c[name] for name in COLUMNS),
            table.c.settle_ts,
            sa.func.lag(table.c.settle_ts).over(order_by=table.c.ts).label("before"),
        )
        .where(table.c.symbol == symbol, table.c.ts > start, table.c.ts <= end)
        .subquery()
    )
    wanted = [hours.c.ts, *(hours.c[name] for name in COLUMNS), hours.c.settle_ts]
    newest = (
        sa.select(*wanted)
        .where(hours.c.settle_ts.isnot(None), sa.or_(hours.c.before.is_(None), hours.c.before != hours.c.settle_ts))
        .order_by(hours.c.ts.desc())
        .limit(points)
        .subquery()
    )
    return reader.rows(sa.select(newest).order_by(newest.c.ts))


def held(rows: Rows, until: datetime) -> Rows:
    """The same rows with the last settlement held up to ``until``, for a line that goes on to now."""
    return [*rows, {**rows[-1], "ts": until}] if rows and rows[-1]["ts"] < until else rows
