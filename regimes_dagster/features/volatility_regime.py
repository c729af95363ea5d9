"""The volatility feature: from hourly bars to the rows, events and states of ``volatility_features``.

What belongs here: the guide's three entry points. What does not: the steps behind them (``volatility_estimators.py``,
``volatility_measures.py``, ``volatility_hysteresis.py``, ``volatility_models.py``, ``volatility_rows.py``).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from regimes_dagster.features.result import (
    UTC_US,
    FeatureResult,
    StoredState,
    checkpoints_within,
    events_frame,
    require_sorted,
    states_frame,
)
from regimes_dagster.features.volatility_estimators import HOUR_US, HOURS_PER_DAY, hour_numbers
from regimes_dagster.features.volatility_forecast import EWMA_DAYS, HORIZON_H, LONG_BARS
from regimes_dagster.features.volatility_hysteresis import REGIME_NAMES
from regimes_dagster.features.volatility_measures import METRIC_COLUMNS, PRICES, measure, metric_columns, stamps
from regimes_dagster.features.volatility_models import models_by_symbol, models_frame
from regimes_dagster.features.volatility_persistence import RANK_HOURS
from regimes_dagster.features.volatility_rows import (
    FEATURE,
    ROW_COLUMNS,
    compute_rows,
    outlook_columns,
    outlook_of,
    window_rows,
)
from regimes_dagster.parameters import VolatilityParameters
from regimes_dagster.partitions import Window, utc

#: Symbols whose arrays are held at once: 300 symbols x 1 year would otherwise take over a gigabyte.
SYMBOLS_AT_ONCE = 24

OUTLOOK_COLUMNS = (
    "symbol", "ts", "vol_forecast_24h", "forecast_model", "vol_pctl_90d", "relative_regime", "half_life_days", "acf7",
    *(f"reversion_{name}" for name in REGIME_NAMES),
)  # fmt: skip

TEXT_COLUMNS = frozenset(
    (
        "symbol",
        "regime_raw",
        "regime",
        "relative_regime",
        "forecast_model",
        "quality",
        "state",
        "episode_id",
        "config_hash",
    )
)


def lookback(params: VolatilityParameters, *, fitted: bool = False) -> timedelta:
    """History before the first hour to compute.

    Parameters
    ----------
    fitted
        Whether every model that the window needs is stored (``nothing_to_fit``). Then the 90 days of the rank and the
        longest window of the regressors are enough; otherwise also the rows of a model fitted at the midnight before
        the first hour, with their longest window (395 days at the defaults); and that day.
    """
    inputs = timedelta(hours=max(*LONG_BARS, EWMA_DAYS * HORIZON_H + HORIZON_H))
    rank = timedelta(hours=RANK_HOURS + 2 * params.window_bars)
    model = timedelta() if fitted else timedelta(days=params.har_max_days, hours=max(LONG_BARS))
    return max(inputs, rank, model) + timedelta(days=1)


def models_window(window: Window) -> Window:
    """Stamps of the stored models that the hours of ``window`` use: from the midnight before its first hour."""
    return Window(window.start - timedelta(days=1), window.end)


def nothing_to_fit(
    models: pd.DataFrame, first_hours: Mapping[str, pd.Timestamp], params: VolatilityParameters, *, window: Window
) -> bool:
    """Whether ``models`` has a row for every symbol and midnight that the hours of ``window`` need.

    Parameters
    ----------
    models
        Rows of ``volatility_models``, at least those of ``models_window(window)``.
    first_hours
        First row of every symbol; hours before it need no model.
    """
    stored = models_by_symbol(models, params.config_hash())
    end = window.end.value // (HOUR_US * 1000)
    for symbol, first in first_hours.items():
        start = max(window.start, first - timedelta(hours=1)).value // (HOUR_US * 1000)
        midnights = range(start // HOURS_PER_DAY * HOURS_PER_DAY, end, HOURS_PER_DAY) if start < end else ()
        if not stored.get(symbol, {}).keys() >= set(midnights):
            return False
    return True


def compute_volatility_metrics(
    market: pd.DataFrame, params: VolatilityParameters, *, venue_bars: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Volatility per symbol and hour and its regime by the edges alone, without memory.

    Parameters
    ----------
    market
        Rows of ``market_metrics`` (symbol, ts, open, high, low, close, ohlcv_venue), sorted by symbol and ts.
    venue_bars
        Rows of ``ohlcv`` of every venue, for the bad-tick guard; without them ``suspect_wick`` is False.

    Returns
    -------
    DataFrame
        symbol, ts, volatility and the four other estimators (fraction per 24 h, null below ``min_bars``),
        vol_annualised, regime_raw, wick_ratio, suspect_wick, flash_wick, quality; one row per row given.
    """
    require_sorted(market, PRICES)
    parts = []
    for chunk in _chunks(market):
        hours = hour_numbers(chunk["ts"])
        measured = measure(chunk, int(hours.min()), int(hours.max()), params, venue_bars)
        for k, symbol in enumerate(measured.bars.symbols):
            rows = np.flatnonzero(measured.bars.present[:, k])
            parts.append(pd.DataFrame({"symbol": symbol, **metric_columns(measured, k, rows, params)}))
    return _together(parts, METRIC_COLUMNS)


