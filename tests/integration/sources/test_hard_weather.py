"""Hours and days of hourly runs against venues that misbehave on a schedule: what is stored in the end is the truth.

What belongs here: whole runs of ``ingest`` into a real database, hour by hour, and a backfill that is killed. What
does not: single faults (the venues' own tests).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from regimes_dagster.assets.raw import _batches
from regimes_dagster.partitions import HOUR, REVISABLE, Window, keys_touched, keys_window, utc
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.ccxt_funding import FundingSource
from regimes_dagster.sources.ccxt_liquidations import LiquidationSource
from regimes_dagster.sources.ccxt_spot import SpotSource
from regimes_dagster.sources.coverage import oldest_unfinished
from regimes_dagster.sources.frames import milliseconds
from regimes_dagster.sources.ingest import stream, writes
from regimes_dagster.sources.liquidations_deribit import VENUE as DERIBIT
from regimes_dagster.sources.protocol import Kind, Source
from regimes_dagster.storage import Warehouse
from tests.servers import funding as funding_wire
from tests.servers import liquidations as liquidation_wire
from tests.servers import spot as spot_wire
from tests.servers.http import GEO_BLOCK, SERVER_ERROR, Fault, VenueServer, too_many
from tests.servers.memory import MemoryWarehouse
from tests.servers.truth import HOUR_MS, bar, rate

#: The outage of the schedule lies over the edge of the month.
START = utc("2025-02-28 08:00")
SYMBOLS = ("BTC/USDT", "ETH/USDT")
EMPTY_ONCE = Fault(change=lambda rows: [])
DOUBLED = Fault(change=lambda rows: rows + rows[-1:] if isinstance(rows, list) else rows)


Store = Warehouse | MemoryWarehouse


class Weather:
    """Three venues for spot, funding and liquidations, one clock, and what goes wrong when."""

    def __init__(self, first: VenueServer, second: VenueServer, perps: VenueServer, warehouse: Store) -> None:
        self.first, self.second, self.perps, self.warehouse = first, second, perps, warehouse
        now = milliseconds(START)
        natives = {symbol.replace("/", ""): symbol for symbol in SYMBOLS}
        self.spot = spot_wire.SpotMarket(natives, now)
        self.backup = spot_wire.SpotMarket({symbol.replace("/", "-"): symbol for symbol in SYMBOLS}, now)
        self.rates = funding_wire.FundingMarket({symbol.split("/")[0]: symbol for symbol in SYMBOLS}, now, 1)
        self.trades = liquidation_wire.LiquidationMarket(
            [f"{symbol.split('/')[0]}-PERPETUAL" for symbol in SYMBOLS], now
        )
        self.trades.page = 1000
        self.spot.revised_for_ms = self.backup.revised_for_ms = 2 * HOUR_MS
        spot_wire.binance(first, self.spot)
        spot_wire.coinbase(second, self.backup)
        funding_wire.hyperliquid(perps, self.rates)
        liquidation_wire.deribit(perps, self.trades)
        self.sources: dict[Kind, list[Source]] = {
            "ohlcv": [
                SpotSource(self._client("binanceus", {"public": f"{first.url}/api/v3"})),
                SpotSource(self._client("coinbaseexchange", {"public": second.url})),
            ],
            "funding": [FundingSource(self._client("hyperliquid", {"public": perps.url}))],
            "liquidations": [LiquidationSource(self._client("deribit", {"rest": perps.url}), DERIBIT)],
        }
        self.requests: dict[Kind, int] = {"ohlcv": 0, "funding": 0, "liquidations": 0}
        self.failed_hours: set[pd.Timestamp] = set()

    @staticmethod
    def _client(venue: str, urls: dict[str, str]) -> Client:
        options = {"urls": {"api": urls}, "enableRateLimit": False, "timeout": 5000}
        return Client(venue, options, sleep=lambda _: None)

    def run(self, now: pd.Timestamp) -> None:
        """One hourly run over the months that the last hours touch."""
        for market in (self.spot, self.backup, self.rates, self.trades):
            market.now_ms = milliseconds(now)  # type: ignore[attr-defined]
        open_since = oldest_unfinished(self.warehouse.read("source_coverage"), now)
        back = REVISABLE if open_since is None else max(REVISABLE, now.floor("h") - open_since + HOUR)
        window = keys_window(keys_touched(now, back=back))
        window = Window(max(window.start, START), window.end)
        for kind, sources in self.sources.items():
            steps = stream(
                kind, window=window, now=now, sources=sources, symbols=SYMBOLS,
                coverage=self.warehouse.read("source_coverage", where={"kind": kind}),
                statuses=self.warehouse.read("source_status", where={"kind": kind}),
            )  # fmt: skip
            for batch in _batches(kind, steps):
                self.warehouse.write(writes(batch))
                self.requests[kind] += batch.requests
                if batch.failures:
                    self.failed_hours.add(now)


def rate_limit(weather: Weather) -> None:
    """One answer each that asks to wait."""
    weather.first.fail_next(too_many("5"))
    weather.perps.fail_next(too_many("2"))


def burst_of_errors(weather: Weather) -> None:
    """Two server errors each."""
    for server in (weather.first, weather.perps):
        server.fail_next(SERVER_ERROR, SERVER_ERROR)


def empty_page(weather: Weather) -> None:
    """One page without rows."""
    weather.first.fail_next(EMPTY_ONCE, path="klines")


def doubled_row(weather: Weather) -> None:
    """One page whose last row comes twice."""
    weather.first.fail_next(DOUBLED, path="klines")


def geo_block(weather: Weather) -> None:
    """The first venue refuses this address."""
    weather.first.fail_while(lambda _: True, GEO_BLOCK)


def outage(weather: Weather) -> None:
    """Nobody answers."""
    for server in (weather.first, weather.second, weather.perps):
        server.fail_while(lambda _: True, SERVER_ERROR)


def schedule(hour: int) -> list[Callable[[Weather], None]]:
    """What goes wrong in which hour of the run."""
    plan = {
        rate_limit: hour % 10 == 3,
        burst_of_errors: hour % 12 == 5,
        empty_page: hour % 9 == 4,
        doubled_row: hour % 8 == 6,
        geo_block: hour % 30 in (7, 8, 9),
        outage: 14 <= hour % 48 < 20,
    }
    return [strike for strike, now in plan.items() if now]


def test_after_a_day_of_faults_the_stored_rows_are_the_truth(record_property: Callable[[str, object], None]) -> None:
    live_through(24, MemoryWarehouse(), record_property)


@pytest.mark.slow
def test_after_a_week_of_faults_the_rows_in_the_database_are_the_truth(
    warehouse: Warehouse, record_property: Callable[[str, object], None]
) -> None:
    live_through(168, warehouse, record_property)


def live_through(hours: int, warehouse: Store, record_property: Callable[[str, object], None]) -> None:
    """Hourly runs through the schedule, one quiet run at the end, and the comparison with the truth."""
    with VenueServer() as first, VenueServer() as second, VenueServer() as perps:
        weather = Weather(first, second, perps, warehouse)
        late = [
            t for t in liquidation_wire.trades(milliseconds(START), milliseconds(START + hours * HOUR)) if t.liquidated
        ]
        for trade in late[::7]:
            # Published with a delay of up to two hours.
            weather.trades.late_ms[trade.ms] = trade.ms + 2 * HOUR_MS
        for hour in range(1, hours + 1):
            for server in (first, second, perps):
                server.heal()
            for strike in schedule(hour):
                strike(weather)
            weather.run(START + hour * HOUR + pd.Timedelta(minutes=1))
        for server in (first, second, perps):
            server.heal()
        # The last bars may still be revised; one quiet run three hours later settles them.
        end = START + (hours + 3) * HOUR
        weather.run(end + pd.Timedelta(minutes=1))

        window = Window(START, end - 3 * HOUR)
        bars = warehouse.read("ohlcv", window=window)
        for symbol in SYMBOLS:
            want = [bar(symbol, milliseconds(ts) - HOUR_MS) for ts in window.hours()]
            own = bars[(bars["venue"] == "binanceus") & (bars["symbol"] == symbol)]
            assert list(own["ts"]) == list(window.hours()), "the first venue is complete once it is back"
            columns = ["open", "high", "low", "close", "volume", "quote_volume"]
            assert own[columns].to_numpy() == pytest.approx(np.array(want))
        backup = bars[bars["venue"] == "coinbaseexchange"]
        assert 0 < len(backup) < len(bars) / 2, "the second venue stood in while the first was blocked, and only then"

        settled = warehouse.read("funding_rates", window=window)
        for symbol in SYMBOLS:
            own = settled[settled["symbol"] == symbol]
            assert list(own["ts"]) == list(window.hours())
            assert own["rate"].to_numpy() == pytest.approx(
                [rate(symbol, milliseconds(ts)) for ts in own["ts"]], abs=1e-10
            )

        sums = warehouse.read("liquidations", window=window)
        events = warehouse.read("liquidation_events", window=window)
        truth = [
            t for t in liquidation_wire.trades(milliseconds(window.start) + 1, milliseconds(window.end)) if t.liquidated
        ]
        sides = [side for t in truth for side in t.sides]
        for symbol in SYMBOLS:
            own = events[events["symbol"] == symbol]
            assert len(own) == len(sides)
            longs = sum(t.amount * t.price for t in truth for side in t.sides if side == "LONG")
            hourly = sums[sums["symbol"] == symbol]
            assert hourly["long_usd"].sum() == pytest.approx(longs)
            assert list(hourly["ts"]) == list(window.hours())

        assert not warehouse.read("source_coverage").duplicated(["kind", "venue", "symbol", "start_ts"]).any()
        assert (warehouse.read("source_status").query("in_use")["state"] == "OK").all()
        outages = {START + hour * HOUR for hour in range(1, hours + 1) if outage in schedule(hour)}
        assert {hour.floor("h") for hour in weather.failed_hours} == outages, "failures are reported in the outage only"
        # One request per symbol and hour is the least; funding adds the predictions of all symbols in one.
        least = {"ohlcv": 2 * (hours + 1), "funding": 3 * (hours + 1), "liquidations": 2 * (hours + 1)}
        for kind, count in weather.requests.items():
            record_property(f"requests_{kind}", f"{count} of at least {least[kind]}")
            assert count <= 1.8 * least[kind]


def test_a_backfill_that_is_killed_is_continued_without_gap_or_double_and_without_asking_again(
    database_url: str, warehouse: Warehouse
) -> None:
    months = Window(utc("2023-01-01"), utc("2024-01-01"))
    with VenueServer() as server:
        market = spot_wire.SpotMarket(
            {symbol.replace("/", ""): symbol for symbol in SYMBOLS}, milliseconds(utc("2024-06-01"))
        )
        spot_wire.binance(server, market)
        arguments = [database_url, server.url, str(months.start.date()), str(months.end.date()), *SYMBOLS]
        script = str(Path(__file__).with_name("backfill_process.py"))
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
        killed = subprocess.Popen([sys.executable, script, *arguments], env=environment, start_new_session=True)
        deadline = time.monotonic() + 60
        while len(server.log) < 9:
            assert killed.poll() is None, "the backfill ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()

        complete = warehouse.read("source_coverage").query("state == 'COMPLETE'")
        rows = warehouse.read("ohlcv")
        assert 1 <= len(complete) < 24, "it was killed in the middle"
        assert len(rows) == ((complete["end_ts"] - complete["start_ts"]) / pd.Timedelta(hours=1)).sum(), (
            "nothing half written"
        )

        asked = len(server.log)
        subprocess.run([sys.executable, script, *arguments], env=environment, check=True, timeout=120)
        assert len(server.log) - asked == 24 - len(complete), "what was complete is not asked again"
        rows = warehouse.read("ohlcv")
        for symbol in SYMBOLS:
            own = rows[rows["symbol"] == symbol]
            assert list(own["ts"]) == list(months.hours())
            want = [bar(symbol, milliseconds(ts) - HOUR_MS)[3] for ts in own["ts"]]
            assert own["close"].to_numpy() == pytest.approx(want)
