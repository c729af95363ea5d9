"""One Dagster run over the simulated market: what it writes, twice over, and what it leaves when a part fails."""

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from regimes_dagster.commands.backfill import run_months
from regimes_dagster.definitions import build_defs
from regimes_dagster.logs import configure_logging
from regimes_dagster.partitions import utc
from regimes_dagster.platform import Platform
from regimes_dagster.schemas import DERIVED_TABLES
from tests.integration.pipeline.conftest import MakeSettings

#: Tables with rows of each symbol.
OF_A_SYMBOL = ("ohlcv", "funding_rates", "liquidations", "market_metrics", "volatility_features", "regimes", "alerts")
DERIVED = [str(model.to_schema().name) for model in DERIVED_TABLES]


def row_versions(engine: sa.Engine) -> dict[str, list[tuple[Any, ...]]]:
    """Which transaction wrote each row: equal versions mean that no row was touched."""
    with engine.connect() as connection:
        return {
            name: sorted(
                tuple(row) for row in connection.execute(sa.text(f"SELECT xmin::text, ctid::text FROM {name}"))
            )
            for name in [*DERIVED, "ohlcv", "funding_rates", "liquidations", "episode_events", "alerts"]
        }


def test_running_a_partition_twice_changes_no_row(make_settings: MakeSettings, instance: Any) -> None:
    settings = make_settings()
    platform = Platform(settings)
    definitions = build_defs(settings, platform)
    assert run_months(definitions, instance, "2024-01-01", "2024-02-01").success
    before = row_versions(platform.engine)
    assert len(before["market_metrics"]) > 4000
    assert len(before["volatility_features"]) == len(before["market_metrics"])
    assert run_months(definitions, instance, "2024-01-01", "2024-02-01").success
    assert row_versions(platform.engine) == before


def test_month_by_month_gives_the_same_rows_as_one_run(make_settings: MakeSettings, instance: Any) -> None:
    settings = make_settings()
    platform = Platform(settings)
    definitions = build_defs(settings, platform)
    assert run_months(definitions, instance, "2024-01-01", "2024-03-01").success
    together = {name: platform.warehouse.read(name) for name in [*DERIVED, "episode_events"]}
    with platform.engine.begin() as connection:
        for name in [*DERIVED, "episode_events", "engine_state", "volatility_models", "alert_deliveries", "alerts"]:
            connection.execute(sa.text(f"DELETE FROM {name}"))
    for month in ("2024-01-01", "2024-02-01", "2024-03-01"):
        assert run_months(definitions, instance, month, month).success
    for name, expected in together.items():
        pd.testing.assert_frame_equal(platform.warehouse.read(name), expected, rtol=1e-12, obj=name)


def test_a_symbol_added_later_gets_its_whole_history_without_touching_the_others(
    make_settings: MakeSettings, instance: Any
) -> None:
    two = make_settings(REGIMES_SYMBOLS='["BTC/USDT", "ETH/USDT"]')
    three = make_settings(REGIMES_SYMBOLS='["BTC/USDT", "ETH/USDT", "SOL/USDT"]')
    assert run_months(build_defs(two), instance, "2024-01-01", "2024-02-01").success
    platform = Platform(three)
    before = platform.warehouse.read("market_metrics", symbols=["BTC/USDT"])

    def asked() -> pd.DataFrame:
        """When each kind of data of the two was asked for; asking again moves ``checked_at``."""
        return platform.warehouse.read("source_coverage", symbols=["BTC/USDT", "ETH/USDT"])

    asked_before = asked()
    assert set(asked_before["kind"]) >= {"ohlcv", "funding", "liquidations"}
    assert run_months(build_defs(three, platform), instance, "2024-01-01", "2024-02-01").success
    after = platform.warehouse.read("market_metrics")
    pd.testing.assert_frame_equal(after[after["symbol"] == "BTC/USDT"].reset_index(drop=True), before)
    assert (after["symbol"] == "SOL/USDT").sum() > 1400
    pd.testing.assert_frame_equal(asked(), asked_before)
    kept = {name: (platform.warehouse.read(name)["symbol"] == "SOL/USDT").sum() for name in OF_A_SYMBOL}
    assert all(kept.values()), kept
    assert run_months(build_defs(two), instance, "2024-01-01", "2024-02-01").success
    assert {name: (platform.warehouse.read(name)["symbol"] == "SOL/USDT").sum() for name in OF_A_SYMBOL} == kept


