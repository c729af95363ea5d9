"""How unusual, how persistent and how ranked an 8-hour funding value is among its predecessors.

What belongs here: statistics over trailing slots of one venue's values. What does not: thresholds, reasons and
episodes (``funding_anomaly.py``).

Every window is reduced on its own, in one order: a value is the same whatever slot the data begin with.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from regimes_dagster.features.funding_blocks import BLOCK_H
from regimes_dagster.features.market_rows import Floats, Ints
from regimes_dagster.parameters import FundingParameters

Z_RANGE = 20.0
PHI_RANGE = (0.01, 0.99)

#: Slots of the 90-day rank, the current one included.
RANK_SLOTS = 270

#: Below this spread (a hundredth of the smallest rate step that venues publish) values are one and the same.
CONSTANT_SD = 1e-10


@dataclass(frozen=True)
class Statistics:
    """Per slot, [M, S]; NaN where too few values exist.

    Attributes
    ----------
    n_ref, mean, sd
        Count, mean and standard deviation (ddof 1) of the previous ``z_reference_settlements`` slots.
    z
        ``clip((x - mean) / max(sd, sd_floor), +-20)``.
    before_24h
        The value three slots before.
    phi
        AR(1) slope of the last slots, current included, Kendall-corrected, clipped to 0.01 .. 0.99.
    half_life_h
        ``8 ln 0.5 / ln phi``, hours.
    expected_next
        ``mean + phi (x - mean)``.
    rank
        Share of the last 270 slots that lie at or below x (ties count half), 0 .. 1.
    """

    n_ref: Ints
    mean: Floats
    sd: Floats
    z: Floats
    before_24h: Floats
    phi: Floats
    half_life_h: Floats
    expected_next: Floats
    rank: Floats


def statistics(x: Floats, params: FundingParameters) -> Statistics:
    """Statistics of each value against its predecessors.

    Parameters
    ----------
    x
        8-hour-equivalent rates, [M, S], NaN where there is none.
    """
    n_ref, mean, sd, phi, rank = (np.full(x.shape, np.nan) for _ in range(5))
    for m, window in _windows(x, params.z_reference_settlements + 1):
        n_ref[m], mean[m], sd[m] = _moments(window[:, :-1], params.min_reference)
        phi[m] = _phi(window[:, 1:], params.min_reference)
    for m, window in _windows(x, RANK_SLOTS):
        rank[m] = _rank(window, params.min_reference)
    nothing = np.isnan(x)
    with np.errstate(invalid="ignore"):
        z = np.clip((x - mean) / np.maximum(sd, params.sd_floor), -Z_RANGE, Z_RANGE)
        half_life = BLOCK_H * np.log(0.5) / np.log(phi)
    before = np.full(x.shape, np.nan)
    back = 24 // BLOCK_H
    before[:, back:] = x[:, :-back]
    phi = np.where(nothing, np.nan, phi)
    return Statistics(
        n_ref=np.nan_to_num(n_ref).astype(np.int64),
        mean=np.where(nothing, np.nan, mean),
        sd=np.where(nothing, np.nan, sd),
        z=z,
        before_24h=before,
        phi=phi,
        half_life_h=np.where(nothing, np.nan, half_life),
        expected_next=mean + phi * (x - mean),
        rank=np.where(nothing, np.nan, rank),
    )


def _windows(x: Floats, n: int) -> Iterator[tuple[int, Floats]]:
    """For each series the last ``n`` slots of every slot, [S, n], NaN before the first."""
    for m in range(x.shape[0]):
        padded = np.concatenate([np.full(n - 1, np.nan), x[m]])
        yield m, np.ascontiguousarray(sliding_window_view(padded, n))


def _moments(window: Floats, minimum: int) -> tuple[Floats, Floats, Floats]:
    window = np.ascontiguousarray(window)
    valid = np.isfinite(window)
    count = valid.sum(axis=1).astype(np.float64)
    enough = count >= max(minimum, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(valid, window, 0.0).sum(axis=1) / count
        squares = np.where(valid, window - mean[:, None], 0.0) ** 2
        sd = np.sqrt(squares.sum(axis=1) / (count - 1))
    return count, np.where(enough, mean, np.nan), np.where(enough, sd, np.nan)


def _phi(window: Floats, minimum: int) -> Floats:
    """OLS slope of each value on the one before (with intercept), plus ``(1 + 3 phi) / n`` (Kendall 1954).

    n is the number of values in the window. NaN with fewer than ``minimum - 1`` pairs, or for a constant series.
    """
    window = np.ascontiguousarray(window)
    before, after = window[:, :-1], window[:, 1:]
    pairs = np.isfinite(before) & np.isfinite(after)
    n_pairs = pairs.sum(axis=1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        from_mean = np.where(pairs, before, 0.0).sum(axis=1) / n_pairs
        to_mean = np.where(pairs, after, 0.0).sum(axis=1) / n_pairs
        dx = np.where(pairs, before - from_mean[:, None], 0.0)
        dy = np.where(pairs, after - to_mean[:, None], 0.0)
        spread = (dx * dx).sum(axis=1)
        slope = (dx * dy).sum(axis=1) / spread
        n = np.isfinite(window).sum(axis=1)
        corrected = np.clip(slope + (1 + 3 * slope) / n, *PHI_RANGE)
        usable = (n_pairs >= minimum - 1) & (np.sqrt(spread / n_pairs) > CONSTANT_SD)
    return np.where(usable, corrected, np.nan)


def _rank(window: Floats, minimum: int) -> Floats:
    current = window[:, -1:]
    valid = np.isfinite(window)
    count = valid.sum(axis=1)
    below = (window < current).sum(axis=1)
    equal = (window == current).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count >= minimum, (below + (equal + 1) / 2) / count, np.nan)
