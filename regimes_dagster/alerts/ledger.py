"""The rows of the outbox and the ledger: how alerts and their deliveries are written.

What belongs here: inserting alerts with their planned deliveries in one transaction. What does not: deciding
(``planning.py``, ``reconcile.py``) and the queue that workers take from (``queue.py``).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from regimes_dagster import tables
from regimes_dagster.alerts.body import clean, plain
from regimes_dagster.alerts.message import SCHEMA_VERSION, Message, alert_id
from regimes_dagster.alerts.planning import Plan
from regimes_dagster.partitions import utc

#: Key of the advisory lock under which alerts are recorded and planned: two runs at once serialise.
_RECORD_LOCK = 7_203_114_561


def lock(connection: sa.Connection) -> None:
    """Let nobody else record until this transaction ends."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_RECORD_LOCK)))


def alert_row(
    *,
    episode_id: str,
    phase: str,
    level: int,
    event_type: str,
    key: str,
    symbol: str,
    ts: pd.Timestamp,
    severity: str,
    title: str,
    description: str,
    source: str,
    data: Mapping[str, Any],
    recorded_at: pd.Timestamp,
    config_hash: str,
    is_simulated: bool,
    asset_pair: str | None = None,
    onset_ts: pd.Timestamp | None = None,
    explain: Mapping[str, Any] | None = None,
    suppressed_reason: str | None = None,
    ended_ts: pd.Timestamp | None = None,
) -> dict[str, Any]:
    """One row of ``alerts``, with texts that PostgreSQL takes and a payload that JSON takes."""
    return {
        "alert_id": alert_id(episode_id, phase, level),
        "episode_id": episode_id,
        "phase": phase,
        "level": level,
        "event_type": event_type,
        "key": key,
        "symbol": symbol,
        "asset_pair": asset_pair,
        "ts": ts.to_pydatetime(),
        "onset_ts": (onset_ts if onset_ts is not None else ts).to_pydatetime(),
        "severity": severity,
        "title": clean(title),
        "description": clean(description),
        "source": clean(source),
        "data": plain(data),
        "explain": plain(explain) if explain is not None else None,
        "schema_version": SCHEMA_VERSION,
        "suppressed_reason": suppressed_reason,
        "recorded_at": recorded_at.to_pydatetime(),
        "retracted_at": None,
        "ended_ts": ended_ts.to_pydatetime() if ended_ts is not None else None,
        "is_simulated": is_simulated,
        "config_hash": config_hash,
    }


def insert_alerts(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Insert alerts that are not on record; the ids of those that were inserted."""
    if not rows:
        return set()
    alerts = tables.table("alerts")
    statement = insert(alerts).on_conflict_do_nothing(index_elements=["alert_id"]).returning(alerts.c.alert_id)
    return {row.alert_id for row in connection.execute(statement, list(rows))}


def insert_deliveries(
    connection: sa.Connection,
    plans: Iterable[tuple[str, Plan]],
    *,
    moment: pd.Timestamp,
    series: int = 0,
) -> int:
    """Insert planned deliveries that do not exist; how many were inserted.

    Parameters
    ----------
    plans
        (alert id, plan).
    moment
        The system's moment: deliveries live in real time, whatever the platform's clock says.
    """
    now = moment.to_pydatetime()
    rows = [
        {
            "alert_id": alert,
            "endpoint": planned.endpoint,
            "series": series,
            "state": planned.state,
            "reason": planned.reason,
            "attempts": 0,
            "tries": 0,
            "next_attempt_at": now if planned.state == "PENDING" else None,
            "created_at": now,
        }
        for alert, planned in plans
    ]
    if not rows:
        return 0
    deliveries = tables.table("alert_deliveries")
    statement = insert(deliveries).on_conflict_do_nothing().returning(deliveries.c.alert_id)
    return len(connection.execute(statement, rows).all())


def next_series(connection: sa.Connection, alert: str, endpoint: str) -> int:
    """Number of the next replay of an alert to an endpoint."""
    deliveries = tables.table("alert_deliveries")
    query = sa.select(sa.func.max(deliveries.c.series)).where(
        deliveries.c.alert_id == alert, deliveries.c.endpoint == endpoint
    )
    newest = connection.execute(query).scalar()
    return 0 if newest is None else int(newest) + 1


def message_of(row: Any) -> Message:
    """The message in a row of ``alerts`` (joined with its delivery's ``reason`` and ``series`` where it is one)."""
    reminder = int(row.series) if getattr(row, "reason", None) == "REPEAT" else 0
    return Message(
        alert_id=row.alert_id,
        episode_id=row.episode_id,
        phase=row.phase,
        event_type=row.event_type,
        symbol=row.symbol,
        asset_pair=row.asset_pair,
        severity=row.severity,
        ts=utc(row.ts),
        title=row.title,
        description=row.description,
        source=row.source,
        data=row.data or {},
        is_simulated=row.is_simulated,
        reminder=reminder,
    )
