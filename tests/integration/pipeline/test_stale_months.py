"""Changed parameters and rewritten months: what no longer fits is found, named and computed again."""

from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from regimes_dagster.commands.backfill import backfill, run_months
from regimes_dagster.definitions import build_defs
from regimes_dagster.platform import Platform
from regimes_dagster.stale import stale_months
from tests.integration.pipeline.conftest import SIMULATED, MakeSettings

BEFORE, AFTER = "0.05", "0.06"


def command(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, **variables: str) -> Any:
    for name, value in {**SIMULATED, "DB_URL": url, "REGIMES_HOME": str(tmp_path / "home"), **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return CliRunner().invoke(backfill, list(arguments), catch_exceptions=True, standalone_mode=True)


def test_changed_parameters_make_their_months_stale_and_a_backfill_mends_them(
    make_settings: MakeSettings, instance: Any, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings()
    platform = Platform(settings)
    assert run_months(build_defs(settings, platform), instance, "2024-01-01", "2024-03-01").success
    assert stale_months(platform.warehouse, settings) == []

    changed = make_settings(REGIMES_VOLATILITY__HIGH_VOL_THRESHOLD=AFTER)
    found = stale_months(platform.warehouse, changed)
    assert {(month.table, month.partition_key) for month in found} == {
        ("volatility_features", key) for key in ("2024-01-01", "2024-02-01", "2024-03-01")
    }
    regimes = platform.warehouse.read("regimes")

    change = {"REGIMES_VOLATILITY__HIGH_VOL_THRESHOLD": AFTER}
    named = command(database_url, tmp_path, monkeypatch, "--stale", "--dry-run", **change)
    assert named.exit_code == 0, named.output
    assert "volatility_features" in named.output
    assert "3 months, 2024-01 to 2024-03: computed with other parameters" in named.output
    assert len(stale_months(platform.warehouse, changed)) == 3

    mended = command(database_url, tmp_path, monkeypatch, "--stale", **change)
    assert mended.exit_code == 0, mended.output
    assert "No month is stale any more" in mended.output
    assert stale_months(platform.warehouse, changed) == []
    assert platform.warehouse.distinct("volatility_features", "config_hash") == [changed.volatility.config_hash()]
    assert platform.warehouse.read("regimes").equals(regimes)
    assert command(database_url, tmp_path, monkeypatch, "--stale", **change).output.strip() == "No month is stale."


def test_a_marked_month_is_computed_again_and_its_mark_goes(
    make_settings: MakeSettings, instance: Any, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings()
    platform = Platform(settings)
    assert run_months(build_defs(settings, platform), instance, "2024-01-01", "2024-02-01").success
    with platform.engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO stale_partitions VALUES ('funding_features', '2024-02-01', 'for the test', now())")
        )
        connection.execute(sa.text("DELETE FROM regimes WHERE ts <= '2024-01-10' AND symbol = 'BTC/USDT'"))
    found = {(month.table, month.partition_key, month.reason) for month in stale_months(platform.warehouse, settings)}
    assert found == {
        ("funding_features", "2024-02-01", "for the test"),
        ("regimes", "2024-01-01", "joined hours have no row"),
    }
    assert command(database_url, tmp_path, monkeypatch, "--stale").exit_code == 0
    assert stale_months(platform.warehouse, settings) == []


def test_rows_of_a_symbol_that_was_removed_are_left_alone(make_settings: MakeSettings, instance: Any) -> None:
    settings = make_settings()
    platform = Platform(settings)
    assert run_months(build_defs(settings, platform), instance, "2024-01-01", "2024-01-01").success
    fewer = make_settings(
        REGIMES_SYMBOLS='["BTC/USDT", "ETH/USDT"]', REGIMES_VOLATILITY__HIGH_VOL_THRESHOLD=AFTER,
        REGIMES_CORRELATION__BREAK_Z="-3.0",
    )  # fmt: skip
    assert run_months(build_defs(fewer, Platform(fewer)), instance, "2024-01-01", "2024-01-01").success
    assert stale_months(platform.warehouse, fewer) == []


@pytest.mark.parametrize("arguments", [["--stale", "--from", "2024-01"], ["--dry-run", "--from", "2024-01"]])
def test_options_that_contradict_each_other_are_refused(
    arguments: list[str], database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = command(database_url, tmp_path, monkeypatch, *arguments)
    assert found.exit_code == click.UsageError.exit_code


def test_without_from_a_backfill_starts_where_the_history_does(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = command(database_url, tmp_path, monkeypatch, "--to", "2024-02")
    assert found.exit_code == 0, found.output
    assert "2 months, 2024-01 to 2024-02, BTC/USDT, ETH/USDT, SOL/USDT" in found.output
