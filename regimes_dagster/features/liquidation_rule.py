"""The cascade rule of every hour: sums, limits, sides and prices put together, without episodes.

What belongs here: evaluating the rule on the whole grid, and its columns of ``liquidation_features``. What does not:
the velocity limits (``liquidation_velocity.py``), the venues behind the sums (``liquidation_venues.py``) and
episodes (``liquidation_cascade.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from regimes_dagster.features.liquidation_velocity import WindowVelocity, intensity, velocity_of, window_sum
from regimes_dagster.features.liquidation_venues import VenueRecord, floor_scale, venue_record
from regimes_dagster.features.market_rows import Bools, Floats, Ints, MarketRows, text_rows
from regimes_dagster.features.price_yardstick import sigma_24h
from regimes_dagster.parameters import LiquidationParameters

#: Columns of ``market_metrics`` that are read.
MARKET_COLUMNS = (
    "open", "high", "low", "close", "ohlcv_venue", "long_liq_usd", "short_liq_usd", "liq_coverage",
)  # fmt: skip

#: A move of this many 24 h volatilities (scaled to the window) confirms a cascade.
CONFIRMING_MOVE = 1.5

SIDES = ("NONE", "LONG", "SHORT", "BALANCED")
MODES = ("FLOOR", "ADAPTIVE")
_QUALITIES = ("OK", "INSUFFICIENT")


@dataclass(frozen=True)
class Cascade:
    """The hourly rule without its episodes; arrays [K, T]."""

    long_usd: Floats
    short_usd: Floats
    coverage: Floats
    windows: list[WindowVelocity]
    hour: WindowVelocity
    chosen: Ints
    window_hours: Floats
    is_cascade: Bools
    severity: Floats
    velocity: Floats
    limit: Floats
    threshold: Floats
    adaptive: Bools
    long_chosen: Floats
    short_chosen: Floats
    long_share: Floats
    side: Ints
    intensity_z: Floats
    price_change: Floats
    price_confirmed: Bools
    warming_up: Bools
    venues: VenueRecord
    scale: Floats
    sigma: Floats


def cascade_of(
    places: MarketRows,
    market: pd.DataFrame,
    liquidations: pd.DataFrame,
    params: LiquidationParameters,
    perp_volume: pd.DataFrame | None,
) -> Cascade:
    """Evaluate the rule on the whole grid (shapes and units as ``detect_cascade_events``)."""
    coverage = places.wide(market["liq_coverage"])
    long_usd, short_usd = places.wide(market["long_liq_usd"]), places.wide(market["short_liq_usd"])
    unknown = ~(coverage >= params.min_coverage) | np.isnan(long_usd) | np.isnan(short_usd)
    long_usd[unknown], short_usd[unknown] = np.nan, np.nan
    observed = np.where(unknown, 0.0, coverage)
    total = long_usd + short_usd
    venues = venue_record(places, liquidations)
    scale = floor_scale(places, perp_volume, params)

    # Longest first, so that argmax prefers the longest window on a tie. One hour is always needed: it ends episodes.
    by_hours = {
        hours: velocity_of(total, observed, hours, venues.same_since, scale, params)
        for hours in sorted({*params.windows_h, 1}, reverse=True)
    }
    windows = [by_hours[hours] for hours in sorted(params.windows_h, reverse=True)]
    ratio = np.stack([w.velocity / w.limit for w in windows])
    with np.errstate(invalid="ignore"):
        holds = np.stack([(w.velocity > w.limit) & (w.total >= w.threshold) for w in windows])
    is_cascade = np.asarray(holds.any(axis=0), dtype=np.bool_)
    eligible = np.where(np.where(is_cascade, holds, np.isfinite(ratio)), ratio, -np.inf)
    chosen = np.where(np.isfinite(ratio).any(axis=0), eligible.argmax(axis=0), -1).astype(np.int64)

    longs = [window_sum(np.nan_to_num(long_usd), w.hours) for w in windows]
    shorts = [window_sum(np.nan_to_num(short_usd), w.hours) for w in windows]
    long_chosen, short_chosen = _choose(chosen, longs), _choose(chosen, shorts)
    both = long_chosen + short_chosen
    with np.errstate(invalid="ignore", divide="ignore"):
        long_share = np.where(both > 0, long_chosen / both, np.nan)
    side = np.zeros(both.shape, dtype=np.int64)
    side[both > 0] = SIDES.index("BALANCED")
    side[long_share >= params.side_bias_share] = SIDES.index("LONG")
    side[long_share <= 1 - params.side_bias_share] = SIDES.index("SHORT")

    sigma = sigma_24h(places, market)
    price_change, confirmed = _price(places, market, windows, chosen, side, sigma)
    warming = np.zeros(both.shape, dtype=bool)
    if params.adaptive:
        for w in windows:
            warming |= w.history_n < params.adaptive_min_h
    return Cascade(
        long_usd=long_usd,
        short_usd=short_usd,
        coverage=coverage,
        windows=windows,
        hour=by_hours[1],
        chosen=chosen,
        window_hours=_choose(chosen, [np.full(both.shape, float(w.hours)) for w in windows]),
        is_cascade=is_cascade,
        severity=_choose(chosen, list(ratio)),
        velocity=_choose(chosen, [w.velocity for w in windows]),
        limit=_choose(chosen, [w.limit for w in windows]),
        threshold=_choose(chosen, [w.threshold for w in windows]),
        adaptive=_choose(chosen, [w.adaptive.astype(np.float64) for w in windows]) > 0,
        long_chosen=long_chosen,
        short_chosen=short_chosen,
        long_share=long_share,
        side=side,
        intensity_z=intensity(windows, chosen, params),
        price_change=price_change,
        price_confirmed=confirmed,
        warming_up=warming,
        venues=venues,
        scale=scale,
        sigma=sigma,
    )


def _choose(chosen: Ints, options: Sequence[Floats]) -> Floats:
    """The value of the chosen window; NaN where none counts."""
    out = np.full(chosen.shape, np.nan)
    for number, values in enumerate(options):
        np.copyto(out, values, where=chosen == number)
    return out


def _price(
    places: MarketRows,
    market: pd.DataFrame,
    windows: Sequence[WindowVelocity],
    chosen: Ints,
    side: Ints,
    sigma: Floats,
) -> tuple[Floats, Bools]:
    """Log return over the chosen window, and whether it confirms the liquidated side.

    Confirmed: the price moved against the liquidated side by at least ``1.5 YZ24(t-W) sqrt(W/24)``. A return across
    a change of venue is unknown and confirms nothing.
    """
    log_close = np.log(places.wide(market["close"]))
    venue, _ = places.wide_codes(market["ohlcv_venue"])
    moves, limits = [], []
    for window in windows:
        move, limit = np.full(log_close.shape, np.nan), np.full(log_close.shape, np.nan)
        n = window.hours
        move[:, n:] = np.where(venue[:, n:] == venue[:, :-n], log_close[:, n:] - log_close[:, :-n], np.nan)
        limit[:, n:] = CONFIRMING_MOVE * sigma[:, :-n] * np.sqrt(n / 24)
        moves.append(move)
        limits.append(limit)
    move, limit = _choose(chosen, moves), _choose(chosen, limits)
    with np.errstate(invalid="ignore"):
        fell = (side == SIDES.index("LONG")) & (move <= -limit) & (move < 0)
        rose = (side == SIDES.index("SHORT")) & (move >= limit) & (move > 0)
    return move, fell | rose


def feature_rows(places: MarketRows, market: pd.DataFrame, cascade: Cascade, rows: Ints) -> pd.DataFrame:
    """The rule's columns of ``liquidation_features`` for the numbered market rows."""
    k, hour = places.row_symbol[rows], places.row_hour[rows]
    longest = cascade.windows[0]
    all_count = np.asarray(np.stack([np.isfinite(w.total) for w in cascade.windows]).all(axis=0), dtype=np.bool_)
    source = market.iloc[rows]
    return pd.DataFrame(
        {
            "symbol": source["symbol"].to_numpy(),
            "ts": source["ts"].array,
            "long_liq_usd": cascade.long_usd[k, hour],
            "short_liq_usd": cascade.short_usd[k, hour],
            "total_liq_usd": (cascade.long_usd + cascade.short_usd)[k, hour],
            "coverage": cascade.coverage[k, hour],
            "n_venues": pd.array(cascade.venues.n_venues[k, hour], dtype="Int64"),
            "n_events": pd.array(cascade.venues.n_events[k, hour], dtype="Float64").astype("Int64"),
            "is_lower_bound": cascade.venues.is_lower_bound[k, hour],
            "total_1h": cascade.hour.total[k, hour],
            "total_4h": longest.total[k, hour],
            "velocity_1h": cascade.hour.velocity[k, hour],
            "velocity_4h": longest.velocity[k, hour],
            "critical_velocity_eff": cascade.limit[k, hour],
            "threshold_eff": cascade.threshold[k, hour],
            "threshold_mode": text_rows(cascade.adaptive[k, hour].astype(np.int8), MODES),
            "window_hours": np.where(cascade.is_cascade, cascade.window_hours, np.nan)[k, hour],
            "severity": cascade.severity[k, hour],
            "is_cascade": cascade.is_cascade[k, hour],
            "long_share": cascade.long_share[k, hour],
            "side_bias": text_rows(cascade.side[k, hour].astype(np.int8), SIDES),
            "intensity_z": cascade.intensity_z[k, hour],
            "price_confirmed": cascade.price_confirmed[k, hour],
            "warming_up": cascade.warming_up[k, hour],
            "quality": text_rows((~all_count[k, hour]).astype(np.int8), _QUALITIES),
        }
    )
