"""A platform on a real database: settings as a user would write them, a Dagster instance in the same server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from regimes_dagster.definitions import build_defs
from regimes_dagster.embedded import EmbeddedServer
from regimes_dagster.instance import dagster_instance
from regimes_dagster.platform import Platform
from regimes_dagster.settings import Settings, load_settings
from tests.conftest import fresh_database

MakeSettings = Callable[..., Settings]

SIMULATED = {
    "REGIMES_SOURCES__OHLCV": '["simulated"]',
    "REGIMES_SOURCES__FUNDING": '["simulated"]',
    "REGIMES_SOURCES__LIQUIDATIONS": '["simulated"]',
    "REGIMES_SOURCES__SIMULATED__START": "2024-01-01",
    "REGIMES_HISTORY_START": "2024-01-01",
}


@pytest.fixture
def make_settings(database_url: str, tmp_path: Path) -> MakeSettings:
    """Settings on this test's database; keyword arguments are environment variables."""

    def make(**variables: str) -> Settings:
        return load_settings(
            environ={"DB_URL": database_url, "REGIMES_HOME": str(tmp_path / "home"), **SIMULATED, **variables},
            cwd=tmp_path,
        )

    return make


@pytest.fixture
def instance(make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Dagster's instance in this test's database."""
    with dagster_instance(make_settings()) as opened:
        yield opened


@pytest.fixture(scope="session")
def recorded(
    postgres: EmbeddedServer, acceptance: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Settings, Platform]]:
    """The recorded history, backfilled once through Dagster in one run over 24 months."""
    from regimes_dagster.commands.backfill import run_months

    folder = tmp_path_factory.mktemp("recorded")
    for url in fresh_database(postgres):
        settings = load_settings(
            environ={
                "DB_URL": url,
                "REGIMES_HOME": str(folder / "home"),
                "REGIMES_HISTORY_START": "2023-01-01",
                "REGIMES_SOURCES__OHLCV": '["files"]',
                "REGIMES_SOURCES__FUNDING": '["files"]',
                "REGIMES_SOURCES__LIQUIDATIONS": '["files"]',
                "REGIMES_SOURCES__FILES__PATH": str(acceptance),
            },
            cwd=folder,
        )
        platform = Platform(settings)
        with dagster_instance(settings) as opened:
            outcome = run_months(build_defs(settings, platform), opened, "2023-01-01", "2024-12-31")
        assert outcome.success, outcome.error
        assert outcome.months == 24
        assert outcome.failed_checks == []
        yield settings, platform
        platform.engine.dispose()
