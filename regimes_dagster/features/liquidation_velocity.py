"""How fast positions are being liquidated, and how fast is too fast for this symbol.

What belongs here: sums and velocities per window, the limit in force (the guide's USD floors and the symbol's own
trailing quantile), and the window that decides. What does not: sides, prices and episodes
(``liquidation_cascade.py``).

Formulas (t in hours, W a window)
    tot_W(t)  = sum of liquidations in (t-W, t]; it counts only if the mean coverage is at least min_coverage
    vel_W(t)  = tot_W / W                                                              USD per hour
    hist_W(t) = { vel_W(s) : t-W-720 < s <= t-W }, only while the venue set was the one of now
    crit_W    = max(s critical_velocity, Q_0.995(hist_W)) with at least 168 values (ADAPTIVE),
                else s critical_velocity (FLOOR); s is the symbol's scale
    without a scale: s = 1 in FLOOR; ADAPTIVE drops both floors, unless the quantile is 0
    cascade   = any W with vel_W > crit_W and tot_W >= s cascade_threshold_usd
    W*        = the largest vel_W / crit_W among those windows, the longest on a tie; without a cascade among all
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from pandas.api.indexers import BaseIndexer

from regimes_dagster.features.market_rows import Bools, Floats, Ints
from regimes_dagster.parameters import LiquidationParameters

#: Smallest scale of the robust z-score of ln(1 + USD): with a quiet history any sum would be extreme.
INTENSITY_MIN_SCALE = 0.25
INTENSITY_RANGE = (-10.0, 50.0)

#: A normal distribution's standard deviation over its median absolute deviation.
MAD_TO_SD = 1.4826

_CHUNK_CELLS = 1 << 21


@dataclass(frozen=True)
class WindowVelocity:
    """One window; arrays [K, T], NaN where the window does not count.

    Attributes
    ----------
    total, velocity
        USD, and USD per hour.
    limit, threshold
        Velocity limit (> 0) and USD floor (>= 0) in force.
    adaptive
        The limit is the symbol's own quantile, or was compared with it.
    history_from, history_to
        The history is ``velocity[history_from:history_to]``, as hour numbers.
    history_n
        Valid hours in the history.
    """

    hours: int
    total: Floats
    velocity: Floats
    limit: Floats
    threshold: Floats
    adaptive: Bools
    history_from: Ints
    history_to: Ints
    history_n: Ints


def window_sum(values: Floats, hours: int) -> Floats:
    """Sum over (t-hours, t] along time, [K, T]; NaN before the first whole window and where a value is NaN."""
    total = values.copy()
    for shift in range(1, hours):  # added in a fixed order: the same float whatever hour the array begins with
        total[:, shift:] += values[:, :-shift]
        total[:, :shift] = np.nan
    return total


def covered_sum(values: Floats, coverage: Floats, hours: int, min_coverage: float) -> Floats:
    """Window sum where the mean coverage of the window is at least ``min_coverage``, else NaN.

    Parameters
    ----------
    values
        USD per hour, NaN where unknown.
    coverage
        Share of the hour that was observed, 0 where ``values`` is NaN.
    """
    mean_coverage = window_sum(coverage, hours) / hours
    total = window_sum(np.nan_to_num(values), hours)
    # Shares such as 0.9 are sums of floats: a hair below the limit is the limit.
    return np.where(mean_coverage >= min_coverage - 1e-9, total, np.nan)


def velocity_of(
    total_usd: Floats,
    coverage: Floats,
    hours: int,
    same_since: Ints,
    scale: Floats,
    params: LiquidationParameters,
) -> WindowVelocity:
    """Velocity over one window, and the limits in force.

    Parameters
    ----------
    total_usd
        Liquidations of each hour, USD, [K, T], NaN where unknown.
    coverage
        Share of each hour that was observed, 0 where unknown.
    same_since
        Hour number since which the venue set has not changed.
    scale
        Scale of the USD floors, NaN where unknown.
    """
    n_hours = total_usd.shape[1]
    total = covered_sum(total_usd, coverage, hours, params.min_coverage)
    velocity = total / hours
    now = np.arange(n_hours, dtype=np.int64)
    upper = np.broadcast_to(np.maximum(now - hours + 1, 0), velocity.shape)
    lower = np.minimum(np.maximum(now - hours + 1 - params.adaptive_lookback_h, same_since + hours - 1), upper)
    lower = np.maximum(lower, 0)
    counted = np.zeros((velocity.shape[0], n_hours + 1), dtype=np.int64)
    np.cumsum(np.isfinite(velocity), axis=1, out=counted[:, 1:])
    history_n = np.take_along_axis(counted, upper, axis=1) - np.take_along_axis(counted, lower, axis=1)

    known = np.isfinite(scale)
    floor = np.where(known, scale, 1.0) * params.critical_velocity
    threshold = np.where(known, scale, 1.0) * params.cascade_threshold_usd
    limit = floor
    adaptive = np.zeros(velocity.shape, dtype=bool)
    if params.adaptive:
        quantile = rolling_quantile(velocity, lower, upper, params.adaptive_quantile)
        # A quantile of 0 (hardly any hour has liquidations) is no limit: the floor stays.
        adaptive = (history_n >= params.adaptive_min_h) & (known | (quantile > 0))
        limit = np.where(adaptive, np.where(known, np.fmax(floor, quantile), quantile), floor)
        threshold = np.where(adaptive & ~known, 0.0, threshold)
    counts = np.isfinite(velocity)
    return WindowVelocity(
        hours=hours,
        total=total,
        velocity=velocity,
        limit=np.where(counts, limit, np.nan),
        threshold=np.where(counts, threshold, np.nan),
        adaptive=adaptive & counts,
        history_from=lower,
        history_to=np.ascontiguousarray(upper),
        history_n=history_n,
    )


def rolling_quantile(values: Floats, lower: Ints, upper: Ints, quantile: float) -> Floats:
    """Linear quantile of ``values[k, lower:upper]`` without NaN, per key and hour; NaN where there is no value."""
    out = np.empty(values.shape)
    for k in range(values.shape[0]):
        spans = _Spans(window_size=0, lower=lower[k], upper=upper[k])
        out[k] = pd.Series(values[k]).rolling(spans, min_periods=1).quantile(quantile).to_numpy()
    return out


class _Spans(BaseIndexer):
    """A window per hour, from two arrays of hour numbers that never fall."""

    lower: Ints
    upper: Ints

    def get_window_bounds(
        self,
        num_values: int = 0,
        min_periods: int | None = None,
        center: bool | None = None,
        closed: str | None = None,
        step: int | None = None,
    ) -> tuple[Ints, Ints]:
        del num_values, min_periods, center, closed, step
        return self.lower, self.upper


def intensity(windows: list[WindowVelocity], chosen: Ints, params: LiquidationParameters) -> Floats:
    """Robust z-score of ln(1 + USD) over the chosen window against its own history, [K, T].

    ``(ln(1+tot) - median) / max(1.4826 MAD, 0.25)`` over the history of the window, clipped to [-10, 50]; NaN with
    fewer than ``adaptive_min_h`` values or where no window counts (``chosen`` is -1).
    """
    out = np.full(chosen.shape, np.nan)
    for number, window in enumerate(windows):
        logs = np.log1p(window.total)
        median = rolling_quantile(logs, window.history_from, window.history_to, 0.5)
        wanted = (chosen == number) & (window.history_n >= params.adaptive_min_h)
        deviation = _median_deviation(logs, median, wanted, window)
        scale = np.maximum(MAD_TO_SD * deviation, INTENSITY_MIN_SCALE)
        out[wanted] = np.clip(((logs - median) / scale)[wanted], *INTENSITY_RANGE)
    return out


def _median_deviation(logs: Floats, median: Floats, wanted: Bools, window: WindowVelocity) -> Floats:
    """Median of |x - median| over each wanted history."""
    out = np.full(logs.shape, np.nan)
    width = int((window.history_to - window.history_from).max(initial=0))
    if not width:
        return out
    rows = max(1, _CHUNK_CELLS // width)
    for k in range(logs.shape[0]):
        padded = np.concatenate([np.full(width, np.nan), logs[k]])
        views = sliding_window_view(padded, width)  # views[e] ends before hour e
        hours = np.flatnonzero(wanted[k])
        for begin in range(0, len(hours), rows):
            part = hours[begin : begin + rows]
            history = views[window.history_to[k, part]]
            short = width - (window.history_to[k, part] - window.history_from[k, part])
            history[np.arange(width) < short[:, None]] = np.nan
            ordered = np.sort(np.abs(history - median[k, part, None]), axis=1)  # NaN goes last
            n = window.history_n[k, part]
            row = np.arange(len(part))
            out[k, part] = (ordered[row, (n - 1) // 2] + ordered[row, n // 2]) / 2
    return out
