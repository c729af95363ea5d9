"""One ccxt client per venue and process: how a question is asked, counted, and asked again.

What belongs here: building the client from the user's options, the weights that need correcting, retries with
back-off and ``Retry-After``, the count of requests, the lock (the synchronous client is not thread-safe). What
does not: what is asked (one file per venue family) and which error it was (``classify.py``).

ccxt is imported inside functions: it costs 76 MiB and 0.4 s in every process that imports it.
"""

import email.utils
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from regimes_dagster.sources import weights
from regimes_dagster.sources.classify import Answer, classify
from regimes_dagster.sources.pace import SharedPace
from regimes_dagster.sources.protocol import (
    BadResponse,
    MarketClosed,
    NotAvailable,
    Outage,
    RateLimited,
    SourceError,
    UnknownSymbol,
)

Sleep = Callable[[float], None]

#: Tries per question, and the longest pause that is waited out inside a run, seconds.
TRIES = 4
LONGEST_PAUSE = 90.0
_BAD_RESPONSE_TRIES = 2

#: ccxt option corrections; the user's own options win. Binance.US allows 1,200 weights a minute and a page of bars
#: weighs 1 there; the library counts 0.4 as at its big sister, so that 150 ms a unit are 60 ms a page, 1,000 a minute.
_CORRECTIONS: Mapping[str, Mapping[str, Any]] = {
    "binanceus": {"rateLimit": 150},
    "binance": {
        "urls": {"api": {"public": "https://data-api.binance.vision/api/v3"}},
        "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
    },
    "binanceusdm": {"options": {"fetchMarkets": {"types": ["linear"]}, "fetchCurrencies": False}},
    "bybit": {"options": {"fetchMarkets": {"types": ["linear"]}, "fetchCurrencies": False}},
    "okx": {"options": {"fetchMarkets": {"types": ["swap"]}}},
    "gate": {"options": {"fetchMarkets": {"types": ["swap"]}}},
}


