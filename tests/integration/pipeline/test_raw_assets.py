"""What a run says about its fetch: which venue served, which could not and why, and how far a long one is."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from dagster import AssetKey

from regimes_dagster.assets import raw
from regimes_dagster.assets.features import _daily_volume
from regimes_dagster.commands.backfill import run_months
from regimes_dagster.definitions import build_defs
from regimes_dagster.instance import dagster_instance
from regimes_dagster.partitions import Window, utc
from regimes_dagster.platform import Platform
from regimes_dagster.settings import load_settings
from regimes_dagster.sources.frames import empty, joined, table_frame
from regimes_dagster.sources.protocol import Batch, GeoBlocked, Kind
from regimes_dagster.sources.simulated import SimulatedSource
from regimes_dagster.storage import Write
from tests.integration.pipeline.conftest import SIMULATED


class Blocked:
    """A venue that refuses this address."""

    name, kinds, always_read = "binanceus", frozenset({"ohlcv"}), False

    def fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        raise GeoBlocked(self.name, symbol, "the venue refuses this address (HTTP 451)", requests=1)


def test_the_run_names_the_venue_that_served_and_the_one_that_could_not_and_shows_its_progress(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "PROGRESS_SECONDS", 0.0)
    environment = {**SIMULATED, "DB_URL": database_url, "REGIMES_HOME": str(tmp_path / "home")}
    settings = load_settings(environ=environment, cwd=tmp_path)
    platform = Platform(settings, sources=lambda _, __: [Blocked(), SimulatedSource(7)])
    platform.clock.declare(utc("2024-03-20 05:10"), "test")
    said: list[tuple[str, int, int]] = []

    def fetching(what: str, done: int, total: int) -> None:
        said.append((what, done, total))

    with dagster_instance(settings) as instance:
        definitions = build_defs(settings, platform)
        outcome = run_months(definitions, instance, "2024-02-01", "2024-03-20", assets=["ohlcv"], fetching=fetching)
        assert outcome.success
        event: Any = instance.get_latest_materialization_event(AssetKey("ohlcv"))
        metadata = event.asset_materialization.metadata
        stored = platform.warehouse.read("ohlcv")
        assert metadata["rows_by_venue"].value == {"simulated": len(stored)}
        assert metadata["requests"].value == 1, "a block is found out once"
        assert metadata["failed_symbols"].value == {}
        lines = [record.user_message for record in instance.all_logs(outcome.run_id)]
        blocked = [line for line in lines if "binanceus GEO_BLOCKED" in line]
        assert len(blocked) == 1
        assert all(symbol in blocked[0] for symbol in settings.symbols)
    platform.engine.dispose()
    months = 2 * len(settings.symbols)
    assert [(done, total) for _, done, total in said] == [(number + 1, months) for number in range(months)]
    assert said[0][0] == f"ohlcv {settings.symbols[0]} 2024-02"


def test_the_volume_of_a_venue_that_is_not_listed_scales_no_floor(database_url: str, tmp_path: Path) -> None:
    """Its liquidations are not summed either; a venue taken off the list would have scaled the floors for a month."""
    environment = {**SIMULATED, "DB_URL": database_url, "REGIMES_HOME": str(tmp_path / "home")}
    platform = Platform(load_settings(environ=environment, cwd=tmp_path))
    day = {"symbol": "BTC/USDT", "ts": [utc("2024-03-02")], "volume_usd": [1e9]}
    rows = [table_frame("perp_volume_usd", day | {"venue": venue}) for venue in ("simulated", "okx")]
    platform.warehouse.write([Write("perp_volume_usd", joined("perp_volume_usd", rows))])
    march = Window(utc("2024-03-01"), utc("2024-04-01"))
    assert list(_daily_volume(platform, None, march)["venue"]) == ["simulated"]
    # The scale looks back 30 days from the first hour.
    assert len(_daily_volume(platform, utc("2024-04-01"), Window(utc("2024-05-01"), utc("2024-06-01")))) == 1
    assert _daily_volume(platform, utc("2024-04-10"), Window(utc("2024-05-10"), utc("2024-06-01"))).empty
    platform.engine.dispose()


def test_troubles_of_many_symbols_are_one_line() -> None:
    one = {
        "kind": "ohlcv", "venue": "kraken", "state": "UNKNOWN_SYMBOL", "last_ok_at": [pd.NaT] * 7,
        "last_error_class": "UnknownSymbol", "message": "not listed", "in_use": False,
    }  # fmt: skip
    fine = one | {"symbol": ["X/USDT"], "state": "OK", "last_ok_at": [pd.NaT]}
    bad = table_frame("source_status", one | {"symbol": [f"C{number}/USDT" for number in range(7)]})
    (line,) = raw.troubles(joined("source_status", [bad, table_frame("source_status", fine)]))
    assert line == ("kraken UNKNOWN_SYMBOL for C0/USDT, C1/USDT, C2/USDT, C3/USDT, C4/USDT and 2 more: not listed")
    assert raw.troubles(empty("source_status")) == []
