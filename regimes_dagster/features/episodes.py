"""The one episode machine: when an alert condition opens, escalates, ends and cools down.

What belongs here: the rules that all five features share, from a condition per hour to phases and ids. What
does not: what the condition is, and what an event says (the features), and whether an event is posted
(``alerts/``).

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.partitions import utc

IDLE, ACTIVE, COOLING, UNKNOWN = range(4)
STATE_NAMES: npt.NDArray[np.object_] = np.array(["IDLE", "ACTIVE", "COOLING", "UNKNOWN"], dtype=object)
_CODES = {str(name): code for code, name in enumerate(STATE_NAMES)}

_HOUR_US = 3_600_000_000
_FOREVER = 1 << 40
_NAT = np.iinfo(np.int64).min


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


@dataclass(frozen=True)
class Episodes:
    """What the machines did, on the grid ``ts`` x ``keys`` that was given.

    Attributes
    ----------
    state
        object[T, K], IDLE / ACTIVE / COOLING / UNKNOWN after each hour.
    episode_id
        object[T, K], ``None`` while IDLE or UNKNOWN.
    onset
        datetime64[us][T, K], hour in which that episode began, NaT while there is none.
    events
        Columns key, ts, phase, level, peak, episode_id, onset_ts, suppressed_reason; by ts, then key as given.
    states
        Checkpoint -> key -> JSON-able state after that hour.
    """

    state: npt.NDArray[np.object_]
    episode_id: npt.NDArray[np.object_]
    onset: npt.NDArray[np.datetime64]
    events: pd.DataFrame
    states: dict[pd.Timestamp, dict[str, dict[str, Any]]]


def episode_id(event_type: str, key: str, onset: pd.Timestamp) -> str:
    """First 16 hex digits of the SHA-256 of event type, key and onset: the same whatever the configuration."""
    text = f"{event_type}|{key}|{utc(onset).isoformat()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_episodes(
    ts: pd.DatetimeIndex,
    keys: Sequence[str],
    level: npt.NDArray[Any],
    release: npt.NDArray[Any],
    valid: npt.NDArray[Any],
    rule: EpisodeRule,
    state: Mapping[str, Mapping[str, Any] | None] | None = None,
    checkpoints: Sequence[pd.Timestamp] = (),
) -> Episodes:
    """Run one machine per key over a complete hourly grid.

    Parameters
    ----------
    ts
        [T] consecutive hours, UTC. With ``state`` it must begin right after the hour that the state belongs to.
    keys
        [K] distinct machine keys.
    level
        int[T, K]: 0 where the on-condition is false, n >= 1 where it is true at tier n; ignored where invalid.
    release
        bool[T, K]: the off-condition holds; ignored where the level is above 0 or the hour is invalid.
    valid
        bool[T, K]: the condition could be evaluated (hours without data are False).
    state
        Key -> state as returned for a checkpoint; a key that is absent or None starts afresh (UNKNOWN).
    checkpoints
        Hours after which the states are wanted; one after the last hour means the last hour, one before the first
        hour is refused.

    Raises
    ------
    ValueError
        If the grid has holes, shapes differ, keys repeat, or a checkpoint lies before the grid.
    """
    hours = _hour_numbers(ts)
    shape = (len(hours), len(keys))
    for name, array in (("level", level), ("release", release), ("valid", valid)):
        if np.shape(array) != shape:
            raise ValueError(
                f"{rule.event_type}: {name} has shape {np.shape(array)}, the grid is {shape} (hours, keys)"
            )
    if len(set(keys)) != len(keys):
        raise ValueError(f"{rule.event_type}: machine keys must be distinct")

    valid = np.asarray(valid, dtype=bool)
    tier = np.where(valid, np.asarray(level), 0).astype(np.int16)
    off = np.asarray(release, dtype=bool) & valid & (tier == 0)
    coarse_end = _run_ends(tier * 2 + valid)
    fine_end = _run_ends((tier * 2 + valid) * 2 + off)

    stops = _stops(hours, checkpoints, rule)
    codes = np.empty(shape, dtype=np.int8)
    ids = np.full(shape, None, dtype=object)
    onsets = np.full(shape, _NAT, dtype=np.int64)
    events: list[tuple[int, int, str, int, int, str, int, str | None]] = []
    states: dict[pd.Timestamp, dict[str, dict[str, Any]]] = {_stamp(int(hours[stop - 1])): {} for stop in stops}

    first_hour = int(hours[0]) if len(hours) else 0
    for k, key in enumerate(keys):
        stored = (state or {}).get(key)
        machine = _Machine(rule, key, stored)
        tiers, offs, valids = tier[:, k].tolist(), off[:, k].tolist(), valid[:, k].tolist()
        coarse, fine = coarse_end[:, k].tolist(), fine_end[:, k].tolist()
        i = 0
        for stop in [*stops, shape[0]]:
            while i < stop:
                hour = first_hour + i
                machine.step(hour, tiers[i], offs[i], valids[i])
                end = fine[i] if machine.status == ACTIVE else coarse[i]
                j = min(i + 1 + machine.quiet_hours(hour, tiers[i], offs[i], valids[i]), end, stop)
                if j > i + 1:
                    machine.advance(j - i - 1, tiers[i], offs[i], valids[i])
                codes[i:j, k] = machine.status
                if machine.status in (ACTIVE, COOLING):
                    ids[i:j, k] = machine.episode_id
                    onsets[i:j, k] = machine.onset * _HOUR_US
                i = j
            if i in stops:
                states[_stamp(first_hour + i - 1)][key] = machine.dump()
        events.extend((event[0], k, *event[1:]) for event in machine.events)

    return Episodes(
        state=STATE_NAMES[codes],
        episode_id=ids,
        onset=onsets.view("datetime64[us]"),
        events=_events(events, keys),
        states=states,
    )


class _Machine:
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
        self.episode_id = episode_id(self.rule.event_type, self.key, _stamp(hour))
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
        episode = self.episode_id is not None
        return {
            "status": str(STATE_NAMES[self.status]),
            "held": str(STATE_NAMES[self.held]),
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
            self.status = _CODES[stored["status"]]
            self.held = _CODES[stored["held"]]
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
        except KeyError as error:
            raise ValueError(
                f"the stored state of {self.rule.event_type} {self.key} lacks or misnames {error}; "
                "rebuild it by recomputing the month before"
            ) from error


def _hour_numbers(ts: pd.DatetimeIndex) -> npt.NDArray[np.int64]:
    if ts.tz is None or str(ts.tz) != "UTC":
        raise ValueError("episodes run on UTC stamps; localise or convert ts to UTC")
    micros = ts.as_unit("us").asi8
    hours = micros // _HOUR_US
    if (micros % _HOUR_US).any() or (len(hours) > 1 and (np.diff(hours) != 1).any()):
        raise ValueError("episodes run on a complete hourly grid; reindex to every hour and mark missing hours invalid")
    return np.asarray(hours, dtype=np.int64)


def _stops(hours: npt.NDArray[np.int64], checkpoints: Sequence[pd.Timestamp], rule: EpisodeRule) -> list[int]:
    """Positions right after each checkpoint's hour, ascending and distinct."""
    if not len(hours):
        return []
    stops = set()
    for moment in checkpoints:
        hour = min(utc(moment).floor("h").value // (_HOUR_US * 1000), int(hours[-1]))
        if hour < hours[0]:
            raise ValueError(f"{rule.event_type}: the checkpoint {moment} lies before the first hour given")
        stops.add(int(hour - hours[0]) + 1)
    return sorted(stops)


def _run_ends(code: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """For each position of each column, the position after the last equal one in a row."""
    length = code.shape[0]
    ends = np.full(code.shape, length, dtype=np.int32)
    if length > 1:
        boundary = np.where(code[1:] != code[:-1], np.arange(1, length, dtype=np.int32)[:, None], np.int32(length))
        ends[:-1] = np.minimum.accumulate(boundary[::-1], axis=0)[::-1]
    return ends


def _events(events: list[tuple[int, int, str, int, int, str, int, str | None]], keys: Sequence[str]) -> pd.DataFrame:
    events.sort(key=lambda event: event[:2])
    columns = ("hour", "k", "phase", "level", "peak", "episode_id", "onset", "suppressed_reason")
    raw = pd.DataFrame(events, columns=list(columns), dtype=object)
    return pd.DataFrame(
        {
            "key": pd.Series([keys[k] for k in raw["k"]], dtype=object),
            "ts": _stamps(raw["hour"]),
            "phase": raw["phase"],
            "level": raw["level"].astype("Int64"),
            "peak": raw["peak"].astype("Int64"),
            "episode_id": raw["episode_id"],
            "onset_ts": _stamps(raw["onset"]),
            "suppressed_reason": raw["suppressed_reason"],
        }
    )


def _stamps(hours: "pd.Series[Any]") -> "pd.Series[pd.Timestamp]":
    micros = hours.to_numpy(dtype=np.int64) * _HOUR_US
    return pd.Series(micros.view("datetime64[us]")).dt.tz_localize("UTC")


def _stamp(hour: int) -> pd.Timestamp:
    return pd.Timestamp(hour * _HOUR_US, unit="us", tz="UTC").as_unit("us")


def _iso(hour: int) -> str:
    return _stamp(hour).isoformat()


def _hour(text: str | None) -> int:
    return 0 if text is None else utc(text).value // (_HOUR_US * 1000)
