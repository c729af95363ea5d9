"""The stored rows: how much history there is, how fresh it is, what is stale.

What belongs here: checks of tables against the settings and a given now. What does not: limits of freshness
(``dash_app.freshness``, decision 27) and the asset checks that run after every write.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlalchemy as sa

from dash_app.freshness import HOURLY_LIMIT, funding_limit, judge
from regimes_dagster import tables
from regimes_dagster.doctor.finding import Finding, Status, fail, ok, skip, warn
from regimes_dagster.settings import Settings

#: Feature tables that have a row for every symbol and hour of market_metrics.
FEATURE_TABLES = ("volatility_features", "liquidation_features", "funding_features", "regimes")

#: A symbol whose newest hour is older raises DATA_GAP (decision 27).
DATA_GAP = timedelta(hours=2, minutes=10)

#: Share of missing hours from which windows begin to be incomplete (22 of 24 hours are needed).
MANY_GAPS = 0.05

_STATUS: dict[str, Status] = {"LIVE": "OK", "DELAYED": "WARN", "STALE": "FAIL", "NO DATA": "FAIL"}


def history(connection: sa.Connection, settings: Settings) -> Iterator[Finding]:
    """How much history each symbol has, and how many of its hours are missing."""
    table = tables.table("market_metrics")
    query = (
        sa.select(
            table.c.symbol,
            sa.func.min(table.c.ts).label("first"),
            sa.func.max(table.c.ts).label("last"),
            sa.func.count().label("hours"),
            sa.func.count(table.c.close).label("bars"),
        )
        .where(table.c.symbol.in_(settings.symbols))
        .group_by(table.c.symbol)
    )
    rows = {row.symbol: row for row in connection.execute(query)}
    backfill = f"Run: regimes backfill --from {settings.history_start}"
    for symbol in settings.symbols:
        check = f"history {symbol}"
        row = rows.get(symbol)
        if row is None:
            yield warn(check, "none yet", backfill)
            continue
        missing = row.hours - row.bars
        text = f"{row.first:%Y-%m-%d} to {row.last:%Y-%m-%d %H:%M}, {row.bars} bars, {missing} hours missing"
        if row.first > settings.history_start_at + timedelta(days=2):
            yield warn(
                check, f"{text}; history_start is {settings.history_start}", backfill + " (or it was listed later)"
            )
        elif missing > MANY_GAPS * row.hours:
            yield warn(check, text, "Add a venue with fuller history to sources.ohlcv.")
        else:
            yield ok(check, text)


def freshness(connection: sa.Connection, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Bars, funding and liquidations are as new as they can be (decision 27)."""
    table = tables.table("market_metrics")
    recent = table.c.ts > now - timedelta(days=40)
    query = (
        sa.select(
            table.c.symbol,
            sa.func.max(table.c.ts).filter(table.c.close.is_not(None)).label("bars"),
            sa.func.max(table.c.funding_settled_ts).label("funding"),
            sa.func.max(table.c.funding_interval_hours).label("interval"),
            sa.func.max(table.c.ts).filter(table.c.liq_coverage > 0).label("liquidations"),
        )
        .where(table.c.symbol.in_(settings.symbols), recent)
        .group_by(table.c.symbol)
    )
    rows = {row.symbol: row for row in connection.execute(query)}
    for symbol in settings.symbols:
        row = rows.get(symbol)
        if row is None:
            if _newest(connection, "market_metrics", (symbol,)) is None:
                yield skip(f"freshness {symbol}", "no history yet")
            else:
                yield fail(f"freshness {symbol}", "no rows in the last 40 days", "Run: regimes up")
            continue
        stages = [judge("bars", row.bars, now, HOURLY_LIMIT)]
        if settings.sources.funding:
            stages.append(judge("funding", row.funding, now, funding_limit(_number(row.interval))))
        if settings.sources.liquidations:
            stages.append(judge("liquidations", row.liquidations, now, HOURLY_LIMIT))
        for stage in stages:
            age = "no row" if stage.age is None else f"{_hours(stage.age)} old"
            status = _STATUS[stage.state]
            # Only bars stop everything; without funding or liquidations the other features go on.
            status = "WARN" if status == "FAIL" and stage.name != "bars" else status
            action = None
            if status != "OK":
                gap = stage.name == "bars" and stage.age is not None and stage.age > DATA_GAP
                action = "Is `regimes up` running? `regimes probe` asks the venues." + (
                    " DATA_GAP is raised." if gap else ""
                )
            yield Finding(f"{stage.name} {symbol}", status, f"{stage.state}, {age}", action)


