"""Which venues a liquidation sum is made of, and since when it has been the same ones.

What belongs here: counts, flags and the age of the venue set from the hourly rows per venue, and the scale that
perpetual volume gives to the USD floors. What does not: the cascade rule (``liquidation_velocity.py``).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from regimes_dagster.features.market_rows import Bools, Floats, Ints, MarketRows
from regimes_dagster.parameters import LiquidationParameters

#: A venue belongs to the set while it had a row within the last 30 days (the rule of ``liq_coverage``).
VENUE_SET_H = 720

#: Days of perpetual volume whose median is the scale, and how many of them must be known.
SCALE_DAYS = 30
SCALE_MIN_DAYS = 7

#: The USD floors never shrink below this share of themselves, nor grow.
SCALE_RANGE = (0.02, 1.0)


@dataclass(frozen=True)
class VenueRecord:
    """What is known of the venues behind each hourly sum; arrays [K, T].

    Attributes
    ----------
    n_venues
        Venues with a row in the hour.
    n_events
        Single liquidations in the hour; NaN where a venue gives sums only, or without rows.
    is_lower_bound
        A sampled venue is in the hour.
    same_since
        Number of the hour since which the venue set has been what it is.
    """

    n_venues: Ints
    n_events: Floats
    is_lower_bound: Bools
    same_since: Ints


def venue_record(grid: MarketRows, liquidations: pd.DataFrame) -> VenueRecord:
    """Count venues and date the venue set.

    Parameters
    ----------
    liquidations
        Rows of ``liquidations`` (venue, symbol, ts, n_events, is_lower_bound) of the venues that are summed.
    """
    shape = grid.shape
    n_venues = np.zeros(shape, dtype=np.int64)
    n_events = np.zeros(shape)
    lower_bound = np.zeros(shape, dtype=bool)
    changed = np.zeros(shape, dtype=bool)
    hours = np.arange(shape[1], dtype=np.int64)
    for _, rows in liquidations.groupby("venue", sort=True):
        k, hour, on = grid.place(rows["symbol"], rows["ts"])
        k, hour = k[on], hour[on]
        seen = np.zeros(shape, dtype=bool)
        seen[k, hour] = True
        n_venues += seen
        counts = np.zeros(shape)
        counts[k, hour] = rows["n_events"].to_numpy(dtype=np.float64, na_value=np.nan)[on]
        n_events += counts
        lower_bound[k, hour] |= rows["is_lower_bound"].to_numpy(dtype=bool)[on]
        last_seen = np.maximum.accumulate(np.where(seen, hours, -VENUE_SET_H), axis=1)
        member = hours - last_seen < VENUE_SET_H
        changed[:, 1:] |= member[:, 1:] != member[:, :-1]
    return VenueRecord(
        n_venues=n_venues,
        n_events=np.where(n_venues > 0, n_events, np.nan),
        is_lower_bound=lower_bound,
        same_since=np.maximum.accumulate(np.where(changed, hours, 0), axis=1),
    )


def floor_scale(grid: MarketRows, perp_volume: pd.DataFrame | None, params: LiquidationParameters) -> Floats:
    """Scale of the USD floors per symbol and hour, [K, T]; NaN where neither configuration nor volume gives one.

    ``symbol_scale`` of the configuration, else ``clip(median daily perpetual volume of the last 30 days /
    liq_ref_adv_usd, 0.02, 1)``, where a day's volume is the sum over venues and at least 7 days are known.

    Parameters
    ----------
    perp_volume
        Rows of ``perp_volume_usd`` (venue, symbol, ts = end of the day, volume_usd), or ``None``.
    """
    scale = np.full(grid.shape, np.nan)
    if perp_volume is not None and len(perp_volume) and len(grid.ts):
        daily = perp_volume.groupby(["symbol", "ts"], sort=True)["volume_usd"].sum(min_count=1)
        for k, symbol in enumerate(grid.symbols):
            if symbol not in daily.index.get_level_values("symbol"):
                continue
            mine = daily.loc[symbol]
            first = min(mine.index[0], grid.ts[0] - pd.Timedelta(days=SCALE_DAYS)).normalize()
            days = pd.date_range(first, max(mine.index[-1], grid.ts[-1]).normalize(), freq="D", unit="us")
            median = mine.reindex(days).rolling(SCALE_DAYS, min_periods=SCALE_MIN_DAYS).median()
            share = median.to_numpy(dtype=np.float64) / params.liq_ref_adv_usd
            day = days.searchsorted(grid.ts, side="right") - 1
            scale[k] = np.clip(share, *SCALE_RANGE)[day]
    for k, symbol in enumerate(grid.symbols):
        if symbol in params.symbol_scale:
            scale[k] = params.symbol_scale[symbol]
    return scale
