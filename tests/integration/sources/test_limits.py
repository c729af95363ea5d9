"""No venue's published limit is ever exceeded: by a long backfill, by many symbols, or by two processes together.

History: the library counts half of what Hyperliquid counts, so that a backfill of a year was refused after half a
minute, and the run went on with the next venue's funding.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.frames import milliseconds
from regimes_dagster.sources.protocol import Kind
from regimes_dagster.sources.registry import venue_source
from tests.servers.http import VenueServer, too_many
from tests.servers.limits import Limit, published
from tests.servers.venues import options, speak

NOW = utc("2025-03-20 10:01:30")
SYMBOLS = [f"{base}/USDT" for base in ("BTC", "ETH", "SOL", "ADA", "XRP", "LTC")]

#: Where a window holds hundreds of requests, a shorter one with the same rate shows as much.
SHORTER = {"binanceus": 60, "binance": 60, "binanceusdm": 50, "krakenfutures": 10, "bybit": 5, "gate": 10}


class VirtualClock:
    """Seconds that pass only when somebody waits."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


VENUES: dict[str, Kind] = {
    "binanceus": "ohlcv",
    "binance": "ohlcv",
    "coinbaseexchange": "ohlcv",
    "kraken": "ohlcv",
    "hyperliquid": "funding",
    "krakenfutures": "funding",
    "deribit": "funding",
    "binanceusdm": "funding",
    "bybit": "funding",
    "okx": "funding",
    "gate": "liquidations",
    "bitfinex": "liquidations",
}


@pytest.mark.parametrize("venue", list(VENUES))
def test_a_backfill_at_the_clients_own_pace_stays_below_the_published_limit(venue: str) -> None:
    kind = VENUES[venue]
    clock = VirtualClock()
    with VenueServer() as server:
        speak(server, kind, venue, SYMBOLS, milliseconds(NOW), interval_hours=1)
        limits = [limit.faster(SHORTER.get(venue, 1)) for limit in published(venue, clock)]
        server.limits += limits
        client = Client(venue, options(venue, server.url), sleep=lambda _: None)
        exchange = client.exchange

        def wait(cost: float | None = None) -> None:
            clock.seconds += exchange.rateLimit / 1000.0 * (1.0 if cost is None else cost)

        exchange.throttle = wait
        source = venue_source(kind, client)
        for symbol in SYMBOLS[:3]:
            for back in range(2 if kind == "liquidations" else 6):
                end = utc("2025-03-20 10:00") - 28 * back * 24 * HOUR
                source.fetch(kind, symbol, Window(end - 28 * 24 * HOUR, end), NOW)
        assert any(limit.most > 0 for limit in limits), "the limit was looked at"
        assert [limit.refused for limit in limits] == [0] * len(limits)


def test_a_hundred_symbols_in_an_hour_stay_below_hyperliquids_limit() -> None:
    clock = VirtualClock()
    symbols = [f"C{number}/USDT" for number in range(100)]
    with VenueServer() as server:
        speak(server, "funding", "hyperliquid", symbols, milliseconds(NOW))
        (limit,) = published("hyperliquid", clock)
        server.limits.append(limit)
        client = Client("hyperliquid", options("hyperliquid", server.url), sleep=lambda _: None)

        def wait(cost: float | None = None) -> None:
            clock.seconds += 0.05 * (cost or 1.0)

        client.exchange.throttle = wait
        source = venue_source("funding", client)
        for symbol in symbols:
            source.fetch("funding", symbol, Window(utc("2025-03-20 06:00"), utc("2025-03-20 10:00")), NOW)
        assert len(server.log) == 101
        assert limit.refused == 0


def test_a_refusal_pauses_the_other_processes_too(tmp_path: Path) -> None:
    pauses: list[float] = []
    with VenueServer() as server:
        speak(server, "ohlcv", "binanceus", SYMBOLS, milliseconds(NOW))
        server.fail_next(too_many("7"))
        client = Client("binanceus", options("binanceus", server.url), sleep=pauses.append, pace=tmp_path)
        client.exchange.throttle = lambda cost=None: None
        before = time.monotonic()
        window = Window(utc("2025-03-20 06:00"), utc("2025-03-20 10:00"))
        venue_source("ohlcv", client).fetch("ohlcv", "BTC/USDT", window, NOW)
    assert pauses == [7.0]
    assert float((tmp_path / "binanceus").read_text()) >= before + 7.0, "nobody gets a slot before the pause is over"


def test_a_backfill_and_the_hourly_run_together_keep_the_limit_and_neither_waits_for_the_others_end(
    tmp_path: Path,
) -> None:
    script = str(Path(__file__).with_name("paced_process.py"))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with VenueServer() as server:
        speak(server, "ohlcv", "binanceus", SYMBOLS, milliseconds(NOW))
        # The venue's own proportions at twenty times the speed: 1,000 a minute are asked where 1,200 are allowed.
        limit = Limit(60, 3)
        server.limits.append(limit)
        common = [sys.executable, script, server.url, str(tmp_path)]
        # Sixty pages at 63 ms, for one symbol; then five symbols' newest hours in another process.
        backfill = subprocess.Popen([*common, "2018-05-01", "2025-03-01", "BTC/USDT"], env=environment)
        deadline = time.monotonic() + 60
        while len(server.log) < 5:
            assert backfill.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        subprocess.run([*common, "2025-03-20", "2025-03-21", *SYMBOLS[1:]], env=environment, check=True, timeout=120)
        assert backfill.wait(120) == 0
        asked = [seen.query["symbol"] for seen in server.log]
        hourly = [number for number, native in enumerate(asked) if native != "BTCUSDT"]
        assert len(hourly) == len(SYMBOLS) - 1
        assert asked.count("BTCUSDT") == 60
        assert limit.refused == 0, "together they stay below the limit"
        assert hourly[-1] < len(asked) - 1, "the hourly run was through before the backfill was"
        assert asked[hourly[0] : hourly[-1]].count("BTCUSDT") > 0, "they took turns"