def analyze_volatility_persistence(
    market: pd.DataFrame, params: VolatilityParameters, *, window: Window, models: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Forecast, persistence and relative standing of volatility.

    Parameters
    ----------
    market
        As in ``compute_volatility_metrics``, reaching back ``lookback(params)`` before the window.
    models
        Rows of ``volatility_models``; what they lack is fitted, what they hold is used as it is.

    Returns
    -------
    tuple
        Rows in the window (symbol, ts, vol_forecast_24h, forecast_model, vol_pctl_90d, relative_regime,
        half_life_days, acf7 and one ``reversion_<REGIME>`` per regime), and the models fitted now.
    """
    require_sorted(market, PRICES)
    market = market[market["ts"] <= window.end]
    stored = models_by_symbol(models, params.config_hash())
    fitted: list[tuple[str, dict[int, dict[str, Any]]]] = []
    parts = []
    for chunk in _chunks(market):
        hours = hour_numbers(chunk["ts"])
        measured = measure(chunk, int(hours.min()), int(hours.max()), params, None)
        for k, symbol in enumerate(measured.bars.symbols):
            rows = window_rows(measured.bars, k, window)
            outlook = outlook_of(measured, k, rows, params, stored.get(symbol, {}))
            fitted.append((symbol, outlook.fitted))
            shares = {f"reversion_{name}": outlook.reversion[:, i] for i, name in enumerate(REGIME_NAMES)}
            ts = stamps(measured.bars.hours[rows])
            parts.append(pd.DataFrame({"symbol": symbol, "ts": ts, **outlook_columns(outlook), **shares}))
    return _together(parts, OUTLOOK_COLUMNS), models_frame(fitted, params.config_hash())


def compute_volatility_features(
    market: pd.DataFrame,
    params: VolatilityParameters,
    *,
    window: Window,
    state: StoredState | None = None,
    checkpoints: Sequence[pd.Timestamp] | None = None,
    models: pd.DataFrame | None = None,
    venue_bars: pd.DataFrame | None = None,
) -> FeatureResult:
    """Rows of ``volatility_features``, VOLATILITY_REGIME_CHANGE events, states and newly fitted models.

    Parameters
    ----------
    market
        Rows of ``market_metrics`` sorted by symbol and ts: every row after ``state.ts - lookback(params)`` (without
        state: every row there is; with every model stored: ``lookback(params, fitted=True)``) up to the end of the
        window. Later rows are ignored.
    window
        Rows and events returned; must not begin before ``state.ts``.
    state
        Machines after ``state.ts``; a symbol that it lacks starts from its own earliest row.
    checkpoints
        Hours after which states are returned; default the month edges of the window.
    models
        Rows of ``volatility_models`` to use; only absent ones (symbol, midnight, this configuration) are fitted.
    venue_bars
        Rows of ``ohlcv`` of every venue, for the bad-tick guard; without them ``suspect_wick`` is False.

    Returns
    -------
    FeatureResult
        A transition is an episode of (symbol, target regime), closed when the regime leaves the target. The same target
        again within ``cooldown_h`` is on record with the suppressed reason COOLDOWN.

    Raises
    ------
    ValueError
        If the rows are unsorted, or the window begins before the state.
    """
    require_sorted(market, PRICES)
    if state is not None and window.start < state.ts:
        raise ValueError(
            f"the window {window} begins before the stored state of {state.ts}; use the state at or before its start"
        )
    market = market[market["ts"] <= window.end]
    config_hash = params.config_hash()
    newest = None if market.empty else market["ts"].max()
    if newest is not None and newest <= window.start:
        # History alone (an outage since the window began): no hour to say anything about.
        market, newest = market.iloc[:0], None
    wanted = checkpoints_within(window, newest, checkpoints)
    stored_models = models_by_symbol(models, config_hash)

    rows: list[pd.DataFrame] = []
    events: list[dict[str, Any]] = []
    states: dict[pd.Timestamp, dict[str, dict[str, Any]]] = {moment: {} for moment in wanted}
    fitted: list[tuple[str, dict[int, dict[str, Any]]]] = []
    last_hour = 0 if newest is None else utc(newest).value // (HOUR_US * 1000)
    for chunk in _chunks(market):
        first_hour = int(hour_numbers(chunk["ts"]).min())
        if state is not None:
            # Hours between the state and the first row are missing hours, and count as such.
            first_hour = min(first_hour, state.ts.value // (HOUR_US * 1000) + 1)
        measured = measure(chunk, first_hour, last_hour, params, venue_bars)
        part = compute_rows(measured, params, window, state, wanted, stored_models)
        rows.extend(part.rows)
        events.extend(part.events)
        fitted.extend(part.fitted)
        for moment in wanted:
            states[moment].update(part.states[moment])
    return FeatureResult(
        rows={FEATURE: _together(rows, ROW_COLUMNS)},
        events=events_frame(events),
        states=states_frame(FEATURE, config_hash, states),
        models=models_frame(fitted, config_hash),
    )


def _chunks(market: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Some symbols at a time: nothing in this feature depends on another symbol."""
    if market.empty:
        return
    starts = np.flatnonzero(~market["symbol"].duplicated().to_numpy())
    ends = [*starts[SYMBOLS_AT_ONCE::SYMBOLS_AT_ONCE], len(market)]
    for start, end in zip(starts[::SYMBOLS_AT_ONCE], ends, strict=True):
        yield market.iloc[start:end]


def _together(parts: list[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """One frame with the same dtypes whatever it holds: a column without any text would else be of another kind."""
    parts = [part for part in parts if len(part)]
    if parts:
        frame = pd.concat(parts, ignore_index=True)[list(columns)]
    else:
        frame = pd.DataFrame({name: pd.Series(dtype=UTC_US if name == "ts" else object) for name in columns})
    return frame.astype({name: "str" for name in columns if name in TEXT_COLUMNS})
