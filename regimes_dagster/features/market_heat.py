"""How heated a market is: where funding and traded volume stand within their last 90 days.

What belongs here: the ranks and their mean. What does not: what heat does to a label (``regime_labels.py``).
"""

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.features.trailing_sums import trailing_sum

Floats = npt.NDArray[np.float64]

RANK_H = 90 * 24
#: A rank needs a third of its window.
RANK_MIN_H = RANK_H // 3
ADV_DAYS = 30
MIN_SHARE = 0.9
#: Where fewer than two inputs are there.
NEUTRAL = 0.5
MIN_INPUTS = 2
#: Hours of history that the heat of one hour looks at.
HEAT_H = RANK_H + (ADV_DAYS + 2) * 24


def percentile_rank(x: Floats, window: int = RANK_H, minimum: int = RANK_MIN_H) -> Floats:
    """Share of the last ``window`` values that lie below the current one, ties counted half.

    Parameters
    ----------
    x
        float[K, T]; NaN is no value.

    Returns
    -------
    ndarray
        float[K, T] in (0, 1); NaN where the value or enough of its window is missing.
    """
    frame = pd.DataFrame(x.T)
    rolling = frame.rolling(window, min_periods=minimum)
    rank = (rolling.rank().to_numpy() - 0.5) / rolling.count().to_numpy()
    return np.asarray(rank.T, dtype=np.float64)


def volume_ratio(quote_volume: Floats, first_hour: int) -> Floats:
    """Traded value of the last 24 h over the median day of the last 30 complete UTC days.

    Parameters
    ----------
    quote_volume
        float[K, T] traded value per hour, NaN where the hour has no bar.
    first_hour
        Hours since 1970 of the first column.

    Returns
    -------
    ndarray
        float[K, T], NaN where fewer than 90 % of the hours or days are there, or nothing was traded.
    """
    ok = np.isfinite(quote_volume)
    value = np.where(ok, quote_volume, 0.0)
    hours = math.ceil(MIN_SHARE * 24)
    last_day = trailing_sum(value, 24, first_hour)
    last_day[trailing_sum(ok.astype(np.float64), 24, first_hour) < hours] = np.nan

    # A UTC day ends at an hour that 24 divides; its 24 h sum is the day's volume.
    n_hours = value.shape[1]
    ends = np.arange(-first_hour % 24, n_hours, 24)
    daily = pd.DataFrame(last_day[:, ends].T)
    median = daily.rolling(ADV_DAYS, min_periods=math.ceil(MIN_SHARE * ADV_DAYS)).median().to_numpy().T
    day = (first_hour + np.arange(n_hours)) // 24 - -(-first_hour // 24)
    typical = np.where(day >= 0, median[:, np.maximum(day, 0)], np.nan) if len(ends) else np.full(value.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(typical > 0, last_day / typical, np.nan)


def market_heat(*inputs: Floats) -> Floats:
    """Mean of the 90-day ranks of the inputs that are there; 0.5 where fewer than two are.

    Parameters
    ----------
    inputs
        float[K, T] each, on one grid; larger means hotter.
    """
    ranks = [percentile_rank(x) for x in inputs]
    count = sum(np.isfinite(rank).astype(np.float64) for rank in ranks)
    total = sum(np.where(np.isfinite(rank), rank, 0.0) for rank in ranks)
    with np.errstate(divide="ignore", invalid="ignore"):
        heat = np.where(np.asarray(count) >= MIN_INPUTS, total / count, NEUTRAL)
    return np.asarray(heat, dtype=np.float64)