def features(connection: sa.Connection, settings: Settings) -> Iterator[Finding]:
    """Every feature is computed up to the newest joined hour."""
    joined = _newest(connection, "market_metrics", settings.symbols)
    if joined is None:
        yield skip("features", "nothing is joined yet")
        return
    behind = []
    for name in FEATURE_TABLES:
        newest = _newest(connection, name, settings.symbols)
        if newest is None:
            behind.append(f"{name} is empty")
        elif newest < joined:
            behind.append(f"{name} is {_hours(joined - newest)} behind")
    if behind:
        yield warn("features", "; ".join(behind), "Look at the last run on the Dagster pages, or run: regimes backfill")
    else:
        yield ok("features", f"all computed up to {joined:%Y-%m-%d %H:%M}")


def stale_months(connection: sa.Connection) -> Finding:
    """No month waits to be computed again."""
    table = tables.table("stale_partitions")
    rows = connection.execute(
        sa.select(table.c.table_name, sa.func.count().label("months"))
        .group_by(table.c.table_name)
        .order_by(table.c.table_name)
    ).all()
    if not rows:
        return ok("stale months", "none")
    what = ", ".join(f"{row.table_name} {row.months}" for row in rows)
    return warn(
        "stale months",
        f"computed from inputs or parameters that have changed since: {what}",
        "Run: regimes backfill --stale",
    )


def perp_volume(connection: sa.Connection, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Without the perpetual volume the liquidation floors cannot follow a symbol's size (decision 15)."""
    if not settings.sources.liquidations or settings.is_simulated:
        return
    table = tables.table("perp_volume_usd")
    recent = (table.c.ts > now - timedelta(days=40)) & table.c.venue.in_(settings.sources.liquidations)
    query = sa.select(table.c.symbol).where(recent).distinct()
    known = set(connection.execute(query).scalars())
    lacking = [s for s in settings.symbols if s not in known and s not in settings.liquidation.symbol_scale]
    if lacking:
        hours = settings.liquidation.adaptive_min_h
        yield warn(
            "perpetual volume",
            f"none for {', '.join(lacking)}: after {hours} h of history the USD floors are dropped (mode ADAPTIVE)",
            "Set liquidation.symbol_scale for them, or name a liquidation venue that reports volume.",
        )
    else:
        yield ok("perpetual volume", "known for every symbol")


def declared_clock(connection: sa.Connection, settings: Settings) -> Iterator[Finding]:
    """No demo or replay left its clock behind on a live installation."""
    table = tables.table("platform_clock")
    row = connection.execute(sa.select(table.c.now_ts, table.c.set_by)).first()
    if row is None or row.now_ts is None:
        return
    text = f"{row.set_by} declares {row.now_ts:%Y-%m-%d %H:%M} to be now"
    if settings.is_simulated:
        yield ok("platform clock", text)
    else:
        action = "If no demo or replay is running: DELETE FROM platform_clock."
        yield fail("platform clock", f"{text}, so live hours are not fetched", action)


def _newest(connection: sa.Connection, name: str, symbols: tuple[str, ...]) -> datetime | None:
    table = tables.table(name)
    newest: datetime | None = connection.execute(
        sa.select(sa.func.max(table.c.ts)).where(table.c.symbol.in_(symbols))
    ).scalar_one()
    return newest


def _number(value: object) -> float | None:
    return float(str(value)) if value is not None else None


def _hours(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
