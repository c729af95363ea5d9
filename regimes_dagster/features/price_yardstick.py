"""The yardstick for moves and distances: 24-hour Yang-Zhang volatility beside the market rows.

What belongs here: the published estimator in the layout of ``market_rows.py``. What does not: the estimator itself
(``volatility_estimators.py``).
"""

import numpy as np
import pandas as pd

from regimes_dagster.features.market_rows import HOUR_US, Floats, MarketRows
from regimes_dagster.features.volatility_estimators import estimate, wide_bars
from regimes_dagster.parameters import VolatilityParameters

#: Bars before an hour that its volatility is made of, and the close before the first of them.
HISTORY_BARS = 25

MARKET_COLUMNS = ("open", "high", "low", "close", "ohlcv_venue")


def sigma_24h(places: MarketRows, market: pd.DataFrame) -> Floats:
    """24-hour Yang-Zhang volatility, [K, T], fraction per 24 h; NaN with fewer than 22 of 24 valid bars.

    The window is always 24 bars, whatever ``[volatility]`` says: limits in units of it keep their meaning.
    """
    if not len(places.ts):
        return np.full(places.shape, np.nan)
    first = int(places.ts.asi8[0]) // HOUR_US
    bars = wide_bars(market, places.symbols, first, first + len(places.ts) - 1)
    return np.ascontiguousarray(estimate(bars, VolatilityParameters())["yang_zhang"].T)
