"""Minute closes through the real client library: two weeks once, a page or two a day afterwards, never more."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest

from regimes_dagster.assets.minute_bars import minutes_wanted
from regimes_dagster.partitions import HOUR, Window, keys_touched, keys_window, utc
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.frames import empty, milliseconds
from regimes_dagster.sources.ingest import Ingested, ingest
from regimes_dagster.sources.minute_bars import MINUTE, MinuteSource
from regimes_dagster.sources.protocol import BadResponse, MarketClosed, Source, UnknownSymbol
from regimes_dagster.sources.registry import NotServed
from regimes_dagster.sources.validate import validate_batch
from tests.servers import spot
from tests.servers.http import HTML, SERVER_ERROR, Fault, VenueServer, too_many
from tests.servers.truth import MINUTE_MS, minute

NOW = utc("2025-03-20 10:01:30")
DAY = Window(utc("2025-03-19"), utc("2025-03-20"))
SYMBOL, NATIVE = "BTC/USDT", "BTCUSDT"


@dataclass
class Venue:
    """A server, what it knows, and a source that asks it."""

    server: VenueServer
    market: spot.SpotMarket
    source: MinuteSource
    pauses: list[float]


def venue(server: VenueServer, name: str, natives: dict[str, str]) -> Venue:
    market = spot.SpotMarket(natives, milliseconds(NOW))
    base = server.url if name == "coinbaseexchange" else f"{server.url}/api/v3"
    pauses: list[float] = []
    options = {"urls": {"api": {"public": base}}, "enableRateLimit": False, "timeout": 400}
    (spot.coinbase if name == "coinbaseexchange" else spot.binance)(server, market)
    return Venue(server, market, MinuteSource(Client(name, options, sleep=pauses.append)), pauses)


@pytest.fixture
def binanceus() -> Iterator[Venue]:
    with VenueServer() as server:
        yield venue(server, "binanceus", {NATIVE: SYMBOL, "ETHUSDT": "ETH/USDT"})


@pytest.fixture
def coinbase() -> Iterator[Venue]:
    with VenueServer() as server:
        yield venue(server, "coinbaseexchange", {"BTC-USDT": SYMBOL})


def expected(window: Window) -> pd.DataFrame:
    ends = pd.date_range(window.start + MINUTE, window.end, freq="min", unit="us")
    rows = [minute(SYMBOL, milliseconds(ts) - MINUTE_MS) for ts in ends]
    return pd.DataFrame({"ts": ends, "close": [row[0] for row in rows], "volume": [row[1] for row in rows]})


def assert_minutes(rows: pd.DataFrame, want: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(rows[["ts", "close", "volume"]], want, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "native", "requests"),
    [("binance", NATIVE, 2), ("binanceus", NATIVE, 2), ("coinbaseexchange", "BTC-USDT", 5)],
)
def test_every_venue_tells_the_minutes_of_a_day(name: str, native: str, requests: int) -> None:
    with VenueServer() as server:
        asked = venue(server, name, {native: SYMBOL})
        batch = asked.source.fetch("minute_bars", SYMBOL, DAY, NOW)
        validate_batch(name, SYMBOL, batch, DAY)
        assert_minutes(batch.rows["minute_bars"], expected(DAY))
        assert batch.covered == (DAY,)
        assert batch.requests == requests
        assert set(batch.rows["minute_bars"]["venue"]) == {name}


def test_the_running_minute_and_the_running_hour_are_left_out(binanceus: Venue) -> None:
    batch = binanceus.source.fetch("minute_bars", SYMBOL, Window(utc("2025-03-20 08:00"), utc("2025-04-01")), NOW)
    assert_minutes(batch.rows["minute_bars"], expected(Window(utc("2025-03-20 08:00"), utc("2025-03-20 10:00"))))


def test_minutes_without_a_trade_stay_missing_and_cost_no_further_request(coinbase: Venue) -> None:
    first = milliseconds(DAY.start)
    quiet = {first + i * MINUTE_MS for i in (0, 1, 299, 300, 700, 1439)}
    coinbase.market.quiet_minutes["BTC-USDT"] = quiet
    batch = coinbase.source.fetch("minute_bars", SYMBOL, DAY, NOW)
    want = expected(DAY)
    stamps = want["ts"].map(lambda ts: milliseconds(ts) - MINUTE_MS)
    assert_minutes(batch.rows["minute_bars"], want[~stamps.isin(quiet)].reset_index(drop=True))
    assert batch.covered == (DAY,)
    assert batch.requests == 5


@pytest.mark.parametrize("fault", [SERVER_ERROR, too_many("7"), HTML, Fault(change=lambda rows: rows[:200])])
def test_a_fault_that_passes_leaves_no_hole(binanceus: Venue, fault: Fault) -> None:
    binanceus.server.fail_next(fault)
    assert_minutes(binanceus.source.fetch("minute_bars", SYMBOL, DAY, NOW).rows["minute_bars"], expected(DAY))


def test_an_answer_that_is_no_bars_is_refused(binanceus: Venue) -> None:
    binanceus.server.fail_while(lambda _: True, Fault(change=lambda rows: [[row[0], *[None] * 7] for row in rows]))
    with pytest.raises(BadResponse, match="something else than numbers"):
        binanceus.source.fetch("minute_bars", SYMBOL, DAY, NOW)


def test_a_symbol_that_the_venue_lacks_or_closed_is_named(binanceus: Venue) -> None:
    with pytest.raises(UnknownSymbol):
        binanceus.source.fetch("minute_bars", "NOSUCH/USDT", DAY, NOW)
    binanceus.market.closed_ms[NATIVE] = milliseconds(utc("2025-02-01"))
    with pytest.raises(MarketClosed):
        binanceus.source.fetch("minute_bars", SYMBOL, DAY, NOW)


def test_minutes_before_a_listing_are_unavailable(binanceus: Venue) -> None:
    binanceus.market.listed_ms[NATIVE] = milliseconds(utc("2025-03-19 20:00"))
    batch = binanceus.source.fetch("minute_bars", SYMBOL, DAY, NOW)
    assert batch.rows["minute_bars"]["ts"].min() == utc("2025-03-19 20:01")
    assert batch.covered[-1].end == DAY.end
    assert batch.unavailable[0].start == DAY.start


class Runs:
    """Hourly runs that remember their coverage, as the asset's do in the database."""

    def __init__(self, *sources: Source) -> None:
        self.sources = sources
        self.coverage = empty("source_coverage")

    def at(self, now: pd.Timestamp, symbols: tuple[str, ...] = (SYMBOL,)) -> Ingested:
        window = minutes_wanted(keys_window(keys_touched(now)).until(now.floor("h")), now)
        done = ingest(
            "minute_bars", window=window, now=now, sources=self.sources, symbols=symbols, coverage=self.coverage
        )
        key = ["kind", "venue", "symbol", "start_ts"]
        for scope in done.scopes.get("source_coverage", []):
            inside = scope.window.mask(self.coverage["start_ts"])
            for name, value in scope.where.items():
                inside &= self.coverage[name] == value
            self.coverage = self.coverage[~inside]
        self.coverage = pd.concat([self.coverage, done.coverage]).drop_duplicates(key, keep="last")
        return done


