"""Bars of 1 h, 4 h, 1 d and 1 w from hourly bars, and the trend and volatility score of each bar.

What belongs here: resampling, ``price_z`` and ``vol_z``, and their as-of join back to hours. What does not: what
a score means (``regime_labels.py``).

A bar is labelled with its close, takes part when at least 90 % of its hours have a price, and never before its
close. Days end at 00:00 UTC, weeks on Monday 00:00 UTC. A return that touches a missing bar, or two bars of
different venues, is unknown and left out; a window counts if at least 90 % of its bars are there.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from regimes_dagster.features.trailing_sums import lagged, trailing_moments, trailing_sum
from regimes_dagster.parameters import TimeframeParameters

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Hours of a bar, shortest first: a later timeframe counts as higher.
BAR_HOURS = {"1h": 1, "4h": 4, "1d": 24, "1w": 168}
#: 1970-01-05 00:00 UTC, a Monday, in hours since 1970: every bar length divides the distance to it evenly.
MONDAY = 96
MIN_SHARE = 0.9
#: An hour without a fresh bar keeps the last one this long (the hold of the episode machine).
HOLD_H = 3
EWMA_HALF_LIVES = 6
#: Variance of one bar below which a price counts as constant.
MIN_VARIANCE = 1e-12
#: Spread of the log volatility below which its score would be rounding noise.
MIN_LOG_VOL_SD = 0.01
#: Centre of squares of log volatilities (hourly about -5, weekly about -2.5).
LOG_VOL_CENTRE = -4.0


@dataclass(frozen=True)
class Bars:
    """Bars of one timeframe, one row per symbol.

    Attributes
    ----------
    hours
        Hours of a bar.
    first_bar
        Number of the first bar: its close lies ``hours * first_bar`` after 1970-01-05 00:00 UTC.
    close
        float[K, B] last price of each bar, NaN where fewer than 90 % of its hours have a price.
    venue
        int[K, B] venue code of that price, -1 where there is none.
    """

    hours: int
    first_bar: int
    close: Floats
    venue: Ints


def resample(close: Floats, venue: Ints, first_hour: int, timeframe: str) -> Bars:
    """Bars that have closed by the last hour given.

    Parameters
    ----------
    close
        float[K, T] hourly closes, NaN where missing; the column is the END of its hour.
    venue
        int[K, T] venue codes.
    first_hour
        Hours since 1970 of the first column.
    """
    hours = BAR_HOURS[timeframe]
    # The hour that ends at h lies in the bar that closes at the next multiple of the bar's length.
    offset = first_hour - MONDAY - 1
    first_bar, front = offset // hours + 1, offset % hours
    n_series, length = close.shape
    bars = (front + length) // hours
    if bars == 0:
        return Bars(hours, first_bar, np.empty((n_series, 0)), np.empty((n_series, 0), dtype=np.int64))
    taken = bars * hours - front
    prices = np.full((n_series, bars * hours), np.nan)
    prices[:, front:] = close[:, :taken]
    venues = np.full((n_series, bars * hours), -1, dtype=np.int64)
    venues[:, front:] = venue[:, :taken]
    children = prices.reshape(n_series, bars, hours)
    valid = np.isfinite(children)
    last = (hours - 1 - valid[..., ::-1].argmax(axis=-1))[..., None]
    complete = valid.sum(axis=-1) >= math.ceil(MIN_SHARE * hours)
    bar_close = np.take_along_axis(children, last, axis=-1)[..., 0]
    bar_venue = np.take_along_axis(venues.reshape(children.shape), last, axis=-1)[..., 0]
    return Bars(hours, first_bar, np.where(complete, bar_close, np.nan), np.where(complete, bar_venue, -1))


def ewma_bars(trend_bars: int) -> int:
    """Bars of the truncated EWMA of span ``2 * trend_bars``: six half-lives."""
    half_life = math.log(0.5) / math.log1p(-2 / (2 * trend_bars + 1))
    return math.ceil(EWMA_HALF_LIVES * half_life)


def bars_needed(timeframe: TimeframeParameters) -> int:
    """Bars before the first scored bar (included) that its scores look at."""
    return 2 + max(
        timeframe.trend_bars,
        ewma_bars(timeframe.trend_bars),
        timeframe.vol_bars + timeframe.history_bars,
    )


def score_bars(bars: Bars, timeframe: TimeframeParameters) -> tuple[Floats, Floats]:
    """Trend score and volatility score of each bar.

    ``price_z = sum(r) / (sigma * sqrt(n))`` over the n bars of the trend, which is ``ln(C_t / C_{t-n}) / (sigma *
    sqrt(n))`` when no bar is missing (about N(0, 1) under a random walk); ``sigma**2`` is the EWMA of ``r**2`` of
    span 2n, cut after six half-lives, weights renormalised over the valid bars.
    ``vol_z = (ln rv - mean) / sd`` with ``rv`` the root mean square return of the last m bars and mean and sd
    those of ``ln rv`` over the M bars before the current one.

    Returns
    -------
    price_z, vol_z
        float[K, B], clipped to [-10, 10] and [-10, 20]; NaN where a window has too few bars. A constant price
        scores 0.
    """
    from scipy.ndimage import correlate1d

    if not bars.close.size:
        return np.full(bars.close.shape, np.nan), np.full(bars.close.shape, np.nan)
    there = np.isfinite(bars.close)
    returns = np.full(bars.close.shape, np.nan)
    returns[:, 1:] = np.diff(np.log(bars.close), axis=1)
    returns[:, 1:][np.diff(bars.venue, axis=1) != 0] = np.nan
    ok = np.isfinite(returns)
    weight_ok = ok.astype(np.float64)
    step = np.where(ok, returns, 0.0)
    square = step * step

    def window(values: Floats, n: int) -> Floats:
        return trailing_sum(values, n, bars.first_bar)

    def enough(n: int) -> npt.NDArray[np.bool_]:
        return there & (window(there.astype(np.float64), n) >= math.ceil(MIN_SHARE * n))

    n = timeframe.trend_bars
    length = ewma_bars(n)
    kernel = (1 - 2 / (2 * n + 1)) ** np.arange(length, dtype=np.float64)

    def weighted(values: Floats) -> Floats:
        # correlate1d adds the terms of each bar in one fixed order, so the result does not depend on the start.
        total: Floats = correlate1d(values, kernel[::-1], axis=1, mode="constant", origin=(length - 1) // 2)
        return total

    with np.errstate(divide="ignore", invalid="ignore"):
        variance = weighted(square) / weighted(weight_ok)
        sigma = np.sqrt(np.maximum(variance, MIN_VARIANCE))
        price_z = window(step, n) / (sigma * np.sqrt(window(weight_ok, n)))
        price_z[~enough(n)] = np.nan

        m = timeframe.vol_bars
        mean_square = window(square, m) / window(weight_ok, m)
        log_vol = 0.5 * np.log(np.maximum(mean_square, MIN_VARIANCE))
        log_vol[~enough(m)] = np.nan
        count, mean, sd = (
            lagged(moment, 1)
            for moment in trailing_moments(log_vol, timeframe.history_bars, bars.first_bar, centre=LOG_VOL_CENTRE)
        )
        vol_z = (log_vol - mean) / np.maximum(sd, MIN_LOG_VOL_SD)
        vol_z[~(count >= timeframe.history_min)] = np.nan
    return np.clip(price_z, -10, 10), np.clip(vol_z, -10, 20)


@dataclass(frozen=True)
class HourlyScores:
    """Scores of one timeframe as they are known at each hour.

    Attributes
    ----------
    price_z, vol_z
        float[K, T] of the bar in use, NaN where no bar has been usable for more than three hours.
    bar_close
        int[K, T] close of the bar in use, hours since 1970; -1 where there is none.
    """

    price_z: Floats
    vol_z: Floats
    bar_close: Ints


def as_of_hours(bars: Bars, price_z: Floats, vol_z: Floats, first_hour: int, n_hours: int) -> HourlyScores:
    """Join bars backward on their close: an hour sees the newest bar that has closed, never one that is forming.

    A score that is missing is held for three hours and is NaN after that.
    """
    hour = first_hour + np.arange(n_hours)
    due = (hour - MONDAY) // bars.hours - bars.first_bar
    n_series, n_bars = price_z.shape

    def hourly(values: Floats) -> Floats:
        out = np.full((n_series, n_hours), np.nan)
        inside = (due >= 0) & (due < n_bars)
        out[:, inside] = values[:, due[inside]]
        return out

    now = hourly(price_z)
    newest = last_valid(now)
    usable = newest >= 0
    close = (due + bars.first_bar) * bars.hours + MONDAY
    bar_close = np.where(usable, close[np.maximum(newest, 0)], -1)
    return HourlyScores(_take(now, newest), held(hourly(vol_z)), bar_close)


def last_valid(x: Floats) -> Ints:
    """Column of the newest finite value not more than ``HOLD_H`` hours old, -1 where there is none."""
    column = np.arange(x.shape[1])
    newest = np.maximum.accumulate(np.where(np.isfinite(x), column, -1), axis=1)
    return np.where(column - newest <= HOLD_H, newest, -1)


def held(x: Floats) -> Floats:
    """The values, each held for up to ``HOLD_H`` hours."""
    return _take(x, last_valid(x))


def _take(x: Floats, column: Ints) -> Floats:
    return np.where(column >= 0, np.take_along_axis(x, np.maximum(column, 0), axis=1), np.nan)
