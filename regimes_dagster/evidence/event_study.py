"""What came after an event, against what comes after any such hour of the week.

What belongs here: the mean outcome of events, its interval, and the baseline of random times with the same symbol and
the same hour of the week. What does not: outcomes and events (the tests).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from regimes_dagster.evidence.block_bootstrap import DRAWS, Interval, generator, mean_interval

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

WEEK_H = 168


@dataclass(frozen=True)
class EventStudy:
    """Mean outcome after events and after random times.

    Attributes
    ----------
    after
        Mean over the events whose outcome is known, with its interval.
    n
        Number of those events.
    baseline
        Mean outcome of the random times.
    baseline_low, baseline_high
        Central 95 % of the means of random times.
    p
        Two-sided: share of random sets at least as far from their mean as the events; NaN without events. It cannot be
        below 1 / (draws + 1).
    """

    after: Interval
    n: int
    baseline: float
    baseline_low: float
    baseline_high: float
    p: float


def event_study(
    outcome: Floats,
    series: Ints,
    hour: Ints,
    eligible: Bools,
    name: str,
    *,
    sign: Floats | None = None,
    draws: int = DRAWS,
) -> EventStudy:
    """Compare outcomes after events with those after random times.

    Parameters
    ----------
    outcome
        float[K, T] figure that became known after each hour, NaN where unknown.
    series, hour
        int[n] places of the events.
    eligible
        bool[K, T], hours that a random time may be: those in which the event could have happened.
    sign
        float[n], each event's outcome is multiplied by it, and so are the random times that stand for it; default 1.
    draws
        Sets of random times. Where many claims are corrected together, more are needed for a small enough p-value.
    """
    signs = np.ones(len(series)) if sign is None else sign
    known = np.isfinite(outcome[series, hour])
    series, hour, signs = series[known], hour[known], signs[known]
    n = len(series)
    usable = eligible & np.isfinite(outcome)
    usable[series, hour] = True
    if not n:
        nothing = float("nan")
        return EventStudy(Interval(nothing, nothing, nothing), 0, nothing, nothing, nothing, nothing)
    # The interval is about the time in which events could happen: a feed may have begun long after the period.
    watched = np.flatnonzero(usable.any(axis=0))
    first, last = int(watched[0]), int(watched[-1]) + 1
    total, count = np.zeros(outcome.shape), np.zeros(outcome.shape)
    np.add.at(total, (series, hour), signs * outcome[series, hour])
    np.add.at(count, (series, hour), 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(count > 0, total / count, np.nan)[:, first:last]
    after = mean_interval(mean, name, weights=count[:, first:last])
    rng = generator(f"{name}|random times")
    means = np.zeros(draws)
    weekhour = np.arange(outcome.shape[1]) % WEEK_H
    for k, t, s in zip(series.tolist(), hour.tolist(), signs.tolist(), strict=True):
        candidates = np.flatnonzero(usable[k] & (weekhour == t % WEEK_H))
        means += s * outcome[k, candidates[rng.integers(0, len(candidates), draws)]]
    means /= n
    baseline = float(means.mean())
    p = (1 + int((np.abs(means - baseline) >= abs(after.value - baseline)).sum())) / (draws + 1)
    low, high = np.quantile(means, [0.025, 0.975])
    return EventStudy(after, n, baseline, float(low), float(high), p)