def test_every_partition_says_what_it_holds(make_settings: MakeSettings, instance: Any) -> None:
    import dagster as dg

    settings = make_settings()
    assert run_months(build_defs(settings), instance, "2024-01-01", "2024-02-01").success
    for asset in ("ohlcv", "market_metrics", "volatility_features"):
        events = instance.fetch_materializations(dg.AssetKey(asset), limit=10).records
        found = {record.partition_key: record.asset_materialization.metadata for record in events}
        assert set(found) == {"2024-01-01", "2024-02-01"}
        rows = {key: metadata["dagster/partition_row_count"].value for key, metadata in found.items()}
        assert rows["2024-01-01"] != rows["2024-02-01"]
        assert all(count > 2000 for count in rows.values())


def test_the_guides_grep_finds_every_feature_and_a_backfill_does_not_flood_the_log(
    make_settings: MakeSettings, instance: Any, tmp_path: Path
) -> None:
    """The guide follows a feature by `grep "\\[CASCADE\\]\\|\\[FUND\\]\\|\\[VOL\\]" <logfile>`."""
    file = tmp_path / "logs" / "regimes.log"
    configure_logging({}, stream=io.StringIO(), file=file)
    try:
        assert run_months(build_defs(make_settings()), instance, "2024-01-01", "2024-03-01").success
    finally:
        configure_logging({})
    lines = file.read_text().splitlines()
    for tag, times in (("MKT", 3), ("VOL", 1), ("CASCADE", 1), ("FUND", 1), ("MTF", 1), ("CORR", 1)):
        mine = [line for line in lines if f"[{tag}]" in line]
        assert times <= len(mine) <= times + 8, (tag, mine)


def test_the_newest_hour_of_the_running_month_is_the_last_row(make_settings: MakeSettings, instance: Any) -> None:
    settings = make_settings()
    platform = Platform(settings)
    platform.clock.declare(utc("2024-02-10 05:30"), "test")
    assert run_months(build_defs(settings, platform), instance, "2024-02-01", "2024-02-01").success
    assert platform.newest_joined_hour() == utc("2024-02-10 05:00")


def test_a_broken_file_stops_nothing_and_is_named(make_settings: MakeSettings, instance: Any, tmp_path: Any) -> None:
    folder = tmp_path / "history"
    folder.mkdir()
    (folder / "ohlcv.csv").write_text(
        "open_time,symbol,open,high,low,close,volume\n2024-01-01T00:00Z,BTC/USDT,1,2,0.5,banana,3\n"
    )
    settings = make_settings(
        REGIMES_SOURCES__OHLCV='["files"]', REGIMES_SOURCES__FILES__PATH=str(folder), REGIMES_SYMBOLS='["BTC/USDT"]'
    )
    outcome = run_months(build_defs(settings), instance, "2024-01-01", "2024-01-01")
    assert outcome.success
    assert any("banana" in check and "ohlcv.csv" in check for check in outcome.failed_checks), outcome.failed_checks


@pytest.mark.parametrize("symbols", ["DOGE/USDT", "BTC/USDT,PEPE/USDT"])
def test_a_symbol_that_is_not_configured_is_refused_by_name(
    make_settings: MakeSettings, instance: Any, symbols: str
) -> None:
    outcome = run_months(
        build_defs(make_settings()), instance, "2024-01-01", "2024-01-01", tags={"regimes/symbols": symbols}
    )
    assert not outcome.success
    assert "is not configured" in str(outcome.error)
