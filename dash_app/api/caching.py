"""Answers that cost little to ask for again.

What belongs here: JSON out (compressed where the caller takes that), ETags, and a small memory of answers made from
the present state. What does not: what the answers say.
"""

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from dash_app import packing
from dash_app.snapshot import Snapshot

#: Answers kept per process.
KEPT = 256
#: An answer is made anew after this long even if nothing was written, so that ``as_of`` and ages stay true.
KEPT_S = 10.0
CACHE_CONTROL = "private, no-cache"


def encode(body: Any) -> bytes:
    """JSON with ISO moments; NaN and infinities cannot occur because the tables hold none."""
    return json.dumps(body, default=_plain, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _plain(value: Any) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no JSON form")


class Answers:
    """Answers made from the present state, remembered for some seconds and until it changes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, bool], tuple[float, bytes]] = OrderedDict()

    def remembered(self, request: Request, snap: Snapshot, build: Callable[[], Any]) -> Response:
        """The answer to a request that depends on nothing but a state and the address.

        ``snap`` is the state that ``build`` uses: taking the newest one for the tag could put an old answer under a
        new tag, and callers would keep it until the next change.
        """
        tag = self.tag(request, snap)
        if matches(request, tag):
            return Response(status_code=304, headers={"ETag": tag, "Cache-Control": CACHE_CONTROL})
        small, now = packs(request), time.monotonic()
        for is_packed in {small, False}:
            made, body = self._kept.get((tag, is_packed), (0.0, b""))
            if body and now - made < KEPT_S and (is_packed == small or len(body) < packing.LEAST_BYTES):
                return _response(body, tag, is_packed=is_packed)
        body = encode(build())
        is_packed = small and len(body) >= packing.LEAST_BYTES
        body = packing.packed(body) if is_packed else body
        self._kept[tag, is_packed] = (now, body)
        self._kept.move_to_end((tag, is_packed))
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return _response(body, tag, is_packed=is_packed)

    @staticmethod
    def tag(request: Request, snap: Snapshot) -> str:
        """A weak ETag: the address and the version of the state (ages may differ)."""
        text = f"{request.url.path}?{request.url.query}|{snap.etag()}"
        return f'W/"{hashlib.blake2s(text.encode(), digest_size=9).hexdigest()}"'


def matches(request: Request, tag: str) -> bool:
    """Whether the caller already has this answer."""
    return tag in [one.strip() for one in request.headers.get("if-none-match", "").split(",")]


def packs(request: Request) -> bool:
    """Whether the caller takes a compressed answer."""
    return packing.accepted(request.headers.get("accept-encoding", ""))


def send(request: Request, body: bytes) -> Response:
    """JSON bytes that nobody keeps, as a response."""
    small = packs(request) and len(body) >= packing.LEAST_BYTES
    return _response(packing.packed(body) if small else body, None, is_packed=small)


def _response(body: bytes, tag: str | None, *, is_packed: bool) -> Response:
    headers = {"Cache-Control": CACHE_CONTROL if tag else "no-store", "Vary": "Accept-Encoding"}
    headers |= {"ETag": tag} if tag else {}
    headers |= {"Content-Encoding": "gzip"} if is_packed else {}
    return Response(body, media_type="application/json", headers=headers)
