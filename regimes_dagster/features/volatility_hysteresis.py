"""Which volatility regime is in force: edges, and the hysteresis that keeps it from flapping.

What belongs here: from a volatility per hour to ``regime_raw`` and ``regime``, resumable at any hour. What does not:
episodes and events (``episodes.py``, ``volatility_events.py``).

Each edge is a trigger of its own. It switches on at once when the volatility exceeds it, and off after ``down_bars``
hours in a row below ``(1 - hysteresis) x edge``. The regime is the number of edges that are on; so a fall through two
edges takes both at once only if both have been undercut for long enough, and never stops inside a dead band that it
would leave upwards at the next tick. Missing hours hold the regime (counters frozen) for up to ``HOLD_HOURS``, then it
is UNKNOWN; the first valid hour sets it by the edges alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.features.volatility_estimators import HOUR_US, Floats, Ints
from regimes_dagster.parameters import VolatilityParameters
from regimes_dagster.partitions import utc

REGIME_NAMES: tuple[str, ...] = ("STABLE", "HIGH_VOL", "EXPLOSIVE", "EXTREME")
UNKNOWN = -1
HOLD_HOURS = 3


def edges_of(symbol: str, params: VolatilityParameters) -> Floats:
    """Upper edges of STABLE, HIGH_VOL and EXPLOSIVE for a symbol: the thresholds times its ``threshold_scale``."""
    scale = params.threshold_scale.get(symbol, 1.0)
    return scale * np.array([params.stable_threshold, params.high_vol_threshold, params.explosive_threshold])


def classify(volatility: Floats, edges: Floats) -> npt.NDArray[np.int8]:
    """Regime by the edges alone: 0 STABLE (<= first edge) .. 3 EXTREME (> last edge), -1 where null."""
    level = (volatility[..., None] > edges).sum(axis=-1)
    return np.where(np.isfinite(volatility), level, UNKNOWN).astype(np.int8)


@dataclass(frozen=True)
class Track:
    """The regime of one symbol over consecutive hours.

    Attributes
    ----------
    hours
        [T] hours since the epoch.
    regime
        int8[T]: index into ``REGIME_NAMES``, -1 UNKNOWN.
    previous
        int8[T]: the regime before the current one; -1 where that was UNKNOWN.
    previous_before
        int8[T]: ``previous`` one hour earlier, so that a regime that ends knows where it had come from.
    entered
        int64[T]: hour in which the current regime began; 0 while UNKNOWN.
    below
        int64[T, 3]: hours in a row below each edge's release level, at most ``down_bars``.
    invalid
        int64[T]: missing hours in a row, at most ``HOLD_HOURS + 1``.
    """

    hours: Ints
    regime: npt.NDArray[np.int8]
    previous: npt.NDArray[np.int8]
    previous_before: npt.NDArray[np.int8]
    entered: Ints
    below: Ints
    invalid: Ints

    def state(self, position: int) -> dict[str, Any]:
        """JSON-able state after the hour at ``position``."""
        regime, previous = int(self.regime[position]), int(self.previous[position])
        known = regime != UNKNOWN
        return {
            "regime": REGIME_NAMES[regime] if known else "UNKNOWN",
            "previous": REGIME_NAMES[previous] if known and previous != UNKNOWN else None,
            "entered": _iso(int(self.entered[position])) if known else None,
            "below": [int(run) for run in self.below[position]] if known else [0, 0, 0],
            "invalid_run": int(self.invalid[position]),
        }


@dataclass(frozen=True)
class _Start:
    regime: int = UNKNOWN
    previous: int = UNKNOWN
    entered: int = 0
    below: tuple[int, ...] = (0, 0, 0)
    invalid: int = 0


def track_regime(
    hours: Ints, volatility: Floats, edges: Floats, params: VolatilityParameters, stored: Mapping[str, Any] | None
) -> Track:
    """Follow one symbol's regime hour by hour.

    Parameters
    ----------
    hours
        [T] consecutive hours; with ``stored``, the first must follow the hour the state belongs to.
    volatility
        [T], fraction per 24 h, NaN where insufficient.
    edges
        [3] as ``edges_of``.
    stored
        A ``Track.state``, or None to begin UNKNOWN.

    Raises
    ------
    ValueError
        If ``stored`` lacks a part.
    """
    start = _load(stored)
    position = np.arange(len(hours))
    valid = np.isfinite(volatility)
    last_valid = np.maximum.accumulate(np.where(valid, position, -1))
    invalid = np.where(last_valid >= 0, position - last_valid, position + 1 + start.invalid)
    lost = invalid > HOLD_HOURS
    if start.regime == UNKNOWN:
        lost |= last_valid < 0

    p = np.flatnonzero(valid)
    j = np.arange(len(p))
    fresh = np.zeros(len(p), dtype=np.bool_)
    if len(p):
        fresh[0] = lost[p[0] - 1] if p[0] > 0 else start.regime == UNKNOWN
        fresh[1:] = np.diff(p) - 1 > HOLD_HOURS
    level = np.zeros(len(p), dtype=np.int8)
    runs = np.zeros((len(p), 3), dtype=np.int64)
    value = volatility[p]
    for e in range(3):
        under = value < (1 - params.hysteresis) * edges[e]
        broken = np.maximum.accumulate(np.where(~under, j, np.where(fresh, j - 1, -2)))
        run = np.where(broken > -2, j - broken, j + 1 + start.below[e])
        runs[:, e] = np.minimum(run, params.down_bars)
        on = value > edges[e]
        switch = on | (run >= params.down_bars) | fresh
        latest = np.maximum.accumulate(np.where(switch, j, -1))
        level += np.where(latest >= 0, on[latest], start.regime > e).astype(np.int8)

    seen = last_valid >= 0
    index = np.maximum(np.cumsum(valid) - 1, 0)
    if len(p):
        regime = np.where(lost, UNKNOWN, np.where(seen, level[index], start.regime)).astype(np.int8)
        below = np.where(seen[:, None], runs[index], np.array(start.below))
    else:
        regime = np.where(lost, UNKNOWN, start.regime).astype(np.int8)
        below = np.broadcast_to(np.array(start.below), (len(hours), 3)).copy()

    before = np.concatenate(([start.regime], regime[:-1])).astype(np.int8)
    changed = regime != before
    latest_change = np.maximum.accumulate(np.where(changed, position, -1))
    moved = latest_change >= 0
    known = regime != UNKNOWN
    entered = np.where(moved, hours[latest_change], start.entered)
    previous = np.where(moved, before[latest_change], start.previous).astype(np.int8)
    previous = np.where(known, previous, UNKNOWN).astype(np.int8)
    return Track(
        hours=hours,
        regime=regime,
        previous=previous,
        previous_before=np.concatenate(([start.previous], previous[:-1])).astype(np.int8),
        entered=np.where(known, entered, 0),
        below=below,
        invalid=np.minimum(invalid, HOLD_HOURS + 1),
    )


def _load(stored: Mapping[str, Any] | None) -> _Start:
    if stored is None:
        return _Start()
    try:
        regime = stored["regime"]
        previous, entered = stored["previous"], stored["entered"]
        return _Start(
            regime=UNKNOWN if regime == "UNKNOWN" else REGIME_NAMES.index(regime),
            previous=UNKNOWN if previous is None else REGIME_NAMES.index(previous),
            entered=0 if entered is None else utc(entered).value // (HOUR_US * 1000),
            below=tuple(int(run) for run in stored["below"]),
            invalid=int(stored["invalid_run"]),
        )
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"the stored volatility regime lacks or misnames {error}; rebuild it by recomputing the month before"
        ) from error


def _iso(hour: int) -> str:
    return pd.Timestamp(hour * HOUR_US, unit="us", tz="UTC").isoformat()
