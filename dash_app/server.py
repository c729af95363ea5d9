"""The process that serves the dashboard.

What belongs here: uvicorn and its options, and a server on a thread for tests. What does not: the application
(``app.py``) and the command line (``regimes_dagster/commands/dashboard.py``).
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from dash_app.guard import check_bind
from regimes_dagster.database import find_url
from regimes_dagster.settings import Settings, load_settings

SCHEMA_VARIABLE = "REGIMES_DASHBOARD_SCHEMA"
KEEP_ALIVE_S = 75


def serve(settings: Settings, *, host: str | None = None, port: int | None = None, processes: int = 1) -> None:
    """Serve until interrupted.

    Parameters
    ----------
    settings : Settings
    host, port : optional
        In place of ``[dashboard]``'s.
    processes : int
        More than one share the port; each reads the tables for itself.

    Raises
    ------
    RefusedBind
        If other machines could read along without a log-in.
    """
    host, port = host or settings.dashboard.host, port or settings.dashboard.port
    check_bind(settings.dashboard, host)
    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "date_header": True,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "ws": "none",
        "proxy_headers": False,
        "timeout_graceful_shutdown": 5,
    }
    if processes > 1:
        uvicorn.run("dash_app.server:from_environment", factory=True, workers=processes, **options)
    else:
        uvicorn.run(application(settings), **options)


def application(settings: Settings) -> ASGIApp:
    """The application on the database of the settings, starting the embedded server if needed."""
    from dash_app.app import build_app

    db_url = settings.db_url.get_secret_value() if settings.db_url else None
    url = find_url(db_url, environment={**os.environ, "REGIMES_HOME": str(settings.home)})
    return build_app(
        settings, url.render_as_string(hide_password=False), schema=os.environ.get(SCHEMA_VARIABLE, "public")
    )


def from_environment() -> ASGIApp:
    """The application of a worker process, from the same configuration as its parent."""
    return application(load_settings())


@contextmanager
def running(app: ASGIApp, port: int = 0) -> Iterator[str]:
    """Serve on a loopback port in a thread while the block runs; gives the address. For tests and benchmarks."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, ws="none", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    limit = time.monotonic() + 60
    while not server.started:
        if not thread.is_alive() or time.monotonic() > limit:
            raise RuntimeError("the dashboard did not start; see the log above")
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=15)
