"""The collector of live liquidations, with the real websocket client against local servers.

History: the library's own ``watch`` gave 1 of a burst of 200 messages, and an hour in which nobody listened must
never look like an hour without liquidations.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import pytest

from regimes_dagster.clock import system_now
from regimes_dagster.contracts import StorageError
from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.sources.ccxt_liquidations import Liquidation
from regimes_dagster.sources.collector import Recorder, observed
from regimes_dagster.sources.collector_stream import Stream
from regimes_dagster.sources.collector_venues import LIVE_VENUES, Item
from regimes_dagster.sources.instruments import Instrument, perpetual
from regimes_dagster.storage import Warehouse
from tests.servers import live
from tests.servers.http import VenueServer

SYMBOL = "BTC/USDT"
MINUTE = pd.Timedelta(minutes=1)


def recorder(warehouse: Warehouse, venue: str = "bybit", size: float = 1.0) -> Recorder:
    instrument = perpetual(venue, SYMBOL)
    sized = Instrument(SYMBOL, instrument.native, size=size)
    return Recorder(venue, {sized.native: sized}, warehouse, sampled=LIVE_VENUES[venue].sampled)


def item(ms: int, side: str = "LONG", quantity: float = 2.0, price: float = 100.0) -> Item:
    return Item("BTCUSDT", ms, side, price, quantity)  # type: ignore[arg-type]


def ms(stamp: pd.Timestamp) -> int:
    return int(stamp.value // 1_000_000)


def beat(keeper: Recorder, start: pd.Timestamp, end: pd.Timestamp) -> None:
    """Signs of life every minute."""
    moment = start
    while moment <= end:
        keeper.heard(moment)
        moment += MINUTE


def hours(warehouse: Warehouse) -> pd.DataFrame:
    return warehouse.read("liquidations").set_index("ts")


# --- what is kept -----------------------------------------------------------------------------------------


def test_an_hour_is_known_as_far_as_heartbeats_cover_it(warehouse: Warehouse) -> None:
    keeper, start = recorder(warehouse), utc("2025-03-01 10:00")
    beat(keeper, start, start + 30 * MINUTE)
    keeper.lost()
    beat(keeper, start + 45 * MINUTE, start + 100 * MINUTE)
    keeper.add([item(ms(start + 5 * MINUTE))])
    keeper.flush(start + 100 * MINUTE)
    rows = hours(warehouse)
    assert list(rows.index) == [utc("2025-03-01 11:00")], "the running hour is not written"
    assert rows["coverage"].iloc[0] == pytest.approx(45 / 60)
    assert rows["long_usd"].iloc[0] == 200.0


def test_an_hour_nobody_listened_to_has_no_row_and_a_quiet_hour_has_zeros(warehouse: Warehouse) -> None:
    keeper, start = recorder(warehouse), utc("2025-03-01 10:00")
    beat(keeper, start, start + HOUR)
    keeper.lost()
    beat(keeper, start + 2 * HOUR, start + 3 * HOUR)
    keeper.flush(start + 3 * HOUR + MINUTE)
    rows = hours(warehouse)
    assert list(rows.index) == [utc("2025-03-01 11:00"), utc("2025-03-01 13:00")]
    assert (rows[["long_usd", "short_usd"]] == 0).all(axis=None)
    assert (rows["coverage"] == 1).all()


def test_flushing_twice_changes_nothing_and_a_restart_goes_on(warehouse: Warehouse) -> None:
    keeper, start = recorder(warehouse), utc("2025-03-01 10:00")
    beat(keeper, start, start + 40 * MINUTE)
    keeper.add([item(ms(start + 5 * MINUTE)), item(ms(start + 5 * MINUTE))])
    assert keeper.flush(start + 40 * MINUTE).events == 2, "two equal liquidations are two"
    assert keeper.flush(start + 41 * MINUTE).events == 0
    again = recorder(warehouse)
    beat(again, start + 50 * MINUTE, start + 65 * MINUTE)
    again.add([item(ms(start + 55 * MINUTE), "SHORT", 1.0)])
    again.flush(start + 65 * MINUTE)
    row = hours(warehouse).iloc[0]
    assert (row["long_usd"], row["short_usd"], row["n_events"]) == (400.0, 100.0, 3)
    assert row["coverage"] == pytest.approx(50 / 60)


def test_a_late_liquidation_is_added_to_its_hour(warehouse: Warehouse) -> None:
    keeper, start = recorder(warehouse), utc("2025-03-01 10:00")
    beat(keeper, start, start + 70 * MINUTE)
    keeper.flush(start + 70 * MINUTE)
    keeper.add([item(ms(start + 59 * MINUTE))])
    keeper.flush(start + 71 * MINUTE)
    assert hours(warehouse)["long_usd"].iloc[0] == 200.0


def test_a_database_that_fails_loses_no_liquidation(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper, start = recorder(warehouse), utc("2025-03-01 10:00")
    beat(keeper, start, start + 70 * MINUTE)
    keeper.add([item(ms(start + 5 * MINUTE))])
    with monkeypatch.context() as broken:

        def fail(*_: Any, **__: Any) -> None:
            raise ConnectionError("gone")

        broken.setattr(warehouse, "write", fail)
        with pytest.raises(ConnectionError):
            keeper.flush(start + 70 * MINUTE)
    keeper.add([item(ms(start + 6 * MINUTE))])
    assert keeper.flush(start + 71 * MINUTE).events == 2
    assert hours(warehouse)["long_usd"].iloc[0] == 400.0


def test_symbols_that_are_not_followed_are_left_out(warehouse: Warehouse) -> None:
    keeper = recorder(warehouse)
    keeper.add([Item("DOGEUSDT", 1, "LONG", 1.0, 1.0)])
    assert keeper.received == 0


def test_the_status_says_whether_the_venue_is_connected(warehouse: Warehouse) -> None:
    keeper, start = recorder(warehouse), utc("2025-03-01 10:00")
    beat(keeper, start, start + 5 * MINUTE)
    keeper.flush(start + 5 * MINUTE)
    assert list(warehouse.read("source_status")["state"]) == ["OK"]
    keeper.lost()
    keeper.flush(start + 6 * MINUTE)
    (row,) = warehouse.read("source_status").itertuples()
    assert (row.state, row.in_use, row.last_ok_at) == ("OUTAGE", False, start + 5 * MINUTE)


def test_overlapping_stretches_count_once() -> None:
    ends = pd.date_range("2025-03-01 11:00", periods=3, freq="h", tz="UTC", unit="us")
    start = utc("2025-03-01 10:00")
    spans = [
        (start + 30 * MINUTE, start + 60 * MINUTE),
        (start, start + 40 * MINUTE),
        (start + 90 * MINUTE, start + 150 * MINUTE),
    ]
    assert observed(ends, spans) == pytest.approx(np.array([1.0, 0.5, 0.5]))


# --- what the messages mean -------------------------------------------------------------------------------


def test_every_detail_of_an_okx_message_counts() -> None:
    message = live.okx_message("BTC-USDT-SWAP", [(1, "long", 3.0, 100.0), (2, "short", 5.0, 101.0)])
    assert LIVE_VENUES["okx"].items(message) == [
        Item("BTC-USDT-SWAP", 1, "LONG", 100.0, 3.0),
        Item("BTC-USDT-SWAP", 2, "SHORT", 101.0, 5.0),
    ]


def test_bybits_side_is_the_positions() -> None:
    message = live.bybit_message("BTCUSDT", [(1, "Buy", 3.0, 100.0), (2, "Sell", 5.0, 101.0)])
    assert [i.side for i in LIVE_VENUES["bybit"].items(message)] == ["LONG", "SHORT"]


def test_binances_side_is_the_orders_and_what_was_filled_counts() -> None:
    (sold,) = LIVE_VENUES["binanceusdm"].items(live.binance_message("BTCUSDT", 1, "SELL", 2.0, 100.0))
    assert sold == Item("BTCUSDT", 1, "LONG", 100.0, 2.0)
    (bought,) = LIVE_VENUES["binanceusdm"].items(live.binance_message("BTCUSDT", 1, "BUY", 2.0, 100.0))
    assert bought.side == "SHORT"
    assert LIVE_VENUES["binanceusdm"].items(live.binance_message("BTCUSDT", 1, "BUY", 0.0, 0.0)) == []


# --- the connection ---------------------------------------------------------------------------------------

VENUES: dict[str, tuple[Callable[..., Any], Callable[[str, str], Any], Callable[[int, str], dict[str, Any]]]] = {
    "okx": (
        live.okx_ack,
        lambda ws, rest: {"ws": ws, "rest": rest},
        lambda at, side: live.okx_message("BTC-USDT-SWAP", [(at, side.lower(), 200.0, 100.0)]),
    ),
    "bybit": (
        live.bybit_ack,
        lambda ws, rest: {"ws": {"public": {"linear": ws}}, "public": rest},
        lambda at, side: live.bybit_message("BTCUSDT", [(at, "Buy" if side == "LONG" else "Sell", 2.0, 100.0)]),
    ),
    "binanceusdm": (
        live.binance_ack,
        lambda ws, rest: {"ws": {"linear": ws}, "fapiPublic": rest},
        lambda at, side: live.binance_message("BTCUSDT", at, "SELL" if side == "LONG" else "BUY", 2.0, 100.0),
    ),
}


@contextmanager
def collecting(venue: str, warehouse: Warehouse, **options: Any) -> Iterator[tuple[live.LiveServer, Stream]]:
    """A collector in a thread, connected to a local server."""
    acknowledge, urls, _ = VENUES[venue]
    with live.LiveServer(acknowledge) as server, VenueServer() as rest:
        rest.route(
            "/public/instruments$", lambda *_: {"code": "0", "data": [{"instId": "BTC-USDT-SWAP", "ctVal": "0.01"}]}
        )
        keeper = recorder(warehouse, venue)
        settings = {"urls": {"api": urls(server.url, rest.url)}}
        tuned = {"flush_seconds": 0.1, "pause": 0.05} | options
        stream = Stream(LIVE_VENUES[venue], settings, keeper, system_now, **tuned)
        stop = threading.Event()

        async def main() -> None:
            ended = asyncio.Event()
            running = asyncio.create_task(stream.run(ended))
            while not stop.is_set():
                await asyncio.sleep(0.02)
            ended.set()
            await running

        thread = threading.Thread(target=lambda: asyncio.run(main()))
        thread.start()
        try:
            yield server, stream
        finally:
            stop.set()
            thread.join(30)
            assert not thread.is_alive()


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not happen")
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("venue", "total"),
    [
        ("okx", 1_200),
        ("bybit", 1_200),
        ("binanceusdm", 1_200),
        pytest.param("okx", 10_000, marks=pytest.mark.slow),
        pytest.param("bybit", 10_000, marks=pytest.mark.slow),
        pytest.param("binanceusdm", 10_000, marks=pytest.mark.slow),
    ],
)
def test_bursts_lose_nothing_while_connected_and_breaks_are_flagged(
    venue: str, total: int, warehouse: Warehouse
) -> None:
    build = VENUES[venue][2]
    breaks, burst = 5, total // 40
    start, sent = ms(system_now()), 0

    def arrived() -> bool:
        return stream.recorder.received >= sent

    with collecting(venue, warehouse) as (server, stream):
        for number in range(total // burst):
            server.wait_for_subscriber()
            for index in range(burst):
                side = "LONG" if index % 3 else "SHORT"
                sent += server.push(build(start + number * burst + index, side))
            if number % 7 == 6 and breaks:
                # Let the burst arrive: what a venue sends into a dead connection nobody can receive.
                until(arrived)
                server.disconnect()
                breaks -= 1
        until(arrived)
    events = warehouse.read("liquidation_events")
    assert sent == total
    assert len(events) == total
    assert events["usd"].to_numpy() == pytest.approx(np.full(total, 200.0)), (
        "2 BTC (200 contracts of 0.01 on okx) at 100"
    )
    assert (events["liquidated_side"] == "SHORT").sum() == total // burst * len([i for i in range(burst) if not i % 3])
    assert stream.connections == 6
    stretches = warehouse.read("source_coverage").sort_values("start_ts")
    assert len(stretches) == 6
    assert (stretches["start_ts"].to_numpy()[1:] > stretches["end_ts"].to_numpy()[:-1]).all(), (
        "the breaks are not covered"
    )


def test_a_connection_that_falls_silent_is_given_up_and_what_it_covered_ends_with_the_last_sign_of_life(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regimes_dagster.sources.collector_stream._PING_MS", 3_600_000)
    with collecting("bybit", warehouse, silence_seconds=0.4) as (server, stream):
        server.wait_for_subscriber()
        until(lambda: stream.connections >= 3)
    stretches = warehouse.read("source_coverage")
    lengths = (stretches["end_ts"] - stretches["start_ts"]).dt.total_seconds()
    assert (lengths < 0.4).all()


def test_a_server_that_is_not_there_is_tried_again_until_it_is(warehouse: Warehouse) -> None:
    with live.LiveServer(live.bybit_ack) as gone:
        address = gone.url
    options = {"urls": {"api": {"ws": {"public": {"linear": address}}}}}
    stream = Stream(LIVE_VENUES["bybit"], options, recorder(warehouse), system_now, flush_seconds=0.1, pause=0.05)

    async def main() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(stream.run(stop))
        while stream.connections < 3:
            await asyncio.sleep(0.02)
        stop.set()
        await running

    asyncio.run(asyncio.wait_for(main(), 30))
    assert warehouse.read("source_coverage").empty


@pytest.mark.parametrize("answer", [{"code": "0", "data": []}, {"code": "0", "data": [{"instId": 7, "ctVal": "x"}]}])
def test_contract_sizes_that_cannot_be_read_are_asked_again_and_end_nothing(
    answer: dict[str, Any], warehouse: Warehouse
) -> None:
    with VenueServer() as rest:
        rest.route("/public/instruments$", lambda *_: answer)
        options = {"urls": {"api": {"rest": rest.url, "ws": "ws://127.0.0.1:9"}}, "enableRateLimit": False}
        keeper = recorder(warehouse, "okx")
        stream = Stream(LIVE_VENUES["okx"], options, keeper, system_now, flush_seconds=0.1, pause=0.05)

        async def main() -> None:
            stop = asyncio.Event()
            running = asyncio.create_task(stream.run(stop))
            while stream.connections < 3:
                assert not running.done()
                await asyncio.sleep(0.02)
            stop.set()
            await running

        asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("bad", [item(1, price=0.0), item(1, quantity=0.0), item(1, price=float("nan"))])
def test_a_liquidation_without_price_or_quantity_keeps_no_other_out_of_the_database(
    bad: Item, warehouse: Warehouse
) -> None:
    keeper, start = recorder(warehouse), utc("2025-03-20 09:00")
    beat(keeper, start, start + 60 * MINUTE)
    keeper.add([bad, item(ms(start + MINUTE))])
    assert keeper.flush(start + 61 * MINUTE).events == 1
    assert hours(warehouse)["long_usd"].sum() == pytest.approx(200.0)


def test_a_stream_whose_rows_cannot_be_stored_ends_with_the_reason(warehouse: Warehouse) -> None:
    """Until this was noticed, one row that broke its contract ended the writing and the collecting went on."""
    keeper = recorder(warehouse)
    keeper._pending.append((SYMBOL, Liquidation("x", ms(utc("2025-03-20 09:00")), "LONG", -1.0, 1.0, 1.0)))
    options = {"urls": {"api": {"ws": {"public": {"linear": "ws://127.0.0.1:9"}}}}}
    stream = Stream(LIVE_VENUES["bybit"], options, keeper, system_now, flush_seconds=0.05, pause=0.05)
    with pytest.raises(StorageError, match="price"):
        asyncio.run(asyncio.wait_for(stream.run(asyncio.Event()), 30))


def test_the_hours_of_the_collector_lie_in_the_window_of_their_month(warehouse: Warehouse) -> None:
    keeper, start = recorder(warehouse), utc("2025-02-28 23:00")
    beat(keeper, start, start + 70 * MINUTE)
    keeper.flush(start + 70 * MINUTE)
    month = Window(utc("2025-02-01"), utc("2025-03-01"))
    assert len(warehouse.read("liquidations", window=month)) == 1
