"""How long volatility lasts: weekday factors, half-life, long memory, and how often it falls within a day.

What belongs here: the figures that are estimated once a day from the trailing year and kept beside the forecast model,
and the weekday-adjusted rank that uses them. What does not: the forecast itself (``volatility_forecast.py``).

All figures fitted at a midnight ``t`` use rows ``t - 365 d < s <= t - 24 h``; null below ``har_min_days``.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from regimes_dagster.features.volatility_estimators import HOURS_PER_DAY, Floats, Ints, rolling_sum
from regimes_dagster.features.volatility_forecast import HORIZON_H, VALID_SHARE, VARIANCE_FLOOR, weekday
from regimes_dagster.features.volatility_hysteresis import REGIME_NAMES
from regimes_dagster.parameters import VolatilityParameters

RANK_HOURS = 90 * HOURS_PER_DAY
QUINTILES = ("VERY_LOW", "LOW", "NORMAL", "HIGH", "VERY_HIGH")
_REGIMES = len(REGIME_NAMES)

# By hour of the week, Monday 01:00 first: the 24-hour window that ends there lies by this share in the day it ends.
_SHARE_TODAY = np.tile(np.arange(1, HOURS_PER_DAY + 1) / HOURS_PER_DAY, 7)
_TODAY = np.repeat(np.arange(7), HOURS_PER_DAY)
_YESTERDAY = (_TODAY - 1) % 7


@dataclass(frozen=True)
class Persistence:
    """Figures of one symbol at one midnight; ``None`` where the history is too short.

    Attributes
    ----------
    weekday_log_factors
        [7] mean of daily ln volatility per weekday (Monday first) minus the mean over the weekdays.
    half_life_days
        ln 0.5 / ln phi of the AR(1) of weekday-adjusted daily ln volatility; ``None`` unless 0 < phi < 1.
    acf7
        Autocorrelation of the same at 7 days.
    reversion
        [4] share of hours whose volatility was lower 24 h later, per regime by the edges alone (the published regime of
        a year ago depends on what came before that year), with a Beta(2, 2) prior.
    """

    weekday_log_factors: Floats | None = None
    half_life_days: float | None = None
    acf7: float | None = None
    reversion: Floats | None = None


def daily_persistence(
    hours: Ints,
    log_variance_ahead: Floats,
    volatility: Floats,
    regime_raw: npt.NDArray[np.int8],
    midnights: Ints,
    params: VolatilityParameters,
) -> list[Persistence]:
    """Persistence figures at each of ``midnights``.

    Parameters
    ----------
    hours
        [T] consecutive hours since the epoch.
    log_variance_ahead
        [T] ln of the realised variance of the next 24 h (``Design.y``), NaN where unknown.
    volatility, regime_raw
        [T] published volatility and its regime by the edges, which the reversion shares refer to.
    """
    ahead = np.full(len(hours), np.nan)
    ahead[: max(len(hours) - HORIZON_H, 0)] = volatility[HORIZON_H:]
    known = np.isfinite(ahead) & np.isfinite(volatility)
    fell = known & (ahead < volatility)
    span_h = (params.har_max_days - 1) * HOURS_PER_DAY
    in_regime = regime_raw[:, None] == np.arange(_REGIMES)
    n_in = rolling_sum((in_regime & known[:, None]).astype(np.float64), span_h)
    n_fell = rolling_sum((in_regime & fell[:, None]).astype(np.float64), span_h)

    # Labels at 00:00 end a day: their next 24 h are the next UTC day.
    at_midnight = np.flatnonzero(hours % HOURS_PER_DAY == 0)
    daily_day = hours[at_midnight] // HOURS_PER_DAY
    daily = 0.5 * log_variance_ahead[at_midnight]

    figures = []
    for midnight in midnights:
        last = int(midnight) - HORIZON_H
        row = last - int(hours[0])
        if row < 0 or row >= len(hours):
            figures.append(Persistence())
            continue
        reversion = None
        if n_in[row].sum() >= params.har_min_days * HOURS_PER_DAY:
            reversion = (n_fell[row] + 2) / (n_in[row] + 4)
        stop = int(np.searchsorted(daily_day, last // HOURS_PER_DAY, side="right"))
        first = int(np.searchsorted(daily_day, last // HOURS_PER_DAY - (params.har_max_days - 1), side="right"))
        values, days = daily[first:stop], daily_day[first:stop]
        if np.isfinite(values).sum() < params.har_min_days:
            figures.append(Persistence(reversion=reversion))
            continue
        factors = _weekday_log_factors(values, weekday(days))
        adjusted = values - factors[weekday(days)]
        figures.append(Persistence(factors, half_life(adjusted), autocorrelation(adjusted, 7), reversion))
    return figures


def _weekday_log_factors(values: Floats, weekdays: Ints) -> Floats:
    known = np.isfinite(values)
    total = np.bincount(weekdays[known], weights=values[known], minlength=7)
    count = np.bincount(weekdays[known], minlength=7)
    # A weekday that was never seen (a year of broken Sundays) reads as an average one.
    means = np.where(count > 0, total / np.maximum(count, 1), values[known].mean())
    return np.asarray(means - means.mean())


def half_life(values: Floats) -> float | None:
    """Days until half of a deviation is gone: AR(1) by least squares over consecutive pairs, both known.

    ``None`` where the slope is not inside (0, 1): no decay that could be halved.
    """
    x, y = values[:-1], values[1:]
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 3:
        return None
    dx, dy = x[both] - x[both].mean(), y[both] - y[both].mean()
    spread = float((dx * dx).sum())
    if spread <= VARIANCE_FLOOR:
        return None
    phi = float((dx * dy).sum()) / spread
    return float(np.log(0.5) / np.log(phi)) if 0 < phi < 1 else None


def autocorrelation(values: Floats, lag: int) -> float | None:
    """Correlation of the known pairs ``lag`` apart, about the mean and variance of all known values; in [-1, 1]."""
    known = np.isfinite(values)
    deviation = values - values[known].mean()
    variance = float((deviation[known] ** 2).mean())
    products = deviation[lag:] * deviation[: max(len(values) - lag, 0)]
    products = products[np.isfinite(products)]
    if len(products) < 3 or variance <= VARIANCE_FLOOR:
        return None
    return float(np.clip(products.mean() / variance, -1.0, 1.0))


def log_levels(volatility: Floats) -> Floats:
    """ln of volatilities, with the floor of the forecast variances; NaN where null."""
    return np.log(np.maximum(volatility, np.sqrt(VARIANCE_FLOOR)))


def weekday_rank(hours: Ints, log_volatility: Floats, rows: Ints, log_factors: Floats) -> Floats:
    """Rank of a weekday-adjusted volatility within the 90 days before it.

    Parameters
    ----------
    hours, log_volatility
        [T] consecutive hours and ``log_levels`` of the published volatility.
    rows
        [R] ascending positions to rank, at most 90 days apart, all under the same factors.
    log_factors
        [7] ``Persistence.weekday_log_factors``; a window over two days takes both by their hours.

    Returns
    -------
    ndarray
        [R] share of lower values (ties count half) among the other hours of (t - 90 d, t]; NaN where the volatility is,
        or where less than 90 % of the window is known.
    """
    first, last = int(rows[0]), int(rows[-1])
    low = max(first - RANK_HOURS + 1, 0)
    factor = _SHARE_TODAY * log_factors[_TODAY] + (1 - _SHARE_TODAY) * log_factors[_YESTERDAY]
    # 1970-01-01 was a Thursday.
    adjusted = log_volatility[low : last + 1] - factor[(hours[low : last + 1] - 1 + 3 * HOURS_PER_DAY) % 168]

    # What all rows have in common is sorted once; the few hours at either end are compared one by one.
    common = slice(max(last - RANK_HOURS + 1, 0) - low, first + 1 - low)
    shared = np.sort(adjusted[common])
    shared = shared[: np.count_nonzero(np.isfinite(shared))]
    ends = np.concatenate((np.arange(common.start), np.arange(common.stop, len(adjusted))))
    own = adjusted[rows - low][:, None]
    at = (rows - low)[:, None]
    inside = (ends > at - RANK_HOURS) & (ends <= at)
    lower = np.searchsorted(shared, own[:, 0], side="left") + (inside & (adjusted[ends] < own)).sum(axis=1)
    not_higher = np.searchsorted(shared, own[:, 0], side="right") + (inside & (adjusted[ends] <= own)).sum(axis=1)
    others = len(shared) + (inside & np.isfinite(adjusted[ends])).sum(axis=1) - 1
    rank = (lower + 0.5 * (not_higher - lower - 1)) / np.maximum(others, 1)
    return np.where((others + 1 >= VALID_SHARE * RANK_HOURS) & np.isfinite(own[:, 0]), rank, np.nan)


def quintile(rank: Floats) -> npt.NDArray[np.object_]:
    """Name of the fifth of the range that a rank lies in (upper edges belong to the lower fifth); None where NaN."""
    names = np.array([*QUINTILES, None], dtype=object)
    index = np.searchsorted(np.array([0.2, 0.4, 0.6, 0.8]), rank, side="left")
    return names[np.where(np.isfinite(rank), index, len(QUINTILES))]
