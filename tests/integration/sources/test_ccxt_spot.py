"""Spot bars through the real client library, against a local server that tells the truth and then misbehaves.

History: the library's own pagination loses rows, returns the running bar, and takes an HTML page for an answer;
each of these is a test here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pytest

from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.ccxt_spot import SpotSource
from regimes_dagster.sources.frames import milliseconds
from regimes_dagster.sources.protocol import (
    BadResponse,
    Batch,
    GeoBlocked,
    MarketClosed,
    Outage,
    RateLimited,
    SourceError,
    UnknownSymbol,
)
from regimes_dagster.sources.validate import validate_batch
from tests.integration.sources.faults import every_fault
from tests.servers import spot
from tests.servers.http import (
    BAD_GATEWAY,
    CUT,
    DOUBLED,
    EMPTY,
    FORBIDDEN,
    GEO_BLOCK,
    HTML,
    SERVER_ERROR,
    Fault,
    VenueServer,
    too_many,
)
from tests.servers.truth import HOUR_MS, bar

NOW = utc("2025-03-20 10:01:30")
MONTH = Window(utc("2025-02-01"), utc("2025-03-01"))
EDGE = Window(utc("2025-03-01"), utc("2025-04-01"))
SYMBOL, NATIVE = "BTC/USDT", "BTCUSDT"


@dataclass
class Venue:
    """A server, what it knows, and a source that asks it."""

    server: VenueServer
    market: spot.SpotMarket
    source: SpotSource
    pauses: list[float] = field(default_factory=list)

    def fetch(self, window: Window, symbol: str = SYMBOL) -> Batch:
        batch = self.source.fetch("ohlcv", symbol, window, NOW)
        validate_batch(self.source.name, symbol, batch, window)
        return batch


def _venue(server: VenueServer, name: str, native: str, symbol: str, urls: dict[str, Any]) -> Venue:
    market = spot.SpotMarket({native: symbol}, milliseconds(NOW))
    pauses: list[float] = []
    options = {"urls": {"api": urls}, "enableRateLimit": False, "timeout": 400}
    return Venue(server, market, SpotSource(Client(name, options, sleep=pauses.append)), pauses)


@pytest.fixture
def binanceus() -> Iterator[Venue]:
    with VenueServer() as server:
        venue = _venue(server, "binanceus", NATIVE, SYMBOL, {"public": f"{server.url}/api/v3"})
        spot.binance(server, venue.market)
        yield venue


def expected(window: Window, *, gaps: tuple[int, ...] = (), symbol: str = SYMBOL) -> pd.DataFrame:
    opens = [milliseconds(ts) - HOUR_MS for ts in window.until(NOW.floor("h")).hours()]
    rows = [(pd.Timestamp(ms + HOUR_MS, unit="ms", tz="UTC"), *bar(symbol, ms)) for ms in opens if ms not in gaps]
    return pd.DataFrame(rows, columns=["ts", "open", "high", "low", "close", "volume", "quote_volume"])


def assert_rows(batch: Batch, want: pd.DataFrame, columns: list[str] | None = None) -> None:
    columns = columns or list(want.columns)
    got = batch.rows["ohlcv"][columns]
    pd.testing.assert_frame_equal(got, want[columns].astype({"ts": "datetime64[us, UTC]"}), rtol=0, atol=1e-9)


def test_a_month_is_one_request_and_carries_the_venues_quote_volume(binanceus: Venue) -> None:
    batch = binanceus.fetch(MONTH)
    assert_rows(batch, expected(MONTH))
    assert batch.covered == (MONTH,)
    assert batch.requests == len(binanceus.server.log) == 1


def test_the_running_bar_is_dropped(binanceus: Venue) -> None:
    batch = binanceus.fetch(EDGE)
    assert batch.rows["ohlcv"]["ts"].max() == utc("2025-03-20 10:00")
    assert batch.covered == (Window(EDGE.start, utc("2025-03-20 10:00")),)


def test_years_are_walked_forward_without_a_lost_or_doubled_row(binanceus: Venue) -> None:
    years = Window(utc("2022-01-01"), utc("2025-03-01"))
    batch = binanceus.fetch(years)
    assert_rows(batch, expected(years))
    assert batch.requests == -(-len(years.hours()) // 1000)


def test_hours_without_trades_stay_missing_and_count_as_known(binanceus: Venue) -> None:
    gaps = tuple(milliseconds(utc("2025-02-10") + k * HOUR) for k in range(5))
    binanceus.market.gaps[NATIVE] = gaps
    batch = binanceus.fetch(MONTH)
    assert_rows(batch, expected(MONTH, gaps=gaps))
    assert batch.covered == (MONTH,)


def test_the_newest_hours_without_a_bar_stay_open_for_the_next_venue(binanceus: Venue) -> None:
    """A venue that halts, or lags, still answers with the bars before: the hours after them are not its own."""
    gaps = tuple(milliseconds(utc("2025-03-20 08:00") + k * HOUR) for k in range(2))
    binanceus.market.gaps[NATIVE] = gaps
    batch = binanceus.fetch(EDGE)
    assert_rows(batch, expected(EDGE, gaps=gaps))
    assert batch.covered == (Window(EDGE.start, utc("2025-03-20 08:00")),)


def test_a_clock_that_is_a_day_ahead_claims_no_hour_that_has_not_been(binanceus: Venue) -> None:
    batch = binanceus.source.fetch("ohlcv", SYMBOL, EDGE, NOW + 24 * HOUR)
    assert max(window.end for window in batch.covered) <= NOW.ceil("h")


def test_a_doubled_row_is_taken_once(binanceus: Venue) -> None:
    binanceus.server.fail_next(Fault(change=lambda rows: rows[:300] + rows[299:]))
    assert_rows(binanceus.fetch(MONTH), expected(MONTH))


def test_a_page_that_is_cut_short_is_completed(binanceus: Venue) -> None:
    binanceus.server.fail_next(Fault(change=lambda rows: rows[:200]))
    batch = binanceus.fetch(MONTH)
    assert_rows(batch, expected(MONTH))
    assert batch.requests == 2


def test_an_empty_page_in_mid_history_is_asked_again(binanceus: Venue) -> None:
    long = Window(utc("2024-06-01"), utc("2025-01-01"))
    pages = iter([False, False, True])
    binanceus.server.fail_while(lambda _: next(pages, False), Fault(change=lambda _: []))
    batch = binanceus.fetch(long)
    assert_rows(batch, expected(long))
    assert batch.covered == (long,)


def test_a_page_that_stays_empty_in_mid_history_is_refused(binanceus: Venue) -> None:
    binanceus.server.fail_while(lambda seen: seen.query.get("limit") == "1000", Fault(change=lambda _: []))
    with pytest.raises(BadResponse, match="gives no bars"):
        binanceus.fetch(MONTH)


def test_a_symbol_listed_later_is_unavailable_before_and_complete_after(binanceus: Venue) -> None:
    binanceus.market.listed_ms[NATIVE] = milliseconds(utc("2025-02-11 05:00"))
    whole = Window(utc("2024-10-01"), utc("2025-03-01"))
    batch = binanceus.fetch(whole)
    assert batch.rows["ohlcv"]["ts"].min() == utc("2025-02-11 06:00")
    assert batch.unavailable
    assert batch.unavailable[0].start == whole.start
    assert batch.covered[-1].end == whole.end
    asked = len(binanceus.server.log)
    again = binanceus.fetch(Window(utc("2024-10-01"), utc("2024-11-01")))
    assert again.unavailable == (Window(utc("2024-10-01"), utc("2024-11-01")),)
    assert len(binanceus.server.log) == asked, "what lies before a known listing is not asked again"


def test_a_delisted_symbol_is_a_closed_market(binanceus: Venue) -> None:
    binanceus.market.closed_ms[NATIVE] = milliseconds(utc("2025-01-15"))
    with pytest.raises(MarketClosed, match="no longer trades"):
        binanceus.fetch(MONTH)


def test_a_symbol_that_never_existed_is_named(binanceus: Venue) -> None:
    with pytest.raises(UnknownSymbol, match="does not list"):
        binanceus.fetch(MONTH, "NOSUCH/USDT")
    assert len(binanceus.server.log) == 1


def test_an_empty_market_list_says_nothing_about_a_symbol(binanceus: Venue) -> None:
    binanceus.server.fail_while(lambda _: True, EMPTY)
    with pytest.raises(Outage, match="market list is empty"):
        binanceus.fetch(MONTH)


@pytest.mark.parametrize("fault", [GEO_BLOCK, FORBIDDEN], ids=["451", "403"])
def test_a_geo_block_is_not_tried_again(binanceus: Venue, fault: Fault) -> None:
    binanceus.server.fail_while(lambda _: True, fault)
    with pytest.raises(GeoBlocked, match="regimes probe") as caught:
        binanceus.fetch(MONTH)
    assert len(binanceus.server.log) == 1
    assert not binanceus.pauses
    assert caught.value.venue_wide
    assert not caught.value.retryable


def test_a_rate_limit_waits_as_long_as_the_venue_asks(binanceus: Venue) -> None:
    binanceus.server.fail_next(too_many("7"), too_many(None))
    assert_rows(binanceus.fetch(MONTH), expected(MONTH))
    assert binanceus.pauses == [7.0, 60.0]


def test_a_ban_of_an_hour_is_not_waited_out(binanceus: Venue) -> None:
    binanceus.server.fail_while(lambda _: True, Fault(418, '{"code":-1003,"msg":"banned"}', {"Retry-After": "3600"}))
    with pytest.raises(RateLimited) as caught:
        binanceus.fetch(MONTH)
    assert caught.value.retry_after == 3600.0
    assert not binanceus.pauses


@pytest.mark.parametrize(
    "fault", [SERVER_ERROR, BAD_GATEWAY, CUT, Fault(hang=0.8)], ids=["500", "502", "cut", "timeout"]
)
def test_a_short_outage_is_tried_again_with_growing_pauses(binanceus: Venue, fault: Fault) -> None:
    binanceus.server.fail_next(fault, fault)
    batch = binanceus.fetch(MONTH)
    assert_rows(batch, expected(MONTH))
    assert binanceus.pauses == [1.0, 2.0]
    assert batch.requests == 3


@pytest.mark.parametrize("fault", [SERVER_ERROR, CUT], ids=["500", "cut"])
def test_a_long_outage_gives_up_with_an_error_that_says_so(binanceus: Venue, fault: Fault) -> None:
    binanceus.server.fail_while(lambda _: True, fault)
    with pytest.raises(Outage, match="next run"):
        binanceus.fetch(MONTH)
    assert len(binanceus.server.log) == 4


def test_an_html_page_with_status_200_is_a_bad_response(binanceus: Venue) -> None:
    binanceus.server.fail_while(lambda _: True, HTML)
    with pytest.raises(BadResponse):
        binanceus.fetch(MONTH)


def test_an_html_page_once_is_asked_again(binanceus: Venue) -> None:
    binanceus.server.fail_next(HTML)
    assert_rows(binanceus.fetch(MONTH), expected(MONTH))


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: [[row[0], None, *row[2:]] for row in rows],
        lambda rows: {"rows": rows},
        lambda rows: [row[:3] for row in rows],
    ],
    ids=["nulls", "object", "short rows"],
)
def test_rows_that_are_no_bars_are_refused(binanceus: Venue, change: Any) -> None:
    binanceus.server.fail_while(lambda _: True, Fault(change=change))
    with pytest.raises(BadResponse):
        binanceus.fetch(MONTH)


def test_a_bar_whose_low_is_above_its_close_is_refused_and_named(binanceus: Venue) -> None:
    binanceus.server.fail_while(
        lambda _: True,
        Fault(change=lambda rows: [[*r[:3], "9999.0", *r[4:]] if i == 5 else r for i, r in enumerate(rows)]),
    )
    with pytest.raises(BadResponse, match="2025-02-01 06:00"):
        binanceus.fetch(MONTH)


def test_the_public_mirror_of_binance_is_asked_by_default() -> None:
    exchange = Client("binance").exchange
    assert exchange.urls["api"]["public"] == "https://data-api.binance.vision/api/v3"


def test_a_spot_venue_is_never_asked_for_derivatives(binanceus: Venue) -> None:
    assert not binanceus.source.client.has("fetchFundingRateHistory")


@pytest.mark.parametrize(
    ("venue", "native"), [("coinbaseexchange", "BTC-USDT"), ("kraken", "XBTUSDT"), ("binance", "BTCUSDT")]
)
def test_every_spot_venue_tells_the_same_truth(venue: str, native: str) -> None:
    with VenueServer() as server:
        urls = {
            "coinbaseexchange": {"public": server.url},
            "kraken": {"public": server.url},
            "binance": {"public": f"{server.url}/api/v3"},
        }
        asked = _venue(server, venue, native, SYMBOL, urls[venue])
        {"coinbaseexchange": spot.coinbase, "kraken": spot.kraken, "binance": spot.binance}[venue](server, asked.market)
        window = Window(utc("2025-02-25"), utc("2025-04-01"))
        batch = asked.fetch(window)
        columns = ["ts", "open", "high", "low", "close", "volume"]
        assert_rows(batch, expected(window), columns)
        truth = expected(window)
        typical = truth["volume"] * (truth["high"] + truth["low"] + truth["close"]) / 3
        want = typical if venue == "coinbaseexchange" else truth["quote_volume"]
        assert batch.rows["ohlcv"]["quote_volume"].to_numpy() == pytest.approx(want.to_numpy(), rel=1e-6)


SPOT = {"binanceus": "BTCUSDT", "binance": "BTCUSDT", "coinbaseexchange": "BTC-USDT", "kraken": "XBTUSDT"}
NEWEST = Window(utc("2025-03-10"), utc("2025-04-01"))
every_venue = pytest.mark.parametrize("venue", list(SPOT))


@contextmanager
def at(venue: str) -> Iterator[Venue]:
    with VenueServer() as server:
        url = f"{server.url}/api/v3" if venue.startswith("binance") else server.url
        asked = _venue(server, venue, SPOT[venue], SYMBOL, {"public": url})
        {"coinbaseexchange": spot.coinbase, "kraken": spot.kraken}.get(venue, spot.binance)(server, asked.market)
        yield asked


@every_venue
@every_fault
def test_every_venues_faults_are_classified_alike(venue: str, fault: Fault, expected: type[SourceError]) -> None:
    with at(venue) as asked:
        asked.server.fail_while(lambda _: True, fault)
        with pytest.raises(SourceError) as caught:
            asked.fetch(NEWEST)
        assert caught.type is expected
        assert caught.value.requests == len(asked.server.log) > 0


@every_venue
@pytest.mark.parametrize("fault", [EMPTY, DOUBLED], ids=["empty", "doubled"])
def test_an_empty_answer_or_doubled_rows_change_nothing_at_any_venue(venue: str, fault: Fault) -> None:
    with at(venue) as asked:
        asked.server.fail_next(fault)
        assert_rows(asked.fetch(NEWEST), expected(NEWEST), ["ts", "open", "high", "low", "close", "volume"])


@every_venue
def test_a_symbol_that_never_existed_is_named_at_any_venue(venue: str) -> None:
    with at(venue) as asked, pytest.raises(UnknownSymbol):
        asked.fetch(NEWEST, "NOSUCH/USDT")


@pytest.mark.parametrize("venue", ["binanceus", "binance", "coinbaseexchange"])
def test_a_delisted_symbol_is_a_closed_market_at_any_venue(venue: str) -> None:
    with at(venue) as asked:
        asked.market.closed_ms[SPOT[venue]] = milliseconds(utc("2025-02-15"))
        with pytest.raises(MarketClosed):
            asked.fetch(NEWEST)


def test_krakens_rate_limit_comes_with_status_200() -> None:
    with at("kraken") as asked:
        asked.server.fail_while(lambda _: True, Fault(200, '{"error":["EAPI:Rate limit exceeded"]}'))
        with pytest.raises(RateLimited):
            asked.fetch(NEWEST)


def test_kraken_says_that_older_hours_are_beyond_its_depth() -> None:
    with VenueServer() as server:
        asked = _venue(server, "kraken", "XBTUSDT", SYMBOL, {"public": server.url})
        spot.kraken(server, asked.market)
        batch = asked.fetch(Window(utc("2025-01-01"), utc("2025-02-01")))
        assert batch.unavailable == (Window(utc("2025-01-01"), utc("2025-02-01")),)
        assert not server.log
