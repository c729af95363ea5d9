"""The first history: without a network it is refused at once and plainly, and it is not forgotten afterwards."""

import re
import socket
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from regimes_dagster.commands.backfill import backfill, run_months
from regimes_dagster.definitions import build_defs
from regimes_dagster.first_history import COMPUTED, history_to_do, nobody_answers
from regimes_dagster.instance import dagster_instance
from regimes_dagster.platform import Platform
from regimes_dagster.settings import load_settings
from tests.integration.pipeline.conftest import MakeSettings

SYMBOLS = '["BTC/USDT", "ETH/USDT"]'


@pytest.fixture
def nowhere() -> str:
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def offline(url: str) -> dict[str, str]:
    return {
        "REGIMES_SYMBOLS": SYMBOLS,
        "REGIMES_SOURCES__OHLCV": '["binanceus", "kraken"]',
        "REGIMES_SOURCES__CCXT": (
            f'{{"binanceus": {{"urls": {{"api": {{"public": "{url}"}}}}}}, '
            f'"kraken": {{"urls": {{"api": {{"public": "{url}"}}}}}}}}'
        ),
    }


def test_without_a_network_the_backfill_says_so_in_a_few_lines_and_asks_each_venue_once(
    database_url: str, tmp_path: Path, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"DB_URL": database_url, "REGIMES_HOME": str(tmp_path / "home"), **offline(nowhere)}.items():
        monkeypatch.setenv(name, value)
    shown = CliRunner().invoke(backfill, [])
    assert shown.exit_code == 1
    assert "none of the venues in [sources] ohlcv can be reached" in shown.output
    assert "Is this machine online?" in shown.output
    assert re.search(r"^  binanceus .*\n  kraken ", shown.output, re.MULTILINE)
    assert len(shown.output.splitlines()) < 8
    assert max(map(len, shown.output.splitlines())) < 320
    platform = Platform(load_settings())
    with platform.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT venue, symbol, state FROM source_status ORDER BY 1, 2")).all()
        runs = connection.execute(sa.text("SELECT count(*) FROM source_coverage")).scalar()
    platform.engine.dispose()
    assert [tuple(row) for row in rows] == [
        ("binanceus", "BTC/USDT", "OUTAGE"), ("binanceus", "ETH/USDT", "OUTAGE"),
        ("kraken", "BTC/USDT", "OUTAGE"), ("kraken", "ETH/USDT", "OUTAGE"),
    ]  # fmt: skip
    assert runs == 0


def test_history_that_is_there_is_computed_again_without_a_network(make_settings: MakeSettings, nowhere: str) -> None:
    platform = Platform(make_settings(**offline(nowhere)))
    assert nobody_answers(platform, []) is None


def test_own_files_need_nobody_to_answer(make_settings: MakeSettings, nowhere: str) -> None:
    given = offline(nowhere) | {"REGIMES_SOURCES__OHLCV": '["files", "kraken"]', "REGIMES_SOURCES__FILES__PATH": "."}
    assert nobody_answers(Platform(make_settings(**given)), ["BTC/USDT"]) is None


def test_a_history_is_to_do_until_it_is_fetched_and_computed(make_settings: MakeSettings) -> None:
    settings = make_settings(REGIMES_SYMBOLS='["BTC/USDT"]')
    platform = Platform(settings)
    assert history_to_do(platform) == ["BTC/USDT"]
    with dagster_instance(settings) as instance:
        assert run_months(build_defs(settings, platform), instance, "2024-01-01", "2024-02-29").success
    assert history_to_do(platform) == []
    for table in COMPUTED:
        with platform.engine.begin() as connection:
            connection.execute(sa.text(f"UPDATE {table} SET ts = ts + interval '1000 days'"))
        assert history_to_do(platform) == ["BTC/USDT"], f"a backfill killed before {table}"
        with platform.engine.begin() as connection:
            connection.execute(sa.text(f"UPDATE {table} SET ts = ts - interval '1000 days'"))
    added = Platform(make_settings(REGIMES_SYMBOLS=SYMBOLS))
    assert history_to_do(added) == ["ETH/USDT"]
