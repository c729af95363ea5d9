"""Webhook receivers on loopback with programmable manners, good and bad.

What belongs here: real sockets that answer as an endpoint might: well, slowly, wrongly, half, never. What does not:
assertions. A receiver runs in a thread of its own and remembers every request that it got whole.
"""

import asyncio
import contextlib
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request as it arrived: the exact body bytes, headers in lower case, order and (monotonic) time of arrival."""

    path: str
    headers: dict[str, str]
    body: bytes
    number: int
    at: float = 0.0

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def webhook_id(self) -> str:
        """The message's id."""
        return self.headers["webhook-id"]


Manner = Callable[["Receiver", Received, asyncio.StreamWriter], Awaitable[None]]


def answer(status: int = 204, body: bytes = b"", **headers: str) -> Manner:
    """Answer with a status, a body and headers (``retry_after="7"`` is ``Retry-After: 7``)."""

    async def act(_receiver: "Receiver", _request: Received, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    return act


ok = answer(204)


async def hang(_receiver: "Receiver", _request: Received, _writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.sleep(3600)


async def cut(_receiver: "Receiver", _request: Received, writer: asyncio.StreamWriter) -> None:
    """Promise a body of 1000 bytes, send 10 and hang up."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")
    await writer.drain()
    writer.close()


async def reset(_receiver: "Receiver", _request: Received, writer: asyncio.StreamWriter) -> None:
    """Hang up without an answer."""
    writer.transport.abort()


async def drip(_receiver: "Receiver", _request: Received, writer: asyncio.StreamWriter) -> None:
    """Send a promised body one byte at a time, each within any read limit, without end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(100_000):
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.05)


async def flood(_receiver: "Receiver", _request: Received, writer: asyncio.StreamWriter) -> None:
    """Answer 200 with 10 MB."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n")
    for _ in range(1280):
        writer.write(b"x" * 8192)
        await writer.drain()
        _receiver.flooded += 8192


def sequence(*manners: Manner) -> Manner:
    """One manner after the other; the last one stays."""
    left = list(manners)

    async def act(receiver: "Receiver", request: Received, writer: asyncio.StreamWriter) -> None:
        manner = left.pop(0) if len(left) > 1 else left[0]
        await manner(receiver, request, writer)

    return act


def slow(seconds: float, then: Manner = ok) -> Manner:
    """Wait, then answer."""

    async def act(receiver: "Receiver", request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await then(receiver, request, writer)

    return act


@dataclass
class Receiver:
    """An HTTP server on a free loopback port; use it as a context manager.

    ``manner`` may be changed while it runs. ``requests`` holds what arrived, in order.
    """

    manner: Manner = ok
    tls: ssl.SSLContext | None = None
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    flooded: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> Counter[str]:
        """How often each message id arrived."""
        return Counter(request.webhook_id for request in self.requests)

    def __enter__(self) -> "Receiver":
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *rest = head.decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                request = Received(first.split(" ")[1], headers, body, len(self.requests), time.monotonic())
                self.requests.append(request)
                await self.manner(self, request, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await writer.wait_closed()