class Client:
    """Asks one venue, one question at a time.

    Parameters
    ----------
    venue
        Id of the venue in ccxt.
    options
        Passed to the ccxt constructor as they stand, over the corrections of this module.
    sleep
        Waits; tests inject their own.
    tries
        How often a question is asked at most.
    pace
        Folder in which the processes of the installation agree on the venue's pace; None: this client alone.
    """

    def __init__(
        self,
        venue: str,
        options: Mapping[str, Any] | None = None,
        *,
        sleep: Sleep = time.sleep,
        tries: int = TRIES,
        pace: Path | None = None,
    ) -> None:
        self.venue = venue
        self.tries = tries
        self.requests = 0
        self._options = dict(options or {})
        self._sleep = sleep
        self._lock = threading.RLock()
        self._pace = None if pace is None else SharedPace(pace / venue)
        self._exchange: Any = None
        self._last: Any = None

    @property
    def exchange(self) -> Any:
        """The ccxt exchange, built on first use.

        Raises
        ------
        NotAvailable
            If ccxt does not know the venue or refuses the options.
        """
        with self._lock:
            if self._exchange is None:
                self._exchange = self._build()
            return self._exchange

    @property
    def answered_at(self) -> pd.Timestamp | None:
        """The venue's clock in its last answer (``Date`` header, whole seconds); None if it does not say."""
        text = self._last.headers.get("Date") if self._last is not None else None
        try:
            return None if text is None else pd.Timestamp(email.utils.parsedate_to_datetime(text)).tz_convert("UTC")
        except (TypeError, ValueError):
            return None

    def has(self, capability: str) -> bool:
        """Whether the venue itself offers a ccxt capability; inherited methods exist even where it does not."""
        return bool(self.exchange.has.get(capability))

    def ask(self, symbol: str, method: str, params: Mapping[str, Any], now: pd.Timestamp | None = None) -> Any:
        """The decoded JSON answer of one of ccxt's raw endpoints, after as many tries as make sense.

        Parameters
        ----------
        symbol
            For messages.
        method
            Name of ccxt's implicit method, e.g. ``publicGetKlines``.
        params
            Query parameters.

        Raises
        ------
        SourceError
            As ``classify.py`` decides, once the tries are used up.
        """
        with self._lock:
            exchange = self.exchange
            call = getattr(exchange, method, None)
            if call is None:
                raise NotAvailable(self.venue, symbol, f"ccxt {_ccxt_version()} has no {method} for it; upgrade ccxt")
            return self._tried(symbol, lambda: call(dict(params)), now)

    def ask_path(
        self, symbol: str, api: str, path: str, params: Mapping[str, Any], now: pd.Timestamp | None = None
    ) -> Any:
        """As ``ask``, for a public path that ccxt has no method for; ``{name}`` in it is filled from ``params``."""
        with self._lock:
            exchange = self.exchange
            return self._tried(symbol, lambda: exchange.fetch2(path, [api], "GET", dict(params)), now)

    def listing(self, symbol: str, native: str, now: pd.Timestamp | None = None) -> None:
        """Look a symbol up in the venue's market list; asked only after an answer that makes one doubt.

        Raises
        ------
        UnknownSymbol, MarketClosed
            If the list lacks it, or says that it no longer trades.
        Outage
            If the list is empty: that says nothing about the symbol.
        """
        with self._lock:
            exchange = self.exchange
            if not exchange.markets:
                # The markets alone: the library's loading asks for currencies, too, which may fail by themselves.
                exchange.set_markets(self._tried(symbol, exchange.fetch_markets, now))
            markets = exchange.markets_by_id or {}
            if not markets:
                raise Outage(self.venue, symbol, "the venue's market list is empty; it is tried again in the next run")
            found = markets.get(native) or []
            if not found:
                raise UnknownSymbol(
                    self.venue, symbol, f"the venue lists no {native}; remove the symbol or name another venue"
                )
            if all(market.get("active") is False for market in found):
                raise MarketClosed(
                    self.venue, symbol, f"the venue no longer trades {native}; remove the symbol or name another venue"
                )

    def _tried(self, symbol: str, call: Callable[[], Any], now: pd.Timestamp | None) -> Any:
        import requests
        from ccxt.base.errors import BaseError

        bad = 0
        for attempt in range(1, self.tries + 1):
            self._last = None
            try:
                answer = call()
                self._refuse_text(symbol, answer)
                return answer
            except (
                BaseError,
                SourceError,
                requests.RequestException,
                TypeError,
                KeyError,
                ValueError,
                IndexError,
                AttributeError,
            ) as problem:
                error = classify(self.venue, symbol, problem, self._answer(), now)
                error.__cause__ = None if error is problem else problem
            bad += isinstance(error, BadResponse)
            pause = error.retry_after if isinstance(error, RateLimited) else 2.0 ** (attempt - 1)
            if not error.retryable or attempt == self.tries or bad >= _BAD_RESPONSE_TRIES or pause > LONGEST_PAUSE:
                raise error
            if isinstance(error, RateLimited) and self._pace is not None:
                # The limit is the address's: the other processes pause as well, or the venue bans all of them.
                self._pace.hold(pause)
            self._sleep(pause)
        raise AssertionError("unreachable: the loop returns or raises")

    def _refuse_text(self, symbol: str, answer: Any) -> None:
        """A 200 answer with an HTML body is no error for ccxt: it hands the text, or nothing, on."""
        if answer is None or isinstance(answer, (str, bytes)):
            start = " ".join(str(answer)[:80].split())
            raise BadResponse(self.venue, symbol, f"the answer is no JSON (it starts with {start!r})")

    def _answer(self) -> Answer | None:
        response = self._last
        if response is None:
            return None
        # The body may have been cut off; then there is only the status.
        body = response.text if getattr(response, "_content_consumed", False) else ""
        return Answer(int(response.status_code), dict(response.headers), body[:2000])

    def _build(self) -> Any:
        import ccxt

        make = getattr(ccxt, self.venue, None)
        if make is None or self.venue not in ccxt.exchanges:
            raise NotAvailable(self.venue, "*", f"ccxt {_ccxt_version()} does not know the venue; see `regimes doctor`")
        merged = ccxt.Exchange.deep_extend({"timeout": 20_000}, _CORRECTIONS.get(self.venue, {}), self._options)
        try:
            exchange = make(merged)
        except (TypeError, ValueError, AttributeError, KeyError) as problem:
            raise NotAvailable(
                self.venue, "*", f"the client refuses the options of [sources.ccxt.{self.venue}]: {problem}"
            ) from problem
        plain_fetch = exchange.fetch

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.requests += 1
            self._last = None
            return plain_fetch(*args, **kwargs)

        def remember(response: Any, *_: Any, **__: Any) -> None:
            self._last = response

        believed = exchange.calculate_rate_limiter_cost

        def weighed(api: Any, method: Any, path: str, params: Any, config: Any = None) -> float:
            return weights.cost(self.venue, path, params, believed(api, method, path, params, config or {}))

        exchange.calculate_rate_limiter_cost = weighed
        if self._pace is not None:
            shared = self._pace
            # The library calls this before each request where the user has not switched its limiter off.
            exchange.throttle = lambda cost=None: shared.wait(
                exchange.rateLimit / 1000.0 * (1.0 if cost is None else cost)
            )
        exchange.fetch = counted
        exchange.session.hooks["response"].append(remember)
        return exchange


_CLIENTS: dict[tuple[str, str], Client] = {}
_CLIENTS_LOCK = threading.Lock()


def client_for(
    venue: str, options: Mapping[str, Any] | None = None, *, sleep: Sleep = time.sleep, pace: Path | None = None
) -> Client:
    """The process's client of a venue; the same options give the same client, so that its limiter holds."""
    key = (venue, json.dumps([options or {}, str(pace)], sort_keys=True, default=str))
    with _CLIENTS_LOCK:
        if key not in _CLIENTS:
            _CLIENTS[key] = Client(venue, options, sleep=sleep, pace=pace)
        return _CLIENTS[key]


def _ccxt_version() -> str:
    import ccxt

    return str(ccxt.__version__)
