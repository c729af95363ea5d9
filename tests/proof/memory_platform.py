"""The features as the assets run them, without database and Dagster: what is stored is kept in memory.

What belongs here: what a run reads (the running month, its machines' stored state, the lookback before it) and what
it leaves behind. What does not: the raw market (``raw_market.py``) and any expectation.

The proofs need thousands of runs; through the real assets (``test_lived_through_the_assets.py``) each takes seconds.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import pandas as pd

from regimes_dagster.features import (
    correlation_engine,
    funding_anomaly,
    liquidation_cascade,
    market_metrics,
    multi_timeframe,
    volatility_regime,
)
from regimes_dagster.features.result import FeatureResult, StoredState
from regimes_dagster.parameters import (
    CorrelationParameters,
    FundingParameters,
    LiquidationParameters,
    MultiTimeframeParameters,
    VolatilityParameters,
)
from regimes_dagster.partitions import Window, keys_touched, keys_window
from tests.proof.raw_market import HISTORY, RawMarket

#: In the order of their dependencies: ``regimes`` reads rows of ``funding_features``.
FEATURES = ("volatility_features", "liquidation_features", "funding_features", "regimes", "correlation_features")

VOLATILITY, LIQUIDATION, FUNDING = VolatilityParameters(), LiquidationParameters(), FundingParameters()
TIMEFRAMES, CORRELATION = MultiTimeframeParameters(), CorrelationParameters()

LOOKBACK: dict[str, timedelta] = {
    "volatility_features": volatility_regime.lookback(VOLATILITY),
    "liquidation_features": liquidation_cascade.lookback(LIQUIDATION),
    "funding_features": funding_anomaly.lookback(FUNDING),
    "regimes": multi_timeframe.lookback(TIMEFRAMES),
    "correlation_features": correlation_engine.lookback(CORRELATION),
}

#: Raw rows that a run may read before the running month; in its first hours it computes the month before as well.
RAW_LOOKBACK = timedelta(days=31) + max(
    LOOKBACK["liquidation_features"], LOOKBACK["funding_features"], market_metrics.lookback()
)


@dataclass(frozen=True)
class Inputs:
    """What one run may read: raw rows up to now, joined rows up to now, and what was stored before."""

    raw: RawMarket
    market: pd.DataFrame
    funding_features: pd.DataFrame
    models: pd.DataFrame | None = None

    def since(self, start: pd.Timestamp | None) -> "Inputs":
        if start is None:
            return self
        return replace(
            self,
            raw=RawMarket(**{name: after(table, start) for name, table in self.raw.tables().items()}),
            market=after(self.market, start),
            funding_features=after(self.funding_features, start),
        )


def compute(
    feature: str,
    inputs: Inputs,
    window: Window,
    state: StoredState | None = None,
    checkpoints: Sequence[pd.Timestamp] | None = None,
) -> FeatureResult:
    """One feature over a window, with what its asset would have read."""
    near = inputs.since(None if state is None else state.ts - LOOKBACK[feature])
    market, raw = near.market, near.raw
    if feature == "volatility_features":
        return volatility_regime.compute_volatility_features(
            market, VOLATILITY, window=window, state=state, checkpoints=checkpoints, models=inputs.models
        )
    if feature == "liquidation_features":
        return liquidation_cascade.compute_liquidation_metrics(
            market,
            LIQUIDATION,
            window=window,
            state=state,
            checkpoints=checkpoints,
            liquidations=raw.liquidations,
            liquidation_events=raw.liquidation_events,
            perp_volume=inputs.raw.perp_volume_usd,
        )
    if feature == "funding_features":
        return funding_anomaly.compute_funding_metrics(
            market, FUNDING, window=window, state=state, checkpoints=checkpoints, funding_rates=raw.funding_rates
        )
    if feature == "regimes":
        return multi_timeframe.compute_multi_timeframe_regimes(
            market,
            TIMEFRAMES,
            window=window,
            state=state,
            checkpoints=checkpoints,
            funding_features=near.funding_features,
        )
    return correlation_engine.compute_pairwise_correlations(
        market, CORRELATION, window=window, state=state, checkpoints=checkpoints
    )


@dataclass(frozen=True)
class Backfill:
    """A market and everything that was computed from it at once."""

    raw: RawMarket
    market: pd.DataFrame
    results: dict[str, FeatureResult]

    def __getitem__(self, feature: str) -> FeatureResult:
        return self.results[feature]


def backfill(raw: RawMarket, window: Window = HISTORY) -> Backfill:
    """Join and every feature over the whole window at once, from the first row on."""
    market = raw.joined(window)
    inputs = Inputs(raw, market, no_funding_features())
    found: dict[str, FeatureResult] = {}
    for feature in FEATURES:
        found[feature] = compute(feature, inputs, window)
        if feature == "funding_features":
            inputs = replace(inputs, funding_features=found[feature].rows["funding_features"])
    return Backfill(raw, market, found)


class MemoryPlatform:
    """The platform as it stood at ``start``, after a backfill that ended there.

    Parameters
    ----------
    whole
        The backfill; its rows, events, states and models up to ``start`` are stored. Of its raw market a run sees
        what was known at its hour.
    """

    def __init__(self, whole: Backfill, start: pd.Timestamp) -> None:
        near = whole.raw.within(Window(start - RAW_LOOKBACK, HISTORY.end))
        self._raw = replace(near, perp_volume_usd=whole.raw.perp_volume_usd)  # which its asset reads whole
        self._first_hours = whole.raw.first_hours()
        self._market = {start: whole.market.loc[whole.market["ts"] <= start]}
        self._states = {name: result.states.loc[result.states["ts"] <= start] for name, result in whole.results.items()}
        funding = whole["funding_features"].rows["funding_features"]
        self._funding = {start: funding.loc[funding["ts"] <= start, list(multi_timeframe.FUNDING_COLUMNS)]}
        models = whole["volatility_features"].models
        assert models is not None
        self._models = models.loc[models["fit_ts"] <= start]

    def run(self, now: pd.Timestamp) -> tuple[Window, dict[str, FeatureResult]]:
        """The hourly run at the full hour ``now``: its window and what it would have written."""
        window = keys_window(keys_touched(now)).until(now)
        raw = self._raw.until(now)
        first_hours = {symbol: first for symbol, first in self._first_hours.items() if first <= now}
        self._store(self._market, raw.joined(window, first_hours), window)
        inputs = Inputs(raw, _sorted(self._market), _sorted(self._funding), self._models)
        found: dict[str, FeatureResult] = {}
        for feature in FEATURES:
            result = found[feature] = compute(feature, inputs, window, self._resume(feature, window.start))
            known = self._states[feature]
            self._states[feature] = pd.concat([known.loc[known["ts"] <= window.start], result.states])
            if feature == "funding_features":
                rows = result.rows["funding_features"][list(multi_timeframe.FUNDING_COLUMNS)]
                self._store(self._funding, rows, window)
                inputs = replace(inputs, funding_features=_sorted(self._funding))
            if result.models is not None and len(result.models):
                self._models = pd.concat([self._models, result.models], ignore_index=True)
        return window, found

    def _resume(self, feature: str, start: pd.Timestamp) -> StoredState | None:
        return stored_state(self._states[feature], start)

    @staticmethod
    def _store(parts: dict[pd.Timestamp, pd.DataFrame], rows: pd.DataFrame, window: Window) -> None:
        """Replace the window's rows; parts are kept by the first moment after them."""
        for end in [end for end in parts if end > window.start]:
            kept = parts.pop(end)
            kept = kept.loc[kept["ts"] <= window.start]
            if len(kept):
                parts[window.start] = pd.concat([parts[window.start], kept]) if window.start in parts else kept
        parts[window.end] = rows


def stored_state(states: pd.DataFrame, start: pd.Timestamp) -> StoredState | None:
    """The newest states at or before ``start``, through JSON as the database keeps them."""
    earlier = states.loc[states["ts"] <= start]
    if earlier.empty:
        return None
    newest = earlier.loc[earlier["ts"] == earlier["ts"].max()]
    by_key = {
        key: json.loads(json.dumps(state, allow_nan=False))
        for key, state in zip(newest["key"], newest["state"], strict=True)
    }
    return StoredState(newest["ts"].iloc[0], by_key)


def after(table: pd.DataFrame, start: pd.Timestamp) -> pd.DataFrame:
    return table.loc[table["ts"] > start].reset_index(drop=True)


def no_funding_features() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "symbol": pd.Series(dtype="str"),
            "ts": pd.Series(dtype="datetime64[us, UTC]"),
            "funding_z_score": pd.Series(dtype="float64"),
        }
    )


def _sorted(parts: dict[pd.Timestamp, pd.DataFrame]) -> pd.DataFrame:
    rows = pd.concat([part for part in parts.values() if len(part)])
    return rows.sort_values(["symbol", "ts"], kind="stable", ignore_index=True)
