"""Funding of every venue through the real client library, against local servers with each venue's habits.

History: Deribit's unified rate is eight times too large, OKX ignores the end and gives the newest first, Bybit's
pages of 200 lose rows of hourly funding, and stamps jitter by milliseconds.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.ccxt_funding import FundingSource, intervals
from regimes_dagster.sources.frames import milliseconds
from regimes_dagster.sources.protocol import (
    Batch,
    MarketClosed,
    NotAvailable,
    Outage,
    SourceError,
    UnknownSymbol,
)
from regimes_dagster.sources.validate import validate_batch
from tests.integration.sources.faults import every_fault
from tests.servers import funding
from tests.servers.http import (
    DOUBLED,
    EMPTY,
    SERVER_ERROR,
    Fault,
    Seen,
    VenueServer,
    rows_changed,
)
from tests.servers.truth import HOUR_MS, rate

NOW = utc("2025-03-20 10:01:30")
MONTH = Window(utc("2025-02-01"), utc("2025-03-01"))
LIVE = Window(utc("2025-03-20 06:00"), utc("2025-04-01"))
SYMBOL = "BTC/USDT"

VENUES: dict[str, tuple[str, int, Callable[..., None], Callable[[str], dict[str, Any]]]] = {
    "hyperliquid": ("BTC", 1, funding.hyperliquid, lambda url: {"public": url}),
    "krakenfutures": ("PF_XBTUSD", 1, funding.krakenfutures, lambda url: {"public": f"{url}/derivatives/api/"}),
    "deribit": ("BTC-PERPETUAL", 1, funding.deribit, lambda url: {"rest": url}),
    "binanceusdm": ("BTCUSDT", 8, funding.binanceusdm, lambda url: {"fapiPublic": f"{url}/fapi/v1"}),
    "bybit": ("BTCUSDT", 8, funding.bybit, lambda url: {"public": url}),
    "okx": ("BTC-USDT-SWAP", 8, funding.okx, lambda url: {"rest": url}),
}
every_venue = pytest.mark.parametrize("venue", list(VENUES))


@contextmanager
def at(venue: str, interval: int | None = None) -> Iterator[tuple[VenueServer, funding.FundingMarket, FundingSource]]:
    native, hours, speak, urls = VENUES[venue]
    with VenueServer() as server:
        market = funding.FundingMarket({native: SYMBOL}, milliseconds(NOW), interval or hours)
        speak(server, market)
        options = {"urls": {"api": urls(server.url)}, "enableRateLimit": False, "timeout": 500}
        yield server, market, FundingSource(Client(venue, options, sleep=lambda _: None))


def fetch(source: FundingSource, window: Window, symbol: str = SYMBOL) -> Batch:
    batch = source.fetch("funding", symbol, window, NOW)
    validate_batch(source.name, symbol, batch, window)
    return batch


def assert_truth(batch: Batch, window: Window, hours: int) -> None:
    rows = batch.rows["funding_rates"]
    stamps = [milliseconds(ts) for ts in window.until(NOW).hours() if milliseconds(ts) % (hours * HOUR_MS) == 0]
    assert [milliseconds(ts) for ts in rows["ts"]] == stamps
    assert rows["rate"].to_numpy() == pytest.approx([rate(SYMBOL, ms) for ms in stamps], abs=1e-10)
    assert set(rows["interval_hours"]) == {float(hours)}


@every_venue
def test_a_month_of_settlements_is_exactly_the_truth(venue: str) -> None:
    with at(venue) as (_, market, source):
        batch = fetch(source, MONTH)
        assert_truth(batch, MONTH, market.interval_hours)
        assert batch.covered == (MONTH,)
        assert batch.requests <= 2


@every_venue
def test_the_live_edge_brings_the_prediction_and_nothing_unsettled(venue: str) -> None:
    with at(venue) as (_, market, source):
        batch = fetch(source, LIVE)
        assert_truth(batch, LIVE, market.interval_hours)
        if venue == "deribit":
            assert "funding_predictions" not in batch.rows
            return
        (row,) = batch.rows["funding_predictions"].itertuples()
        assert row.observed_at == NOW
        assert row.rate == pytest.approx(rate(SYMBOL, milliseconds(NOW)), abs=1e-10)
        assert row.interval_hours == market.interval_hours
        assert row.next_settlement > NOW


@pytest.mark.parametrize("venue", ["binanceusdm", "bybit", "okx"])
@pytest.mark.parametrize("hours", [1, 4])
def test_short_intervals_lose_no_row_to_small_pages(venue: str, hours: int) -> None:
    with at(venue, hours) as (_, __, source):
        assert_truth(fetch(source, MONTH), MONTH, hours)


QUARTER = Window(utc("2024-12-25"), utc("2025-03-01"))


@every_venue
@pytest.mark.parametrize("number", [0, 1], ids=["first page", "second page"])
def test_a_page_that_comes_back_empty_in_mid_history_is_asked_again(venue: str, number: int) -> None:
    with at(venue) as (server, market, source):
        server.fail_next(*[Fault()] * number, EMPTY)
        batch = fetch(source, QUARTER)
        assert_truth(batch, QUARTER, market.interval_hours)
        assert batch.covered == (QUARTER,)


@pytest.mark.parametrize("venue", ["hyperliquid", "deribit", "okx"])
def test_a_page_that_stays_empty_in_mid_history_is_no_history_without_funding(venue: str) -> None:
    with at(venue) as (server, _, source):
        pages: list[str] = []

        def second(seen: Seen) -> bool:
            start = next(str(seen.query[name]) for name in _STARTS if name in seen.query)
            if start not in pages:
                pages.append(start)
            return pages.index(start) == 1

        server.fail_while(second, EMPTY)
        batch = fetch(source, QUARTER)
        assert batch.covered[0].start == QUARTER.start
        assert batch.covered[-1].end == QUARTER.end
        (hole,) = batch.unavailable
        assert len(hole.hours()) == source.venue.page_hours
        rows = batch.rows["funding_rates"]["ts"]
        assert not hole.mask(rows).any()
        assert len(rows) > 0


_STARTS = ("startTime", "start_timestamp", "before")


@every_venue
def test_a_perpetual_that_no_longer_settles_is_covered_to_its_end_and_then_a_closed_market(venue: str) -> None:
    with at(venue) as (_, market, source):
        closed = utc("2025-03-12")
        market.missing = set(range(milliseconds(closed) + HOUR_MS, milliseconds(NOW) + 1, HOUR_MS))
        batch = fetch(source, Window(utc("2025-03-01"), utc("2025-04-01")))
        assert batch.rows["funding_rates"]["ts"].max() == closed
        assert batch.covered[-1].end == closed + 8 * HOUR, "what comes after its end is nobody's"
        with pytest.raises(MarketClosed, match="no settlement for a day"):
            fetch(source, Window(utc("2025-03-15"), utc("2025-04-01")))


@every_venue
def test_doubled_rows_count_once(venue: str) -> None:
    with at(venue) as (server, market, source):
        server.fail_while(lambda _: True, DOUBLED)
        assert_truth(fetch(source, MONTH), MONTH, market.interval_hours)


@pytest.mark.parametrize("venue", ["hyperliquid", "deribit"])
def test_an_answer_that_was_cut_short_is_completed(venue: str) -> None:
    with at(venue) as (server, market, source):
        server.fail_next(rows_changed(lambda rows: rows[:100]))
        assert_truth(fetch(source, MONTH), MONTH, market.interval_hours)


@pytest.mark.parametrize("venue", ["binanceusdm", "bybit", "okx"])
def test_a_changed_interval_is_seen_on_the_rows(venue: str) -> None:
    with at(venue) as (_, market, source):
        market.changes.append((milliseconds(utc("2025-02-10")), 4))
        rows = fetch(source, MONTH).rows["funding_rates"].set_index("ts")["interval_hours"]
        assert set(rows[: utc("2025-02-10")]) == {8.0}
        assert set(rows[utc("2025-02-10 01:00") :]) == {4.0}


def test_stamps_are_keyed_on_the_minute_and_kept_as_they_came() -> None:
    with at("hyperliquid") as (_, __, source):
        rows = fetch(source, MONTH).rows["funding_rates"]
        assert (rows["ts"] == rows["ts"].dt.floor("h")).all()
        assert (rows["settled_at_raw"] > rows["ts"]).any()


def test_the_whole_history_of_kraken_is_asked_once_for_many_months() -> None:
    with at("krakenfutures") as (server, _, source):
        for month in ("2024-11-01", "2024-12-01", "2025-01-01", "2025-02-01"):
            fetch(source, Window(utc(month), utc(month) + 28 * 24 * HOUR))
        assert len(server.asked("historicalfundingrates")) == 1


def test_what_lies_before_the_first_settlement_is_unavailable() -> None:
    with at("krakenfutures") as (_, __, source):
        batch = fetch(source, Window(utc("2024-03-01"), utc("2024-04-01")))
        assert batch.unavailable[0].start == utc("2024-03-01")
        assert batch.covered[0].end == utc("2024-04-01")


@every_venue
def test_a_perpetual_listed_later_is_unavailable_before_and_complete_after(venue: str) -> None:
    with at(venue) as (_, market, source):
        market.listed_ms = milliseconds(utc("2025-02-11 08:00"))
        batch = fetch(source, MONTH)
        assert batch.rows["funding_rates"]["ts"].min() == utc("2025-02-11 08:00")
        assert batch.unavailable == (Window(MONTH.start, utc("2025-02-11")),), "up to eight hours before the first"
        assert batch.covered == (Window(utc("2025-02-11"), MONTH.end),)


def test_okx_says_that_three_months_are_its_depth() -> None:
    with at("okx") as (server, _, source):
        window = Window(utc("2024-06-01"), utc("2024-07-01"))
        assert fetch(source, window).unavailable == (window,)
        assert not server.log


def test_predictions_of_all_symbols_cost_one_request() -> None:
    with at("hyperliquid") as (server, market, source):
        market.natives["ETH"] = "ETH/USDT"
        fetch(source, LIVE)
        fetch(source, LIVE, "ETH/USDT")
        assert len([seen for seen in server.log if seen.query["type"] == "metaAndAssetCtxs"]) == 1


def test_settlements_are_stored_even_when_the_prediction_fails() -> None:
    with at("krakenfutures") as (server, _, source):
        server.fail_while(lambda seen: seen.path.endswith("tickers"), SERVER_ERROR)
        batch = fetch(source, LIVE)
        assert len(batch.rows["funding_rates"]) == 4
        assert any("no predicted funding" in note for note in batch.notes)


@every_venue
def test_a_symbol_the_venue_does_not_list_is_named_as_such(venue: str) -> None:
    with at(venue) as (_, __, source), pytest.raises(UnknownSymbol):
        fetch(source, MONTH, "NOSUCH/USDT")


def test_hyperliquids_server_error_for_a_name_it_does_not_know_is_told_from_an_outage() -> None:
    """It answers 500 with "null"; three of them in a row would have been taken for an outage of the venue."""
    with at("hyperliquid") as (server, _, source):
        fetch(source, LIVE)
        asked = len(server.log)
        with pytest.raises(UnknownSymbol, match="lists no NOSUCH"):
            fetch(source, LIVE, "NOSUCH/USDT")
        assert len(server.log) == asked, "the predictions of the same run name every symbol"
        server.fail_while(lambda seen: seen.query["type"] == "fundingHistory", SERVER_ERROR)
        with pytest.raises(Outage):
            fetch(source, MONTH)


@every_venue
@every_fault
def test_every_venues_faults_are_classified_alike(venue: str, fault: Fault, expected: type[SourceError]) -> None:
    with at(venue) as (server, _, source):
        server.fail_while(lambda _: True, fault)
        with pytest.raises(SourceError) as caught:
            fetch(source, MONTH)
        assert caught.type is expected


def test_a_spot_venue_is_refused_before_any_request() -> None:
    class Spot:
        venue = "binanceus"
        requests = 0

    client = Client("binanceus")
    assert not client.has("fetchFundingRateHistory")
    source = FundingSource.__new__(FundingSource)
    source.client, source.name = client, "binanceus"
    with pytest.raises(NotAvailable):
        source.fetch("funding", SYMBOL, MONTH, NOW)
    assert client.requests == 0


def test_intervals_are_the_time_since_the_settlement_before() -> None:
    start = utc("2025-01-01")
    stamps = [milliseconds(start + hours * HOUR) for hours in (0, 8, 16, 20, 24, 40, 44)]
    assert intervals(stamps, None) == [8, 8, 8, 4, 4, 4, 4]
    assert intervals(stamps, 1.0) == [1.0] * 7
    assert intervals(stamps[:1], None) == [8.0]
    assert intervals([], None) == []
