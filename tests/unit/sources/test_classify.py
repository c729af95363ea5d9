"""Which error it was, from what real venues say."""

import ccxt
import pytest
import requests

from regimes_dagster.partitions import utc
from regimes_dagster.sources.classify import Answer, classify, retry_after
from regimes_dagster.sources.protocol import (
    BadResponse,
    GeoBlocked,
    NotAvailable,
    Outage,
    RateLimited,
    SourceError,
    UnknownSymbol,
)


def broken_off() -> Exception:
    problem = ccxt.ExchangeError("binanceus GET url")
    problem.__cause__ = requests.exceptions.ChunkedEncodingError("IncompleteRead")
    return problem


@pytest.mark.parametrize(
    ("problem", "answer", "expected"),
    [
        (
            ccxt.ExchangeNotAvailable("451"),
            Answer(451, {}, "Service unavailable from a restricted location"),
            GeoBlocked,
        ),
        (
            ccxt.RateLimitExceeded("403"),
            Answer(403, {}, "The Amazon CloudFront distribution is configured to block access from your country."),
            GeoBlocked,
        ),
        (ccxt.RateLimitExceeded("403"), Answer(403, {}, "403 Forbidden: access too frequent"), RateLimited),
        (ccxt.DDoSProtection("429"), Answer(429, {}, ""), RateLimited),
        (ccxt.ExchangeNotAvailable("429"), Answer(429, {}, '{"code":"50011","msg":"Too Many Requests"}'), RateLimited),
        (
            ccxt.RateLimitExceeded("50011"),
            Answer(200, {}, '{"code":"50011","msg":"Requests too frequent."}'),
            RateLimited,
        ),
        (ccxt.ExchangeNotAvailable("503"), Answer(503, {}, "<html>maintenance</html>"), Outage),
        (ccxt.RequestTimeout("slow"), None, Outage),
        (ccxt.NetworkError("reset"), None, Outage),
        (ccxt.OnMaintenance("upgrade"), Answer(200, {}, "{}"), Outage),
        (broken_off(), Answer(200, {}, ""), Outage),
        (ccxt.BadSymbol("no market"), None, UnknownSymbol),
        (ccxt.ExchangeError("x"), Answer(404, {}, '{"message":"NotFound"}'), UnknownSymbol),
        (ccxt.BadRequest("x"), Answer(400, {}, '{"label":"CONTRACT_NOT_FOUND"}'), UnknownSymbol),
        (ccxt.BadRequest("x"), Answer(400, {}, '{"msg":"Illegal characters found in parameter"}'), BadResponse),
        (ccxt.NotSupported("x"), None, NotAvailable),
        (TypeError("'NoneType' object is not subscriptable"), Answer(200, {}, "<html>"), BadResponse),
        (ccxt.ExchangeError("html"), Answer(200, {}, "<html><body>checking your browser</body></html>"), BadResponse),
    ],
)
def test_the_status_and_the_body_decide(problem: Exception, answer: Answer | None, expected: type[SourceError]) -> None:
    error = classify("venue", "BTC/USDT", problem, answer)
    assert type(error) is expected
    assert str(error).startswith("venue BTC/USDT: ")
    assert "<html>" not in str(error)


def test_the_query_of_an_address_is_not_told() -> None:
    problem = ccxt.NetworkError("venue GET https://api.venue.example/klines?symbol=BTCUSDT&startTime=1704067200000 end")
    said = str(classify("venue", "BTC/USDT", problem, None))
    assert said.endswith("https://api.venue.example/klines end")


def test_an_error_that_is_classified_already_stays_what_it_is() -> None:
    error = Outage("venue", "BTC/USDT", "down")
    assert classify("venue", "BTC/USDT", error, Answer(451)) is error


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({}, 60.0),
        ({"Retry-After": "soon"}, 60.0),
        ({"Retry-After": "Sat, 01 Mar 2025 10:00:30 GMT"}, 30.0),
        ({"Retry-After": "Sat, 01 Mar 2025 09:00:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers, utc("2025-03-01 10:00")) == seconds
