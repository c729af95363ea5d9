"""The asset checks: each question turned wrong once on a real database, and the answers Dagster gets."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa

from regimes_dagster.checks import ABOUT_NOW, CONTRACT, CONTRACT_STEPS, QUESTIONS
from regimes_dagster.commands.backfill import run_months
from regimes_dagster.data_health import alert_budget, completeness, freshness, liquidation_totals, venue_freshness
from regimes_dagster.definitions import build_defs
from regimes_dagster.embedded import EmbeddedServer
from regimes_dagster.instance import dagster_instance
from regimes_dagster.partitions import Window, utc
from regimes_dagster.platform import Platform
from regimes_dagster.schemas import DERIVED_TABLES, RAW_TABLES, TABLES
from regimes_dagster.settings import Settings, load_settings
from regimes_dagster.stored_rules import look, rules
from tests.conftest import fresh_database
from tests.integration.pipeline.conftest import SIMULATED

NOW = utc("2024-03-20 05:10")
MARCH = Window(utc("2024-03-01"), utc("2024-04-01"))
TABLE_NAMES = [str(model.to_schema().name) for model in (*RAW_TABLES, *DERIVED_TABLES)]


def settings_on(url: str, folder: Path) -> Settings:
    return load_settings(environ={**SIMULATED, "DB_URL": url, "REGIMES_HOME": str(folder / "home")}, cwd=folder)


@pytest.fixture(scope="module")
def template(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name of a database with three months up to NOW, made once and copied for each test."""
    folder = tmp_path_factory.mktemp("checks")
    for url in fresh_database(postgres):
        settings = settings_on(url, folder)
        platform = Platform(settings)
        platform.clock.declare(NOW, "test")
        with dagster_instance(settings) as instance:
            assert run_months(build_defs(settings, platform), instance, "2024-01-01", "2024-03-20").success
        platform.engine.dispose()
        yield str(platform.engine.url.database)


@pytest.fixture
def filled(postgres: EmbeddedServer, template: str, tmp_path: Path) -> Iterator[tuple[Settings, Platform, Any]]:
    """A copy of the three months of its own."""
    for url in fresh_database(postgres, template):
        settings = settings_on(url, tmp_path)
        platform = Platform(settings)
        with dagster_instance(settings) as instance:
            yield settings, platform, instance
        platform.engine.dispose()


def change(platform: Platform, *statements: str) -> None:
    with platform.engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def evaluations(instance: Any, name: str) -> dict[str, Any]:
    found = {}
    for asset in (*RAW, "market_metrics", *FEATURES, "alerts"):
        key = dg.AssetCheckKey(dg.AssetKey(asset), name)
        records = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        if records:
            found[asset] = records[0].event.dagster_event.event_specific_data
    return found


RAW = CONTRACT_STEPS["raw_contracts"]
FEATURES = (*CONTRACT_STEPS["feature_contracts"], *CONTRACT_STEPS["funding_contract"])


@pytest.mark.parametrize("table", TABLE_NAMES)
def test_every_rule_of_every_table_has_a_translation(table: str) -> None:
    schema = TABLES[table].to_schema()
    expected = sum(len(column.checks) for column in schema.columns.values()) + len(schema.checks)
    assert len(rules(table)) >= expected


def test_a_good_month_passes_every_check_and_dagster_knows_the_figures(filled: Any) -> None:
    _settings, _platform, instance = filled
    contract = evaluations(instance, CONTRACT)
    assert set(contract) == {*RAW, "market_metrics", *FEATURES}
    for asset, check in contract.items():
        assert check.passed, (asset, check.description)
        assert check.blocking
        assert check.metadata["rows"].value > 0
    for (asset, name), _question in QUESTIONS.items():
        check = evaluations(instance, name)[asset]
        assert check.passed, (asset, name, check.description)
        assert not check.blocking
        assert all(isinstance(value.value, (int, float)) for value in check.metadata.values())
    assert {name for _asset, name in QUESTIONS} == set(ABOUT_NOW)


@pytest.mark.parametrize(
    ("table", "statement", "rule"),
    [
        ("ohlcv", "UPDATE ohlcv SET low = high + 1 WHERE ts = '2024-03-05'", "low <= open, close <= high"),
        ("ohlcv", "UPDATE ohlcv SET volume = 'NaN' WHERE ts = '2024-03-05'", "volume"),
        ("market_metrics", "UPDATE market_metrics SET ts = ts + interval '1 minute' WHERE ts = '2024-03-05'", "hour"),
        ("regimes", "UPDATE regimes SET heat = 7 WHERE ts = '2024-03-05'", "heat <= 1"),
        (
            "volatility_features",
            "UPDATE volatility_features SET regime = 'BORING' WHERE ts = '2024-03-05'",
            "regime IN",
        ),
    ],
)
def test_a_row_written_behind_the_platforms_back_is_found_and_named(
    filled: Any, table: str, statement: str, rule: str
) -> None:
    _settings, platform, _instance = filled
    change(platform, *_without_constraints(platform, table), statement)
    found = look(platform.warehouse, table, MARCH)
    assert sum(found.broken.values()) >= 1
    assert any(rule in name for name in found.broken), found.broken
    assert "backfill" in str(found)
    assert not look(platform.warehouse, table, Window(utc("2024-01-01"), utc("2024-02-01"))).broken


