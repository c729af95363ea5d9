"""Episode events become alert rows, and alert rows become planned deliveries, in one transaction.

What belongs here: the one entry point of the ``alerts`` asset, ``record_window``. What does not: the rules it
applies (``reconcile.py``, ``planning.py``) and sending (``delivery.py``).

Two clocks meet here. Ages are judged by the platform's moment, which a demo or replay may declare; deliveries are
planned, retried and given up in the system's time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from regimes_dagster import tables
from regimes_dagster.alerts import endpoints as endpoint_rows
from regimes_dagster.alerts import ledger, planning, silences
from regimes_dagster.alerts.active import active_episodes, newest_hours
from regimes_dagster.alerts.endpoints import KnownEndpoint
from regimes_dagster.alerts.planning import Plan
from regimes_dagster.alerts.reconcile import NewAlert, Reconciliation, Recorded, reconcile
from regimes_dagster.alerts.record_inputs import cooldowns, event_of, event_rows, recorded_near
from regimes_dagster.alerts.subject import Subject
from regimes_dagster.clock import system_now
from regimes_dagster.partitions import Window, utc
from regimes_dagster.settings import Settings

_CHUNK = 5_000


@dataclass(frozen=True)
class RecordSummary:
    """What one call did; the numbers are the run's metadata."""

    computed_events: int
    recorded: int
    suppressed: int
    planned: int
    announced_late: int
    retracted: int
    restored: int
    adopted: int
    reminders: int

    def as_metadata(self) -> dict[str, int]:
        """Name and number."""
        return asdict(self)


def recording_window(window: Window, settings: Settings, now: pd.Timestamp) -> Window:
    """The hours of a run whose events are recorded: its own, and those before it that may still be posted.

    A run after the turn of the month thus also records what failed runs before it left in ``episode_events``.
    """
    oldest = (now - timedelta(hours=settings.alerts.max_age_hours)).floor("h")
    return Window(min(window.start, oldest), window.end)


def record_window(
    engine: sa.Engine,
    settings: Settings,
    window: Window,
    now: pd.Timestamp,
    is_simulated: bool,
    *,
    plan: bool = True,
    moment: pd.Timestamp | None = None,
) -> RecordSummary:
    """Record the alerts of a window's episode events and plan their deliveries.

    Running it again changes nothing; running it for overlapping windows at once is safe.

    Parameters
    ----------
    engine
        The database; its schema is the one that is read and written.
    window
        Hours that were computed; it may reach beyond ``now``.
    now
        The platform's moment, from which ages are judged.
    is_simulated
        Whether the alerts come from the simulated market.
    plan
        False in a replay: alerts are recorded, endpoints are left alone.
    moment
        The system's moment, for tests.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        If the database fails; nothing is then recorded or planned.
    """
    moment = moment or system_now()
    computed = window.until(now)
    with engine.begin() as connection:
        ledger.lock(connection)
        work = _Recording(connection, settings, now, moment, is_simulated, plan)
        rows = event_rows(connection, computed)
        events = [event_of(row, index) for index, row in enumerate(rows)]
        on_record = recorded_near(connection, computed)
        result = reconcile(
            events,
            on_record,
            window=computed,
            cooldowns=cooldowns(settings),
            emit_close=settings.alerts.emit_close,
        )
        return work.run(rows, result, on_record)


