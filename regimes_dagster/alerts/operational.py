"""Alerts about the platform itself: PIPELINE_FAILED and DATA_GAP, once per episode, over the same path.

What belongs here: when such an episode opens, escalates and ends. What does not: noticing (``sensors/health.py``)
and posting (``delivery.py``).

An episode is open while its OPEN has no ``ended_ts``; its id follows from what began it (the failed run, the last
hour with data), so that two observers of one thing write one row.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa

from regimes_dagster import tables
from regimes_dagster.alerts import endpoints, ledger, planning, silences
from regimes_dagster.alerts.active import newest_hours
from regimes_dagster.alerts.body import timestamp
from regimes_dagster.alerts.subject import PLATFORM, Subject
from regimes_dagster.partitions import utc
from regimes_dagster.settings import Settings

#: Decision 27: a symbol's newest hour older than this is a gap (the guide: "> 2 hour gap").
GAP = timedelta(hours=2, minutes=10)

#: A gap this long is CRITICAL, and said once more.
LONG_GAP = timedelta(hours=6)

SOURCE = "OPERATIONS"


def pipeline_failed(
    connection: sa.Connection,
    settings: Settings,
    *,
    job: str,
    run_id: str,
    error_class: str,
    step: str | None,
    moment: pd.Timestamp,
    now: pd.Timestamp,
) -> str | None:
    """Record that a run failed; the alert's id, or None while the job's failure is already on record.

    Parameters
    ----------
    error_class
        Class of the error, never its text: that may hold an address.
    moment
        The system's moment.
    now
        The platform's moment; the alert carries it, so that a demo's messages have the demo's time.
    """
    ledger.lock(connection)
    if _open_episode(connection, "PIPELINE_FAILED", job) is not None:
        return None
    where = f" in {step}" if step else ""
    return _record(
        connection,
        settings,
        event_type="PIPELINE_FAILED",
        key=job,
        begin=run_id,
        symbol=PLATFORM,
        ts=now,
        onset=now,
        level=1,
        phase="OPEN",
        severity="WARNING",
        title=f"Pipeline failed - {job}",
        description=f"The run {run_id[:8]} of {job} failed{where} with {error_class}. "
        "Later failures are not told again until a run succeeds.",
        data={
            "job": job,
            "run_id": run_id,
            "step": step,
            "error_class": error_class,
        },
        moment=moment,
        now=now,
    )


def pipeline_recovered(
    connection: sa.Connection, settings: Settings, *, job: str, moment: pd.Timestamp, now: pd.Timestamp
) -> bool:
    """End a job's failure after a run that succeeded; whether there was one."""
    ledger.lock(connection)
    found = _open_episode(connection, "PIPELINE_FAILED", job)
    if found is None:
        return False
    _end(connection, settings, found, now, moment, f"Pipeline runs again - {job}", f"A run of {job} succeeded.")
    return True


def data_gaps(
    connection: sa.Connection,
    settings: Settings,
    *,
    moment: pd.Timestamp,
    now: pd.Timestamp,
    symbols: Sequence[str] | None = None,
) -> list[str]:
    """Open, escalate and end DATA_GAP episodes; ids of the alerts that were recorded.

    A symbol that never had an hour is no gap: the first backfill is still to come, and ``regimes doctor`` says so.

    Parameters
    ----------
    now
        The platform's moment.
    symbols
        Default: the configured ones.
    """
    newest = newest_hours(connection)
    ledger.lock(connection)
    made = []
    for symbol in symbols or settings.symbols:
        last = newest.get(symbol)
        if last is None:
            continue
        open_episode = _open_episode(connection, "DATA_GAP", symbol)
        gap = now - last
        if gap <= GAP:
            if open_episode is not None:
                title, text = f"Data is back - {symbol}", f"{symbol} has data up to {last:%Y-%m-%d %H:%M} UTC."
                _end(connection, settings, open_episode, now, moment, title, text)
            continue
        if open_episode is not None and utc(open_episode.onset_ts) < last:
            # It came back and left again between two looks.
            _end(connection, settings, open_episode, now, moment, f"Data was back - {symbol}", "It left again.")
            open_episode = None
        if open_episode is None:
            made.append(_gap_alert(connection, settings, symbol, last, gap, 1, moment, now))
        if gap > LONG_GAP:
            made.append(_gap_alert(connection, settings, symbol, last, gap, 2, moment, now))
    return [alert for alert in made if alert is not None]


