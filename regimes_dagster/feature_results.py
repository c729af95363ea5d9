"""Storing what a feature function returned, and finding the state from which the next run goes on.

What belongs here: which rows a feature's result replaces, its events, states and models in the same transaction,
and the marks on later months whose input state changed. What does not: how rows are written (``storage.py``),
what a feature computes (``features/``), Dagster.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from regimes_dagster import contracts, tables
from regimes_dagster.features.result import FeatureResult, StoredState
from regimes_dagster.partitions import Window, partition_of, utc
from regimes_dagster.storage import Scope, Values, Warehouse, Write, WriteCounts

#: Tables that look back on ``market_metrics``.
FEATURES = (
    "volatility_features", "liquidation_features", "liquidation_zones", "funding_features", "regimes",
    "correlation_features",
)  # fmt: skip

_TICK = pd.Timedelta(1, "us")


@dataclass(frozen=True)
class Stored:
    """What storing a result did: counts per table, and the later months that are stale because of it."""

    counts: dict[str, WriteCounts]
    stale: list[str] = field(default_factory=list)


def resume_from(
    warehouse: Warehouse,
    feature: str,
    config_hash: str,
    at_or_before: pd.Timestamp,
    keys: Iterable[str] | None = None,
) -> StoredState | None:
    """The newest stored state of a feature's machines that is still valid, or None.

    States of months that are marked stale are passed over: the machines then live through the time since the last
    valid state again.

    Parameters
    ----------
    feature : str
        Table of the feature.
    config_hash : str
        Hash of its parameters; states of other parameters do not count.
    at_or_before : pd.Timestamp
        Usually the start of the run's window.
    keys : iterable of str, optional
        Only these machines; all by default.
    """
    states = tables.table("engine_state")
    stale = tables.table("stale_partitions")
    mine = sa.and_(states.c.feature == feature, states.c.config_hash == config_hash)
    if keys is not None:
        mine = sa.and_(mine, states.c.key.in_(list(keys)))
    with warehouse.connect() as connection:
        marked = set(
            connection.execute(sa.select(stale.c.partition_key).where(stale.c.table_name == feature)).scalars()
        )
        moment: Any = utc(at_or_before).to_pydatetime()
        newest = sa.select(sa.func.max(states.c.ts)).where(mine)
        found = connection.execute(newest.where(states.c.ts <= moment)).scalar()
        while found is not None and partition_of(utc(found)) in marked:
            found = connection.execute(newest.where(states.c.ts < found)).scalar()
        if found is None:
            return None
        rows = connection.execute(sa.select(states.c.key, states.c.state).where(mine, states.c.ts == found))
        return StoredState(utc(found), {row.key: row.state for row in rows})


def store(
    warehouse: Warehouse,
    result: FeatureResult,
    *,
    feature: str,
    window: Window,
    partition_keys: Sequence[str],
    symbols: Sequence[str],
    now: pd.Timestamp,
) -> Stored:
    """Write rows, events, states and models of one run in one transaction.

    Rows, events and states of the window are replaced for the given symbols (decision 1); models are added. The
    marks of the run's own months are cleared. If the state at the window's end differs from the stored one and
    later months exist, these are marked stale.

    Raises
    ------
    InvalidRowsError, DatabaseUnavailable
        As ``Warehouse.write``; nothing is written.
    """
    writes = [
        Write(name, rows, derived_scopes(warehouse, name, rows, window, symbols)) for name, rows in result.rows.items()
    ]
    writes.append(Write("episode_events", result.events, _event_scopes(warehouse, feature, result, window, symbols)))
    hashes = [str(value) for value in result.states["config_hash"].unique()]
    if hashes:
        scope = Scope(window, {"feature": feature, "config_hash": hashes})
        writes.append(Write("engine_state", result.states, [scope]))
    if result.models is not None and not result.models.empty:
        writes.append(Write("volatility_models", result.models))
    marked: list[str] = []

    def mark(connection: sa.Connection) -> None:
        marked.extend(_mark(connection, feature, result.states, window, partition_keys, now))

    return Stored(warehouse.write(writes, also=mark), marked)


def market_changed(connection: sa.Connection, since: pd.Timestamp, window: Window, now: pd.Timestamp) -> list[str]:
    """What follows from rows of ``market_metrics`` that are not as they were, from ``since`` on.

    Months whose features were computed from such rows are marked stale, the run's own as well: a feature that follows
    in the same run clears its own marks, and a run that is killed before it leaves them. Forecast models that were
    fitted on such rows are forgotten (stored models are never fitted again).

    Returns
    -------
    list of str
        Keys of the months marked after the window, over all features.
    """
    marked: set[str] = set()
    for feature in FEATURES:
        # First the marks, then the models: the order in which a feature's own write takes these rows.
        months = _later_months(connection, feature, since - _TICK)
        _mark_stale(connection, feature, months, f"market data from {since:%Y-%m-%d %H:%M} on changed", now)
        marked.update(key for key in months if utc(key) >= window.end)
    models = tables.table("volatility_models")
    connection.execute(sa.delete(models).where(models.c.fit_ts >= since.to_pydatetime()))
    return sorted(marked)


def derived_scopes(
    warehouse: Warehouse, table: str, rows: pd.DataFrame, window: Window, symbols: Sequence[str]
) -> list[Scope]:
    """What a write of a derived table may delete: its window, for the configured symbols (or pairs of them)."""
    columns = contracts.schema_of(table).columns
    stamp = tables.time_column(table) or "ts"
    if "symbol" in columns:
        return [Scope(window, {"symbol": list(symbols)}, stamp)]
    if "asset_pair" in columns:
        pairs = _pairs(warehouse, table, "asset_pair", rows, window, symbols)
        return [Scope(window, {"asset_pair": pairs}, stamp)] if pairs else []
    return [Scope(window, {}, stamp)]


def _event_scopes(
    warehouse: Warehouse, feature: str, result: FeatureResult, window: Window, symbols: Sequence[str]
) -> list[Scope]:
    named = {str(value) for value in result.events["symbol"].unique()}
    pairs = _pairs(warehouse, "episode_events", "symbol", result.events, window, symbols, {"feature": feature})
    return [Scope(window, {"feature": feature, "symbol": sorted({*symbols, *named, *pairs})})]


def _pairs(
    warehouse: Warehouse,
    table: str,
    column: str,
    rows: pd.DataFrame,
    window: Window,
    symbols: Sequence[str],
    where: dict[str, Values] | None = None,
) -> list[str]:
    """Pairs of the new rows, and stored ones whose two symbols are configured."""
    stored = warehouse.distinct(table, column, window=window, where=where)
    configured = set(symbols)
    known = {str(value) for value in rows[column].unique()} if column in rows else set()
    return sorted(known | {pair for pair in stored if _both(pair) <= configured and len(_both(pair)) == 2})


def _both(pair: str) -> set[str]:
    parts = pair.split("/")
    return {"/".join(parts[:2]), "/".join(parts[2:])} if len(parts) == 4 else {pair}


def clear_marks(connection: sa.Connection, table: str, partition_keys: Sequence[str]) -> None:
    """Take the months of a run off the list of stale ones."""
    stale = tables.table("stale_partitions")
    connection.execute(
        sa.delete(stale).where(stale.c.table_name == table, stale.c.partition_key.in_(list(partition_keys)))
    )


def _mark(
    connection: sa.Connection,
    feature: str,
    states: pd.DataFrame,
    window: Window,
    partition_keys: Sequence[str],
    now: pd.Timestamp,
) -> list[str]:
    """Clear the marks of the run's months; mark later ones whose state at the start is no longer what it was."""
    clear_marks(connection, feature, partition_keys)
    reason = _changed(connection, feature, states, window)
    if reason is None:
        return []
    later = _later_months(connection, feature, window.end)
    _mark_stale(connection, feature, later, reason, now)
    return later


