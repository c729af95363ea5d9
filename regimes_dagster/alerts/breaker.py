"""The endpoint's breaker: when it may be posted to, and what an outcome makes of it.

What belongs here: the state of an endpoint as pure functions. What does not: rows (``ledger.py``).
"""

from dataclasses import dataclass, replace
from datetime import timedelta

import pandas as pd

from regimes_dagster.alerts.answers import Decision, Effect
from regimes_dagster.alerts.schedule import DISABLE_AFTER_S, breaker_pause


@dataclass(frozen=True)
class Health:
    """What is remembered of an endpoint (columns of ``webhook_endpoints``)."""

    state: str = "ACTIVE"
    state_reason: str | None = None
    consecutive_failures: int = 0
    opened_at: pd.Timestamp | None = None
    retry_at: pd.Timestamp | None = None
    failing_since: pd.Timestamp | None = None
    last_ok_at: pd.Timestamp | None = None


def gate(health: Health, now: pd.Timestamp) -> str:
    """OPEN, PROBE (one post to see whether it is back) or CLOSED."""
    if health.state in ("DISABLED", "REMOVED"):
        return "CLOSED"
    if health.retry_at is not None and health.retry_at > now:
        return "CLOSED"
    return "PROBE" if health.state == "PAUSED" else "OPEN"


def after(health: Health, decision: Decision, now: pd.Timestamp) -> Health:
    """The endpoint after an attempt.

    A success resets everything. A failure counts; five in a row open the breaker for 30 s x 2^k, at most 15 min,
    and 120 h of nothing but failures switch the endpoint off. 429 holds it without counting. Answers about the
    message alone (400, 3xx, 401 ...) change nothing.
    """
    if decision.effect is Effect.OK:
        return Health(last_ok_at=now)
    if decision.effect is Effect.HOLD:
        return replace(health, retry_at=now + timedelta(seconds=decision.delay or 0.0), state_reason=decision.reason)
    if decision.effect is Effect.DISABLE:
        return replace(health, state="DISABLED", state_reason=decision.reason, retry_at=None)
    if decision.effect is Effect.FAILURE:
        return _failed(health, decision, now)
    return health


def _failed(health: Health, decision: Decision, now: pd.Timestamp) -> Health:
    failures = health.consecutive_failures + 1
    since = health.failing_since or now
    counted = replace(health, consecutive_failures=failures, failing_since=since)
    if now - since >= timedelta(seconds=DISABLE_AFTER_S):
        return replace(counted, state="DISABLED", state_reason="FAILING_FOR_DAYS", retry_at=None)
    pause = breaker_pause(failures)
    if pause is None:
        return counted
    return replace(
        counted,
        state="PAUSED",
        state_reason=decision.reason,
        opened_at=health.opened_at or now,
        retry_at=now + timedelta(seconds=pause),
    )
