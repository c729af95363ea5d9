"""The daily volume of streamed venues: the right cell of each venue's candles, whole days only, once a day."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from regimes_dagster.partitions import utc
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.collector_volume import DailyVolume
from regimes_dagster.sources.frames import milliseconds
from regimes_dagster.sources.protocol import GeoBlocked, UnknownSymbol
from regimes_dagster.storage import Warehouse
from tests.servers.http import GEO_BLOCK, Fault, VenueServer

NOW = utc("2025-03-20 00:20")
DAY_MS = 86_400_000


def days(first: int, last: int) -> list[int]:
    """Starts of the days that begin in the range, the running one too."""
    return list(range(-(-first // DAY_MS) * DAY_MS, min(last, milliseconds(NOW)) + 1, DAY_MS))


def okx(query: dict[str, str], _: "re.Match[str]") -> Any:
    if query["instId"] != "BTC-USDT-SWAP":
        return {"code": "51001", "data": [], "msg": "Instrument ID doesn't exist."}
    assert query["bar"] == "1Dutc"
    found = days(int(query["before"]) + 1, int(query["after"]) - 1)[::-1][: int(query["limit"])]
    rows = [[f"{ms}", "1", "1", "1", "1", "500", "5", f"{ms // DAY_MS}", "1"] for ms in found]
    return {"code": "0", "msg": "", "data": rows}


def bybit(query: dict[str, str], _: "re.Match[str]") -> Any:
    if query["symbol"] != "BTCUSDT":
        return {"retCode": 10001, "retMsg": "params error: Symbol Is Invalid", "result": {}}
    rows = [
        [f"{ms}", "1", "1", "1", "1", "5", f"{ms // DAY_MS}"] for ms in days(int(query["start"]), int(query["end"]))
    ]
    return {"retCode": 0, "retMsg": "OK", "result": {"category": "linear", "symbol": "BTCUSDT", "list": rows[::-1]}}


def binanceusdm(query: dict[str, str], _: "re.Match[str]") -> Any:
    if query["symbol"] != "BTCUSDT":
        return Fault(400, '{"code":-1121,"msg":"Invalid symbol."}')
    found = days(int(query["startTime"]), int(query["endTime"]))[: int(query["limit"])]
    return [[ms, "1", "1", "1", "1", "5", ms + DAY_MS - 1, f"{ms // DAY_MS}", 9, "1", "1", "0"] for ms in found]


VENUES: dict[str, tuple[str, Callable[..., Any], Callable[[str], dict[str, Any]]]] = {
    "okx": (r"/api/v5/market/candles$", okx, lambda url: {"rest": url}),
    "bybit": (r"/v5/market/kline$", bybit, lambda url: {"public": url}),
    "binanceusdm": (r"/fapi/v1/klines$", binanceusdm, lambda url: {"fapiPublic": f"{url}/fapi/v1"}),
}


@pytest.fixture(params=list(VENUES))
def venue(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(venue: str) -> Iterator[VenueServer]:
    path, answer, _ = VENUES[venue]
    with VenueServer() as server:
        server.route(path, answer)
        yield server


def keeper(server: VenueServer, venue: str, warehouse: Warehouse, *symbols: str) -> DailyVolume:
    options = {"urls": {"api": VENUES[venue][2](server.url)}, "enableRateLimit": False}
    return DailyVolume(Client(venue, options, sleep=lambda _: None), symbols, warehouse, lambda: NOW)


def test_the_last_month_is_stored_day_by_day_without_the_running_one(
    server: VenueServer, venue: str, warehouse: Warehouse
) -> None:
    assert keeper(server, venue, warehouse, "BTC/USDT").take() == 31
    rows = warehouse.read("perp_volume_usd")
    assert set(rows["venue"]) == {venue}
    assert (rows["ts"].min(), rows["ts"].max()) == (utc("2025-02-18"), utc("2025-03-20"))
    # The servers say the number of the day as its volume.
    assert list(rows["volume_usd"]) == [milliseconds(ts) // DAY_MS - 1 for ts in rows["ts"]]
    assert len(server.log) == 1


def test_a_symbol_that_is_not_listed_leaves_the_others_alone(
    server: VenueServer, venue: str, warehouse: Warehouse
) -> None:
    with pytest.raises(UnknownSymbol):
        keeper(server, venue, warehouse, "NOSUCH/USDT", "BTC/USDT").take()
    assert set(warehouse.read("perp_volume_usd")["symbol"]) == {"BTC/USDT"}


def test_a_venue_that_refuses_this_address_is_asked_once(server: VenueServer, venue: str, warehouse: Warehouse) -> None:
    server.fail_while(lambda _: True, GEO_BLOCK)
    with pytest.raises(GeoBlocked):
        keeper(server, venue, warehouse, "BTC/USDT", "ETH/USDT").take()
    assert len(server.log) == 1
