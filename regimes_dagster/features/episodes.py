"""Episodes of many keys over a grid of hours: when an alert condition opens, escalates, ends and cools down.

What belongs here: running one machine per key over arrays, from any stored state and to any checkpoint. What does not:
the rules of one machine (``episode_machine.py``: read them there), the conditions, and what an event says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.features.episode_machine import (
    ACTIVE,
    COOLING,
    HOUR_US,
    STATE_NAMES,
    EpisodeRule,
    Machine,
    episode_id,
    stamp,
)
from regimes_dagster.partitions import utc

__all__ = ["EpisodeRule", "Episodes", "episode_id", "run_episodes"]

_NAMES: npt.NDArray[np.object_] = np.array(STATE_NAMES, dtype=object)
_NAT = np.iinfo(np.int64).min


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
    states: dict[pd.Timestamp, dict[str, dict[str, Any]]] = {stamp(int(hours[stop - 1])): {} for stop in stops}

    first_hour = int(hours[0]) if len(hours) else 0
    for k, key in enumerate(keys):
        stored = (state or {}).get(key)
        machine = Machine(rule, key, stored)
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
                    onsets[i:j, k] = machine.onset * HOUR_US
                i = j
            if i in stops:
                states[stamp(first_hour + i - 1)][key] = machine.dump()
        events.extend((event[0], k, *event[1:]) for event in machine.events)

    return Episodes(
        state=_NAMES[codes],
        episode_id=ids,
        onset=onsets.view("datetime64[us]"),
        events=_events(events, keys),
        states=states,
    )


def _hour_numbers(ts: pd.DatetimeIndex) -> npt.NDArray[np.int64]:
    if ts.tz is None or str(ts.tz) != "UTC":
        raise ValueError("episodes run on UTC stamps; localise or convert ts to UTC")
    micros = ts.as_unit("us").asi8
    hours = micros // HOUR_US
    if (micros % HOUR_US).any() or (len(hours) > 1 and (np.diff(hours) != 1).any()):
        raise ValueError("episodes run on a complete hourly grid; reindex to every hour and mark missing hours invalid")
    return np.asarray(hours, dtype=np.int64)


def _stops(hours: npt.NDArray[np.int64], checkpoints: Sequence[pd.Timestamp], rule: EpisodeRule) -> list[int]:
    """Positions right after each checkpoint's hour, ascending and distinct."""
    if not len(hours):
        return []
    stops = set()
    for moment in checkpoints:
        hour = min(utc(moment).floor("h").value // (HOUR_US * 1000), int(hours[-1]))
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
    micros = hours.to_numpy(dtype=np.int64) * HOUR_US
    return pd.Series(micros.view("datetime64[us]")).dt.tz_localize("UTC")