def test_two_weeks_are_asked_once_then_a_day_at_a_time_and_nothing_in_between(binanceus: Venue) -> None:
    runs = Runs(binanceus.source)
    first = runs.at(NOW)
    assert_minutes(first.rows["minute_bars"], expected(Window(utc("2025-03-06"), utc("2025-03-20"))))
    assert first.requests == 21
    spent = []
    for hour in range(1, 38):
        now = NOW + hour * HOUR
        binanceus.market.now_ms = milliseconds(now)
        done = runs.at(now)
        spent.append(done.requests)
        if now.hour == 0:
            assert_minutes(done.rows["minute_bars"], expected(Window(utc("2025-03-20"), utc("2025-03-21"))))
    # 00:01 asks for the day; 01:01 and 02:01 for the hours that may still be revised, 03:01 for the last of them.
    assert spent == [0] * 13 + [2, 1, 1, 1] + [0] * 20
    asked = [int(seen.query["startTime"]) for seen in binanceus.server.asked("klines")]
    assert min(asked) == milliseconds(utc("2025-03-06"))


def test_over_the_edge_of_a_month_nothing_is_asked_twice(binanceus: Venue) -> None:
    runs = Runs(binanceus.source)
    now = utc("2025-04-01 00:01:30")
    binanceus.market.now_ms = milliseconds(now)
    assert_minutes(runs.at(now).rows["minute_bars"], expected(Window(utc("2025-03-18"), utc("2025-04-01"))))
    settled = utc("2025-04-01 04:01:30")
    binanceus.market.now_ms = milliseconds(settled)
    runs.at(settled)
    later = utc("2025-04-01 09:01:30")
    assert runs.at(later).requests == 0


def test_a_symbol_that_fails_stops_nothing_and_is_named(binanceus: Venue) -> None:
    def is_bitcoin(seen: Any) -> bool:
        return bool(seen.query.get("symbol") == NATIVE)

    binanceus.server.fail_while(is_bitcoin, SERVER_ERROR)
    done = Runs(binanceus.source).at(NOW, (SYMBOL, "ETH/USDT"))
    assert set(done.rows["minute_bars"]["symbol"]) == {"ETH/USDT"}
    assert list(done.failures) == [SYMBOL]
    assert "HTTP 500" in done.failures[SYMBOL]


def test_a_venue_that_cannot_serve_is_passed_over_with_its_state(binanceus: Venue) -> None:
    kraken = NotServed("kraken", "it does not serve minute_bars here")
    done = Runs(kraken, binanceus.source).at(NOW)
    assert len(done.rows["minute_bars"]) == 14 * 1440
    assert not done.failures
    states = done.statuses.set_index("venue")["state"]
    assert states.to_dict() == {"kraken": "NOT_AVAILABLE", "binanceus": "OK"}
