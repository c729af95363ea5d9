"""Rows at full resolution, for notebooks.

What belongs here: the select behind ``/api/history``. What does not: formats (``api/history.py``).
"""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from regimes_dagster import tables
from regimes_dagster.schemas import TABLES, primary_key

#: Column of the moment where it is not ``ts``.
MOMENTS = {"funding_predictions": "observed_at", "volatility_models": "fit_ts", "signal_evidence": "period_end"}


def moment_column(table: str) -> str:
    """The column that ``from`` and ``to`` refer to."""
    return MOMENTS.get(table, "ts")


def key_column(table: str) -> str:
    """The column that ``symbol`` (or ``asset_pair``) refers to."""
    return "asset_pair" if table == "correlation_features" else "symbol"


def select(
    table: str,
    columns: Sequence[str],
    *,
    key: str | None,
    start: datetime,
    end: datetime,
    limit: int | None = None,
    offset: int = 0,
) -> sa.Select[tuple[object, ...]]:
    """Rows with ``start < moment <= end`` in the order of the primary key.

    Index: primary key of the derived tables; (symbol, ts) of the raw ones.
    """
    source = tables.table(table)
    stamp = source.c[moment_column(table)]
    order = [source.c[name] for name in primary_key(TABLES[table])]
    if key is not None and table not in ("alerts",):
        order = [stamp, *order]
    statement = sa.select(*(source.c[name] for name in columns)).where(stamp > start, stamp <= end).order_by(*order)
    if key is not None:
        statement = statement.where(source.c[key_column(table)] == key)
    return statement.offset(offset).limit(limit) if limit is not None else statement
