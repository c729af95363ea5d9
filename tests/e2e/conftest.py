"""A served dashboard over a filled database, and a browser.

What belongs here: the browser (Debian's chromium), the filled template database, the server on a thread. What does
not: the market itself (``market.py``). Tests that need a browser skip, with the reason, where none is installed.
"""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import psycopg
import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from dash_app.app import build_app
from dash_app.server import running
from regimes_dagster import database, migrations
from regimes_dagster.clock import system_now
from regimes_dagster.embedded import EmbeddedServer
from regimes_dagster.settings import Settings, load_settings
from tests.e2e import market

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
HOURS = 24 * 100
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
expect.set_options(timeout=45_000)  # a busy machine is slow, not wrong
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Served:
    """A running dashboard: its address, its database, and a way to write into it."""

    url: str
    database_url: str
    engine: sa.Engine
    newest: datetime


def newest_hour() -> datetime:
    """The end of the last full hour."""
    return system_now().to_pydatetime().replace(minute=0, second=0, microsecond=0)


def settings_for(**overrides: object) -> Settings:
    """Settings without any file: the defaults, refreshed quickly."""
    dashboard = {"refresh_seconds": 5, "snapshot_seconds": 1, **dict(overrides.pop("dashboard", {}))}  # type: ignore[call-overload]
    return load_settings({}, "/", overrides={"symbols": list(SYMBOLS), "dashboard": dashboard, **overrides})


@pytest.fixture(scope="session")
def rows() -> market.Frames:
    """The market that every filled database holds."""
    return market.frames(SYMBOLS, newest_hour(), HOURS)


@pytest.fixture(scope="session")
def filled_template(postgres: EmbeddedServer, rows: market.Frames) -> str:
    """Name of a migrated database that holds the market."""
    name = "dashboard_template"
    _execute(postgres, f"CREATE DATABASE {name} TEMPLATE regimes_template STRATEGY FILE_COPY")
    engine = database.make_engine(postgres.url(name), poolclass=sa.NullPool)
    migrations.upgrade(engine)
    market.fill(engine, rows)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
    engine.dispose()
    return name


@pytest.fixture(scope="session")
def served(postgres: EmbeddedServer, filled_template: str) -> Iterator[Served]:
    """One dashboard for all tests that only look."""
    with _serve(postgres, filled_template, settings_for()) as found:
        yield found


@pytest.fixture
def serve(postgres: EmbeddedServer, filled_template: str) -> Iterator[Callable[..., Served]]:
    """Start a dashboard of the test's own; ``serve(empty=True)`` has tables without rows."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(*, empty: bool = False, settings: Settings | None = None, **overrides: object) -> Served:
            template = "regimes_template" if empty else filled_template
            return stack.enter_context(_serve(postgres, template, settings or settings_for(**overrides)))

        yield start


def _serve(server: EmbeddedServer, template: str, settings: Settings):  # type: ignore[no-untyped-def]
    from contextlib import contextmanager

    @contextmanager
    def running_on_a_copy() -> Iterator[Served]:
        name = f"dash_{os.getpid()}_{next(_numbers)}"
        _execute(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        engine = database.make_engine(server.url(name))
        try:
            with running(build_app(settings, server.url(name))) as url:
                yield Served(url, server.url(name), engine, newest_hour())
        finally:
            engine.dispose()
            _execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    return running_on_a_copy()


def _execute(server: EmbeddedServer, statement: str) -> None:
    with psycopg.connect(server.url("postgres").replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(statement.encode())


# --- browser ---------------------------------------------------------------------------------------------


def chromium() -> str | None:
    """The browser's program: ``REGIMES_CHROMIUM``, else what is on the path."""
    given = os.environ.get("REGIMES_CHROMIUM")
    return given or next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless chromium; skips where there is none.

    One per module: while it is open, Playwright keeps an event loop running in this thread, in which the tests of other
    folders could not call ``asyncio.run``.
    """
    program = chromium()
    if program is None:
        pytest.skip("no chromium on this machine; install it or name its program in REGIMES_CHROMIUM")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield started
        started.close()


@dataclass
class Watched:
    """A page and everything it complained about."""

    page: Page
    complaints: list[str]
    outside: list[str]


@pytest.fixture
def watch(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """Open a page that records console errors, failed requests and requests to other hosts."""
    contexts: list[BrowserContext] = []

    def start(*, width: int = 1440, height: int = 1000, theme: str = "dark", **options: object) -> Watched:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme, **options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        watched = Watched(page, [], [])
        page.on(
            "console",
            lambda message: watched.complaints.append(message.text) if message.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        page.on("requestfailed", lambda request: watched.complaints.append(f"failed: {request.url} {request.failure}"))
        page.on(
            "request",
            lambda request: (
                watched.outside.append(request.url)
                if not request.url.startswith(("http://127.0.0.1", "data:", "blob:"))
                else None
            ),
        )
        return watched

    yield start
    for context in contexts:
        context.close()


def eventually(page: Page, locator: str, script: str, wanted: object, seconds: float = 45.0) -> None:
    """Wait until a script on the first match gives the wanted value (the page's policy forbids evaluated text, so
    Playwright's own waiting for a function cannot be used)."""
    seen = None
    for _ in range(int(seconds * 10)):
        seen = page.locator(locator).first.evaluate(script)
        if seen == wanted:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{locator}: {seen!r} instead of {wanted!r}")


def settled(page: Page) -> None:
    """Wait until every place has its first content and every chart is drawn."""
    expect(page.locator(".panel").first).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
