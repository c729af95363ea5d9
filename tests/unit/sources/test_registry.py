"""From the lists in the settings to sources."""

from pathlib import Path

from regimes_dagster.partitions import utc
from regimes_dagster.settings import load_settings
from regimes_dagster.sources.files import FilesSource
from regimes_dagster.sources.registry import build_sources
from regimes_dagster.sources.simulated import SimulatedSource


def test_sources_come_in_the_configured_order_and_venues_share_one_client(tmp_path: Path) -> None:
    settings = load_settings({}, tmp_path, overrides={"sources": {"ohlcv": ["coinbaseexchange", "binanceus"]}})
    first, second = build_sources(settings, "ohlcv"), build_sources(settings, "ohlcv")
    assert [source.name for source in first] == ["coinbaseexchange", "binanceus"]
    assert [a.client is b.client for a, b in zip(first, second, strict=True)] == [True, True]  # type: ignore[attr-defined]


def test_files_are_built_from_their_section(tmp_path: Path) -> None:
    overrides = {"sources": {"ohlcv": ["files"], "files": {"path": str(tmp_path)}}}
    (files,) = build_sources(load_settings({}, tmp_path, overrides=overrides), "ohlcv")
    assert isinstance(files, FilesSource)
    assert files.path == tmp_path


def test_the_simulated_market_is_built_from_its_section(tmp_path: Path) -> None:
    every = {key: ["simulated"] for key in ("ohlcv", "funding", "liquidations")}
    settings = load_settings({}, tmp_path, overrides={"sources": every | {"simulated": {"seed": 5, "gaps": False}}})
    (simulated,) = build_sources(settings, "ohlcv")
    assert isinstance(simulated, SimulatedSource)
    assert (simulated.seed, simulated.start, simulated.gaps) == (5, utc(settings.history_start), False)
