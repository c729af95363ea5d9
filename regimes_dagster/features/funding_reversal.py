"""When funding turns: sign flips, rapid changes and unwinding extremes.

What belongs here: the three conditions of FUNDING_REVERSAL on the hourly grid, and the peak of an anomaly that an
unwind refers to. What does not: the anomaly itself (``funding_anomaly.py``) and messages (``funding_messages.py``).

    SIGN_FLIP  sign(x_k) differs from sign(x_{k-3}), neither is 0, and |change| >= flip_min_pp
    RAPID      |change| > reversal_threshold; off below half of it
    UNWIND     an active anomaly with peak |z| >= unwind_peak_z has lost at least unwind_share of the excess it had
               at its peak: (x - mean_peak) / (x_peak - mean_peak) <= 1 - unwind_share. The settlement that ends
               the anomaly counts still.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regimes_dagster.features.market_rows import Bools, Floats
from regimes_dagster.parameters import FundingParameters

KINDS = ("SIGN_FLIP", "RAPID", "UNWIND")


@dataclass(frozen=True)
class Turn:
    """Where one kind of reversal holds, and where it is over; [K, T]."""

    on: Bools
    off: Bools
    valid: Bools


@dataclass(frozen=True)
class PeakTrack:
    """Peak of the anomaly episode that is in force at each hour, [K, T]; NaN without an episode.

    Attributes
    ----------
    z, x, mean
        z-score, 8-hour rate and reference mean at the peak so far.
    unwound
        The episode was active within the last hour and has lost the share of its excess.
    """

    z: Floats
    x: Floats
    mean: Floats
    unwound: Bools
    episode: npt.NDArray[np.object_]

    def state(self, k: int, t: int) -> dict[str, Any] | None:
        """The last peak known after hour ``t``; ``None`` before the first."""
        known = np.flatnonzero(np.isfinite(self.z[k, : t + 1]))
        return self._peak(k, int(known[-1])) if len(known) else None

    def _peak(self, k: int, t: int) -> dict[str, Any]:
        return {
            "episode_id": self.episode[k, t],
            "z": float(self.z[k, t]),
            "x": float(self.x[k, t]),
            "mean": float(self.mean[k, t]),
        }


def sign_flip(x: Floats, before: Floats, params: FundingParameters) -> Turn:
    """A change of sign within 24 hours; ``x`` and ``before`` are the 8-hour rates now and 24 h ago."""
    with np.errstate(invalid="ignore"):
        on = (x * before < 0) & (np.abs(100 * (x - before)) >= params.flip_min_pp)
    return Turn(on, ~on, np.isfinite(x) & np.isfinite(before))


def rapid(change_pp: Floats, params: FundingParameters) -> Turn:
    """A change of more than ``reversal_threshold`` percentage points in 24 hours."""
    with np.errstate(invalid="ignore"):
        size = np.abs(change_pp)
        return Turn(size > params.reversal_threshold, size < params.reversal_threshold / 2, np.isfinite(change_pp))


def unwind(track: PeakTrack, z: Floats) -> Turn:
    """An unwinding extreme (``track_peaks``)."""
    return Turn(track.unwound, ~track.unwound, np.isfinite(z))


def track_peaks(
    episode: npt.NDArray[np.object_],
    active: Bools,
    z: Floats,
    x: Floats,
    mean: Floats,
    params: FundingParameters,
    symbols: tuple[str, ...],
    first_hour: Mapping[str, int],
    stored: Mapping[str, Mapping[str, Any]],
) -> PeakTrack:
    """Follow the peak |z| of each anomaly episode.

    Parameters
    ----------
    episode
        Episode ids, object[K, T], ``None`` where there is none.
    active
        The anomaly is ACTIVE, [K, T].
    first_hour
        Symbol -> hour number right after its stored state.
    stored
        Symbol -> stored state with ``machine`` and ``peak``, for machines that were resumed.
    """
    peak_z, peak_x, peak_mean = (np.full(z.shape, np.nan) for _ in range(3))
    unwound = np.zeros(z.shape, dtype=bool)
    for k, symbol in enumerate(symbols):
        ids = episode[k]
        held = np.array([i is not None for i in ids], dtype=bool)
        if not held.any():
            continue
        starts = np.flatnonzero(held & np.append(True, ids[1:] != ids[:-1]))
        ends = np.flatnonzero(held & np.append(ids[1:] != ids[:-1], True)) + 1
        machine, kept = stored.get(symbol, {}).get("machine"), stored.get(symbol, {}).get("peak")
        for begin, end in zip(starts.tolist(), ends.tolist(), strict=True):
            part = slice(begin, end)
            was_active = np.append(False, active[k, begin : end - 1])
            if machine is not None and begin == first_hour[symbol]:
                was_active[0] = machine["status"] == "ACTIVE"
            size = np.where(active[k, part] & np.isfinite(z[k, part]), np.abs(z[k, part]), -1.0)
            best, known = _running_peak(size), np.stack([z[k, part], x[k, part], mean[k, part]])
            track = np.where(best >= 0, known[:, np.maximum(best, 0)], np.nan)
            if kept is not None and kept["episode_id"] == ids[begin]:  # the month before, or before an outage
                higher = np.nan_to_num(np.abs(track[0]), nan=-1.0) > abs(kept["z"])
                track = np.where(higher, track, np.array([kept["z"], kept["x"], kept["mean"]])[:, None])
            peak_z[k, part], peak_x[k, part], peak_mean[k, part] = track
            with np.errstate(invalid="ignore", divide="ignore"):
                left = (x[k, part] - track[2]) / (track[1] - track[2])
                lost = (np.abs(track[0]) >= params.unwind_peak_z) & (left <= 1 - params.unwind_share)
            unwound[k, part] = lost & (active[k, part] | was_active)
            if np.isfinite(track[0, -1]):
                last_z, last_x, last_mean = (float(value) for value in track[:, -1])
                kept = {"episode_id": ids[begin], "z": last_z, "x": last_x, "mean": last_mean}
    return PeakTrack(peak_z, peak_x, peak_mean, unwound, episode)


def _running_peak(size: Floats) -> npt.NDArray[np.int64]:
    """Place of the first largest value so far; -1 before the first that is not negative."""
    top = np.maximum.accumulate(size)
    rises = size > np.append(-1.0, top[:-1])
    return np.maximum.accumulate(np.where(rises, np.arange(len(size)), -1))
