"""The served application: REST routes outside, the Dash pages mounted inside, one guard around both.

What belongs here: the order of the layers and the life cycle (reading starts before the first request, connections
are given back at the end). What does not: routes (``api``), pages (``wiring.py``), the process (``server.py``).

Why FastAPI outside and Dash on Flask mounted through a2wsgi: Dash's own FastAPI backend (4.4) runs synchronous
callbacks on the event loop, so that one slow query held every REST answer for its whole length (measured: 4 s), it
skips authentication hooks on some routes, and it always opens a websocket endpoint. Here callbacks run in threads,
REST answers that come from memory never leave the event loop, and the guard sees every path. The price is one more
hand-over per page request.
"""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from a2wsgi import WSGIMiddleware
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from dash_app import packing, shell, static
from dash_app.api import problems, routes
from dash_app.api.metrics import Metrics
from dash_app.guard import Guard, content_policy
from dash_app.reader import Reader
from dash_app.snapshot import SnapshotKeeper
from dash_app.view import PAGES
from dash_app.wiring import shell as page_shell
from dash_app.wiring import wire
from regimes_dagster.settings import Settings

log = logging.getLogger("dash_app")

#: What the browser asks Dash itself for.
DASH_PATHS = frozenset({"/_dash-layout", "/_dash-dependencies", "/_dash-update-component"})


def build_app(settings: Settings, database_url: str, *, schema: str = "public") -> ASGIApp:
    """The whole application.

    Parameters
    ----------
    settings : Settings
    database_url : str
        The platform's database; ``[dashboard] db_url`` takes its place when set.
    schema : str
        Schema of the tables.
    """
    own = settings.dashboard.db_url
    reader = Reader(
        database_url,
        own.get_secret_value() if own else None,
        schema=schema,
        timeout_s=settings.dashboard.statement_timeout_seconds,
    )
    keeper = SnapshotKeeper(reader, settings)
    metrics = Metrics(keeper, reader)

    dash = shell.make()
    dash.layout = page_shell(settings)
    wire(dash, settings, keeper, reader)
    packing.pack_pages(dash.server)
    index = _index(dash)

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(keeper.start)
        await run_in_threadpool(_warm, files, index)
        yield
        keeper.stop()
        reader.close()

    outer = FastAPI(title="regimes", lifespan=life, openapi_url=None, docs_url=None, redoc_url=None)
    routes.mount(outer, settings, keeper, reader, metrics)
    document = HTMLResponse(index, headers={"Cache-Control": "no-cache"})

    async def page(_request: Request) -> Response:
        return document

    for path in PAGES:
        outer.add_route(path, page, methods=["GET", "HEAD"])

    @outer.exception_handler(404)
    async def _unknown(request: Request, error: HTTPException) -> Response:
        """A mistyped page is the overview with a note, for people; everything else gets the problem document."""
        is_page = not request.url.path.startswith(("/api", "/_", "/static"))
        if is_page and request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(index, 404, headers={"Cache-Control": "no-store"})
        return problems.answer(404, str(error.detail).lower(), str(error.detail))

    pages = WSGIMiddleware(dash.server, workers=settings.dashboard.workers)
    both = _fork(outer, pages)

    def bundle(path: str) -> tuple[bytes, str] | None:
        answer = dash.server.test_client().get(path)
        return (answer.data, answer.mimetype) if answer.status_code == 200 else None

    files = static.Static(metrics.counting(both), bundle)
    return Guard(files, settings.dashboard, content_policy(dash.csp_hashes()))


def _index(dash: shell.Shell) -> str:
    """The first document; made once, because nothing in it depends on the reader."""
    with dash.server.test_request_context("/"):
        dash.prepare()
        return dash.document()


def _fork(outer: ASGIApp, pages: Any) -> ASGIApp:
    """Dash's own paths go to Dash, everything else to FastAPI; other ``/_dash`` paths do not exist."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await (pages if scope["type"] == "http" and scope["path"] in DASH_PATHS else outer)(scope, receive, send)

    return call


def _warm(files: static.Static, index: str) -> None:
    """Read and compress every file the first document names, before the first reader waits for it."""
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', index):
        files.find(path)
