"""What the dashboard costs: first view, switches, refresh, bytes, REST under load, memory.

What belongs here: the measurement and its report (JSON on standard output, a table on standard error). What does
not: limits that fail a test. Two fillings are measured: 3 years x 3 symbols and 1 year x 100 symbols; the latter
takes some minutes to write. Times are in milliseconds.

    python -m bench.dashboard --symbols 3 --days 1095
    python -m bench.dashboard --symbols 100 --days 365
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx
import sqlalchemy as sa
from playwright.sync_api import Page, expect, sync_playwright

from regimes_dagster import database, migrations
from regimes_dagster.embedded import EmbeddedServer
from tests.e2e import market
from tests.e2e.conftest import ARGUMENTS, SYMBOLS, chromium, newest_hour

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


def spread(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and maximum."""
    ordered = sorted(values)
    cut = quantiles(ordered, n=20, method="inclusive") if len(ordered) > 1 else ordered * 19
    return {"p50": round(cut[9], 1), "p95": round(cut[18], 1), "max": round(ordered[-1], 1), "n": len(ordered)}


def main() -> None:
    """Fill, serve, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=3)
    parser.add_argument("--days", type=int, default=1095)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=int, default=60, help="length of the REST load")
    parser.add_argument("--rate", type=int, default=50, help="requests a second")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    names = [*SYMBOLS, *(f"C{number:02d}/USDT" for number in range(3, options.symbols))][: options.symbols]
    with tempfile.TemporaryDirectory(prefix="regimes-bench-") as folder:
        server = EmbeddedServer(Path(folder) / "pg", {"fsync": "off", "synchronous_commit": "off"})
        server.start()
        try:
            started = time.monotonic()
            engine = _fill(server.url("postgres"), names, options.days)
            report: dict[str, Any] = {
                "symbols": options.symbols,
                "days": options.days,
                "filled_in_s": round(time.monotonic() - started),
            }
            environment = {
                "DB_URL": server.url("postgres"),
                "REGIMES_SYMBOLS": json.dumps(names),
                "REGIMES_DASHBOARD__SNAPSHOT_SECONDS": "1",
                "REGIMES_DASHBOARD__REFRESH_SECONDS": "5",
            }
            with _Process(environment, options.processes) as process:
                report["browser"] = _browse(process.url, engine, names, options.rounds)
                report["rest"] = asyncio.run(_load(process.url, options.rate, options.seconds))
                report["memory_mb"] = process.memory()
            engine.dispose()
        finally:
            server.stop("immediate")
    print(json.dumps(report, indent=2))


def _fill(url: str, names: list[str], days: int) -> sa.Engine:
    engine = database.make_engine(url)
    migrations.upgrade(engine)
    if len(names) <= 10:
        market.fill(engine, market.frames(names, newest_hour(), 24 * days))
    else:
        first = names[0]
        for start in range(1, len(names), 9):
            part = market.frames([first, *names[start : start + 9]], newest_hour(), 24 * days, seed=7)
            market.fill(engine, part if start == 1 else _without(part, first))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))
    return engine


def _without(part: market.Frames, symbol: str) -> market.Frames:
    """The same rows without a symbol that is there already, and without what is no symbol's."""
    kept = {}
    for name, frame in part.items():
        if name in ("webhook_endpoints", "signal_evidence"):
            continue
        if name == "correlation_features":
            kept[name] = frame[frame["asset_pair"].str.startswith(f"{symbol}/")]
        elif name == "alert_deliveries":
            continue
        else:
            kept[name] = frame[frame["symbol"] != symbol]
    kept["alerts"] = kept["alerts"][kept["alerts"]["event_type"] != "CORRELATION_BREAK"]
    return kept


