"""A feature over a past period, with any parameters: the same functions as the hourly run, nothing approximated.

What belongs here: the rows each feature reads, read once, and the call. What does not: which parameters are tried.

Machines start without a stored state, from the rows given: ``WARM_UP`` of hours before the period lets episodes and
cooldowns settle, and nothing of it is counted.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import pandas as pd

from regimes_dagster.features import (
    correlation_engine,
    funding_anomaly,
    liquidation_cascade,
    multi_timeframe,
    volatility_regime,
)
from regimes_dagster.features.result import FeatureResult
from regimes_dagster.parameters import (
    CorrelationParameters,
    FundingParameters,
    LiquidationParameters,
    MultiTimeframeParameters,
    Parameters,
    VolatilityParameters,
)
from regimes_dagster.partitions import Window
from regimes_dagster.settings import Settings
from regimes_dagster.storage import Warehouse

WARM_UP = timedelta(days=30)

#: Table of each section's feature.
TABLES = {
    "liquidation": "liquidation_features",
    "funding": "funding_features",
    "volatility": "volatility_features",
    "multi_timeframe": "regimes",
    "correlation": "correlation_features",
}


@dataclass(frozen=True)
class History:
    """Stored rows that a period's features are computed from.

    Attributes
    ----------
    symbols
        Symbols that are computed, in the order of the configuration.
    """

    warehouse: Warehouse
    settings: Settings
    period: Window
    symbols: tuple[str, ...]

    def compute(self, section: str, params: Parameters) -> FeatureResult:
        """Rows and events of the period with these parameters.

        Raises
        ------
        KeyError
            If no feature has such a section.
        TypeError
            If the parameters are not of that section.
        """
        match section, params:
            case "liquidation", LiquidationParameters():
                return liquidation_cascade.compute_liquidation_metrics(
                    self._market_since(liquidation_cascade.lookback(params)),
                    params,
                    window=self.period,
                    liquidations=self.liquidations,
                    perp_volume=self.perp_volume,
                    zones=False,
                )
            case "funding", FundingParameters():
                return funding_anomaly.compute_funding_metrics(
                    self._market_since(funding_anomaly.lookback(params)),
                    params,
                    window=self.period,
                    funding_rates=self.funding_rates,
                )
            case "volatility", VolatilityParameters():
                market = self._market_since(volatility_regime.lookback(params))
                return volatility_regime.compute_volatility_features(market, params, window=self.period)
            case "multi_timeframe", MultiTimeframeParameters():
                return multi_timeframe.compute_multi_timeframe_regimes(
                    self._market_since(multi_timeframe.lookback(params)),
                    params,
                    window=self.period,
                    funding_features=self.funding_scores,
                )
            case "correlation", CorrelationParameters():
                return correlation_engine.compute_pairwise_correlations(
                    self._market_since(correlation_engine.lookback(params)),
                    params,
                    window=self.period,
                    symbols=self.symbols,
                )
        if section not in TABLES:
            raise KeyError(f"no feature has a section [{section}]; there are {', '.join(TABLES)}")
        raise TypeError(f"[{section}] takes other parameters than {type(params).__name__}")

    def _market_since(self, back: timedelta) -> pd.DataFrame:
        since = self.period.start - back - WARM_UP
        return self.market[self.market["ts"] > since].reset_index(drop=True)

    @cached_property
    def market(self) -> pd.DataFrame:
        """Rows of ``market_metrics`` from the longest lookback on."""
        longest = max(
            volatility_regime.lookback(self.settings.volatility),
            liquidation_cascade.lookback(self.settings.liquidation),
            funding_anomaly.lookback(self.settings.funding),
            multi_timeframe.lookback(self.settings.multi_timeframe),
            correlation_engine.lookback(self.settings.correlation),
        )
        window = Window(self.period.start - longest - WARM_UP, self.period.end)
        return self.warehouse.read("market_metrics", window=window, symbols=self.symbols)

    @cached_property
    def liquidations(self) -> pd.DataFrame:
        """Hourly liquidations of the listed venues."""
        rows = self.warehouse.read("liquidations", symbols=self.symbols)
        listed = rows["venue"].isin(self.settings.sources.liquidations) & (rows["ts"] <= self.period.end)
        return rows[listed].reset_index(drop=True)

    @cached_property
    def funding_rates(self) -> pd.DataFrame:
        """Settlements up to the end of the period."""
        rows = self.warehouse.read("funding_rates", symbols=self.symbols)
        return rows[rows["ts"] <= self.period.end].reset_index(drop=True)

    @cached_property
    def perp_volume(self) -> pd.DataFrame:
        """Daily perpetual volume of the listed venues."""
        listed = {"venue": self.settings.sources.liquidations}
        return self.warehouse.read("perp_volume_usd", symbols=self.symbols, where=listed)

    @cached_property
    def funding_scores(self) -> pd.DataFrame:
        """Stored funding scores, which enter the heat of a regime."""
        columns = list(multi_timeframe.FUNDING_COLUMNS)
        rows = self.warehouse.read("funding_features", symbols=self.symbols, columns=columns)
        return rows[rows["ts"] <= self.period.end].reset_index(drop=True)
