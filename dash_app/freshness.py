"""Is the data alive: limits and states of every stage.

What belongs here: the limits of ``now - newest ts`` and the states that follow from them. What does not: reading
the newest stamps (``queries``) and the browser's own OFFLINE state (``assets/live.js``).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

HOURLY_LIMIT = timedelta(minutes=75)
FUNDING_SLACK = timedelta(minutes=30)

#: From the best state to the worst.
STATES = ("LIVE", "DELAYED", "STALE", "NO DATA")


@dataclass(frozen=True, slots=True)
class Stage:
    """Freshness of one stage, of one symbol or of all."""

    name: str
    newest: datetime | None
    limit: timedelta
    state: str
    age: timedelta | None


def judge(name: str, newest: datetime | None, now: datetime, limit: timedelta = HOURLY_LIMIT) -> Stage:
    """LIVE up to ``limit``, DELAYED above it, STALE above twice it, NO DATA without any row."""
    if newest is None:
        return Stage(name, None, limit, "NO DATA", None)
    age = now - newest
    state = "LIVE" if age <= limit else "DELAYED" if age <= 2 * limit else "STALE"
    return Stage(name, newest, limit, state, age)


def funding_limit(interval_hours: float | None) -> timedelta:
    """One settlement interval and half an hour; 8 h where the interval is unknown."""
    return timedelta(hours=interval_hours or 8.0) + FUNDING_SLACK


def worst(stages: list[Stage]) -> str:
    """The worst state of several stages; NO DATA for none."""
    return max((stage.state for stage in stages), key=STATES.index, default="NO DATA")


def next_run(now: datetime) -> datetime:
    """When the hourly schedule fires next: minute 1."""
    at = now.replace(minute=1, second=0, microsecond=0)
    return at if now < at else at + timedelta(hours=1)