class _Process:
    """The served dashboard in processes of its own, as in production."""

    def __init__(self, environment: dict[str, str], processes: int) -> None:
        self._environment, self._processes = environment, processes
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: Any = None

    def __enter__(self) -> "_Process":
        self._process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(self._environment, self._port, self._processes)
        )
        self._process.start()
        limit = time.monotonic() + 90
        while time.monotonic() < limit:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return self
            except httpx.HTTPError:
                time.sleep(0.1)
        raise RuntimeError("the dashboard did not become ready")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join(20)

    def memory(self) -> list[int]:
        """Resident megabytes of every serving process, the largest first."""
        import psutil

        own = psutil.Process(self._process.pid)
        return sorted((one.memory_info().rss // 2**20 for one in (own, *own.children(recursive=True))), reverse=True)


def _serve(environment: dict[str, str], port: int, processes: int) -> None:
    os.environ.update(environment)
    from dash_app.server import serve
    from regimes_dagster.settings import load_settings

    serve(load_settings(), port=port, processes=processes)


# --- browser ---------------------------------------------------------------------------------------------


def _settled(page: Page) -> None:
    expect(page.locator(".panel").first).to_be_visible(timeout=30_000)
    expect(page.locator("[aria-busy=true]")).to_have_count(0, timeout=30_000)


def _timed(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - started)


def _browse(url: str, engine: sa.Engine, names: list[str], rounds: int) -> dict[str, Any]:
    program = chromium()
    if program is None:
        return {"skipped": "no chromium on this machine"}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        first, bytes_seen = [], 0
        for number in range(rounds):
            context = browser.new_context(viewport={"width": 1440, "height": 1000})
            page = context.new_page()
            client = context.new_cdp_session(page)
            client.send("Network.enable")
            sizes: list[float] = []
            client.on("Network.loadingFinished", lambda event, sizes=sizes: sizes.append(event["encodedDataLength"]))
            first.append(_timed(lambda page=page: (page.goto(url), _settled(page))))  # type: ignore[misc]
            page.wait_for_timeout(300)
            bytes_seen = int(sum(sizes))
            if number < rounds - 1:
                context.close()
        callbacks: list[float] = []
        page.on(
            "requestfinished",
            lambda request: (
                callbacks.append(request.timing["responseEnd"]) if "_dash-update-component" in request.url else None
            ),
        )
        pages, symbols, refreshes = [], [], []
        for _ in range(rounds):
            for name in ("Volatility", "Cascades", "Overview"):
                pages.append(
                    _timed(
                        lambda name=name: (
                            page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click(),
                            page.wait_for_url("**"),
                            _settled(page),
                        )
                    )
                )  # type: ignore[misc]
            symbols.append(_timed(lambda: _next_symbol(page, names)))
        callbacks.clear()
        for number in range(rounds):
            refreshes.append(_timed(lambda number=number: _write_and_wait(page, engine, names[0], number)))  # type: ignore[misc]
        browser.close()
    return {
        "first_view_ms": spread(first),
        "first_view_bytes": bytes_seen,
        "page_switch_ms": spread(pages),
        "symbol_switch_ms": spread(symbols),
        "refresh_callback_ms": spread(callbacks),
        "row_written_until_seen_ms": spread(refreshes),
    }


def _next_symbol(page: Page, names: list[str]) -> None:
    now = page.locator("#price-chart .js-plotly-plot").evaluate("plot => plot.data[0].name")
    position = next(i for i, name in enumerate(names) if name.startswith(f"{now}/"))
    wanted = names[(position + 1) % len(names)]
    listed = page.locator("[data-panel=price] select[data-param=symbol]")
    if listed.count():
        listed.select_option(wanted)
    else:
        page.get_by_role("navigation", name="Symbol").get_by_role("link", name=wanted.split("/")[0], exact=True).click()
    limit = time.monotonic() + 20
    while page.locator("#price-chart .js-plotly-plot").evaluate("plot => plot.data[0].name") != wanted.split("/")[0]:
        if time.monotonic() > limit:
            raise RuntimeError(f"{wanted} did not appear")
        page.wait_for_timeout(10)


def _write_and_wait(page: Page, engine: sa.Engine, symbol: str, number: int) -> None:
    share = 0.30 + 0.01 * number
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE regimes SET confidence = :share WHERE symbol = :symbol AND ts = (SELECT max(ts) FROM "
                "regimes WHERE symbol = :symbol)"
            ),
            {"share": share, "symbol": symbol},
        )
    block = page.locator("[data-panel=regimes] .regime-row").first
    expect(block).to_contain_text(f"{100 * share:.0f} %", timeout=30_000)


# --- REST ------------------------------------------------------------------------------------------------


async def _load(url: str, rate: int, seconds: int) -> dict[str, Any]:
    times: dict[str, list[float]] = {route: [] for route in ROUTES}
    statuses: dict[int, int] = {}
    limits = httpx.Limits(max_connections=32, max_keepalive_connections=32)
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as client:

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
    everything = [value for values in times.values() for value in values]
    return {
        "all_ms": spread(everything),
        "statuses": statuses,
        **{route: spread(values) for route, values in times.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
