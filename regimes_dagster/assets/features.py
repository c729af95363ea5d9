"""The five feature assets, and the liquidation zones beside them.

What belongs here: which stored state a run resumes from and how much history it therefore reads. What does not:
any formula (``features/``) and how rows are stored (``resources/warehouse.py``).

A run resumes every machine from the newest state stored at or before its window. Where there is none (a new
installation, changed parameters, a rewritten month before it) the machine lives through the time since the last
valid state, or since the first row, again; only rows of the window are written.
"""

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg
import pandas as pd
from dagster import AssetExecutionContext

from regimes_dagster.assets.declare import FEATURES, Declare
from regimes_dagster.assets.log_lines import told
from regimes_dagster.assets.run import run_window
from regimes_dagster.features import (
    correlation_engine,
    funding_anomaly,
    funding_rule,
    liquidation_cascade,
    liquidation_rule,
    multi_timeframe,
    price_yardstick,
    volatility_regime,
)
from regimes_dagster.features.liquidation_venues import SCALE_DAYS
from regimes_dagster.features.liquidation_zones import identify_liquidation_support_zones
from regimes_dagster.features.result import FeatureResult, StoredState
from regimes_dagster.leader_inputs import leader_inputs
from regimes_dagster.parameters import Parameters
from regimes_dagster.partitions import Window
from regimes_dagster.platform import Platform
from regimes_dagster.resources.warehouse import StoredTable, resume_from

MARKET_COLUMNS = ("symbol", "ts", "open", "high", "low", "close", "ohlcv_venue")
#: The bad-tick guard takes the median of at least so many venues.
GUARD_VENUES = 3
EPOCH = pd.Timestamp(0, tz="UTC")
LIQUIDATION_COLUMNS = ("venue", "symbol", "ts", "long_usd", "short_usd", "n_events", "coverage", "is_lower_bound")


def feature_assets(declare: Declare, *, minute_bars: bool = False) -> list[dg.AssetsDefinition]:
    """``volatility_features``, ``liquidation_features``, ``liquidation_zones``, ``funding_features``, ``regimes``
    and ``correlation_features``, which waits for ``minute_bars`` where that asset exists."""

    @declare(group=FEATURES, code_version="1")
    def volatility_features(
        context: AssetExecutionContext, platform: dg.ResourceParam[Platform], market_metrics: StoredTable
    ) -> FeatureResult:
        """Range-based volatility, regime with hysteresis, relative regime, 24 h forecast and position scale."""
        params = platform.settings.volatility
        window, state = _resume(context, platform, params)
        models = platform.warehouse.read(
            "volatility_models", window=volatility_regime.models_window(window), symbols=platform.settings.symbols
        )
        fitted = volatility_regime.nothing_to_fit(models, platform.first_hours("market_metrics"), params, window=window)
        since = _since(state, volatility_regime.lookback(params, fitted=fitted))
        found = volatility_regime.compute_volatility_features(
            market_metrics.read(_columns(MARKET_COLUMNS), since=since),
            params,
            window=window,
            state=state,
            models=models,
            venue_bars=_bars_of_every_venue(platform, since, window.end),
        )
        return told("VOL", window, found)

    @declare(group=FEATURES, code_version="1")
    def liquidation_features(
        context: AssetExecutionContext,
        platform: dg.ResourceParam[Platform],
        market_metrics: StoredTable,
        liquidations: StoredTable,
    ) -> FeatureResult:
        """Liquidation sums, limits that adapt to the symbol's own history, and cascades."""
        params = platform.settings.liquidation
        window, state = _resume(context, platform, params)
        since = _since(state, liquidation_cascade.lookback(params))
        found = liquidation_cascade.compute_liquidation_metrics(
            market_metrics.read(_columns(liquidation_rule.MARKET_COLUMNS), since=since),
            params,
            window=window,
            liquidations=liquidations.read(LIQUIDATION_COLUMNS, since=since, where=_listed(platform)),
            perp_volume=_daily_volume(platform, since, window),
            state=state,
            zones=False,
        )
        return told("CASCADE", window, found)

    @declare(group=FEATURES, code_version="1")
    def liquidation_zones(
        context: AssetExecutionContext,
        platform: dg.ResourceParam[Platform],
        market_metrics: StoredTable,
        liquidations: StoredTable,
    ) -> pd.DataFrame:
        """Price zones where leverage was flushed within the last week; descriptive, not a forecast."""
        params = platform.settings.liquidation
        window = run_window(context, platform)
        back = timedelta(hours=params.zone_lookback_h + 25)
        found = identify_liquidation_support_zones(
            market_metrics.read(_columns(price_yardstick.MARKET_COLUMNS), back=back),
            params,
            window=window,
            liquidations=liquidations.read(LIQUIDATION_COLUMNS, back=back, where=_listed(platform)),
            liquidation_events=platform.warehouse.read(
                "liquidation_events",
                window=Window(window.start - back, window.end),
                symbols=platform.settings.symbols,
                where=_listed(platform),
            ),
            perp_volume=_daily_volume(platform, window.start - back, window),
        )
        context.add_output_metadata({"empty_because": dg.MetadataValue.json(dict(found.empty_because))})
        return found.rows

    @declare(group=FEATURES, code_version="1")
    def funding_features(
        context: AssetExecutionContext,
        platform: dg.ResourceParam[Platform],
        market_metrics: StoredTable,
        funding_rates: StoredTable,
    ) -> FeatureResult:
        """Funding in 8-hour equivalents: anomalies, reversals, persistence, spread over the venues."""
        params = platform.settings.funding
        window, state = _resume(context, platform, params)
        since = _since(state, funding_anomaly.lookback(params))
        found = funding_anomaly.compute_funding_metrics(
            market_metrics.read(_columns(funding_rule.MARKET_COLUMNS), since=since),
            params,
            window=window,
            funding_rates=funding_rates.read(since=since, where={"venue": platform.settings.sources.funding}),
            funding_predictions=platform.warehouse.read(
                "funding_predictions", window=Window(since or EPOCH, window.end), symbols=platform.settings.symbols
            ),
            state=state,
        )
        return told("FUND", window, found)

    @declare(group=FEATURES, code_version="1")
    def regimes(
        context: AssetExecutionContext,
        platform: dg.ResourceParam[Platform],
        market_metrics: StoredTable,
        funding_features: StoredTable,
    ) -> FeatureResult:
        """A label on each of 1 h, 4 h, 1 d and 1 w, how far they agree, and confirmations."""
        params = platform.settings.multi_timeframe
        window, state = _resume(context, platform, params)
        since = _since(state, multi_timeframe.lookback(params))
        found = multi_timeframe.compute_multi_timeframe_regimes(
            market_metrics.read(_columns(multi_timeframe.MARKET_COLUMNS), since=since),
            params,
            window=window,
            funding_features=funding_features.read(multi_timeframe.FUNDING_COLUMNS, since=since),
            state=state,
        )
        return told("MTF", window, found)

    @declare(group=FEATURES, code_version="2", deps=["minute_bars"] if minute_bars else [])
    def correlation_features(
        context: AssetExecutionContext, platform: dg.ResourceParam[Platform], market_metrics: StoredTable
    ) -> FeatureResult:
        """Correlation of every pair against its own usual band, breaks, hedged spread and leader."""
        params = platform.settings.correlation
        window, state = _resume(context, platform, params)
        since = _since(state, correlation_engine.lookback(params))
        minutes, recorded = leader_inputs(platform.warehouse, platform.settings, window)
        found = correlation_engine.compute_pairwise_correlations(
            market_metrics.read(_columns(correlation_engine.MARKET_COLUMNS), since=since),
            params,
            window=window,
            state=state,
            symbols=platform.settings.symbols,
            minute_bars=minutes,
            recorded=recorded,
        )
        return told("CORR", window, found)

    return [
        volatility_features,
        liquidation_features,
        liquidation_zones,
        funding_features,
        regimes,
        correlation_features,
    ]


