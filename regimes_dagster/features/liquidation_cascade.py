"""Liquidation cascades: the hourly rule, its episodes, and the rows and events that come of it.

What belongs here: from market rows and hourly liquidations per venue to ``liquidation_features``,
``liquidation_zones`` and LIQUIDATION_CASCADE events. What does not: the rule of one hour (``liquidation_rule.py``),
wording (``liquidation_messages.py``), how zones are found (``liquidation_zones.py``) and how episodes begin and end
(``episodes.py``).

A cascade is a nowcast: it says that positions are being liquidated now much faster than usual for the symbol.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd

from regimes_dagster.features.episodes import EpisodeRule, Episodes
from regimes_dagster.features.liquidation_messages import explanation, payload
from regimes_dagster.features.liquidation_rule import MARKET_COLUMNS, Cascade, cascade_of, feature_rows
from regimes_dagster.features.liquidation_venues import SCALE_DAYS, VENUE_SET_H
from regimes_dagster.features.liquidation_zones import find_zones, identify_liquidation_support_zones
from regimes_dagster.features.market_rows import Bools, MarketRows, run_machines, text_rows
from regimes_dagster.features.price_yardstick import HISTORY_BARS
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

#: Symbols that must be active in one hour for a cascade to be market-wide.
MARKET_WIDE_SYMBOLS = 3


def lookback(params: LiquidationParameters) -> timedelta:
    """History needed before the first hour: the velocity history, the venue set behind it, and the zones' week."""
    longest = max(params.windows_h)
    cascade = params.adaptive_lookback_h + 3 * longest + VENUE_SET_H + 2
    zones = params.zone_lookback_h + HISTORY_BARS
    return timedelta(hours=max(cascade, zones, 24 * (SCALE_DAYS + 1)))


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
    return feature_rows(places, market, cascade, rows)


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

    table = feature_rows(places, market, cascade, rows)
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


def _tiers(params: LiquidationParameters) -> tuple[float, float, float]:
    """Severities at which tiers 2, 3 and 4 begin: 1.5, 3 and 6 with the default ``critical_severity``."""
    return params.critical_severity, 2 * params.critical_severity, 4 * params.critical_severity


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
                    "data": payload(cascade, k, t, bool(market_wide[t])),
                    "explain": explanation(cascade, k, t, params),
                    "suppressed_reason": silenced or event["suppressed_reason"],
                    "config_hash": config_hash,
                }
            )
    return events_frame(out)
