"""What is known to be out of date: models and months that were computed before their inputs changed."""

from typing import Any

import dagster as dg
import pandas as pd
import sqlalchemy as sa

from regimes_dagster.commands.backfill import run_months
from regimes_dagster.definitions import build_defs
from regimes_dagster.jobs import QUIET, range_tags
from regimes_dagster.platform import Platform
from tests.integration.pipeline.conftest import MakeSettings

FORECAST = ["symbol", "ts", "vol_forecast_24h", "forecast_model", "vol_pctl_90d", "half_life_days"]


def stale(platform: Platform) -> set[tuple[str, str]]:
    with platform.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT table_name, partition_key FROM stale_partitions"))
        return {(row.table_name, row.partition_key) for row in rows}


def test_history_that_arrives_later_replaces_models_that_were_fitted_without_it(
    make_settings: MakeSettings, instance: Any
) -> None:
    settings = make_settings(REGIMES_SYMBOLS='["BTC/USDT"]')
    platform = Platform(settings)
    definitions = build_defs(settings, platform)
    assert run_months(definitions, instance, "2024-06-01", "2024-06-01").success  # the first hourly run
    before = platform.warehouse.read("volatility_features", columns=FORECAST)
    assert set(before["forecast_model"].dropna()) == {"EWMA"}
    assert run_months(definitions, instance, "2024-01-01", "2024-06-01").success  # the backfill after it
    after = platform.warehouse.read("volatility_features", columns=FORECAST)
    june = after[after["ts"] > "2024-06-02"]
    assert set(june["forecast_model"].dropna()) == {"HAR"}
    with platform.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM volatility_models"))
    assert run_months(definitions, instance, "2024-01-01", "2024-06-01").success
    pd.testing.assert_frame_equal(platform.warehouse.read("volatility_features", columns=FORECAST), after, rtol=1e-12)


def test_a_revised_bar_marks_the_months_after_it_until_they_are_computed_again(
    make_settings: MakeSettings, instance: Any
) -> None:
    settings = make_settings(REGIMES_SYMBOLS='["BTC/USDT", "ETH/USDT"]')
    platform = Platform(settings)
    definitions = build_defs(settings, platform)
    assert run_months(definitions, instance, "2024-01-01", "2024-03-01").success
    assert stale(platform) == set()
    with platform.engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE ohlcv SET high = high * 1.2, close = close * 1.1 "
                "WHERE ts = '2024-01-20 12:00+00' AND symbol = 'BTC/USDT'"
            )
        )
    job = definitions.resolve_job_def("hourly")
    computed = [key for key in job.asset_layer.executable_asset_keys if key != dg.AssetKey("ohlcv")]

    def run(first: str, last: str) -> None:
        assert job.execute_in_process(
            instance=instance, asset_selection=computed, tags=range_tags(first, last), run_config=QUIET
        ).success

    run("2024-01-01", "2024-01-01")
    marked = stale(platform)
    assert {month for _table, month in marked} == {"2024-02-01", "2024-03-01"}
    assert {table for table, _month in marked} == {
        "volatility_features", "liquidation_features", "liquidation_zones", "funding_features", "regimes",
        "correlation_features",
    }  # fmt: skip
    run("2024-02-01", "2024-03-01")
    assert stale(platform) == set()
