"""Files of the page: compressed once, kept in memory, cached for a year where the address has a fingerprint.

What belongs here: our own assets under ``/static/<fingerprint>/``, and Dash's component bundles, which Dash would read,
and send uncompressed, on every request. Most of them carry a fingerprint in their address; the parts that Dash loads
later (``async-graph.js``) do not, and are asked for again each time (304 while they are the same), so that an upgrade
never mixes old parts with new ones. What does not: pages and data.
"""

import gzip
import hashlib
import mimetypes
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from dash_app import packing

ASSETS = Path(__file__).parent / "assets"
PLOTLY = "vendor/plotly-finance-4.1.0.min.js"
IMMUTABLE = "public, max-age=31536000, immutable"
#: Dash's fingerprints: version and time of change, between dots, e.g. ``v4_4_1m1795644768``.
FINGERPRINT = re.compile(r"v[\w-]+m[0-9a-fA-F]+")
COMPRESSIBLE = (".js", ".css", ".svg", ".json", ".txt")


@dataclass(frozen=True)
class File:
    """A file in both encodings."""

    plain: bytes
    packed: bytes | None
    kind: str
    tag: str


def _packed(data: bytes, name: str) -> bytes | None:
    return gzip.compress(data, 9, mtime=0) if name.endswith(COMPRESSIBLE) else None


class Static:
    """ASGI middleware that answers for immutable files before anything else is asked.

    Parameters
    ----------
    app : ASGI application
        Asked for everything else.
    bundle : callable
        Gives the bytes and the type of a Dash bundle by its path, or None.
    """

    def __init__(self, app: ASGIApp, bundle: Callable[[str], tuple[bytes, str] | None]) -> None:
        self._app, self._bundle = app, bundle
        self._files: dict[str, File] = {}
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith(("/static/", "/_dash-component-suites/")):
            await self._app(scope, receive, send)
            return
        file = self.find(path)
        if file is None:
            await Response("not found", 404)(scope, receive, send)
            return
        fixed = path.startswith("/static/") or any(map(FINGERPRINT.fullmatch, path.rsplit("/", 1)[-1].split(".")))
        lasting = {"Cache-Control": IMMUTABLE if fixed else "no-cache", "ETag": file.tag, "Vary": "Accept-Encoding"}
        if not fixed and Headers(scope=scope).get("if-none-match", "") == file.tag:
            await Response(status_code=304, headers=lasting)(scope, receive, send)
            return
        accepts = packing.accepted(Headers(scope=scope).get("accept-encoding", ""))
        use_packed = accepts and file.packed is not None
        response = Response(
            file.packed if use_packed else file.plain,
            media_type=file.kind,
            headers={**lasting, **({"Content-Encoding": "gzip"} if use_packed else {})},
        )
        await response(scope, receive, send)

    def find(self, path: str) -> File | None:
        """The file at a path, read and compressed on first use."""
        file = self._files.get(path)
        if file is not None:
            return file
        with self._lock:
            if path not in self._files:
                found = _asset(path) if path.startswith("/static/") else self._bundle(path)
                if found is None:
                    return None
                tag = f'W/"{hashlib.blake2s(found[0], digest_size=9).hexdigest()}"'
                self._files[path] = File(found[0], _packed(found[0], path), found[1], tag)
            return self._files[path]


def url(name: str) -> str:
    """The address of one of our assets; it changes with its content."""
    return f"/static/{_fingerprint(name)}/{name}"


_fingerprints: dict[str, str] = {}


def _fingerprint(name: str) -> str:
    if name not in _fingerprints:
        _fingerprints[name] = hashlib.blake2s((ASSETS / name).read_bytes(), digest_size=6).hexdigest()
    return _fingerprints[name]


def _asset(path: str) -> tuple[bytes, str] | None:
    parts = path.removeprefix("/static/").split("/", 1)
    if len(parts) != 2 or "\x00" in path:
        return None
    file = (ASSETS / parts[1]).resolve()
    if not file.is_relative_to(ASSETS) or not file.is_file() or parts[0] != _fingerprint(parts[1]):
        return None
    return file.read_bytes(), mimetypes.guess_type(file.name)[0] or "application/octet-stream"