def _gap_alert(
    connection: sa.Connection,
    settings: Settings,
    symbol: str,
    last: pd.Timestamp,
    gap: timedelta,
    level: int,
    moment: pd.Timestamp,
    now: pd.Timestamp,
) -> str | None:
    hours = gap / timedelta(hours=1)
    return _record(
        connection,
        settings,
        event_type="DATA_GAP",
        key=symbol,
        begin=last.isoformat(),
        symbol=symbol,
        ts=now,
        onset=last,
        level=level,
        phase="OPEN" if level == 1 else "ESCALATE",
        severity="WARNING" if level == 1 else "CRITICAL",
        title=f"No data - {symbol}",
        description=f"{symbol} has no data since {last:%Y-%m-%d %H:%M} UTC ({hours:.1f} h).",
        data={
            "newest_ts": timestamp(last),
            "missing_hours": round(hours, 2),
            "limit_minutes": GAP // timedelta(minutes=1),
        },
        moment=moment,
        now=now,
    )


def _record(
    connection: sa.Connection,
    settings: Settings,
    *,
    event_type: str,
    key: str,
    begin: str,
    symbol: str,
    ts: pd.Timestamp,
    onset: pd.Timestamp,
    level: int,
    phase: str,
    severity: str,
    title: str,
    description: str,
    data: Mapping[str, Any],
    moment: pd.Timestamp,
    now: pd.Timestamp,
    ended: pd.Timestamp | None = None,
    episode: str | None = None,
) -> str | None:
    """Record one alert and plan it, if it is not on record; its id, or None."""
    row = ledger.alert_row(
        episode_id=episode or hashlib.sha256(f"{event_type}|{key}|{begin}".encode()).hexdigest()[:16],
        phase=phase,
        level=level,
        event_type=event_type,
        key=key,
        symbol=symbol,
        ts=ts,
        onset_ts=onset,
        severity=severity,
        title=title,
        description=description,
        source=SOURCE,
        data=data,
        recorded_at=moment,
        ended_ts=ended,
        suppressed_reason=None if settings.alerts.enabled else "WEBHOOKS_OFF",
        config_hash="",
        is_simulated=settings.is_simulated,
    )
    if not ledger.insert_alerts(connection, [row]):
        return None
    alert = str(row["alert_id"])
    if settings.alerts.enabled:
        known = endpoints.sync(connection, settings, now)
        plans = planning.plan(
            Subject(event_type, symbol, severity, is_simulated=settings.is_simulated),
            settings.endpoints,
            minimum={str(event): str(lowest) for event, lowest in settings.alerts.min_severity.items()},
            silences=silences.holding(connection, moment),
            states={endpoint: state.state for endpoint, state in known.items()},
            now=moment,
        )
        ledger.insert_deliveries(connection, [(alert, plan) for plan in plans], moment=moment)
    return alert


def _open_episode(connection: sa.Connection, event_type: str, key: str) -> Any:
    """The OPEN of the key's episode that has not ended, or None."""
    alerts = tables.table("alerts")
    query = (
        sa.select(alerts)
        .where(
            alerts.c.event_type == event_type,
            alerts.c.key == key,
            alerts.c.phase == "OPEN",
            alerts.c.ended_ts.is_(None),
        )
        .order_by(alerts.c.ts.desc())
        .limit(1)
    )
    return connection.execute(query).one_or_none()


def _end(
    connection: sa.Connection,
    settings: Settings,
    opened: Any,
    now: pd.Timestamp,
    moment: pd.Timestamp,
    title: str,
    description: str,
) -> None:
    alerts = tables.table("alerts")
    connection.execute(
        sa.update(alerts)
        .where(alerts.c.episode_id == opened.episode_id, alerts.c.ended_ts.is_(None))
        .values(ended_ts=now.to_pydatetime())
    )
    if settings.alerts.emit_close:
        _record(
            connection,
            settings,
            event_type=opened.event_type,
            key=opened.key,
            begin="",
            episode=opened.episode_id,
            symbol=opened.symbol,
            ts=now,
            onset=utc(opened.onset_ts),
            level=1,
            phase="CLOSE",
            severity="INFO",
            title=title,
            description=description,
            data=opened.data,
            moment=moment,
            now=now,
            ended=now,
        )
