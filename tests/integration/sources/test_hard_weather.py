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

import pandas as pd
import pytest

from regimes_dagster.partitions import Window, utc
from regimes_dagster.sources.frames import milliseconds
from regimes_dagster.storage import Warehouse
from tests.servers import spot as spot_wire
from tests.servers.http import VenueServer
from tests.servers.liquidations import trades
from tests.servers.memory import MemoryWarehouse
from tests.servers.truth import HOUR_MS, bar
from tests.servers.weather import START, SYMBOLS, VENUES, Store, live_through, mistakes, outage, schedule, weather


def test_after_a_day_of_faults_the_stored_rows_are_the_truth(record_property: Callable[[str, object], None]) -> None:
    stored_is_the_truth(24, MemoryWarehouse(), record_property)


@pytest.mark.slow
def test_after_a_week_of_faults_the_rows_in_the_database_are_the_truth(
    warehouse: Warehouse, record_property: Callable[[str, object], None]
) -> None:
    stored_is_the_truth(168, warehouse, record_property)


def stored_is_the_truth(hours: int, store: Store, record_property: Callable[[str, object], None]) -> None:
    """Hourly runs through the schedule, and the comparison with the truth."""
    with weather(store) as now:
        window = live_through(now, hours)
        assert mistakes(store, window) == []

        bars = store.read("ohlcv", window=window)
        stood_in = bars[bars["venue"] == "coinbaseexchange"]
        assert 0 < len(stood_in) < len(bars) / 2, "the second venue stood in while the first was blocked, and only then"

        events = store.read("liquidation_events", window=window)
        truth = [t for t in trades(milliseconds(window.start) + 1, milliseconds(window.end)) if t.liquidated]
        own = events[(events["venue"] == "deribit") & (events["symbol"] == SYMBOLS[0])]
        assert sorted(zip((milliseconds(ts) for ts in own["ts"]), own["liquidated_side"], strict=True)) == sorted(
            (trade.ms, side) for trade in truth for side in trade.sides
        )

        assert not store.read("source_coverage").duplicated(["kind", "venue", "symbol", "start_ts"]).any()
        status = store.read("source_status").query("in_use")
        assert (status["state"] == "OK").all()
        assert set(status[status["kind"] == "ohlcv"]["venue"]) == {VENUES["ohlcv"][0]}
        outages = {START + pd.Timedelta(hours=hour) for hour in range(1, hours + 1) if outage in schedule(hour)}
        assert len(outages) >= 6
        assert now.failed_hours == outages, "failures are reported in the outage only"
        for kind, least in now.least().items():
            record_property(
                f"requests_{kind}", f"{now.requests[kind]} of at least {least}, {now.in_vain[kind]} in vain"
            )
            assert least <= now.requests[kind] <= 1.8 * least
            # Three questions of four tries to each of two venues, then they are left alone; a control total beside.
            assert now.in_vain[kind] <= 3 * 4 * (3 if kind == "liquidations" else 2) * len(outages)


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
