"""One classifier for everything that can go wrong between a question to a venue and its answer.

What belongs here: deciding from the exception, the HTTP status, headers and body which ``SourceError`` it is, and
so whether asking again helps. What does not: asking again (``ccxt_client.py``).

The client library's own classes are no guide: a geo block arrives as ``ExchangeNotAvailable`` (bybit:
``RateLimitExceeded``), a rate limit as ``DDoSProtection`` or ``ExchangeNotAvailable``, an HTML page as a
``TypeError`` out of a parser. So the status and the body come first.
"""

import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from regimes_dagster.sources.protocol import (
    BadResponse,
    GeoBlocked,
    NotAvailable,
    Outage,
    RateLimited,
    SourceError,
    UnknownSymbol,
)

#: Wait after a 429 that does not say how long, seconds.
DEFAULT_RETRY_AFTER = 60.0

_TOO_OFTEN = re.compile(r"too (many|frequent)|rate.?limit|throttl|frequency", re.IGNORECASE)
_PLACE = re.compile(
    r"restricted location|your country|not available in|eligibility|jurisdiction|region|geo", re.IGNORECASE
)
_QUERY = re.compile(r"(https?://[^\s?]+)\?\S*")
_NO_SUCH = re.compile(
    r"invalid symbol|symbol is invalid|symbol (not|does not)|contract_?not_?found|"
    r"unknown (symbol|asset|pair|contract|instrument|market)|"
    r"(instrument|contract|market|product|coin) .{0,40}(not|n't) (found|exist|valid)|not ?found",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Answer:
    """What came over the wire, as far as anything did."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


def classify(
    venue: str, symbol: str, problem: BaseException, answer: Answer | None, now: pd.Timestamp | None = None
) -> SourceError:
    """The one error for what happened.

    Parameters
    ----------
    problem
        What the client library, a parser or the network raised.
    answer
        The last HTTP answer of this question, or None where there was none.
    now
        For ``Retry-After`` given as a date; without it such a header counts as absent.
    """
    if isinstance(problem, SourceError):
        return problem
    from ccxt.base import errors

    said = _said(answer, problem)
    if answer is not None and answer.status in (418, 429):
        return _limited(venue, symbol, answer, now)
    if answer is not None and answer.status in (403, 451):
        if answer.status == 403 and _TOO_OFTEN.search(said) and not _PLACE.search(said):
            return _limited(venue, symbol, answer, now)
        return GeoBlocked(
            venue,
            symbol,
            f"the venue refuses this address (HTTP {answer.status}); the next venue in the list is used. "
            f"Run `regimes probe` to see which venues answer from here. It said: {said}",
        )
    if answer is not None and answer.status >= 500:
        return Outage(
            venue, symbol, f"server error (HTTP {answer.status}); it is tried again in the next run. It said: {said}"
        )
    readable = answer is not None and answer.status == 200 and isinstance(problem, errors.ExchangeError)
    refused = readable or (answer is not None and answer.status in (400, 404, 422))
    if isinstance(problem, errors.BadSymbol) or (refused and _NO_SUCH.search(said)):
        return UnknownSymbol(
            venue, symbol, f"the venue does not list it; remove it or name another venue. It said: {said}"
        )
    if isinstance(problem, errors.RateLimitExceeded | errors.DDoSProtection):
        return _limited(venue, symbol, answer, now)
    if isinstance(problem, errors.NotSupported):
        return NotAvailable(venue, symbol, f"the venue does not offer this; take it out of the list. It said: {said}")
    if isinstance(problem, errors.NetworkError) or _broken_off(problem):
        return Outage(
            venue, symbol, f"no usable answer ({type(problem).__name__}); it is tried again in the next run. {said}"
        )
    if answer is not None and 400 <= answer.status < 500:
        return BadResponse(venue, symbol, f"the venue refused the question (HTTP {answer.status}): {said}")
    return BadResponse(venue, symbol, f"the answer cannot be understood ({type(problem).__name__}: {said})")


def retry_after(headers: Mapping[str, str], now: pd.Timestamp | None = None) -> float:
    """Seconds that a ``Retry-After`` header asks for; 60 where there is none."""
    value = next((text for name, text in headers.items() if name.lower() == "retry-after"), None)
    if value is None:
        return DEFAULT_RETRY_AFTER
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = pd.Timestamp(email.utils.parsedate_to_datetime(value))
    except (TypeError, ValueError):
        return DEFAULT_RETRY_AFTER
    return DEFAULT_RETRY_AFTER if now is None else max(0.0, (moment - now).total_seconds())


def _limited(venue: str, symbol: str, answer: Answer | None, now: pd.Timestamp | None) -> RateLimited:
    wait = retry_after(answer.headers if answer is not None else {}, now)
    return RateLimited(
        venue, symbol, f"asked too often; the venue wants a pause of {wait:.0f} s. If it comes back, "
        f"raise rateLimit in [sources.ccxt.{venue}]",
        retry_after=wait,
    )  # fmt: skip


def _broken_off(problem: BaseException) -> bool:
    """A connection that broke inside the body: the library reports it as a plain exchange error."""
    import requests

    cause = problem.__cause__
    return isinstance(cause, requests.RequestException) and not isinstance(cause, requests.HTTPError)


def _said(answer: Answer | None, problem: BaseException) -> str:
    text = answer.body if answer is not None and answer.body else str(problem)
    # The query of an address differs with every symbol and month, and says nothing that the reader could act on.
    plain = _QUERY.sub(r"\1", re.sub(r"<[^>]*>", " ", text))
    return re.sub(r"\s+", " ", plain).strip()[:200]
