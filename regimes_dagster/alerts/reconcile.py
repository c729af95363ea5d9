"""Computed episodes against recorded alerts: what is new, what vanished, what goes on under an older id.

What belongs here: decision 13 and 14 on plain values. What does not: reading and writing rows (``records.py``) and
whether an alert is posted (``planning.py``).

The rules
---------
* An alert is recorded once per (episode, phase, level).
* A computed episode that is not on record, is not a COOLDOWN repeat, and overlaps a recorded episode of the same
  event type and key, or lies within the cooldown of either, continues that episode: it takes its id.
* An episode has one OPEN. An OPEN that is computed again at a higher level is an ESCALATE, at a lower one nothing.
* A recorded alert whose episode is no longer computed, or no longer reaches its level, is retracted; it comes back
  when it is computed again. Neither is posted.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pandas as pd

from regimes_dagster.alerts.message import alert_id
from regimes_dagster.partitions import Window

PHASE_RANK = {"OPEN": 0, "ESCALATE": 1, "CLOSE": 2}


@dataclass(frozen=True)
class Event:
    """One phase of a computed episode (a row of ``episode_events``); ``index`` finds the whole row again."""

    episode_id: str
    event_type: str
    key: str
    phase: str
    level: int
    ts: pd.Timestamp
    onset_ts: pd.Timestamp
    suppressed_reason: str | None = None
    index: int = -1


@dataclass(frozen=True)
class Recorded:
    """One alert on record."""

    episode_id: str
    event_type: str
    key: str
    phase: str
    level: int
    ts: pd.Timestamp
    onset_ts: pd.Timestamp
    ended_ts: pd.Timestamp | None = None
    retracted: bool = False

    @property
    def alert_id(self) -> str:
        """Its id."""
        return alert_id(self.episode_id, self.phase, self.level)


@dataclass(frozen=True)
class NewAlert:
    """An alert to record: the event that says what it says, under the id, phase and level it is recorded with."""

    episode_id: str
    phase: str
    level: int
    event: Event

    @property
    def alert_id(self) -> str:
        """Its id."""
        return alert_id(self.episode_id, self.phase, self.level)


@dataclass(frozen=True)
class Reconciliation:
    """What has to change on record.

    Attributes
    ----------
    ended
        Recorded or new episode -> hour of its last CLOSE or, without one after its last alert, of its last event.
        That is its end unless its machine says that it is active.
    adopted
        Computed episode id -> id on record under which it continues.
    """

    new: list[NewAlert] = field(default_factory=list)
    retract: list[str] = field(default_factory=list)
    restore: list[str] = field(default_factory=list)
    ended: dict[str, pd.Timestamp] = field(default_factory=dict)
    adopted: dict[str, str] = field(default_factory=dict)


def reconcile(
    events: Sequence[Event],
    recorded: Sequence[Recorded],
    *,
    window: Window,
    cooldowns: Mapping[str, timedelta],
    emit_close: bool = False,
) -> Reconciliation:
    """Compare the episodes computed in and around ``window`` with those on record.

    Parameters
    ----------
    events
        Events in the window, and every other event of the episodes they belong to, and of those on record.
    recorded
        Alerts on record near the window (with whole episodes).
    window
        Hours that were computed: alerts outside are neither recorded nor retracted.
    cooldowns
        Silence after an episode per event type; none for types that are absent.
    emit_close
        Record the end of an episode as well.
    """
    adopted = _adopt(events, recorded, cooldowns)
    by_episode: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_episode[adopted.get(event.episode_id, event.episode_id)].append(event)
    on_record: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for alert in recorded:
        on_record[alert.episode_id][alert.phase].add(alert.level)

    new: list[NewAlert] = []
    ended: dict[str, pd.Timestamp] = {}
    peaks: dict[str, int] = {}
    closes: dict[str, set[int]] = {}
    for episode, own in by_episode.items():
        own.sort(key=lambda event: (event.ts, PHASE_RANK[event.phase], event.level))
        peaks[episode] = max((event.level for event in own if event.phase != "CLOSE"), default=0)
        closes[episode] = {event.level for event in own if event.phase == "CLOSE"}
        known = on_record[episode]
        for event in own:
            fresh = _as_recorded(event, episode, known, emit_close)
            if fresh is not None and window.start < event.ts <= window.end:
                new.append(fresh)
                known[fresh.phase].add(fresh.level)
        if known:
            ended[episode] = own[-1].ts

    retract, restore = [], []
    for alert in recorded:
        if not window.start < alert.ts <= window.end:
            continue
        if alert.phase == "CLOSE":
            holds = alert.level in closes.get(alert.episode_id, set())
        else:
            holds = alert.level <= peaks.get(alert.episode_id, 0)
        if holds and alert.retracted:
            restore.append(alert.alert_id)
        elif not holds and not alert.retracted:
            retract.append(alert.alert_id)
    new.sort(key=lambda alert: (alert.event.ts, alert.episode_id, PHASE_RANK[alert.phase], alert.level))
    return Reconciliation(new, retract, restore, ended, adopted)


def _as_recorded(event: Event, episode: str, known: Mapping[str, set[int]], emit_close: bool) -> NewAlert | None:
    """The alert an event becomes, or None if there is nothing to record."""
    phase, level = event.phase, event.level
    if phase == "CLOSE":
        return NewAlert(episode, phase, level, event) if emit_close and level not in known.get(phase, set()) else None
    opened, escalated = known.get("OPEN", set()), known.get("ESCALATE", set())
    if phase == "OPEN" and opened:
        if level <= max(opened | escalated):
            return None
        phase = "ESCALATE"
    if phase == "ESCALATE" and (level in escalated or (opened and level <= max(opened))):
        return None
    return NewAlert(episode, phase, level, event)


@dataclass
class _Span:
    onset: pd.Timestamp
    end: pd.Timestamp | None
    last: pd.Timestamp
    quiet: bool = False


def _adopt(events: Sequence[Event], recorded: Sequence[Recorded], cooldowns: Mapping[str, timedelta]) -> dict[str, str]:
    known: dict[tuple[str, str], dict[str, _Span]] = defaultdict(dict)
    for alert in recorded:
        span = known[alert.event_type, alert.key].setdefault(
            alert.episode_id, _Span(alert.onset_ts, alert.ended_ts, alert.ts)
        )
        span.last = max(span.last, alert.ts)
        span.end = alert.ended_ts or span.end
    computed: dict[tuple[str, str], dict[str, _Span]] = defaultdict(dict)
    for event in events:
        span = computed[event.event_type, event.key].setdefault(event.episode_id, _Span(event.onset_ts, None, event.ts))
        span.last = max(span.last, event.ts)
        if event.phase == "CLOSE":
            span.end = max(event.ts, span.end) if span.end is not None else event.ts
        if event.phase == "OPEN" and event.suppressed_reason == "COOLDOWN":
            span.quiet = True
    adopted: dict[str, str] = {}
    for machine, episodes in computed.items():
        quiet = cooldowns.get(machine[0], timedelta())
        onsets = sorted(span.onset for span in episodes.values())
        for episode, span in episodes.items():
            if episode in known[machine] or span.quiet:
                continue
            following = next((onset for onset in onsets if onset > span.onset), None)
            found = _overlapping(span, following, known[machine], quiet)
            if found is not None:
                adopted[episode] = found
    return adopted


def _overlapping(
    span: _Span, following: pd.Timestamp | None, known: Mapping[str, _Span], quiet: timedelta
) -> str | None:
    """The recorded episode nearest in onset that overlaps a computed one, or lies within a cooldown of it.

    An end that is not known reaches to the next computed episode of the machine; on record, to the last alert.
    """
    best: tuple[timedelta, str] | None = None
    for episode, other in known.items():
        other_end = max(other.end or other.last, other.last) + quiet
        unknown_end = following if following is not None else other.onset
        own_end = span.end + quiet if span.end is not None else unknown_end
        if span.onset <= other_end and other.onset <= own_end:
            distance = abs(span.onset - other.onset)
            if best is None or (distance, episode) < best:
                best = (distance, episode)
    return best[1] if best is not None else None
