"""The queue that workers take deliveries from: lanes, claims, leases and what becomes of them.

What belongs here: the statements on ``alert_deliveries`` and ``webhook_endpoints`` while alerts are sent. What does
not: sending (``delivery.py``) and the decisions (``answers.py``, ``breaker.py``).

Who may take what
-----------------
One worker holds an endpoint's lane at a time, by an advisory lock of its session: a killed worker's lock goes with
its session. Rows it has taken carry a lease of 120 s; whoever gets the lane may take rows over whose lease was not
renewed for 20 s, since their worker is gone (it renews before each post, and a post lasts at most 15 s). Claims are
small: after a kill only the rows of one claim wait for that.

Order: a row is due only if every earlier row of its episode at this endpoint is settled or due as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa

from regimes_dagster import tables
from regimes_dagster.alerts.answers import Decision, Effect, Outcome
from regimes_dagster.alerts.breaker import Health, after
from regimes_dagster.alerts.ledger import message_of
from regimes_dagster.alerts.message import Message
from regimes_dagster.partitions import utc

LEASE = timedelta(seconds=120)
CLAIM = 10

#: A lease that was not renewed for so long belongs to a worker that is gone.
ORPHANED = timedelta(seconds=20)

#: Attempts remembered per delivery.
HISTORY = 20

#: First key of the lanes' advisory locks; the second is made of the endpoint's id.
_LANE = 720_311

_OPEN = "('PENDING', 'RETRYING')"

_DUE = sa.text(f"""
    SELECT DISTINCT d.endpoint
    FROM alert_deliveries d JOIN webhook_endpoints e ON e.endpoint = d.endpoint
    WHERE d.state IN {_OPEN}
      AND d.next_attempt_at <= :now
      AND (d.lease_until IS NULL OR d.lease_until < :orphaned)
      AND e.state IN ('ACTIVE', 'PAUSED')
      AND (e.retry_at IS NULL OR e.retry_at <= :now)
