"""``regimes probe`` against venues that answer, refuse, are slow, or tell nonsense."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from regimes_dagster.clock import system_now
from regimes_dagster.commands.probe import probe as probe_command
from regimes_dagster.partitions import utc
from regimes_dagster.sources.archive_store import ArchiveStore
from regimes_dagster.sources.frames import milliseconds
from regimes_dagster.sources.probe import Probe, probe, probe_all, probe_archive, recommended
from tests.servers import funding, spot
from tests.servers.archive import funding_lines, write_zip
from tests.servers.http import BAD_GATEWAY, GEO_BLOCK, HTML, Fault, VenueServer

SYMBOL = "BTC/USDT"


def now() -> pd.Timestamp:
    return system_now()


@pytest.fixture
def server() -> Iterator[VenueServer]:
    with VenueServer() as server:
        spot.binance(server, spot.SpotMarket({"BTCUSDT": SYMBOL}, milliseconds(now())))
        funding.hyperliquid(server, funding.FundingMarket({"BTC": SYMBOL}, milliseconds(now()), 1))
        yield server


def options(server: VenueServer, venue: str) -> dict[str, Any]:
    urls = {"hyperliquid": {"public": server.url}}.get(venue, {"public": f"{server.url}/api/v3"})
    return {"urls": {"api": urls}, "enableRateLimit": False, "timeout": 500}


def test_a_venue_that_answers_shows_latency_rows_span_and_clock(server: VenueServer) -> None:
    found = probe("ohlcv", "binanceus", options(server, "binanceus"), SYMBOL, now)
    assert found.state == "OK"
    assert found.rows == 6
    assert found.last == now().floor("h")
    assert found.latency is not None
    assert found.latency < 30
    assert found.skew is not None
    assert abs(found.skew) < 5
    assert found.requests == 1


@pytest.mark.parametrize(
    ("fault", "state"),
    [(GEO_BLOCK, "GEO_BLOCKED"), (BAD_GATEWAY, "OUTAGE"), (HTML, "BAD_RESPONSE"), (Fault(hang=1.0), "OUTAGE")],
    ids=["geo", "502", "html", "slow"],
)
def test_a_venue_that_does_not_answer_is_asked_once(server: VenueServer, fault: Fault, state: str) -> None:
    server.fail_while(lambda _: True, fault)
    found = probe("ohlcv", "binanceus", options(server, "binanceus"), SYMBOL, now)
    assert found.state == state
    assert found.message
    assert len(server.log) == 1


def test_streams_are_named_and_not_asked() -> None:
    assert probe("liquidations", "okx", {}, SYMBOL, now).state == "STREAM"


def test_the_recommendation_keeps_the_order_of_preference_and_only_what_answers(server: VenueServer) -> None:
    found = list(
        probe_all(
            lambda venue: options(server, venue),
            SYMBOL,
            now,
            kinds=("ohlcv", "funding"),
            venues=("binanceus", "binance", "hyperliquid"),
        )
    )
    assert recommended(found) == {"ohlcv": ["binanceus", "binance"], "funding": ["hyperliquid"], "liquidations": []}


def test_a_clock_that_is_wrong_is_seen(server: VenueServer) -> None:
    found = probe("ohlcv", "binanceus", options(server, "binanceus"), SYMBOL, lambda: now() - pd.Timedelta(minutes=7))
    assert found.skew == pytest.approx(420, abs=5)


def test_the_command_prints_a_table_and_the_lists(
    server: VenueServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = f'{{ api = {{ public = "{server.url}/api/v3" }} }}'
    config = "".join(
        f"[sources.ccxt.{venue}]\nenableRateLimit = false\ntimeout = 500\nurls = {api}\n"
        for venue in ("binanceus", "binance")
    )
    (tmp_path / "regimes.toml").write_text(config)
    monkeypatch.chdir(tmp_path)
    server.fail_next(GEO_BLOCK)
    result = CliRunner().invoke(probe_command, ["--venue", "binanceus", "--venue", "okx"])
    assert "refuses this address" in result.output
    assert "stream only" in result.output
    assert "ohlcv        = []   # nobody answers from here" in result.output
    assert "liquidations = " not in result.output, "what was not asked is not recommended"
    assert result.exit_code == 1
    lines = CliRunner().invoke(probe_command, ["--venue", "binanceus", "--json"]).output.strip().splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["OK"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--venue", "nowhere"], ["nowhere cannot be asked", "hyperliquid"]),
        (["--symbol", "BTC"], ['"BTC", which is not a symbol', 'Did you mean "BTC/USDT"?']),
        (["--symbol", "btc/usdt"], ['Did you mean "BTC/USDT"?']),
        (["--symbol", ""], ["not a symbol"]),
    ],
)
def test_wrong_options_are_refused_with_what_is_allowed(
    arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(probe_command, arguments)
    assert result.exit_code == 2
    for word in words:
        assert word in " ".join(result.output.split())


def test_the_archive_is_asked_for_funding_that_has_long_been_published(tmp_path: Path) -> None:
    def moment() -> pd.Timestamp:
        return utc("2025-03-03 10:01")

    store = ArchiveStore(str(tmp_path), tmp_path / "cache")
    assert probe_archive(store, SYMBOL, moment).state == "UNKNOWN_SYMBOL"
    stamps = range(milliseconds(utc("2025-01-01")), milliseconds(utc("2025-02-01")), 8 * 3_600_000)
    path = "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2025-01.zip"
    write_zip(tmp_path, path, funding_lines(SYMBOL, stamps))
    found = probe_archive(store, SYMBOL, moment)
    assert (found.state, found.rows) == ("OK", 9)
    assert recommended([Probe("funding", "deribit", "OK"), found])["funding"] == ["deribit", "archive"]
    assert probe_archive(ArchiveStore("nowhere", tmp_path), SYMBOL, moment).state == "OUTAGE"


def test_probes_are_plain_values() -> None:
    one = Probe("ohlcv", "x", "OK", first=utc("2025-01-01"))
    assert recommended([one])["ohlcv"] == ["x"]