def _without_constraints(platform: Platform, table: str) -> list[str]:
    with platform.engine.connect() as connection:
        names = [check["name"] for check in sa.inspect(connection).get_check_constraints(table)]
    return [f'ALTER TABLE {table} DROP CONSTRAINT "{name}"' for name in names]


def test_rows_that_break_their_contract_stop_what_reads_them(filled: Any) -> None:
    settings, platform, instance = filled
    # A venue that is not listed is not fetched again, so the run does not heal the row before it is looked at.
    change(
        platform,
        *_without_constraints(platform, "ohlcv"),
        "INSERT INTO ohlcv SELECT 'kraken', symbol, ts, open, high, low, close, 'NaN', 0, is_simulated FROM ohlcv "
        "WHERE ts = '2024-03-05' AND symbol = 'BTC/USDT'",
    )
    before = platform.warehouse.read("market_metrics")
    outcome = run_months(build_defs(settings, platform), instance, "2024-03-01", "2024-03-20")
    assert not outcome.success
    assert any("volume" in text for text in outcome.failed_checks), outcome.failed_checks
    pd.testing.assert_frame_equal(platform.warehouse.read("market_metrics"), before)


def test_freshness_looks_at_the_newest_row_and_no_backfill_fools_it(filled: Any) -> None:
    settings, platform, instance = filled
    later = NOW + timedelta(hours=4)
    found = freshness(platform.warehouse, settings, later)
    assert not found.passed
    assert found.grave
    assert "BTC/USDT bars: 4 h 10 min old" in found.text
    platform.clock.declare(later, "test")
    outcome = run_months(build_defs(settings, platform), instance, "2024-01-01", "2024-01-01")
    assert outcome.success
    assert outcome.failed_checks == []  # the backfill itself is complete ...
    assert not evaluations(instance, "freshness")["market_metrics"].passed  # ... and today is still stale


def test_one_symbol_that_stands_still_is_named_alone(filled: Any) -> None:
    settings, platform, _instance = filled
    change(platform, "UPDATE market_metrics SET close = NULL WHERE symbol = 'ETH/USDT' AND ts > '2024-03-20 03:00'")
    found = freshness(platform.warehouse, settings, NOW)
    assert not found.passed
    assert "ETH/USDT bars" in found.text
    assert "BTC/USDT" not in found.text


def test_holes_are_counted_with_their_reason(filled: Any) -> None:
    settings, platform, _instance = filled
    base = completeness(platform.warehouse, settings, NOW)
    assert base.passed
    hole = "ts BETWEEN '2024-03-10 01:00' AND '2024-03-10 04:00'"
    change(platform, f"UPDATE market_metrics SET close = NULL WHERE symbol = 'SOL/USDT' AND {hole}")
    found = completeness(platform.warehouse, settings, NOW)
    assert found.passed, "every venue confirmed these hours, so they are facts about the market"
    assert "without a trade at any listed venue" in found.text
    assert found.figures["missing hours SOL/USDT"] >= base.figures["missing hours SOL/USDT"] + 3
    change(
        platform,
        "DELETE FROM source_coverage WHERE kind = 'ohlcv' AND symbol = 'SOL/USDT' AND start_ts >= '2024-03-01'",
        "UPDATE source_status SET state = 'GEO_BLOCKED' WHERE kind = 'ohlcv' AND symbol = 'SOL/USDT'",
    )
    found = completeness(platform.warehouse, settings, NOW)
    assert not found.passed
    assert "GEO_BLOCKED" in found.text


def test_single_liquidations_that_do_not_add_up_are_found(filled: Any) -> None:
    settings, platform, _instance = filled
    assert liquidation_totals(platform.warehouse, settings, NOW).passed
    change(platform, "UPDATE liquidation_events SET usd = usd * 1.2 WHERE symbol = 'BTC/USDT'")
    found = liquidation_totals(platform.warehouse, settings, NOW)
    assert not found.passed
    assert "simulated" in found.text


def test_a_venue_that_stopped_answering_is_named(filled: Any) -> None:
    settings, platform, _instance = filled
    change(platform, "UPDATE source_status SET state = 'RATE_LIMITED' WHERE kind = 'funding' AND symbol = 'BTC/USDT'")
    found = venue_freshness(platform.warehouse, settings, NOW, "funding")
    assert not found.passed
    assert "simulated: RATE_LIMITED (BTC/USDT)" in found.text


def test_neither_a_flood_of_alerts_nor_none_at_all_goes_unseen(filled: Any) -> None:
    settings, platform, _instance = filled
    assert alert_budget(platform.warehouse, settings, NOW).passed
    columns = ", ".join(name for name in TABLES["alerts"].to_schema().columns if name != "alert_id")
    change(
        platform,
        f"INSERT INTO alerts (alert_id, {columns}) SELECT a.alert_id || n, {columns} FROM generate_series(1, 40) n, "
        "(SELECT * FROM alerts WHERE ts > '2024-03-01' AND phase = 'OPEN' AND event_type = 'LIQUIDATION_CASCADE' "
        "AND (suppressed_reason IS NULL OR suppressed_reason = 'AGE') LIMIT 1) a",
    )
    flood = alert_budget(platform.warehouse, settings, NOW)
    assert not flood.passed
    assert "LIQUIDATION_CASCADE" in flood.text
    change(platform, "DELETE FROM alert_deliveries", "DELETE FROM alerts")
    silence = alert_budget(platform.warehouse, settings, NOW)
    assert not silence.passed
    assert "suspicious" in silence.text