class _Recording:
    """One transaction's work."""

    def __init__(
        self,
        connection: sa.Connection,
        settings: Settings,
        now: pd.Timestamp,
        moment: pd.Timestamp,
        is_simulated: bool,
        plan: bool,
    ) -> None:
        self.connection = connection
        self.settings = settings
        self.now = now
        self.moment = moment
        self.is_simulated = is_simulated
        self.planning = plan
        self.known: dict[str, KnownEndpoint] = endpoint_rows.sync(connection, settings, now) if plan else {}
        self.silences = silences.holding(connection, moment) if plan else []
        self.active = active_episodes(connection, now)
        self.newest = newest_hours(connection)
        self.max_age = timedelta(hours=settings.alerts.max_age_hours)

    def run(self, rows: Sequence[Any], result: Reconciliation, on_record: Sequence[Recorded]) -> RecordSummary:
        active = {result.adopted.get(episode, episode) for episode in self.active}
        new = [self._row(rows[alert.event.index], alert, result, active) for alert in result.new]
        inserted: set[str] = set()
        for start in range(0, len(new), _CHUNK):
            inserted |= ledger.insert_alerts(self.connection, new[start : start + _CHUNK])
        self._mark(result, active, on_record)
        planned = late = reminders = 0
        if self.planning and self.settings.alerts.enabled:
            fresh = [row for row in new if row["alert_id"] in inserted and row["suppressed_reason"] is None]
            plans = [(row["alert_id"], planned) for row in fresh for planned in self._plans(row)]
            planned = ledger.insert_deliveries(self.connection, plans, moment=self.moment)
            late = self._release(active)
            reminders = self._remind(active)
        return RecordSummary(
            computed_events=len(rows),
            recorded=len(inserted),
            suppressed=sum(row["alert_id"] in inserted and row["suppressed_reason"] is not None for row in new),
            planned=planned,
            announced_late=late,
            retracted=len(result.retract),
            restored=len(result.restore),
            adopted=len(result.adopted),
            reminders=reminders,
        )

    # -- rows --------------------------------------------------------------------------------------------------

    def _row(self, row: Any, alert: NewAlert, result: Reconciliation, active: set[str]) -> dict[str, Any]:
        ts = utc(row.ts)
        reason = planning.alert_reason(
            event_type=row.event_type,
            ts=ts,
            machine_reason=row.suppressed_reason,
            now=self.now,
            max_age=self.max_age,
            stale=self._is_stale(row),
            enabled=self.settings.alerts.enabled,
        )
        return ledger.alert_row(
            episode_id=alert.episode_id,
            phase=alert.phase,
            level=alert.level,
            event_type=row.event_type,
            key=row.key,
            symbol=row.symbol,
            asset_pair=row.asset_pair,
            ts=ts,
            onset_ts=utc(row.onset_ts),
            severity=row.severity,
            title=row.title,
            description=row.description,
            source=row.source,
            data=row.data or {},
            explain=row.explain or {},
            suppressed_reason=reason,
            recorded_at=self.moment,
            ended_ts=None if alert.episode_id in active else result.ended[alert.episode_id],
            is_simulated=self.is_simulated,
            config_hash=row.config_hash,
        )

    def _is_stale(self, row: Any) -> bool:
        followed = [symbol for symbol in _subject(row).symbols if symbol in self.newest]
        return any(self.now - self.newest[symbol] > planning.STALE_AFTER for symbol in followed)

    def _mark(self, result: Reconciliation, active: set[str], on_record: Sequence[Recorded]) -> None:
        """Ends, retractions and restorations of alerts on record."""
        alerts = tables.table("alerts")
        ends = {episode: None if episode in active else end for episode, end in result.ended.items()}
        changed = {
            alert.episode_id: ends[alert.episode_id]
            for alert in on_record
            if alert.episode_id in ends and alert.ended_ts != ends[alert.episode_id]
        }
        for episode, end in changed.items():
            value = end.to_pydatetime() if end is not None else None
            self.connection.execute(sa.update(alerts).where(alerts.c.episode_id == episode).values(ended_ts=value))
        for ids, value in ((result.retract, self.moment.to_pydatetime()), (result.restore, None)):
            for start in range(0, len(ids), _CHUNK):
                part = ids[start : start + _CHUNK]
                self.connection.execute(sa.update(alerts).where(alerts.c.alert_id.in_(part)).values(retracted_at=value))

    # -- deliveries --------------------------------------------------------------------------------------------

    def _plans(self, row: Mapping[str, Any] | Any) -> list[Plan]:
        return planning.plan(
            _subject(row),
            self.settings.endpoints,
            minimum={str(event): str(severity) for event, severity in self.settings.alerts.min_severity.items()},
            silences=self.silences,
            states={endpoint: known.state for endpoint, known in self.known.items()},
            now=self.moment,
        )

    def _release(self, active: set[str]) -> int:
        """Decision 24's exception, and what stale data held back.

        The OPEN of an episode that is still active goes out once, however old, to endpoints that were enabled when
        it opened. An alert held back by stale data goes out once the data is fresh, if it is young enough.
        """
        alerts = tables.table("alerts")
        oldest = (self.now - self.max_age).to_pydatetime()
        held = (alerts.c.suppressed_reason == "STALE_INPUT") & (alerts.c.ts >= oldest)
        late = (
            alerts.c.suppressed_reason.in_(("AGE", "STALE_INPUT"))
            & (alerts.c.phase == "OPEN")
            & alerts.c.episode_id.in_(sorted(active))
        )
        query = sa.select(alerts).where(held | late, alerts.c.retracted_at.is_(None)).order_by(alerts.c.ts)
        announced = 0
        for row in self.connection.execute(query).all():
            if self._is_stale(row) and row.event_type in planning.INHIBITED_BY_STALE_DATA:
                continue
            young = self.now - utc(row.ts) <= self.max_age
            plans = [
                plan
                for plan in self._plans(row)
                if young or planning.may_announce_late(utc(row.ts), self.known[plan.endpoint].enabled_at)
            ]
            if plans or young:
                self.connection.execute(
                    sa.update(alerts).where(alerts.c.alert_id == row.alert_id).values(suppressed_reason=None)
                )
            announced += ledger.insert_deliveries(
                self.connection, [(row.alert_id, plan) for plan in plans], moment=self.moment
            )
        return announced

    def _remind(self, active: set[str]) -> int:
        """``repeat_hours``: a CRITICAL alert of an episode that is still active is sent again."""
        hours = self.settings.alerts.repeat_hours
        if hours is None or not active:
            return 0
        alerts, deliveries = tables.table("alerts"), tables.table("alert_deliveries")
        newest = (
            sa.select(alerts, deliveries.c.endpoint)
            .ext(distinct_on(alerts.c.episode_id, deliveries.c.endpoint))
            .join(deliveries, deliveries.c.alert_id == alerts.c.alert_id)
            .where(
                alerts.c.episode_id.in_(sorted(active)),
                alerts.c.phase.in_(("OPEN", "ESCALATE")),
                alerts.c.retracted_at.is_(None),
                deliveries.c.state != "SUPPRESSED",
            )
            .order_by(alerts.c.episode_id, deliveries.c.endpoint, alerts.c.level.desc(), alerts.c.ts.desc())
        )
        sent = 0
        for row in self.connection.execute(newest).all():
            wanted = [plan for plan in self._plans(row) if plan.endpoint == row.endpoint and plan.state == "PENDING"]
            if row.severity != "CRITICAL" or not wanted or not self._is_due(row, hours):
                continue
            series = ledger.next_series(self.connection, row.alert_id, row.endpoint)
            sent += ledger.insert_deliveries(
                self.connection,
                [(row.alert_id, Plan(row.endpoint, "PENDING", "REPEAT"))],
                moment=self.moment,
                series=series,
            )
        return sent

    def _is_due(self, row: Any, hours: float) -> bool:
        deliveries = tables.table("alert_deliveries")
        query = sa.select(
            sa.func.bool_or(deliveries.c.state.in_(("PENDING", "RETRYING"))), sa.func.max(deliveries.c.delivered_at)
        ).where(deliveries.c.alert_id == row.alert_id, deliveries.c.endpoint == row.endpoint)
        waiting, delivered = self.connection.execute(query).one()
        return not waiting and delivered is not None and self.moment - utc(delivered) >= timedelta(hours=hours)


def _subject(row: Any) -> Subject:
    values = row if isinstance(row, Mapping) else row._mapping
    return Subject(
        event_type=values["event_type"],
        symbol=values["symbol"],
        severity=values["severity"],
        asset_pair=values["asset_pair"],
        is_simulated=bool(values.get("is_simulated", False)),
    )