""")  # noqa: S608 - constants

_CLAIM = sa.text(f"""
    WITH queue AS MATERIALIZED (
        SELECT d.alert_id, d.series, a.ts, a.level, a.episode_id,
               CASE a.phase WHEN 'OPEN' THEN 0 WHEN 'ESCALATE' THEN 1 ELSE 2 END AS phase,
               d.next_attempt_at > :now OR coalesce(d.lease_until >= :now, false) AS waiting
        FROM alert_deliveries d JOIN alerts a ON a.alert_id = d.alert_id
        WHERE d.endpoint = :endpoint AND d.state IN {_OPEN}
    ), ready AS (
        SELECT queue.*, bool_or(waiting) OVER (
            PARTITION BY episode_id ORDER BY ts, phase, level, series
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS blocked
        FROM queue
    ), turn AS MATERIALIZED (
        -- Cut to the claim before the table is joined again: with 1,000 rows waiting that took 500 ms, now 10.
        SELECT alert_id, series FROM ready WHERE NOT blocked ORDER BY ts, phase, level, series LIMIT :most
    ), picked AS (
        SELECT d.alert_id, d.series
        FROM turn JOIN alert_deliveries d ON d.alert_id = turn.alert_id AND d.series = turn.series
        WHERE d.endpoint = :endpoint AND d.state IN {_OPEN} AND (d.lease_until IS NULL OR d.lease_until < :now)
        FOR UPDATE OF d SKIP LOCKED
    ), taken AS (
        UPDATE alert_deliveries d SET lease_until = :lease
        FROM picked p
        WHERE d.alert_id = p.alert_id AND d.series = p.series AND d.endpoint = :endpoint
        RETURNING d.alert_id, d.series, d.reason, d.attempts, d.tries, d.created_at, d.history
    )
    SELECT t.series, t.reason, t.attempts, t.tries, t.created_at, t.history, a.*
    FROM taken t JOIN alerts a ON a.alert_id = t.alert_id
    ORDER BY a.ts, CASE a.phase WHEN 'OPEN' THEN 0 WHEN 'ESCALATE' THEN 1 ELSE 2 END, a.level, t.series
""")  # noqa: S608 - constants


_CLAIM_ONE = sa.text(f"""
    WITH taken AS (
        UPDATE alert_deliveries d SET lease_until = :lease
        WHERE d.endpoint = :endpoint AND d.alert_id = :alert AND d.state IN {_OPEN}
          AND (d.lease_until IS NULL OR d.lease_until < :now)
        RETURNING d.alert_id, d.series, d.reason, d.attempts, d.tries, d.created_at, d.history
    )
    SELECT t.series, t.reason, t.attempts, t.tries, t.created_at, t.history, a.*
    FROM taken t JOIN alerts a ON a.alert_id = t.alert_id
""")  # noqa: S608 - constants


@dataclass(frozen=True)
class Claimed:
    """A delivery that this worker holds, with what it says."""

    message: Message
    endpoint: str
    series: int
    attempts: int
    tries: int
    created_at: pd.Timestamp
    reason: str | None
    history: tuple[dict[str, Any], ...]


def take_lane(connection: sa.Connection, endpoint: str, now: pd.Timestamp) -> bool:
    """Take an endpoint's lane for this session; False if another worker has it. Orphaned leases are lifted."""
    got = connection.execute(sa.select(sa.func.pg_try_advisory_lock(_LANE, _lane(endpoint)))).scalar_one()
    if got:
        deliveries = tables.table("alert_deliveries")
        connection.execute(
            sa.update(deliveries)
            .where(
                deliveries.c.endpoint == endpoint,
                deliveries.c.state.in_(("PENDING", "RETRYING")),
                deliveries.c.lease_until < (now + LEASE - ORPHANED).to_pydatetime(),
            )
            .values(lease_until=None)
        )
    connection.commit()
    return bool(got)


def leave_lane(connection: sa.Connection, endpoint: str) -> None:
    """Give the lane back."""
    connection.rollback()
    connection.execute(sa.select(sa.func.pg_advisory_unlock(_LANE, _lane(endpoint))))
    connection.commit()


def due_endpoints(connection: sa.Connection, now: pd.Timestamp) -> list[str]:
    """Endpoints that may be posted to and have something due."""
    values = {"now": now.to_pydatetime(), "orphaned": (now + LEASE - ORPHANED).to_pydatetime()}
    return [row.endpoint for row in connection.execute(_DUE, values)]


def claim(connection: sa.Connection, endpoint: str, now: pd.Timestamp, most: int = CLAIM) -> list[Claimed]:
    """Take up to ``most`` due deliveries of an endpoint, oldest first, under a lease."""
    moment = now.to_pydatetime()
    values = {"endpoint": endpoint, "now": moment, "lease": moment + LEASE, "most": most}
    return _claimed(connection, _CLAIM, values, endpoint)


def claim_one(connection: sa.Connection, endpoint: str, alert: str, now: pd.Timestamp) -> list[Claimed]:
    """Take the waiting delivery of one alert, whatever its turn; empty if there is none."""
    moment = now.to_pydatetime()
    values = {"endpoint": endpoint, "alert": alert, "now": moment, "lease": moment + LEASE}
    return _claimed(connection, _CLAIM_ONE, values, endpoint)


def renew(connection: sa.Connection, rows: Sequence[Claimed], now: pd.Timestamp) -> None:
    """Hold the rows for another 120 s."""
    _set(connection, rows, {"lease_until": (now + LEASE).to_pydatetime()})
    connection.commit()


def release(connection: sa.Connection, rows: Sequence[Claimed]) -> None:
    """Put rows back as they were."""
    _set(connection, rows, {"lease_until": None})
    connection.commit()


def suppress(connection: sa.Connection, rows: Sequence[Claimed], reason: str) -> None:
    """Decide not to send rows after all."""
    _set(connection, rows, {"state": "SUPPRESSED", "reason": reason, "lease_until": None, "next_attempt_at": None})
    connection.commit()


def health(connection: sa.Connection, endpoint: str) -> Health:
    """What is remembered of an endpoint."""
    endpoints = tables.table("webhook_endpoints")
    row = connection.execute(sa.select(endpoints).where(endpoints.c.endpoint == endpoint)).one()
    connection.commit()
    return Health(
        state=row.state,
        state_reason=row.state_reason,
        consecutive_failures=row.consecutive_failures,
        opened_at=_utc(row.opened_at),
        retry_at=_utc(row.retry_at),
        failing_since=_utc(row.failing_since),
        last_ok_at=_utc(row.last_ok_at),
    )


def settle(
    connection: sa.Connection,
    rows: Sequence[tuple[Claimed, Decision]],
    outcome: Outcome,
    before: Health,
    now: pd.Timestamp,
) -> Health:
    """Write what became of one post: its deliveries, and the endpoint, in one transaction.

    When an endpoint answers again after failures, what waits for it is due at once. When it is switched off, what
    waits for it is cancelled; it can be replayed.
    """
    deliveries = tables.table("alert_deliveries")
    moment = now.to_pydatetime()
    for row, decision in rows:
        entry = {"at": moment.isoformat(timespec="milliseconds"), "ms": outcome.millis}
        entry |= {"status": outcome.status} if outcome.status is not None else {"error": _error(outcome)}
        later = decision.state == "RETRYING" and decision.delay is not None
        keep_reason = decision.state in ("DELIVERED", "RETRYING")
        connection.execute(
            sa.update(deliveries)
            .where(_is(row))
            .values(
                state=decision.state,
                reason=row.reason if keep_reason else decision.reason,
                attempts=row.attempts + 1,
                tries=row.tries + (1 if decision.counts else 0),
                next_attempt_at=moment + timedelta(seconds=decision.delay or 0.0) if later else None,
                lease_until=None,
                first_attempt_at=sa.func.coalesce(deliveries.c.first_attempt_at, moment),
                last_attempt_at=moment,
                delivered_at=moment if decision.state == "DELIVERED" else None,
                last_status=outcome.status,
                last_error=_error(outcome),
                history=[*row.history, entry][-HISTORY:],
            )
        )
    state = after(before, rows[0][1], now)
    if state != before and not _only_success_time(before, state):
        _write_health(connection, rows[0][0].endpoint, state)
        if rows[0][1].effect is Effect.OK and before.consecutive_failures:
            _wake(connection, rows[0][0].endpoint, moment)
        if state.state == "DISABLED":
            _cancel(connection, rows[0][0].endpoint, "ENDPOINT_DISABLED")
    connection.commit()
    return state


def touch(connection: sa.Connection, endpoint: str, state: Health) -> None:
    """Write an endpoint's health, e.g. the time of its last success at the end of a lane's work."""
    _write_health(connection, endpoint, state)
    connection.commit()


def expire(connection: sa.Connection, now: pd.Timestamp, json_hours: float, chat_hours: float) -> int:
    """Give up deliveries that are older than their format's time to live; how many."""
    deliveries, endpoints = tables.table("alert_deliveries"), tables.table("webhook_endpoints")
    moment = now.to_pydatetime()
    json_endpoints = sa.select(endpoints.c.endpoint).where(endpoints.c.format == "json")
    born = sa.case(
        (deliveries.c.endpoint.in_(json_endpoints), moment - timedelta(hours=json_hours)),
        else_=moment - timedelta(hours=chat_hours),
    )
    done = connection.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.state.in_(("PENDING", "RETRYING")),
            deliveries.c.created_at < born,
            deliveries.c.lease_until.is_(None) | (deliveries.c.lease_until < moment),
        )
        .values(state="EXPIRED", reason="TIME_TO_LIVE", next_attempt_at=None, lease_until=None)
    )
    connection.commit()
    return done.rowcount


