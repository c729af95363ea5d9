"""Rows, events and states of the volatility feature for some symbols at once.

What belongs here: running the regime tracks and the episode machines from their stored state, and joining what they
say with the measures and the outlook of each hour. What does not: each of those by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.features.episodes import EpisodeRule, run_episodes
from regimes_dagster.features.result import StoredState
from regimes_dagster.features.volatility_estimators import HOUR_US, Bars, Bools, Ints, hour_numbers
from regimes_dagster.features.volatility_events import EVENT_TYPE, describe, explain
from regimes_dagster.features.volatility_forecast import design
from regimes_dagster.features.volatility_hysteresis import HOLD_HOURS, REGIME_NAMES, UNKNOWN, Track, track_regime
from regimes_dagster.features.volatility_measures import REGIME_LABELS, Measured, metric_columns, stamps
from regimes_dagster.features.volatility_models import Outlook, StoredModels, look_ahead
from regimes_dagster.features.volatility_persistence import quintile
from regimes_dagster.parameters import VolatilityParameters
from regimes_dagster.partitions import Window

FEATURE = "volatility_features"

ROW_COLUMNS = (
    "symbol", "ts", "volatility", "volatility_close", "volatility_parkinson", "volatility_gk", "volatility_rs",
    "vol_annualised", "regime_raw", "regime", "risk_multiplier", "position_scale", "vol_pctl_90d", "relative_regime",
    "vol_forecast_24h", "forecast_model", "mean_reversion_prob", "half_life_days", "acf7", "wick_ratio", "suspect_wick",
    "flash_wick", "bars_in_regime", "quality", "state", "episode_id", "config_hash",
)  # fmt: skip

KEPT = ("episode_id", "phase", "level", "key", "ts", "onset_ts", "suppressed_reason")
POSITION_SCALE_RANGE = (0.1, 1.5)
_TARGETS = len(REGIME_NAMES)


@dataclass
class SymbolRows:
    """What ``compute_rows`` gives, per its arguments."""

    rows: list[pd.DataFrame] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    states: dict[pd.Timestamp, dict[str, dict[str, Any]]] = field(default_factory=dict)
    fitted: list[tuple[str, dict[int, dict[str, Any]]]] = field(default_factory=list)


@dataclass(frozen=True)
class _Machines:
    tracks: list[Track]
    first: list[int]
    state: npt.NDArray[np.object_]
    episode_id: npt.NDArray[np.object_]
    events: pd.DataFrame


def compute_rows(
    measured: Measured,
    params: VolatilityParameters,
    window: Window,
    state: StoredState | None,
    checkpoints: Sequence[pd.Timestamp],
    models: Mapping[str, StoredModels],
) -> SymbolRows:
    """Rows and events inside ``window`` and states at ``checkpoints`` of the symbols in ``measured``."""
    out = SymbolRows(states={moment: {} for moment in checkpoints})
    machines = _run(measured, params, state, checkpoints, out)
    config_hash = params.config_hash()
    for k, symbol in enumerate(measured.bars.symbols):
        rows = window_rows(measured.bars, k, window)
        outlook = outlook_of(measured, k, rows, params, models.get(symbol, {}))
        out.fitted.append((symbol, outlook.fitted))
        frame = _frame(measured, k, rows, machines, outlook, params).assign(symbol=symbol, config_hash=config_hash)
        frame = frame[list(ROW_COLUMNS)]
        out.rows.append(frame)
        mine = machines.events[machines.events["symbol"] == symbol]
        out.events.extend(_events(mine[window.mask(mine["ts"])], frame, machines, k, measured, params))
    return out


def window_rows(bars: Bars, k: int, window: Window) -> Ints:
    """Positions of the symbol's rows inside the window."""
    low, high = (moment.value // (HOUR_US * 1000) for moment in (window.start, window.end))
    return np.flatnonzero(bars.present[:, k] & (bars.hours > low) & (bars.hours <= high))


def outlook_of(measured: Measured, k: int, rows: Ints, params: VolatilityParameters, stored: StoredModels) -> Outlook:
    """Forecast and persistence of column ``k`` at positions ``rows``."""
    bars = measured.bars
    inputs = design(bars.hours, bars.garman_klass[:, k], bars.returns[:, k], params)
    return look_ahead(inputs, measured.volatility[:, k], measured.regime_raw[:, k], rows, params, stored)


def outlook_columns(outlook: Outlook) -> dict[str, Any]:
    """Columns that the outlook gives as they are."""
    return {
        "vol_forecast_24h": outlook.forecast,
        "forecast_model": outlook.model,
        "vol_pctl_90d": outlook.rank,
        "relative_regime": quintile(outlook.rank),
        "half_life_days": outlook.half_life_days,
        "acf7": outlook.acf7,
    }


def _run(
    measured: Measured,
    params: VolatilityParameters,
    state: StoredState | None,
    checkpoints: Sequence[pd.Timestamp],
    out: SymbolRows,
) -> _Machines:
    """Tracks and episode machines of all symbols; fills ``out.states``."""
    bars = measured.bars
    shape = (len(bars.hours), len(bars.symbols))
    resumed_at = 0 if state is None else state.ts.value // (HOUR_US * 1000) + 1 - int(bars.hours[0])
    stored = {} if state is None else state.by_key
    rule = EpisodeRule(EVENT_TYPE, cooldown_h=params.cooldown_h, hold_h=HOLD_HOURS, record_repeats=True)

    tracks: list[Track] = []
    first = [max(resumed_at, 0) if symbol in stored else 0 for symbol in bars.symbols]
    for k, symbol in enumerate(bars.symbols):
        hours, volatility = bars.hours[first[k] :], measured.volatility[first[k] :, k]
        tracks.append(track_regime(hours, volatility, measured.edges[k], params, stored.get(symbol)))
        born = int(np.argmax(bars.present[:, k]))
        for moment in checkpoints:
            position = moment.value // (HOUR_US * 1000) - int(bars.hours[0])
            if position >= max(born, first[k]):
                out.states[moment][symbol] = tracks[k].state(position - first[k])

    codes = np.full((*shape, _TARGETS), "UNKNOWN", dtype=object)
    ids = np.full((*shape, _TARGETS), None, dtype=object)
    events = []
    for begin in sorted(set(first)):
        members = [k for k in range(shape[1]) if first[k] == begin]
        keys = [_key(bars.symbols[k], target) for k in members for target in REGIME_NAMES]
        regime = np.stack([tracks[k].regime for k in members], axis=1)
        holds = (regime[:, :, None] == np.arange(_TARGETS)).reshape(len(regime), -1)
        valid = np.repeat(np.isfinite(measured.volatility[begin:, members]), _TARGETS, axis=1)
        episodes = run_episodes(
            stamps(bars.hours[begin:]),
            keys,
            holds.astype(np.int8),
            ~holds,
            valid,
            rule,
            state=stored,
            checkpoints=[m for m in checkpoints if m >= stamps(bars.hours[begin : begin + 1])[0]],
        )
        codes[begin:, members] = episodes.state.reshape(-1, len(members), _TARGETS)
        ids[begin:, members] = episodes.episode_id.reshape(-1, len(members), _TARGETS)
        for moment, by_key in episodes.states.items():
            for k in members:
                if bars.symbols[k] in out.states[moment]:
                    out.states[moment].update({key: by_key[key] for key in _keys(bars.symbols[k])})
        parts = episodes.events["key"].str.rsplit("|", n=1)
        events.append(episodes.events.assign(symbol=parts.str[0], target=parts.str[1]))
    return _Machines(tracks, first, codes, ids, pd.concat(events, ignore_index=True))


def _frame(
    measured: Measured, k: int, rows: Ints, machines: _Machines, outlook: Outlook, params: VolatilityParameters
) -> pd.DataFrame:
    track, at = machines.tracks[k], rows - machines.first[k]
    regime = track.regime[at]
    known = regime != UNKNOWN
    target = np.maximum(regime, 0)
    reversion = np.where(known, outlook.reversion[np.arange(len(rows)), target], np.nan)
    multipliers = np.array([params.risk_multipliers[name] for name in REGIME_NAMES], dtype=np.float64)  # type: ignore[index]
    bars_in_regime = pd.array(track.hours[at] - track.entered[at], dtype="Int64")
    bars_in_regime[~known] = pd.NA
    return pd.DataFrame(
        {
            **metric_columns(measured, k, rows, params),
            **outlook_columns(outlook),
            "regime": REGIME_LABELS[regime],
            "risk_multiplier": np.where(known, multipliers[target], np.nan),
            "position_scale": np.clip(params.target_daily_vol / outlook.forecast, *POSITION_SCALE_RANGE),
            "mean_reversion_prob": reversion,
            "bars_in_regime": bars_in_regime,
            "state": np.where(known, machines.state[rows, k, target], "UNKNOWN").astype(object),
            "episode_id": _where_known(known, machines.episode_id[rows, k, target]),
        }
    )


def _events(
    events: pd.DataFrame,
    frame: pd.DataFrame,
    machines: _Machines,
    k: int,
    measured: Measured,
    params: VolatilityParameters,
) -> list[dict[str, Any]]:
    if events.empty:
        return []
    track = machines.tracks[k]
    symbol = measured.bars.symbols[k]
    position = hour_numbers(events["ts"]) - int(track.hours[0])
    picked = frame.iloc[frame["ts"].searchsorted(events["ts"])]
    rows: list[dict[str, Any]] = [
        dict(zip(ROW_COLUMNS, values, strict=True)) for values in picked.itertuples(index=False)
    ]
    out = []
    for event, row, at in zip(events.to_dict("records"), rows, position.tolist(), strict=True):
        target = REGIME_NAMES.index(event["target"])
        now = int(track.regime[at])
        # In the hour of a CLOSE the track has left the target; what the target had come from, it knew an hour before.
        came_from = int(track.previous[at] if event["phase"] == "OPEN" else track.previous_before[at])
        out.append(
            {
                "feature": FEATURE,
                "event_type": EVENT_TYPE,
                "symbol": symbol,
                "asset_pair": None,
                "config_hash": params.config_hash(),
                "explain": explain(row, measured.edges[k], track.below[at], params),
                **{name: event[name] for name in KEPT},
                **describe(event["phase"], symbol, row, target, came_from, now),
            }
        )  # fmt: skip
    return out


def _key(symbol: str, target: str) -> str:
    return f"{symbol}|{target}"


def _keys(symbol: str) -> list[str]:
    return [_key(symbol, target) for target in REGIME_NAMES]


def _where_known(known: Bools, values: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    out = values.copy()
    out[~known] = None
    return out
