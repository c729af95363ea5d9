"""Liquidation cascades: the hourly rule, its episodes, and the rows and events that come of it.

What belongs here: from market rows and hourly liquidations per venue to ``liquidation_features``,
``liquidation_zones`` and LIQUIDATION_CASCADE events. What does not: the velocity limits
(``liquidation_velocity.py``), the venues behind the sums (``liquidation_venues.py``), how zones are found
(``liquidation_zones.py``) and how episodes begin and end (``episodes.py``).

A cascade is a nowcast: it says that positions are being liquidated now much faster than usual for the symbol.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from regimes_dagster.features.episodes import EpisodeRule, Episodes
from regimes_dagster.features.liquidation_velocity import WindowVelocity, intensity, velocity_of, window_sum
from regimes_dagster.features.liquidation_venues import SCALE_DAYS, VENUE_SET_H, VenueRecord, floor_scale, venue_record
from regimes_dagster.features.liquidation_zones import find_zones, identify_liquidation_support_zones
from regimes_dagster.features.market_rows import Bools, Floats, Ints, MarketRows, run_machines, text_rows
from regimes_dagster.features.price_yardstick import HISTORY_BARS, sigma_24h
from regimes_dagster.features.result import (
    FeatureResult,
    StoredState,
    checkpoints_within,
    events_frame,
    states_frame,
)
from regimes_dagster.parameters import LiquidationParameters
from regimes_dagster.partitions import Window

__all__ = [
    "compute_liquidation_metrics",
    "detect_cascade_events",
    "identify_liquidation_support_zones",
    "lookback",
]

FEATURE = "liquidation_features"
EVENT_TYPE = "LIQUIDATION_CASCADE"
SOURCE = "CASCADE"

#: Columns of ``market_metrics`` that are read.
MARKET_COLUMNS = (
    "open", "high", "low", "close", "ohlcv_venue", "long_liq_usd", "short_liq_usd", "liq_coverage",
)  # fmt: skip

#: Symbols that must be active in one hour for a cascade to be market-wide.
MARKET_WIDE_SYMBOLS = 3

#: A move of this many 24 h volatilities (scaled to the window) confirms a cascade.
CONFIRMING_MOVE = 1.5

_SIDES = ("NONE", "LONG", "SHORT", "BALANCED")
_MODES = ("FLOOR", "ADAPTIVE")
_QUALITIES = ("OK", "INSUFFICIENT")


def lookback(params: LiquidationParameters) -> timedelta:
    """History needed before the first hour: the velocity history, the venue set behind it, and the zones' week."""
    longest = max(params.windows_h)
    cascade = params.adaptive_lookback_h + 3 * longest + VENUE_SET_H + 2
    zones = params.zone_lookback_h + HISTORY_BARS
    return timedelta(hours=max(cascade, zones, 24 * (SCALE_DAYS + 1)))


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


