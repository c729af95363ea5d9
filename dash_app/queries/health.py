"""How alive and how complete the data is.

What belongs here: newest stamps, gaps per day, venues in use, the platform's clock, and which tables changed.
What does not: the limits (``dash_app/freshness.py``).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from dash_app.reader import Reader, Rows
from regimes_dagster import tables


def changes(reader: Reader) -> dict[str, int]:
    """A number per table that grows with every row written: PostgreSQL's own counters, no table is read."""
    statement = sa.text(
        "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS n FROM pg_stat_user_tables WHERE schemaname = "
        "current_schema()"
    )
    return {row["relname"]: row["n"] for row in reader.rows(statement)}


def declared_now(reader: Reader) -> tuple[datetime, datetime | None]:
    """The server's moment, and the one that a demo or replay declared to be now (else None)."""
    statement = sa.text("SELECT now() AS now, (SELECT now_ts FROM platform_clock WHERE name = 'platform') AS declared")
    row = reader.rows(statement)[0]
    return row["now"], row["declared"]


def sources(reader: Reader) -> Rows:
    """State of every venue per kind and symbol. Small table, read whole."""
    table = tables.table("source_status")
    return reader.rows(sa.select(table).order_by(table.c.kind, table.c.symbol, table.c.in_use.desc(), table.c.venue))


def days(reader: Reader, symbols: Sequence[str], start: datetime, end: datetime) -> Rows:
    """Per symbol and UTC day: hours with a bar, with a funding rate, and mean liquidation coverage.

    Index: primary key of ``market_metrics``.
    """
    market = tables.table("market_metrics")
    day = sa.func.date_trunc("day", market.c.ts - sa.text("interval '1 microsecond'"), "UTC").label("day")
    statement = (
        sa.select(
            market.c.symbol,
            day,
            sa.func.count().label("hours"),
            sa.func.count(market.c.close).label("bars"),
            sa.func.count(market.c.funding_rate).label("funding"),
            sa.func.sum(sa.func.coalesce(market.c.liq_coverage, 0.0)).label("liquidations"),
        )
        .where(market.c.symbol.in_(symbols), market.c.ts > start, market.c.ts <= end)
        .group_by(market.c.symbol, day)
        .order_by(market.c.symbol, day)
    )
    return reader.rows(statement)


def first_hours(reader: Reader, symbols: Sequence[str]) -> dict[str, datetime]:
    """The first hour of every symbol. Index: primary key of ``market_metrics``."""
    statement = sa.text(
        """
        SELECT wanted AS symbol, (SELECT min(m.ts) FROM market_metrics m WHERE m.symbol = wanted) AS ts
        FROM unnest(CAST(:symbols AS text[])) AS wanted
        """
    )
    return {row["symbol"]: row["ts"] for row in reader.rows(statement, {"symbols": list(symbols)}) if row["ts"]}


def stale_months(reader: Reader) -> Rows:
    """Months whose rows wait for a recomputation. Small table, read whole."""
    table = tables.table("stale_partitions")
    return reader.rows(sa.select(table).order_by(table.c.table_name, table.c.partition_key))


def newest_of(reader: Reader, tables_: Sequence[str]) -> dict[str, datetime | None]:
    """The newest ts of raw tables over all symbols; each is bounded to the last 60 days of its own index."""
    found: dict[str, datetime | None] = {}
    for name in tables_:
        table = tables.table(name)
        row = reader.rows(sa.select(sa.func.max(table.c.ts).label("ts")))
        found[name] = row[0]["ts"]
    return found


RECENT = timedelta(days=30)
