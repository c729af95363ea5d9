"""The REST interface under a steady load, and the processes that serve it.

What belongs here: starting the served dashboard in processes of its own, requests at a fixed rate, resident memory.
What does not: the browser.

Requests are sent when they are due, whether or not earlier ones were answered, and timed from the moment they were
due: a server that stalls cannot slow its own load down.
"""

import asyncio
import multiprocessing
import os
import socket
import sys
import time
from typing import Any

import httpx
import psutil

ROUTES = (
    "/api/features",
    "/api/cascades?hours=24",
    "/api/volatility",
    "/api/regimes",
    "/api/funding",
    "/api/correlation",
    "/api/alerts?hours=24",
    "/api/version",
)


class Served:
    """The dashboard in processes of its own, as in production.

    Parameters
    ----------
    environment : dict
        Settings as variables.
    processes : int
        Serving processes that share the port.
    """

    def __init__(self, environment: dict[str, str], processes: int) -> None:
        self._environment, self._processes = environment, processes
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: Any = None

    def __enter__(self) -> "Served":
        self._process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(self._environment, self._port, self._processes)
        )
        self._process.start()
        limit = time.monotonic() + 120
        while time.monotonic() < limit:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == 200:
                    time.sleep(3)  # the other processes
                    return self
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise RuntimeError("the dashboard did not become ready")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join(20)

    def memory_mib(self) -> list[int]:
        """Resident MiB of the serving processes, the largest first."""
        children = psutil.Process(self._process.pid).children(recursive=True)
        sizes = sorted((one.memory_info().rss // 2**20 for one in children), reverse=True)
        return sizes[: self._processes]


def _serve(environment: dict[str, str], port: int, processes: int) -> None:
    os.environ.update(environment)
    # uvicorn hands the number of this file on to its workers, which do not inherit it where it is none of 0, 1 and 2.
    sys.stdin = None
    from dash_app.server import serve
    from regimes_dagster.settings import load_settings

    serve(load_settings(), port=port, processes=processes)


async def load(url: str, rate: int, seconds: int) -> tuple[dict[str, list[float]], dict[int, int]]:
    """Milliseconds per route, and how often each status came."""
    times: dict[str, list[float]] = {route: [] for route in ROUTES}
    statuses: dict[int, int] = {}
    limits = httpx.Limits(max_connections=32, max_keepalive_connections=32)
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits, trust_env=False) as client:

        async def ask(route: str, due: float) -> None:
            answer = await client.get(route)
            times[route].append(1000 * (time.perf_counter() - due))
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1

        begun = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for number in range(rate * seconds):
                due = begun + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                tasks.create_task(ask(ROUTES[number % len(ROUTES)], due))
    return times, statuses