def detect_cascade_events(
    market: pd.DataFrame,
    liquidations: pd.DataFrame,
    params: LiquidationParameters,
    *,
    perp_volume: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Where the cascade rule holds, hour by hour, without episodes.

    Parameters
    ----------
    market
        Rows of ``market_metrics`` sorted by (symbol, ts).
    liquidations
        Hourly rows of ``liquidations`` of the venues that are summed.
    perp_volume
        Rows of ``perp_volume_usd``; ``None`` if there are none.

    Returns
    -------
    DataFrame
        One row per market row: the columns of ``liquidation_features`` except market_wide, state, episode_id and
        config_hash. Sums are USD, velocities USD per hour; NaN where the coverage is below ``min_coverage``.

    Notes
    -----
    ``velocity = USD in the window / hours``; a cascade needs ``velocity > limit`` and ``USD >= floor`` in one of the
    windows (``liquidation_velocity.py``). The guide's figures are the floors.
    """
    places = MarketRows.of(market, MARKET_COLUMNS)
    cascade = cascade_of(places, market, liquidations, params, perp_volume)
    rows = np.arange(len(market), dtype=np.int64)
    return _feature_rows(places, market, cascade, params, rows)


def compute_liquidation_metrics(
    market: pd.DataFrame,
    params: LiquidationParameters,
    *,
    window: Window,
    liquidations: pd.DataFrame,
    state: StoredState | None = None,
    checkpoints: Sequence[pd.Timestamp] | None = None,
    liquidation_events: pd.DataFrame | None = None,
    perp_volume: pd.DataFrame | None = None,
    zones: bool = True,
) -> FeatureResult:
    """Liquidation features, zones and cascade events of one window.

    Parameters
    ----------
    market
        Rows of ``market_metrics`` with ``ts`` after ``state.ts - lookback(params)`` (without state: all that is
        stored) up to ``window.end``.
    window
        Rows and events to return.
    liquidations
        Hourly rows of ``liquidations`` over the same span, of the venues that ``market`` sums.
    state
        Stored machine states; ``None`` replays from the first row.
    checkpoints
        Hours after which states are returned; default the month edges of the window.
    liquidation_events
        Single liquidations (``liquidation_events``) for the zones; ``None`` or empty: hourly sums are used.
    perp_volume
        Rows of ``perp_volume_usd`` that scale the USD floors, if there are any.
    zones
        Whether ``liquidation_zones`` is computed.

    Returns
    -------
    FeatureResult
        Tables ``liquidation_features`` and (unless left out) ``liquidation_zones``.

    Raises
    ------
    ValueError
        If the market rows are unsorted or lack columns, or do not reach back to the stored state.
    ImportError
        If ``zone_method`` is dbscan and scikit-learn is not installed.
    """
    places = MarketRows.of(market, MARKET_COLUMNS)
    cascade = cascade_of(places, market, liquidations, params, perp_volume)
    wanted = checkpoints_within(window, places.newest, checkpoints)
    machines = _episodes(places, cascade, params, state, wanted)
    rows = places.rows_within(window)
    silent = _silent(cascade, params).T
    shown = np.where(silent, machines.warm_up.state, machines.alerting.state)
    shown_id = np.where(silent, machines.warm_up.episode_id, machines.alerting.episode_id)
    active = np.ascontiguousarray((shown == "ACTIVE").T)
    market_wide = active.sum(axis=0) >= MARKET_WIDE_SYMBOLS

    table = _feature_rows(places, market, cascade, params, rows)
    k, hour = places.row_symbol[rows], places.row_hour[rows]
    machine = pd.DataFrame(
        {
            "market_wide": market_wide[hour],
            "warming_up": table.pop("warming_up"),
            "quality": table.pop("quality"),
            "state": pd.Series(shown[hour, k], dtype="str"),
            "episode_id": pd.Series(shown_id[hour, k], dtype="str"),
            "config_hash": text_rows(np.zeros(len(rows), dtype=np.int8), [params.config_hash()]),
        }
    )
    tables = {FEATURE: pd.concat([table, machine], axis=1)}
    if zones:
        found = find_zones(
            market,
            params,
            window=window,
            liquidations=liquidations,
            liquidation_events=liquidation_events,
            sigma=cascade.sigma,
            scale=cascade.scale,
        )
        tables["liquidation_zones"] = found.rows
    first = places.first_hours()
    states = {
        moment: {
            key: {"alerting": value, "warm_up": machines.warm_up.states[moment][key]}
            for key, value in by_key.items()
            if first[key] <= moment
        }
        for moment, by_key in machines.alerting.states.items()
    }
    events = _events(places, cascade, machines, market_wide, params, window)
    return FeatureResult(tables, events, states_frame(FEATURE, params.config_hash(), states))


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
    side[both > 0] = _SIDES.index("BALANCED")
    side[long_share >= params.side_bias_share] = _SIDES.index("LONG")
    side[long_share <= 1 - params.side_bias_share] = _SIDES.index("SHORT")

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
        fell = (side == _SIDES.index("LONG")) & (move <= -limit) & (move < 0)
        rose = (side == _SIDES.index("SHORT")) & (move >= limit) & (move > 0)
    return move, fell | rose


def _tiers(params: LiquidationParameters) -> tuple[float, float, float]:
    """Severities at which tiers 2, 3 and 4 begin: 1.5, 3 and 6 with the default ``critical_severity``."""
    return params.critical_severity, 2 * params.critical_severity, 4 * params.critical_severity


@dataclass(frozen=True)
class _Machines:
    """The machine that alerts, and the one that keeps the record while the history is too short to alert.

    They are two, so that a warm-up by the USD floors alone (true for days on end with large symbols) neither hides
    the first cascade after it in a cooldown nor raises its bar for escalation.
    """

    alerting: Episodes
    warm_up: Episodes


def _episodes(
    places: MarketRows,
    cascade: Cascade,
    params: LiquidationParameters,
    state: StoredState | None,
    checkpoints: Sequence[pd.Timestamp],
) -> _Machines:
    tier = np.ones(cascade.severity.shape, dtype=np.int8)
    with np.errstate(invalid="ignore"):
        for edge in _tiers(params):
            tier += cascade.severity >= edge
        quiet = cascade.hour.velocity < params.off_ratio * cascade.hour.limit
    valid = np.isfinite(cascade.severity)
    rule = EpisodeRule(
        EVENT_TYPE,
        cooldown_h=params.cooldown_h,
        release_bars=params.release_bars,
        max_episode_h=params.max_episode_h,
    )
    silent = _silent(cascade, params)
    found = []
    for name, elsewhere in (("alerting", silent), ("warm_up", ~silent)):
        by_key = state.by_key if state is not None else {}
        stored = {key: value[name] for key, value in by_key.items() if name in value}
        level = np.where(cascade.is_cascade & ~elsewhere, tier, 0)
        off = (quiet & ~cascade.is_cascade) | elsewhere
        found.append(run_machines(places.ts, places.symbols, level, off, valid, rule, state, stored, checkpoints))
    return _Machines(*found)


def _silent(cascade: Cascade, params: LiquidationParameters) -> Bools:
    """Hours whose cascades are recorded and not alerted."""
    return np.zeros_like(cascade.warming_up) if params.alert_during_warmup else cascade.warming_up


def _feature_rows(
    places: MarketRows, market: pd.DataFrame, cascade: Cascade, params: LiquidationParameters, rows: Ints
) -> pd.DataFrame:
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
            "threshold_mode": text_rows(cascade.adaptive[k, hour].astype(np.int8), _MODES),
            "window_hours": np.where(cascade.is_cascade, cascade.window_hours, np.nan)[k, hour],
            "severity": cascade.severity[k, hour],
            "is_cascade": cascade.is_cascade[k, hour],
            "long_share": cascade.long_share[k, hour],
            "side_bias": text_rows(cascade.side[k, hour].astype(np.int8), _SIDES),
            "intensity_z": cascade.intensity_z[k, hour],
            "price_confirmed": cascade.price_confirmed[k, hour],
            "warming_up": cascade.warming_up[k, hour],
            "quality": text_rows((~all_count[k, hour]).astype(np.int8), _QUALITIES),
        }
    )


def _events(
    places: MarketRows,
    cascade: Cascade,
    machines: _Machines,
    market_wide: Bools,
    params: LiquidationParameters,
    window: Window,
) -> pd.DataFrame:
    """Rows of ``episode_events``: the machines' phases with the message that each carries."""
    config_hash = params.config_hash()
    number = {symbol: k for k, symbol in enumerate(places.symbols)}
    out = []
    for episodes, silenced in ((machines.alerting, None), (machines.warm_up, "WARMING_UP")):
        inside = episodes.events.loc[window.mask(episodes.events["ts"])]
        for event in inside.to_dict("records"):
            k, t = number[event["key"]], int(places.ts.searchsorted(event["ts"]))
            out.append(
                {
                    "feature": FEATURE,
                    "episode_id": event["episode_id"],
                    "phase": event["phase"],
                    "level": event["level"],
                    "event_type": EVENT_TYPE,
                    "key": event["key"],
                    "symbol": event["key"],
                    "asset_pair": None,
                    "ts": event["ts"],
                    "onset_ts": event["onset_ts"],
                    "severity": "CRITICAL" if event["peak"] > 1 else "WARNING",
                    "title": f"Liquidation Cascade Detected - {event['key']}",
                    "description": f"Large liquidation event with velocity {cascade.velocity[k, t]:.0f} USD/h",
                    "source": SOURCE,
                    "data": _data(cascade, k, t, bool(market_wide[t])),
                    "explain": _explain(cascade, k, t, params),
                    "suppressed_reason": silenced or event["suppressed_reason"],
                    "config_hash": config_hash,
                }
            )
    return events_frame(out)


def _number(value: float) -> float | None:
    """A JSON number: null where it is unknown."""
    return float(value) if np.isfinite(value) else None


def _data(cascade: Cascade, k: int, t: int, market_wide: bool) -> dict[str, Any]:
    at = (k, t)
    return {
        "total_liquidated_usd": _number(cascade.long_chosen[at] + cascade.short_chosen[at]),
        "velocity_usd_per_hour": _number(cascade.velocity[at]),
        "side_bias": _SIDES[cascade.side[at]],
        "severity": _number(cascade.severity[at]),
        "window_hours": _number(cascade.window_hours[at]),
        "long_usd": _number(cascade.long_chosen[at]),
        "short_usd": _number(cascade.short_chosen[at]),
        "critical_velocity_usd_per_hour": _number(cascade.limit[at]),
        "intensity_z": _number(cascade.intensity_z[at]),
        "liq_to_oi_pct": None,  # no open interest is ingested
        "coverage": _number(cascade.coverage[at]),
        "is_lower_bound": bool(cascade.venues.is_lower_bound[at]),
        "market_wide": market_wide,
        "price_change_pct": _number(100 * np.expm1(cascade.price_change[at])),
    }


def _explain(cascade: Cascade, k: int, t: int, params: LiquidationParameters) -> dict[str, Any]:
    at = (k, t)
    windows = {
        f"{w.hours}h": {
            "total_usd": _number(w.total[at]),
            "velocity_usd_per_hour": _number(w.velocity[at]),
            "velocity_limit": _number(w.limit[at]),
            "usd_floor": _number(w.threshold[at]),
            "mode": "ADAPTIVE" if w.adaptive[at] else "FLOOR",
            "history_hours": int(w.history_n[at]),
        }
        for w in sorted(cascade.windows, key=lambda w: w.hours)
    }
    return {
        "inputs": {
            "long_usd_this_hour": _number(cascade.long_usd[at]),
            "short_usd_this_hour": _number(cascade.short_usd[at]),
            "coverage": _number(cascade.coverage[at]),
            "n_venues": int(cascade.venues.n_venues[at]),
            "volatility_24h": _number(cascade.sigma[at]),
        },
        "terms": {"windows": windows, "scale": _number(cascade.scale[at]), "is_cascade": bool(cascade.is_cascade[at])},
        "thresholds": {
            "cascade_threshold_usd": params.cascade_threshold_usd,
            "critical_velocity": params.critical_velocity,
            "adaptive_quantile": params.adaptive_quantile if params.adaptive else None,
            "critical_severity": params.critical_severity,
            "off_ratio": params.off_ratio,
            "min_coverage": params.min_coverage,
        },
    }
