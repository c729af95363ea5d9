"""Which months of which features no longer fit the inputs or parameters, and the runs that mend them.

What belongs here: finding and naming stale months. What does not: marking them (``feature_results.py`` does when a
month is rewritten), and running (``commands/backfill.py``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd
import sqlalchemy as sa

from regimes_dagster import tables
from regimes_dagster.parameters import Parameters
from regimes_dagster.partitions import HOUR, month_start, next_month, partition_of, utc
from regimes_dagster.settings import Settings
from regimes_dagster.storage import Warehouse

#: Table -> asset that writes it, where the names differ.
WRITTEN_BY: Mapping[str, str] = {"funding_venue_features": "funding_features"}

#: Asset -> features that read its rows and must follow it.
READ_BY: Mapping[str, tuple[str, ...]] = {"funding_features": ("regimes",)}

#: Features with one row for every row of ``market_metrics``.
HOURLY = ("volatility_features", "liquidation_features", "funding_features", "regimes")


@dataclass(frozen=True, order=True)
class StaleMonth:
    """One month of one feature that should be computed again, and why."""

    partition_key: str
    table: str
    reason: str


@dataclass(frozen=True)
class Repair:
    """Consecutive months to compute in one run, and the assets that are needed."""

    first: str
    last: str
    assets: tuple[str, ...]


def parameters_of(settings: Settings) -> dict[str, Parameters]:
    """Feature table -> the parameters that its rows depend on."""
    return {
        "volatility_features": settings.volatility,
        "liquidation_features": settings.liquidation,
        "liquidation_zones": settings.liquidation,
        "funding_features": settings.funding,
        "funding_venue_features": settings.funding,
        "regimes": settings.multi_timeframe,
        "correlation_features": settings.correlation,
    }


def stale_months(warehouse: Warehouse, settings: Settings) -> list[StaleMonth]:
    """Every stale month from ``history_start`` on, in order.

    A month is stale if it was marked when an earlier one was rewritten, if its rows were computed with other
    parameters than the present ones, or if joined hours have no row. Rows of symbols that are no longer configured
    are left alone.
    """
    found: dict[tuple[str, str], str] = {}
    with warehouse.connect() as connection:
        marks = tables.table("stale_partitions")
        for row in connection.execute(sa.select(marks.c.partition_key, marks.c.table_name, marks.c.reason)):
            found[row.partition_key, row.table_name] = row.reason
        for name, parameters in parameters_of(settings).items():
            for key in _other_parameters(connection, name, parameters.config_hash(), settings):
                found.setdefault((key, name), "computed with other parameters")
        for name in HOURLY:
            for key in _without_rows(connection, name, settings):
                found.setdefault((key, name), "joined hours have no row")
    first = partition_of(utc(settings.history_start) + HOUR)
    return sorted(StaleMonth(key, name, reason) for (key, name), reason in found.items() if key >= first)


def repairs(months: Iterable[StaleMonth]) -> list[Repair]:
    """The fewest runs that compute every stale month: one per stretch of consecutive months."""
    by_key: dict[str, set[str]] = {}
    for month in months:
        asset = WRITTEN_BY.get(month.table, month.table)
        by_key.setdefault(month.partition_key, set()).update({asset, *READ_BY.get(asset, ())})
    keys = sorted(by_key)
    ends = [left for left, right in pairwise(keys) if next_month(utc(left)) != utc(right)]
    found, start = [], 0
    for end in [*ends, *keys[-1:]]:
        stretch = keys[start : keys.index(end) + 1]
        start = keys.index(end) + 1
        assets = sorted(set().union(*(by_key[key] for key in stretch)))
        found.append(Repair(stretch[0], stretch[-1], (*assets, "alerts")))
    return found


def _month(stamp: "sa.ColumnElement[pd.Timestamp]") -> "sa.ColumnElement[pd.Timestamp]":
    """Start of the month that a stamp's row belongs to."""
    return sa.func.date_trunc("month", stamp - sa.text("interval '1 microsecond'"), "UTC")


def _other_parameters(connection: sa.Connection, name: str, config_hash: str, settings: Settings) -> list[str]:
    table = tables.table(name)
    owner = table.c["symbol"] if "symbol" in table.c else table.c["asset_pair"]
    query = sa.select(_month(table.c.ts), owner).where(table.c.config_hash != config_hash).distinct()
    configured = set(settings.symbols)
    keys = {utc(month) for month, key in connection.execute(query) if _parts(str(key)) <= configured}
    return sorted(f"{month_start(key):%Y-%m-%d}" for key in keys)


def _without_rows(connection: sa.Connection, name: str, settings: Settings) -> list[str]:
    joined, table = tables.table("market_metrics"), tables.table(name)
    newest = sa.select(sa.func.max(table.c.ts)).scalar_subquery()
    query = (
        sa.select(_month(joined.c.ts))
        .select_from(joined.outerjoin(table, sa.and_(table.c.symbol == joined.c.symbol, table.c.ts == joined.c.ts)))
        # Beyond the newest row a run is at work, or was killed on the way; the next hourly run does it.
        .where(joined.c.symbol.in_(settings.symbols), table.c.ts.is_(None), joined.c.ts <= newest)
        .distinct()
    )
    return sorted(f"{month_start(utc(month)):%Y-%m-%d}" for month in connection.execute(query).scalars())


def _parts(key: str) -> set[str]:
    """The symbols of a symbol or pair."""
    parts = key.split("/")
    return {"/".join(parts[:2]), "/".join(parts[2:])} if len(parts) == 4 else {key}
