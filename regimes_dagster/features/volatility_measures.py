"""What the bars of each hour say by themselves: estimators, bad-tick guard and the regime by the edges alone.

What belongs here: the part of the volatility feature without memory, and its columns. What does not: hysteresis,
forecasts and events.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.features.volatility_estimators import (
    HOUR_US,
    MAX_VOLATILITY,
    Bars,
    Bools,
    Floats,
    Ints,
    estimate,
    flag_suspect_wicks,
    wide_bars,
)
from regimes_dagster.features.volatility_hysteresis import REGIME_NAMES, classify, edges_of
from regimes_dagster.parameters import VolatilityParameters

PRICES = ("open", "high", "low", "close")
DAYS_PER_YEAR = 365

REGIME_LABELS = np.array([*REGIME_NAMES, "UNKNOWN"], dtype=object)

METRIC_COLUMNS = (
    "symbol", "ts", "volatility", "volatility_close", "volatility_parkinson", "volatility_gk", "volatility_rs",
    "vol_annualised", "regime_raw", "wick_ratio", "suspect_wick", "flash_wick", "quality",
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Bars and what they say by themselves.

    Attributes
    ----------
    estimates
        float[T, K] by name, fraction per 24 h.
    volatility
        float[T, K] as published: the chosen estimator, or the median of the venues where it is suspect.
    suspect
        bool[T, K]: a venue is far above the median of the venues.
    edges
        float[K, 3] upper edges of the regimes per symbol.
    regime_raw
        int8[T, K], -1 where the volatility is null.
    """

    bars: Bars
    estimates: dict[str, Floats]
    volatility: Floats
    suspect: Bools
    edges: Floats
    regime_raw: npt.NDArray[np.int8]


def measure(
    market: pd.DataFrame,
    first_hour: int,
    last_hour: int,
    params: VolatilityParameters,
    venue_bars: pd.DataFrame | None,
) -> Measured:
    """Measure every symbol of ``market`` on a complete hourly grid (hours since the epoch, both ends included)."""
    symbols = [str(symbol) for symbol in market["symbol"].unique()]
    bars = wide_bars(market, symbols, first_hour, last_hour)
    estimates = estimate(bars, params)
    volatility = estimates[params.estimator]
    suspect = np.zeros(volatility.shape, dtype=np.bool_)
    if venue_bars is not None and not venue_bars.empty:
        per_venue = [
            estimate(wide_bars(rows, symbols, first_hour, last_hour), params)[params.estimator]
            for _, rows in venue_bars.groupby("venue", sort=True)
        ]
        volatility, suspect = flag_suspect_wicks(volatility, np.array(per_venue), params.suspect_wick_ratio)
    edges = np.array([edges_of(symbol, params) for symbol in symbols]).reshape(len(symbols), 3)
    return Measured(
        bars, estimates, np.minimum(volatility, MAX_VOLATILITY), suspect, edges, classify(volatility, edges)
    )


def metric_columns(measured: Measured, k: int, rows: Ints, params: VolatilityParameters) -> dict[str, Any]:
    """Columns of ``METRIC_COLUMNS`` but for the symbol, of column ``k`` at positions ``rows``."""
    volatility = measured.volatility[rows, k]
    close = measured.estimates["close"][rows, k]
    # Closes that did not move leave nothing to compare a range with.
    ratio = np.divide(measured.estimates["yang_zhang"][rows, k], close, out=np.full(len(rows), np.nan), where=close > 0)
    return {
        "ts": stamps(measured.bars.hours[rows]),
        "volatility": volatility,
        "volatility_close": close,
        "volatility_parkinson": measured.estimates["parkinson"][rows, k],
        "volatility_gk": measured.estimates["garman_klass"][rows, k],
        "volatility_rs": measured.estimates["rogers_satchell"][rows, k],
        "vol_annualised": volatility * np.sqrt(DAYS_PER_YEAR),
        "regime_raw": REGIME_LABELS[measured.regime_raw[rows, k]],
        "wick_ratio": ratio,
        "suspect_wick": measured.suspect[rows, k],
        "flash_wick": np.nan_to_num(ratio) > params.flash_wick_ratio,
        "quality": np.where(np.isfinite(volatility), "OK", "INSUFFICIENT").astype(object),
    }


def stamps(hours: Ints) -> pd.DatetimeIndex:
    """UTC stamps of hours since the epoch."""
    return pd.DatetimeIndex((hours * HOUR_US).view("datetime64[us]"), tz="UTC")
