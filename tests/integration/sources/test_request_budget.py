"""What history and an hour cost in questions: months times symbols and the pages of a month, and about ten an hour."""

import pytest

from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.frames import empty, milliseconds
from regimes_dagster.sources.ingest import ingest
from regimes_dagster.sources.protocol import Kind
from regimes_dagster.sources.registry import venue_source
from tests.servers.http import VenueServer
from tests.servers.venues import options, speak

NOW = utc("2025-03-20 10:01:30")
THREE_YEARS = Window(utc("2022-03-01"), utc("2025-03-01"))
MARCH = Window(utc("2025-03-01"), utc("2025-04-01"))


@pytest.mark.parametrize(
    ("kind", "venue", "pages"),
    [
        ("ohlcv", "binanceus", 1),
        ("ohlcv", "coinbaseexchange", 3),
        ("funding", "hyperliquid", 2),
        ("funding", "deribit", 1),
        ("funding", "binanceusdm", 1),
        ("funding", "bybit", 1),
    ],
)
def test_three_years_cost_no_more_than_the_pages_of_their_months_and_nothing_the_second_time(
    kind: Kind, venue: str, pages: int
) -> None:
    symbols = ["BTC/USDT", "ETH/USDT"]
    with VenueServer() as server:
        speak(server, kind, venue, symbols, milliseconds(NOW))
        client = Client(venue, options(venue, server.url) | {"enableRateLimit": False}, sleep=lambda _: None)
        coverage = empty("source_coverage")
        first = ingest(
            kind, window=THREE_YEARS, now=NOW, sources=[venue_source(kind, client)], symbols=symbols, coverage=coverage
        )
        assert not first.failures
        assert len(server.log) == first.requests
        assert first.requests <= 36 * len(symbols) * pages
        again = ingest(
            kind, window=THREE_YEARS, now=NOW + HOUR, sources=[venue_source(kind, client)], symbols=symbols,
            coverage=first.coverage,
        )  # fmt: skip
        assert again.requests == 0


def test_an_hour_of_bars_and_funding_of_three_symbols_costs_seven_questions() -> None:
    symbols = ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
    spent = {}
    for kind, venue in (("ohlcv", "binanceus"), ("funding", "hyperliquid")):
        with VenueServer() as server:
            market = speak(server, kind, venue, symbols, milliseconds(NOW))
            client = Client(venue, options(venue, server.url) | {"enableRateLimit": False}, sleep=lambda _: None)
            source = venue_source(kind, client)
            first = ingest(
                kind, window=MARCH, now=NOW, sources=[source], symbols=symbols, coverage=empty("source_coverage")
            )
            market.now_ms = milliseconds(NOW + HOUR)
            later = ingest(
                kind, window=MARCH, now=NOW + HOUR, sources=[source], symbols=symbols, coverage=first.coverage
            )
            assert not later.failures
            spent[kind] = later.requests
    assert spent == {"ohlcv": 3, "funding": 4}, "one for each symbol, and one for all predicted rates"
