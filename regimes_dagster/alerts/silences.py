"""Silences: for a while, matching alerts are recorded and not posted.

What belongs here: making, ending and matching silences. What does not: the plan of deliveries (``planning.py``).
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import pandas as pd
import sqlalchemy as sa

from regimes_dagster import tables
from regimes_dagster.alerts.subject import Subject
from regimes_dagster.partitions import utc

LONGEST = timedelta(days=90)


class SilenceError(ValueError):
    """A silence that makes no sense; the message says why."""


@dataclass(frozen=True)
class Silence:
    """Matches an alert if its event type and one of its symbols match; None matches all."""

    id: str
    event_type: str | None
    symbol: str | None
    starts_at: pd.Timestamp
    ends_at: pd.Timestamp

    def covers(self, subject: Subject, now: pd.Timestamp) -> bool:
        """Whether it holds now for an alert."""
        if not self.starts_at <= now < self.ends_at:
            return False
        return self.event_type in (None, subject.event_type) and (self.symbol is None or subject.is_about(self.symbol))


def silenced(silences: Iterable[Silence], subject: Subject, now: pd.Timestamp) -> bool:
    """Whether any silence holds now for an alert."""
    return any(silence.covers(subject, now) for silence in silences)


def add(
    connection: sa.Connection,
    *,
    now: pd.Timestamp,
    hours: float,
    event_type: str | None = None,
    symbol: str | None = None,
    comment: str | None = None,
    by: str | None = None,
) -> str:
    """Start a silence now; its id.

    Raises
    ------
    SilenceError
        If it would never hold, or for longer than 90 days.
    """
    if not 0 < hours <= LONGEST / timedelta(hours=1):
        raise SilenceError(f"a silence lasts between 0 and {LONGEST.days * 24} hours, not {hours:g}")
    silence_id = uuid.uuid4().hex[:12]
    start = now.to_pydatetime()
    connection.execute(
        sa.insert(tables.table("alert_silences")).values(
            id=silence_id,
            event_type=event_type,
            symbol=symbol,
            starts_at=start,
            ends_at=start + timedelta(hours=hours),
            comment=comment,
            created_at=start,
            created_by=by,
        )
    )
    return silence_id


def end(connection: sa.Connection, silence_id: str, now: pd.Timestamp) -> bool:
    """End a silence now; False if there is none that holds under this id."""
    silences = tables.table("alert_silences")
    moment = now.to_pydatetime()
    done = connection.execute(
        sa.update(silences).where(silences.c.id == silence_id, silences.c.ends_at > moment).values(ends_at=moment)
    )
    return done.rowcount > 0


def holding(connection: sa.Connection, now: pd.Timestamp) -> list[Silence]:
    """Silences that hold now."""
    silences = tables.table("alert_silences")
    moment = now.to_pydatetime()
    rows = connection.execute(sa.select(silences).where(silences.c.starts_at <= moment, silences.c.ends_at > moment))
    return [Silence(row.id, row.event_type, row.symbol, utc(row.starts_at), utc(row.ends_at)) for row in rows]