def _mark_stale(connection: sa.Connection, feature: str, months: Sequence[str], reason: str, now: pd.Timestamp) -> None:
    if not months:
        return
    query = insert(tables.table("stale_partitions")).values(
        [
            {"table_name": feature, "partition_key": key, "reason": reason, "marked_at": now.to_pydatetime()}
            for key in months
        ]
    )
    connection.execute(
        query.on_conflict_do_update(
            index_elements=["table_name", "partition_key"],
            set_={"reason": query.excluded.reason, "marked_at": query.excluded.marked_at},
        )
    )


def _changed(connection: sa.Connection, feature: str, states: pd.DataFrame, window: Window) -> str | None:
    """Why months after the window no longer fit, or None."""
    at_end = states[states["ts"] == window.end]
    if at_end.empty:
        return None
    stored = tables.table("engine_state")
    config_hash = str(at_end["config_hash"].iloc[0])
    rows = connection.execute(
        sa.select(stored.c.key, stored.c.state, stored.c.config_hash).where(
            stored.c.feature == feature, stored.c.ts == window.end.to_pydatetime()
        )
    ).all()
    before = {row.key: row.state for row in rows if row.config_hash == config_hash}
    if not before:
        return "computed with other parameters" if rows else None
    after = dict(zip(at_end["key"], at_end["state"], strict=True))
    changed = sorted(key for key, state in after.items() if key in before and before[key] != _as_stored(state))
    if not changed:
        return None
    shown = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    return f"the month before was computed again and ends in another state for {shown}"


def _as_stored(state: Any) -> Any:
    """The state as it reads back from the database."""
    import json

    text = contracts.to_json(state)
    return None if text is None else json.loads(text)


def _later_months(connection: sa.Connection, feature: str, after: pd.Timestamp) -> list[str]:
    stamp = tables.table(feature).c.ts
    month = sa.func.date_trunc("month", stamp - sa.text("interval '1 microsecond'"), "UTC")
    rows = connection.execute(sa.select(month).where(stamp > after.to_pydatetime()).distinct()).scalars()
    return sorted(partition_of(utc(value) + pd.Timedelta(hours=1)) for value in rows)
