"""The collector's connections: one websocket per venue, kept alive for months.

What belongs here: connecting, taking raw messages before the library digests them, noticing silence, reconnecting
with growing pauses, and flushing in batches. What does not: what a message means (``collector_venues.py``) and what
is stored (``collector.py``).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from regimes_dagster.database import DatabaseUnavailable
from regimes_dagster.sources.collector import Recorder
from regimes_dagster.sources.collector_venues import LiveVenue
from regimes_dagster.sources.instruments import Instrument
from regimes_dagster.sources.protocol import BadResponse, SourceError

log = logging.getLogger("regimes_dagster.collect")

#: Seconds: between flushes, without any sign of life until a connection counts as dead, longest pause.
FLUSH_SECONDS = 5.0
SILENCE_SECONDS = 60.0
LONGEST_PAUSE = 60.0

#: The library pings this often, milliseconds; the answers are the heartbeats of a quiet market.
_PING_MS = 10_000


class Stream:
    """One venue's stream into one recorder.

    Parameters
    ----------
    venue
        What to subscribe and how to read it.
    options
        Constructor options of ``[sources.ccxt.<venue>]``.
    recorder
        Takes what comes.
    now
        The clock.
    pause
        Seconds before the first new attempt; doubled up to a minute.
    """

    def __init__(
        self,
        venue: LiveVenue,
        options: Mapping[str, Any],
        recorder: Recorder,
        now: Callable[[], pd.Timestamp],
        *,
        flush_seconds: float = FLUSH_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
        pause: float = 1.0,
    ) -> None:
        self.venue, self.options, self.recorder, self.now = venue, dict(options), recorder, now
        self.flush_seconds, self.silence_seconds, self.pause = flush_seconds, silence_seconds, pause
        self.connections = 0
        self._sized = venue.sizes is None
        self._flusher: asyncio.Task[None]

    async def run(self, stop: asyncio.Event) -> None:
        """Collect until ``stop`` is set; then flush and disconnect."""
        self._flusher = flusher = asyncio.create_task(self._flush_often(stop))
        pause = self.pause
        while not stop.is_set():
            heard_before = self.recorder.received
            try:
                await self._connected(stop)
            except (TimeoutError, OSError, SourceError) as problem:
                log.warning("[MKT] %s: %s; trying again in %.0f s", self.recorder.venue, problem, pause)
            self.recorder.lost()
            if flusher.done():
                # Only an error ends it before the end; collecting what nobody stores would be a lie.
                break
            if self.recorder.received > heard_before:
                pause = self.pause
            if not stop.is_set():
                await _wait(stop, pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        await flusher

    async def _connected(self, stop: asyncio.Event) -> None:
        """One connection, from dialling to its end."""
        import ccxt.pro as pro
        from ccxt.base.errors import BaseError

        exchange = _raw(getattr(pro, self.venue.exchange))(
            pro.Exchange.deep_extend({"enableRateLimit": True, "streaming": {"keepAlive": _PING_MS}}, self.options)
        )
        exchange.take = self._take
        self.connections += 1
        try:
            await self._size_contracts(exchange)
            url = self.venue.address(exchange.urls["api"]["ws"])
            message = self.venue.subscription(list(self.recorder.instruments))
            watching = asyncio.ensure_future(
                _as_coroutine(exchange.watch(url, "liquidations", message, "liquidations", {"id": 1}))
            )
            try:
                await self._watch(exchange, url, watching, stop)
            finally:
                watching.cancel()
        except BaseError as problem:
            log.warning("[MKT] %s: %s", self.recorder.venue, str(problem)[:200])
        finally:
            await exchange.close()

    async def _watch(self, exchange: Any, url: str, watching: "asyncio.Future[Any]", stop: asyncio.Event) -> None:
        """Until the connection ends, falls silent, or collecting stops."""
        last = self.now()
        while not stop.is_set() and not self._flusher.done():
            done, _ = await asyncio.wait([watching], timeout=min(1.0, self.silence_seconds / 4))
            client = exchange.clients.get(url)
            heard = getattr(client, "last_message_at", None) or 0
            if heard and client is not None and client.isConnected:
                last = max(last, pd.Timestamp(int(heard), unit="ms", tz="UTC").as_unit("us"))
                self.recorder.heard(min(last, self.now()))
            if done:
                # The future of the subscription only ends when the connection does.
                problem = watching.exception()
                log.info("[MKT] %s: disconnected (%s)", self.recorder.venue, problem)
                return
            if (self.now() - last).total_seconds() > self.silence_seconds:
                log.warning("[MKT] %s: nothing heard for %.0f s", self.recorder.venue, self.silence_seconds)
                return

    def _take(self, message: Mapping[str, Any]) -> None:
        try:
            self.recorder.heard(self.now())
            self.recorder.add(self.venue.items(message))
        except (KeyError, TypeError, ValueError) as problem:
            log.warning(
                "[MKT] %s: a liquidation cannot be read (%s): %s", self.recorder.venue, problem, str(message)[:200]
            )

    async def _size_contracts(self, exchange: Any) -> None:
        """Contract sizes, once per process; without them quantities would be wrong by orders of magnitude."""
        if self._sized or self.venue.sizes is None:
            return
        answer = await getattr(exchange, self.venue.sizes)({"instType": "SWAP"})
        rows = answer.get("data") if isinstance(answer, dict) else None
        if not rows:
            raise BadResponse(self.recorder.venue, "*", "the venue gave no contract sizes")
        try:
            sizes = {str(row["instId"]): float(row["ctVal"]) for row in rows if row.get("ctVal")}
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise BadResponse(self.recorder.venue, "*", f"the contract sizes cannot be read ({problem})") from problem
        known = self.recorder.instruments
        missing = [native for native in known if native not in sizes]
        if missing:
            log.warning("[MKT] %s does not list %s; left out", self.recorder.venue, ", ".join(missing))
        self.recorder.instruments = {
            native: Instrument(one.symbol, native, one.kind, sizes[native])
            for native, one in known.items()
            if native in sizes
        }
        self._sized = True

    async def _flush_often(self, stop: asyncio.Event) -> None:
        pause = self.flush_seconds
        while True:
            stopping = stop.is_set()
            try:
                stored = await asyncio.to_thread(self.recorder.flush, self.now())
                if stored.events:
                    log.info("[MKT] %s: %d liquidations stored", self.recorder.venue, stored.events)
                pause = self.flush_seconds
            except DatabaseUnavailable as problem:
                log.warning("[MKT] the database does not answer, liquidations are kept in memory: %s", problem)
                pause = min(pause * 2, LONGEST_PAUSE)
            if stopping:
                return
            await _wait(stop, pause)


def _raw(base: type) -> type:
    """The venue's class with its liquidation handler replaced: every message goes to ``take`` as it came."""

    def handle_liquidation(self: Any, client: Any, message: Mapping[str, Any]) -> None:
        self.take(message)

    return type(f"Raw{base.__name__}", (base,), {"handle_liquidation": handle_liquidation})


async def _as_coroutine(future: Any) -> Any:
    return await future


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
