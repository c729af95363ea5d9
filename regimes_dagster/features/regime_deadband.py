"""What keeps a label from flickering: a threshold that was crossed is left only at a smaller score.

What belongs here: the memory per timeframe. What does not: the labels themselves (``regime_labels.py``).

The dead-band works on the scores, before any classifier sees them, so it holds for a user's own classifier too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regimes_dagster.features.regime_labels import MILD, STRONG, WILD

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

STRONG_LEAVE, MILD_LEAVE, WILD_LEAVE = 0.75, 0.25, 1.0
#: How far beyond a threshold a held score is put, so that any classifier sees it still crossed.
_BEYOND = 1e-9

#: Latch -> (enter, leave), on price_z (+/-) or vol_z: entered above the first, left at or below the second.
PRICE_LATCHES: tuple[tuple[int, float, float], ...] = (
    (1, MILD, MILD_LEAVE), (1, STRONG, STRONG_LEAVE), (-1, MILD, MILD_LEAVE), (-1, STRONG, STRONG_LEAVE),
)  # fmt: skip


@dataclass(frozen=True)
class DeadBand:
    """Scores as a label with memory sees them, and the memory after each hour.

    Attributes
    ----------
    price_z, vol_z
        float[K, T]: the scores, put just beyond a threshold that was crossed and not yet left.
    latches
        bool[5, K, T]: mild up, strong up, mild down, strong down, wild volatility.
    """

    price_z: Floats
    vol_z: Floats
    latches: Bools


def apply_deadband(price_z: Floats, vol_z: Floats, before: Sequence[Sequence[bool]] | Bools) -> DeadBand:
    """Hold a label until its score has clearly left: +/-1.0 is left at 0.75, +/-0.5 at 0.25, vol_z 1.5 at 1.0.

    Parameters
    ----------
    price_z, vol_z
        float[K, T]; where either is NaN the memory is lost.
    before
        bool[5, K], the latches before the first column.
    """
    start = np.asarray(before, dtype=bool)
    lost = np.isnan(price_z) | np.isnan(vol_z)
    latches = np.empty((5, *price_z.shape), dtype=bool)
    for i, (sign, enter, leave) in enumerate(PRICE_LATCHES):
        latches[i] = _latch(~lost & (sign * price_z > enter), lost | (sign * price_z <= leave), start[i])
    latches[4] = _latch(~lost & (vol_z > WILD), lost | (vol_z <= WILD_LEAVE), start[4])
    seen = price_z
    for i, (sign, enter, _) in enumerate(PRICE_LATCHES):
        seen = np.where(latches[i] & (sign * seen <= enter), sign * (enter + _BEYOND), seen)
    wild = np.where(latches[4] & (vol_z <= WILD), WILD + _BEYOND, vol_z)
    return DeadBand(seen, wild, latches)


def _latch(on: Bools, off: Bools, before: Bools) -> Bools:
    """True from a column where ``on`` holds until one where ``off`` holds; both never hold at once."""
    column = np.arange(on.shape[1])
    decided = np.maximum.accumulate(np.where(on | off, column, -1), axis=1)
    at = np.take_along_axis(on, np.maximum(decided, 0), axis=1)
    return np.where(decided >= 0, at, before[:, None])


def unlatched(n_series: int) -> Bools:
    """The memory of a label that has just begun."""
    return np.zeros((5, n_series), dtype=bool)


def latches_from(states: Sequence[Mapping[str, Any] | None], timeframe: str) -> Bools:
    """The stored memory of one timeframe, one state per series."""
    out = unlatched(len(states))
    for k, state in enumerate(states):
        if state is not None:
            out[:, k] = state["deadband"].get(timeframe, [False] * 5)
    return out
