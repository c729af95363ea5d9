"""The venues' local servers in a process of their own, so that their work does not count as ours.

What belongs here: starting, setting their clock, and asking what they saw. What does not: what is measured.
"""

import multiprocessing
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from tests.servers.http import VenueServer
from tests.servers.limits import published
from tests.servers.venues import Market, speak


class Venues:
    """One server per (kind, venue); use as a context manager.

    Parameters
    ----------
    wanted
        Pairs of kind and venue.
    symbols
        What they list.
    now_ms
        Their clock.
    limited
        Whether they refuse who asks more often than they publish.
    """

    def __init__(
        self, wanted: Sequence[tuple[str, str]], symbols: Sequence[str], now_ms: int, *, limited: bool = False
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, list(wanted), list(symbols), now_ms, limited)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)

    def __enter__(self) -> "Venues":
        self._process.start()
        self.urls: Mapping[tuple[str, str], str] = self._pipe.recv()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pipe.send(("stop", None))
        self._process.join(10)

    def set_clock(self, now_ms: int) -> None:
        """Let the venues' clock say this."""
        self._ask("clock", now_ms)

    def refused(self) -> int:
        """Requests that were refused for coming too fast."""
        return int(self._ask("refused", None))

    def _ask(self, what: str, value: Any) -> Any:
        self._pipe.send((what, value))
        return self._pipe.recv()


def _serve(
    pipe: Connection, wanted: Sequence[tuple[str, str]], symbols: Sequence[str], now_ms: int, limited: bool
) -> None:
    markets: list[Market] = []
    limits = {venue: list(published(venue)) for _, venue in wanted}
    urls = {}
    for kind, venue in wanted:
        # They run until the process ends.
        server = VenueServer().__enter__()
        if limited:
            server.limits += limits[venue]
        markets.append(speak(server, kind, venue, symbols, now_ms))
        urls[(kind, venue)] = server.url
    pipe.send(urls)
    while True:
        what, value = pipe.recv()
        if what == "stop":
            return
        if what == "clock":
            for market in markets:
                market.now_ms = value
        pipe.send(sum(limit.refused for some in limits.values() for limit in some))
