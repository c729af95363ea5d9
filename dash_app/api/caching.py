"""Answers that cost little to ask for again.

What belongs here: JSON out, ETags, and a small memory of answers made from the present state. What does not: what
the answers say.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from dash_app.snapshot import SnapshotKeeper

#: Answers kept per process.
KEPT = 256
CACHE_CONTROL = "private, no-cache"


def encode(body: Any) -> bytes:
    """JSON with ISO moments; NaN and infinities cannot occur because the tables hold none."""
    return json.dumps(body, default=_plain, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _plain(value: Any) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no JSON form")


class Answers:
    """Answers made from the present state, remembered until it changes."""

    def __init__(self, keeper: SnapshotKeeper) -> None:
        self._keeper = keeper
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def remembered(self, request: Request, build: Callable[[], Any]) -> Response:
        """The answer to a request that depends on nothing but the present state and the address."""
        tag = self.tag(request)
        if matches(request, tag):
            return Response(status_code=304, headers={"ETag": tag, "Cache-Control": CACHE_CONTROL})
        body = self._kept.get(tag)
        if body is None:
            body = encode(build())
            self._kept[tag] = body
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return send(body, tag)

    def tag(self, request: Request) -> str:
        """A weak ETag: the address and the version of the state (ages may differ)."""
        text = f"{request.url.path}?{request.url.query}|{self._keeper.current.etag()}"
        return f'W/"{hashlib.blake2s(text.encode(), digest_size=9).hexdigest()}"'


def matches(request: Request, tag: str) -> bool:
    """Whether the caller already has this answer."""
    return tag in [one.strip() for one in request.headers.get("if-none-match", "").split(",")]


def send(body: bytes, tag: str | None = None) -> Response:
    """JSON bytes as a response."""
    headers = {"Cache-Control": CACHE_CONTROL if tag else "no-store", **({"ETag": tag} if tag else {})}
    return Response(body, media_type="application/json", headers=headers)
