"""One post: vetted address, hard limits on time and size, an outcome instead of an exception.

What belongs here: the HTTP request of one attempt. What does not: what the outcome means (``answers.py``) and
whether to try again (``delivery.py``).

The transport is used without httpx's client: no redirects, cookies, proxies or credentials from the environment,
and no log line with the URL. Exceptions are reduced to their class, since their texts hold addresses.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from time import monotonic

import httpx
import pandas as pd

from regimes_dagster.alerts.addresses import (
    Address,
    Network,
    RefusedAddressError,
    Resolver,
    Target,
    UnknownHostError,
    vet,
)
from regimes_dagster.alerts.answers import Outcome, Trouble
from regimes_dagster.alerts.schedule import retry_after
from regimes_dagster.clock import system_now


@dataclass(frozen=True)
class Limits:
    """Caps of one attempt: seconds, and bytes of the answer that are read."""

    connect_s: float = 5.0
    read_s: float = 10.0
    total_s: float = 15.0
    answer_bytes: int = 2048


@cache
def system_certificates() -> ssl.SSLContext:
    """The TLS context of every post: certificates and host names are checked, TLS 1.2 or newer."""
    import certifi

    context = ssl.create_default_context(cafile=certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def hush() -> None:
    """Keep httpx and httpcore at WARNING: at INFO they log URLs, and URLs of chat services are secrets."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


class Poster:
    """Posts to one endpoint over connections of its own.

    Connections are never shared between endpoints: they are pooled by address, and two hosts at one address would
    get each other's messages.

    Parameters
    ----------
    resolver
        Finds the addresses of a host.
    allow
        Networks that the user opened.
    tls
        TLS context; default the system's certificates.
    """

    def __init__(
        self,
        *,
        resolver: Resolver,
        allow: Sequence[Network],
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        now: Callable[[], pd.Timestamp] = system_now,
    ) -> None:
        self._resolver = resolver
        self._allow = tuple(allow)
        self._limits = limits or Limits()
        self._now = now
        self._transport = httpx.AsyncHTTPTransport(
            verify=tls or system_certificates(),
            http1=True,
            http2=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=2, max_keepalive_connections=1, keepalive_expiry=5.0),
        )

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Outcome:
        """Post once; whatever happens is an outcome."""
        started = monotonic()
        try:
            async with asyncio.timeout(self._limits.total_s):
                target = await vet(url, resolver=self._resolver, allow=self._allow)
                outcome = await self._attempt(target, body, headers)
        except (TimeoutError, httpx.TimeoutException) as error:
            outcome = _trouble(Trouble.TIMEOUT, error)
        except RefusedAddressError as error:
            outcome = _trouble(Trouble.REFUSED_ADDRESS, error)
        except UnknownHostError as error:
            outcome = _trouble(Trouble.DNS, error)
        except httpx.ConnectError as error:
            outcome = _trouble(Trouble.TLS if _is_tls(error) else Trouble.CONNECT, error)
        except (httpx.LocalProtocolError, UnicodeEncodeError) as error:
            outcome = _trouble(Trouble.BAD_MESSAGE, error)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL, ValueError) as error:
            outcome = _trouble(Trouble.BAD_URL, error)
        except (httpx.TransportError, OSError) as error:
            outcome = _trouble(Trouble.RESET, error)
        return _timed(outcome, monotonic() - started)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def _attempt(self, target: Target, body: bytes, headers: Mapping[str, str]) -> Outcome:
        """Try the vetted addresses in turn until one accepts a connection."""
        for address in target.addresses[:-1]:
            try:
                return await self._send(target, address, body, headers)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._send(target, target.addresses[-1], body, headers)

    async def _send(self, target: Target, address: Address, body: bytes, headers: Mapping[str, str]) -> Outcome:
        limits = self._limits
        request = httpx.Request(
            "POST",
            target.url(address),
            headers={"Host": target.host_header, "Accept": "*/*", "Accept-Encoding": "identity", **headers},
            content=body,
            extensions={
                "sni_hostname": target.host,
                "timeout": {
                    "connect": limits.connect_s,
                    "read": limits.read_s,
                    "write": limits.read_s,
                    "pool": limits.connect_s,
                },
            },
        )
        response = await self._transport.handle_async_request(request)
        try:
            answer = await self._read(response)
        finally:
            await response.aclose()
        asked = None
        if response.status_code >= 400:
            asked = retry_after(response.headers, answer, self._now().to_pydatetime())
        return Outcome(status=response.status_code, asked=asked)

    async def _read(self, response: httpx.Response) -> bytes:
        """The first bytes of the raw answer; an answer longer than the cap is cut there and counts as it stands."""
        read = b""
        assert isinstance(response.stream, httpx.AsyncByteStream)
        async for chunk in response.stream:
            read += chunk
            if len(read) >= self._limits.answer_bytes:
                break
        return read[: self._limits.answer_bytes]


def _trouble(trouble: Trouble, error: BaseException) -> Outcome:
    return Outcome(trouble=trouble, error=type(error).__name__)


def _timed(outcome: Outcome, seconds: float) -> Outcome:
    return Outcome(outcome.status, outcome.trouble, outcome.asked, outcome.error, round(seconds * 1000))


def _is_tls(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
