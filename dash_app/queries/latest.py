"""The newest row per symbol or pair: what the overview shows.

What belongs here: statements that answer "now". What does not: ranges (``history.py``).
"""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on

from dash_app.reader import Reader, Rows
from regimes_dagster import tables

#: Tables with one row per key and hour, and their key.
KEYS = {
    "market_metrics": "symbol",
    "volatility_features": "symbol",
    "liquidation_features": "symbol",
    "funding_features": "symbol",
    "regimes": "symbol",
    "correlation_features": "asset_pair",
}


def newest(reader: Reader, table: str, keys: Sequence[str], at: datetime | None = None) -> Rows:
    """The newest row per key, not after ``at``; keys without a row are absent.

    Index: the table's primary key, one probe per key.
    """
    source, key = tables.table(table), KEYS[table]
    wanted = sa.func.unnest(sa.cast(list(keys), ARRAY(sa.Text))).table_valued("key").render_derived(name="wanted")
    row = sa.select(source).where(source.c[key] == wanted.c.key).order_by(source.c.ts.desc()).limit(1)
    if at is not None:
        row = row.where(source.c.ts <= at)
    lateral = row.lateral("newest")
    return reader.rows(sa.select(lateral).select_from(sa.join(wanted, lateral, sa.true())))


def pairs(reader: Reader) -> list[str]:
    """Every pair that has rows, by hopping over the primary key of ``correlation_features``."""
    statement = sa.text(
        """
        WITH RECURSIVE hop AS (
            (SELECT asset_pair FROM correlation_features ORDER BY asset_pair LIMIT 1)
            UNION ALL
            SELECT (SELECT c.asset_pair FROM correlation_features c WHERE c.asset_pair > hop.asset_pair
                    ORDER BY c.asset_pair LIMIT 1)
            FROM hop WHERE hop.asset_pair IS NOT NULL
        )
        SELECT asset_pair FROM hop WHERE asset_pair IS NOT NULL
        """
    )
    return [row["asset_pair"] for row in reader.rows(statement)]


def closes_at(reader: Reader, symbols: Sequence[str], at: datetime) -> dict[str, float]:
    """The last close per symbol in the three hours up to ``at``, to compare the present one with.

    Index: primary key of ``market_metrics``.
    """
    statement = sa.text(
        """
        SELECT wanted AS symbol, past.close FROM unnest(CAST(:symbols AS text[])) AS wanted
        CROSS JOIN LATERAL (
            SELECT close FROM market_metrics m
            WHERE m.symbol = wanted AND m.ts <= :at AND m.ts > :at - interval '3 hours' AND m.close IS NOT NULL
            ORDER BY m.ts DESC LIMIT 1
        ) AS past
        """
    )
    rows = reader.rows(statement, {"symbols": list(symbols), "at": at})
    return {row["symbol"]: row["close"] for row in rows}


def zones(reader: Reader, symbol: str, at: datetime) -> Rows:
    """Liquidation zones of a symbol at its newest hour not after ``at``, strongest first.

    Index: primary key of ``liquidation_zones``.
    """
    table = tables.table("liquidation_zones")
    hour = (
        sa.select(table.c.ts)
        .where(table.c.symbol == symbol, table.c.ts <= at)
        .order_by(table.c.ts.desc())
        .limit(1)
        .scalar_subquery()
    )
    statement = sa.select(table).where(table.c.symbol == symbol, table.c.ts == hour).order_by(table.c.liq_usd.desc())
    return reader.rows(statement)


def venues(reader: Reader, symbols: Sequence[str]) -> Rows:
    """The newest funding figures per symbol and venue of the last two days.

    Index: (symbol, ts) of ``funding_venue_features``.
    """
    table = tables.table("funding_venue_features")
    recent = sa.select(sa.func.max(table.c.ts)).where(table.c.symbol.in_(symbols)).scalar_subquery()
    statement = (
        sa.select(table)
        .ext(distinct_on(table.c.symbol, table.c.venue))
        .where(table.c.symbol.in_(symbols), table.c.ts > recent - sa.text("interval '2 days'"))
        .order_by(table.c.symbol, table.c.venue, table.c.ts.desc())
    )
    return reader.rows(statement)


def evidence(reader: Reader, tests: Sequence[str]) -> Rows:
    """Measured validity of a feature: rows of ``signal_evidence`` whose test starts with one of the numbers.

    Small table, read whole.
    """
    table = tables.table("signal_evidence")
    rows = reader.rows(
        sa.select(table).order_by(table.c.test, table.c.symbol, table.c.metric, table.c.period_end.desc())
    )
    seen: set[tuple[str, str, str]] = set()
    newest_rows = []
    for row in rows:
        mark = (row["test"], row["symbol"], row["metric"])
        if mark not in seen and row["test"].split("_", 1)[0].lstrip("0") in tests:
            seen.add(mark)
            newest_rows.append(row)
    return newest_rows