def _claimed(
    connection: sa.Connection, statement: sa.TextClause, values: dict[str, Any], endpoint: str
) -> list[Claimed]:
    rows = connection.execute(statement, values).all()
    connection.commit()
    return [
        Claimed(
            message=message_of(row),
            endpoint=endpoint,
            series=row.series,
            attempts=row.attempts,
            tries=row.tries,
            created_at=utc(row.created_at),
            reason=row.reason,
            history=tuple(row.history or ()),
        )
        for row in rows
    ]


def _write_health(connection: sa.Connection, endpoint: str, state: Health) -> None:
    endpoints = tables.table("webhook_endpoints")
    connection.execute(
        sa.update(endpoints)
        .where(endpoints.c.endpoint == endpoint, endpoints.c.state != "REMOVED")
        .values(
            state=state.state,
            state_reason=state.state_reason,
            consecutive_failures=state.consecutive_failures,
            opened_at=_py(state.opened_at),
            retry_at=_py(state.retry_at),
            failing_since=_py(state.failing_since),
            last_ok_at=_py(state.last_ok_at),
        )
    )


def _wake(connection: sa.Connection, endpoint: str, moment: Any) -> None:
    deliveries = tables.table("alert_deliveries")
    connection.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.endpoint == endpoint, deliveries.c.state == "RETRYING", deliveries.c.next_attempt_at > moment
        )
        .values(next_attempt_at=moment)
    )


def _cancel(connection: sa.Connection, endpoint: str, reason: str) -> None:
    deliveries = tables.table("alert_deliveries")
    connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.endpoint == endpoint, deliveries.c.state.in_(("PENDING", "RETRYING")))
        .values(state="CANCELLED", reason=reason, next_attempt_at=None, lease_until=None)
    )


def _set(connection: sa.Connection, rows: Sequence[Claimed], values: dict[str, Any]) -> None:
    if rows:
        deliveries = tables.table("alert_deliveries")
        connection.execute(sa.update(deliveries).where(sa.or_(*(_is(row) for row in rows))).values(**values))


def _is(row: Claimed) -> sa.ColumnElement[bool]:
    deliveries = tables.table("alert_deliveries")
    return sa.and_(
        deliveries.c.alert_id == row.message.alert_id,
        deliveries.c.endpoint == row.endpoint,
        deliveries.c.series == row.series,
        deliveries.c.state.in_(("PENDING", "RETRYING")),
    )


def _only_success_time(before: Health, state: Health) -> bool:
    return Health(**{**before.__dict__, "last_ok_at": state.last_ok_at}) == state


def _error(outcome: Outcome) -> str | None:
    if outcome.trouble is None:
        return None
    return f"{outcome.trouble.value}: {outcome.error}" if outcome.error else outcome.trouble.value


def _lane(endpoint: str) -> int:
    """The endpoint's id as a signed 32-bit number, which PostgreSQL's second lock key is."""
    value = int(endpoint[:8], 16)
    return value - (1 << 32) if value >= 1 << 31 else value


def _utc(moment: Any) -> pd.Timestamp | None:
    return None if moment is None else utc(moment)


def _py(moment: pd.Timestamp | None) -> Any:
    return None if moment is None else moment.to_pydatetime()
