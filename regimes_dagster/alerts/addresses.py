"""Where a post may go: names are resolved once, every address is vetted, and the vetted address is connected to.

What belongs here: the table of refused networks and the resolution. ``ipaddress.is_global`` is not enough: it lets
multicast, NAT64, the 6to4 relay and, before Python 3.13, more through. What does not: the HTTP request (``post.py``),
which connects to an address from here with the ``Host`` header and the TLS name of the configured host, so that a
name that changes its answer afterwards has no second look-up to abuse.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: A resolver takes host and port and gives addresses as text, in the order in which they should be tried.
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

#: https://www.iana.org/assignments/iana-ipv4-special-registry
REFUSED_V4: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-grade NAT"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local, cloud metadata"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "AS112"),
    ("192.52.193.0/24", "AMT"),
    ("192.88.99.0/24", "6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "AS112"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved, broadcast"),
)

#: https://www.iana.org/assignments/iana-ipv6-special-registry; outside 2000::/3 nothing is allowed at all.
REFUSED_V6: tuple[tuple[str, str], ...] = (
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::/96", "IPv4-compatible"),
    ("::ffff:0:0/96", "IPv4-mapped"),
    ("::ffff:0:0:0/96", "IPv4-translated"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "local NAT64"),
    ("100::/64", "discard"),
    ("2001::/23", "Teredo and protocol assignments"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("2620:4f:8000::/48", "AS112"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "unique local"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)

_REFUSED: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(text), what) for text, what in (*REFUSED_V4, *REFUSED_V6)
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")

#: An answer with more addresses than this is cut: they are tried in turn.
_MOST = 8


class RefusedAddressError(Exception):
    """A host leads where alerts may not go; the text names the kind of network, never the URL."""


class UnknownHostError(Exception):
    """A host has no address."""


@dataclass(frozen=True)
class Target:
    """A vetted place to connect to.

    Attributes
    ----------
    addresses
        Vetted addresses in the order in which they are tried.
    host
        Configured host: ``Host`` header and TLS name.
    """

    scheme: str
    host: str
    port: int
    path: str
    addresses: tuple[Address, ...]

    @property
    def host_header(self) -> str:
        """``Host`` as the receiver expects it."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == {"http": 80, "https": 443}[self.scheme] else f"{name}:{self.port}"

    def url(self, address: Address) -> str:
        """The URL with the address in place of the host."""
        name = f"[{address}]" if address.version == 6 else str(address)
        return f"{self.scheme}://{name}:{self.port}{self.path}"


def refusal(address: Address, allow: Iterable[Network]) -> str | None:
    """The kind of refused network an address lies in, or None if it may be posted to.

    ``allow`` opens networks that a user owns; an IPv4-mapped address is judged by the IPv4 address in it there, so
    that ``::ffff:127.0.0.1`` is what ``127.0.0.1`` is.
    """
    inner: Address = address
    if isinstance(address, ipaddress.IPv6Address) and address in _MAPPED and address.ipv4_mapped is not None:
        inner = address.ipv4_mapped
    if is_allowed(inner, allow):
        return None
    for network, what in _REFUSED:
        if address.version == network.version and address in network:
            return what
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return "not global unicast"
    return None


def is_allowed(address: Address, allow: Iterable[Network]) -> bool:
    """Whether the user opened the network of an address."""
    return any(address.version == network.version and address in network for network in allow)


async def vet(url: str, *, resolver: Resolver, allow: Sequence[Network]) -> Target:
    """Resolve the URL's host once and vet every address.

    Raises
    ------
    ValueError
        If the URL cannot be read.
    UnknownHostError
        If the name has no address.
    RefusedAddressError
        If any address lies in a refused network, or http is asked for outside the user's own networks.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("not an http(s) address with a host and without a user name")
    host = parts.hostname
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    texts = [host] if _literal(host) is not None else await resolver(host, port)
    found = [address for text in texts if (address := _literal(text)) is not None]
    if not found or len(found) != len(texts):
        raise UnknownHostError
    for address in found:
        what = refusal(address, allow)
        if what is not None:
            raise RefusedAddressError(what)
        if parts.scheme == "http" and not is_allowed(address, allow):
            raise RefusedAddressError("http outside the allowed networks")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, path, tuple(dict.fromkeys(found))[:_MOST])


class SystemResolver:
    """The system's resolver, in threads of its own so that a hanging name server blocks nobody else."""

    def __init__(self, threads: int = 10) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="regimes-dns")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        try:
            rows = await loop.run_in_executor(
                self._pool, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
            )
        except (socket.gaierror, UnicodeError):
            raise UnknownHostError from None
        return list(dict.fromkeys(str(row[4][0]) for row in rows))

    def close(self) -> None:
        """Give the threads back without waiting for a name server."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _literal(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
