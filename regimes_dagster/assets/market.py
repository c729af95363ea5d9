"""The joined asset: one row per symbol and hour, which every feature reads.

What belongs here: reading the raw tables with the join's lookback. What does not: the join itself
(``features/market_metrics.py``).
"""

import dagster as dg
import pandas as pd
from dagster import AssetExecutionContext

from regimes_dagster.assets.declare import JOINED, Declare
from regimes_dagster.assets.run import run_window
from regimes_dagster.features.market_metrics import join_market_metrics, lookback
from regimes_dagster.platform import Platform
from regimes_dagster.resources.warehouse import StoredTable


def market_assets(declare: Declare) -> list[dg.AssetsDefinition]:
    """``market_metrics``."""

    @declare(group=JOINED, code_version="1")
    def market_metrics(
        context: AssetExecutionContext,
        platform: dg.ResourceParam[Platform],
        ohlcv: StoredTable,
        funding_rates: StoredTable,
        liquidations: StoredTable,
    ) -> pd.DataFrame:
        """One row per symbol and hour: the bar of the first venue that has one, funding in force, liquidations.

        Hours without a bar keep a row whose bar is null: gaps are marked, never filled.
        """
        window = run_window(context, platform)
        venues = {kind: platform.settings.sources.of(kind) for kind in ("ohlcv", "funding", "liquidations")}
        return join_market_metrics(
            ohlcv.read(),
            funding_rates.read(back=lookback()),
            liquidations.read(back=lookback()),
            window=window,
            first_hours=platform.first_hours("ohlcv"),
            venues=venues,
        )

    return [market_metrics]
