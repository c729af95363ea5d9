"""One episode machine: the rules that all five features share, for one key and one hour at a time.

What belongs here: how a condition per hour becomes phases, ids and a state that can be stored. What does not: grids of
hours and keys (``episodes.py``), what the condition is and what an event says (the features), and whether an event is
posted (``alerts/``).

The rules, per key
------------------
``IDLE``     the condition holds for ``confirm_bars`` hours -> ``ACTIVE``, OPEN.
``ACTIVE``   a level above the episode's peak -> ESCALATE (once per higher tier). The off-condition for
             ``release_bars`` hours in a row -> ``COOLING``, CLOSE. After ``max_episode_h`` the episode is split:
             it closes without waiting for its off-condition, unless the condition holds in that very hour;
             then it goes on, same id, no second OPEN, and the next span of ``max_episode_h`` begins.
``COOLING``  for ``cooldown_h`` after CLOSE. A level above the peak re-activates the same episode, ESCALATE: cooling
             never hides the crash. Equal and lower levels stay silent. At the end: a condition that held in
             the hour before and still holds goes on as the same episode without an event; else ``IDLE``.
``UNKNOWN``  before the first valid hour and after more than ``hold_h`` invalid ones (up to there the state is
             held, counters frozen). The first valid hour sets the state without an event. An interrupted episode
             is remembered until ``cooldown_h`` after its last valid hour (or its cooldown's end); a condition that
             then holds continues it. Otherwise a holding condition starts an unannounced episode: it has an id,
             no OPEN, no CLOSE and no cooldown (nobody was told), but may ESCALATE and is announced by that.

Each (episode, phase, level) occurs at most once. The level of a CLOSE is the episode's peak, or one more than the
level of its previous CLOSE if that is higher: the CLOSE with the highest level is the final one. ``peak`` is in its
own column: derive severities from it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from regimes_dagster.partitions import utc

IDLE, ACTIVE, COOLING, UNKNOWN = range(4)
STATE_NAMES = ("IDLE", "ACTIVE", "COOLING", "UNKNOWN")

HOUR_US = 3_600_000_000
_FOREVER = 1 << 40


@dataclass(frozen=True)
class EpisodeRule:
    """How episodes of one event type begin and end; all spans in hours (one bar is one hour).

    Attributes
    ----------
    event_type
        Part of the episode id.
    cooldown_h
        Hours of silence after a CLOSE.
    release_bars, confirm_bars
        Hours in a row that the off-condition, and the on-condition, must hold.
    max_episode_h
        Hours after which an episode is split; ``None`` never.
    hold_h
        Invalid hours in a row through which the state is held.
    record_repeats
        Whether a condition that comes back during the cooldown is an episode of its own, recorded with the
        suppressed reason COOLDOWN (for events where every occurrence must be on record), instead of silence.
        Such an episode does not prolong the cooldown.
    """

    event_type: str
    cooldown_h: int
    release_bars: int = 1
    confirm_bars: int = 1
    max_episode_h: int | None = None
    hold_h: int = 3
    record_repeats: bool = False

    def __post_init__(self) -> None:
        if self.cooldown_h < 0 or self.hold_h < 0:
            raise ValueError(f"{self.event_type}: cooldown_h and hold_h must not be negative")
        if self.release_bars < 1 or self.confirm_bars < 1:
            raise ValueError(f"{self.event_type}: release_bars and confirm_bars must be at least 1")
        if self.max_episode_h is not None and self.max_episode_h < 1:
            raise ValueError(f"{self.event_type}: max_episode_h must be at least 1, or None for no split")


def episode_id(event_type: str, key: str, onset: pd.Timestamp) -> str:
    """First 16 hex digits of the SHA-256 of event type, key and onset: the same whatever the configuration."""
    text = f"{event_type}|{key}|{utc(onset).isoformat()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Machine:
    """One key's machine. ``step`` is the law; ``quiet_hours`` and ``advance`` only skip hours that change nothing."""

    __slots__ = (
        "announced", "close_level", "cooldown_end", "episode_id", "events", "held", "invalid_run", "key", "on_run",
        "onset", "peak", "release_run", "rule", "segment_start", "status", "suppressed",
    )  # fmt: skip

    episode_id: str | None
    onset: int
    peak: int
    segment_start: int
    close_level: int
    announced: bool
    suppressed: str | None

    def __init__(self, rule: EpisodeRule, key: str, stored: Mapping[str, Any] | None) -> None:
        self.rule = rule
        self.key = key
        self.events: list[tuple[int, str, int, int, str, int, str | None]] = []
        self.status = UNKNOWN
        self.held = UNKNOWN
        self.on_run = 0
        self.release_run = 0
        self.invalid_run = 0
        self.cooldown_end = 0
        self._forget()
        if stored is not None:
            self._load(stored)

    # -- the law -----------------------------------------------------------------------------------------------

    def step(self, hour: int, level: int, release: bool, valid: bool) -> None:
        rule = self.rule
        if not valid:
            if self.invalid_run <= rule.hold_h:
                self.invalid_run += 1
            if self.invalid_run > rule.hold_h and self.status != UNKNOWN:
                self._lose(hour)
            return
        self.invalid_run = 0
        was_on, was_confirmed = self.on_run > 0, self.on_run >= rule.confirm_bars
        self.on_run = min(self.on_run + 1, rule.confirm_bars) if level else 0
        confirmed = self.on_run >= rule.confirm_bars
        if self.status == UNKNOWN:
            self._recover(hour, level)
            return
        if self.status == COOLING:
            if level > self.peak:
                self._activate(hour)
                self._escalate(hour, level)
                return
            if rule.record_repeats and confirmed and not was_confirmed:
                self._open(hour, level, suppressed="COOLDOWN" if hour < self.cooldown_end else None)
                return
            if hour < self.cooldown_end:
                return
            if level and was_on:
                self._activate(hour)
                return
            self._forget()
            self.status = IDLE
        if self.status == IDLE:
            if confirmed:
                self._open(hour, level, suppressed=None)
            return
        if level > self.peak:
            self._escalate(hour, level)
        self.release_run = self.release_run + 1 if release else 0
        if self.release_run >= rule.release_bars:
            self._close(hour)
        elif rule.max_episode_h is not None and hour - self.segment_start >= rule.max_episode_h:
            if level:
                self.segment_start = hour
            else:
                self._close(hour)

    def _begin(self, hour: int, level: int) -> None:
        self._forget()
        self.onset = hour
        self.episode_id = episode_id(self.rule.event_type, self.key, stamp(hour))
        self.peak = level
        self._activate(hour)

    def _activate(self, hour: int) -> None:
        self.status = ACTIVE
        self.segment_start = hour
        self.release_run = 0

    def _open(self, hour: int, level: int, suppressed: str | None) -> None:
        self._begin(hour, level)
        self.announced = True
        self.suppressed = suppressed
        self._emit(hour, "OPEN", level)

    def _escalate(self, hour: int, level: int) -> None:
        self.peak = level
        self.announced = True
        self.suppressed = None
        self._emit(hour, "ESCALATE", level)

    def _close(self, hour: int) -> None:
        if self.announced and self.suppressed is None:
            self.cooldown_end = hour + self.rule.cooldown_h
        if self.announced:
            self.close_level = max(self.peak, self.close_level + 1)
            self._emit(hour, "CLOSE", self.close_level)
        self.release_run = 0
        if hour < self.cooldown_end:
            self.status = COOLING
        else:
            self._forget()
            self.status = IDLE

    def _lose(self, hour: int) -> None:
        if self.status == ACTIVE and self.announced:
            last_valid = hour - self.invalid_run
            self.cooldown_end = max(self.cooldown_end, last_valid + self.rule.cooldown_h)
        self.held = self.status
        self.status = UNKNOWN
        self.on_run = 0
        self.release_run = 0

    def _recover(self, hour: int, level: int) -> None:
        held, self.held = self.held, UNKNOWN
        if self.episode_id is not None and hour < self.cooldown_end:
            if level and (held == ACTIVE or level > self.peak):
                self.peak = max(self.peak, level)
                self._activate(hour)
                return
            if not (level and self.rule.record_repeats):
                self.status = COOLING
                return
        if level:
            self._begin(hour, level)
        else:
            self._forget()
            self.status = IDLE

    def _forget(self) -> None:
        self.episode_id = None
        self.onset = 0
        self.peak = 0
        self.segment_start = 0
        self.close_level = 0
        self.announced = False
        self.suppressed = None

    def _emit(self, hour: int, phase: str, level: int) -> None:
        assert self.episode_id is not None
        self.events.append((hour, phase, level, self.peak, self.episode_id, self.onset, self.suppressed))

    # -- skipping ----------------------------------------------------------------------------------------------

    def quiet_hours(self, hour: int, level: int, release: bool, valid: bool) -> int:
        """How many further hours with the same input change nothing but counters."""
        rule = self.rule
        if not valid:
            return _FOREVER if self.status == UNKNOWN else rule.hold_h - self.invalid_run
        if self.status == IDLE:
            return rule.confirm_bars - self.on_run - 1 if level else _FOREVER
        if self.status == COOLING:
            # With a level that could still confirm a repeat, go hour by hour: short and rare.
            return 0 if level and rule.record_repeats else max(self.cooldown_end - hour - 1, 0)
        quiet = rule.release_bars - self.release_run - 1 if release else _FOREVER
        if rule.max_episode_h is not None:
            quiet = min(quiet, self.segment_start + rule.max_episode_h - hour - 1)
        return max(quiet, 0)

    def advance(self, n: int, level: int, release: bool, valid: bool) -> None:
        """Count ``n`` quiet hours."""
        if not valid:
            self.invalid_run = min(self.invalid_run + n, self.rule.hold_h + 1)
            return
        self.on_run = min(self.on_run + n, self.rule.confirm_bars) if level else 0
        if self.status == ACTIVE:
            self.release_run = self.release_run + n if release else 0

    # -- state -------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """JSON-able state; the same for machines that will behave the same."""
        episode = self.episode_id is not None
        return {
            "status": STATE_NAMES[self.status],
            "held": STATE_NAMES[self.held],
            "episode_id": self.episode_id,
            "onset": _iso(self.onset) if episode else None,
            "peak": self.peak,
            "segment_start": _iso(self.segment_start) if episode else None,
            "cooldown_end": _iso(self.cooldown_end) if self.cooldown_end else None,
            "close_level": self.close_level,
            "announced": self.announced,
            "suppressed": self.suppressed,
            "on_run": self.on_run,
            "release_run": self.release_run,
            "invalid_run": self.invalid_run,
        }

    def _load(self, stored: Mapping[str, Any]) -> None:
        try:
            self.status = STATE_NAMES.index(stored["status"])
            self.held = STATE_NAMES.index(stored["held"])
            self.episode_id = stored["episode_id"]
            self.onset = _hour(stored["onset"])
            self.segment_start = _hour(stored["segment_start"])
            self.cooldown_end = _hour(stored["cooldown_end"])
            self.peak = int(stored["peak"])
            self.close_level = int(stored["close_level"])
            self.announced = bool(stored["announced"])
            self.suppressed = stored["suppressed"]
            self.on_run = min(int(stored["on_run"]), self.rule.confirm_bars)
            self.release_run = int(stored["release_run"])
            self.invalid_run = min(int(stored["invalid_run"]), self.rule.hold_h + 1)
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"the stored state of {self.rule.event_type} {self.key} lacks or misnames {error}; "
                "rebuild it by recomputing the month before"
            ) from error


def stamp(hour: int) -> pd.Timestamp:
    return pd.Timestamp(hour * HOUR_US, unit="us", tz="UTC").as_unit("us")


def _iso(hour: int) -> str:
    return stamp(hour).isoformat()


def _hour(text: str | None) -> int:
    return 0 if text is None else utc(text).value // (HOUR_US * 1000)
