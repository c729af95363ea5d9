"""The forecasts that the product's own has to beat: random walk, EWMA and a log-HAR without weekdays.

What belongs here: daily variance forecasts made from prices alone, each from what was known at midnight. What does not:
the product's forecast (``features/volatility_forecast.py``, whose design and fit the log-HAR rivals share with fewer
terms) and the comparison (``forecast_quality.py``).
"""

from dataclasses import dataclass

import numpy as np

from regimes_dagster.evidence.inputs import DAY_H, Floats, Inputs, Ints
from regimes_dagster.features.volatility_estimators import wide_bars
from regimes_dagster.features.volatility_forecast import Design, design, fit, har_variance
from regimes_dagster.parameters import VolatilityParameters

EWMA_DECAY = 0.80
#: Days that start the EWMA.
EWMA_START_DAYS = 10

#: Terms of the log-HAR: constant and three horizons; then the leverage term.
HAR_TERMS = 4
LEVERAGE_TERMS = 5


@dataclass(frozen=True)
class DailyForecasts:
    """Variance forecasts at midnights, float[D] each, NaN where a model is not ready.

    Attributes
    ----------
    random_walk
        The variance of the day that ended.
    ewma
        Exponentially weighted daily variances, decay 0.80.
    log_har
        Log-HAR on Garman-Klass variances of 24, 168 and 720 h.
    log_har_leverage
        The same with the leverage term; what the product's model is without weekdays.
    """

    random_walk: Floats
    ewma: Floats
    log_har: Floats
    log_har_leverage: Floats


def realised_days(inputs: Inputs, k: int) -> Floats:
    """float[T] on the whole grid: sum of squared hourly returns of the 24 h up to each hour (missing hours scaled)."""
    return np.asarray(inputs.trailing_rv[k] ** 2)


def rival_forecasts(inputs: Inputs, k: int, midnights: Ints, params: VolatilityParameters) -> DailyForecasts:
    """Forecasts of one symbol for the day after each midnight.

    Parameters
    ----------
    midnights
        int[D] columns of the whole grid at which a UTC day ends.
    """
    realised = realised_days(inputs, k)
    har, leverage = _log_har(inputs, k, midnights, params)
    return DailyForecasts(realised[midnights], _ewma(realised, midnights, inputs.grid.first_hour), har, leverage)


def _ewma(realised: Floats, midnights: Ints, first_hour: int) -> Floats:
    """The recursion v = 0.8 v + 0.2 x over all days of the grid; a day without a figure leaves it as it is."""
    days = np.arange((-first_hour) % DAY_H, len(realised), DAY_H)
    level, seen = np.nan, 0
    at = np.full(len(realised), np.nan)
    for day in days:
        x = realised[day]
        if np.isfinite(x):
            seen += 1
            level = x if seen == 1 else EWMA_DECAY * level + (1 - EWMA_DECAY) * x
        if seen >= EWMA_START_DAYS:
            at[day] = level
    return at[midnights]


def _log_har(inputs: Inputs, k: int, midnights: Ints, params: VolatilityParameters) -> tuple[Floats, Floats]:
    grid = inputs.grid
    symbol = grid.symbols[k]
    market = inputs.market[inputs.market["symbol"] == symbol]
    bars = wide_bars(market, [symbol], grid.first_hour, grid.first_hour + len(grid.ts) - 1)
    full = design(bars.hours, bars.garman_klass[:, 0], bars.returns[:, 0], params)
    return (
        _forecast(full, HAR_TERMS, midnights, params),
        _forecast(full, LEVERAGE_TERMS, midnights, params),
    )


def _forecast(full: Design, terms: int, midnights: Ints, params: VolatilityParameters) -> Floats:
    """As the product does: the row at a midnight is forecast with the fit of the midnight before."""
    reduced = Design(full.hours, full.x[:terms], full.y, full.ewma)
    fits = fit(reduced, full.hours[midnights] - DAY_H, params)
    variance = har_variance(fits.coefficients.T, fits.smear, reduced.x[:, midnights])
    return np.where(fits.enough, variance, np.nan)