def _resume(
    context: AssetExecutionContext, platform: Platform, params: Parameters
) -> tuple[Window, StoredState | None]:
    window = run_window(context, platform)
    feature = context.asset_key.path[-1]
    return window, resume_from(platform.warehouse, feature, params.config_hash(), window.start)


def _columns(needed: Sequence[str]) -> list[str]:
    """The key and the columns a feature reads: live runs read no more than they need."""
    return list(dict.fromkeys(["symbol", "ts", *needed]))


def _since(state: StoredState | None, back: timedelta) -> pd.Timestamp | None:
    return None if state is None else state.ts - back


def _bars_of_every_venue(platform: Platform, since: pd.Timestamp | None, end: pd.Timestamp) -> pd.DataFrame | None:
    """Bars behind the bad-tick guard, which compares at least three venues; None where fewer are listed."""
    venues = platform.settings.sources.ohlcv
    if len(venues) < GUARD_VENUES:
        return None
    return platform.warehouse.read(
        "ohlcv",
        window=Window(since or EPOCH, end),
        symbols=platform.settings.symbols,
        columns=["venue", "symbol", "ts", "open", "high", "low", "close"],
        where={"venue": venues},
    )


def _daily_volume(platform: Platform, since: pd.Timestamp | None, window: Window) -> pd.DataFrame:
    """Daily volume of the venues whose liquidations are summed, and of no other: it scales the floors of those sums.

    From the first day that the scale looks at in the hours after ``since``.
    """
    start = EPOCH if since is None else since - timedelta(days=SCALE_DAYS + 1)
    return platform.warehouse.read(
        "perp_volume_usd",
        window=Window(start, window.end),
        symbols=platform.settings.symbols,
        where=_listed(platform),
    )


def _listed(platform: Platform) -> dict[str, tuple[str, ...]]:
    """The liquidation venues that ``market_metrics`` sums."""
    return {"venue": platform.settings.sources.liquidations}
