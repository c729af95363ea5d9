"""Compression of answers that are made on request.

What belongs here: when and how an answer is packed. What does not: immutable files, which ``static.py`` packs once.
"""

import gzip
from typing import Any

#: Smaller answers gain nothing.
LEAST_BYTES = 1_000
#: About a third of level 9's time for nearly its size.
LEVEL = 5


def accepted(header: str) -> bool:
    """Whether the value of ``Accept-Encoding`` allows gzip."""
    for one in header.lower().split(","):
        name, _, quality = one.partition(";")
        if name.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def packed(body: bytes) -> bytes:
    """The bytes, compressed; the same bytes give the same result."""
    return gzip.compress(body, LEVEL, mtime=0)


def pack_pages(server: Any) -> None:
    """Let Dash's Flask application compress its answers; done in the thread that made them, off the event loop."""
    from flask import request

    def after(answer: Any) -> Any:
        answer.vary.add("Accept-Encoding")
        if (
            answer.status_code == 200
            and answer.mimetype == "application/json"
            and not answer.direct_passthrough
            and "Content-Encoding" not in answer.headers
            and accepted(request.headers.get("Accept-Encoding", ""))
        ):
            body = answer.get_data()
            if len(body) >= LEAST_BYTES:
                answer.set_data(packed(body))
                answer.headers["Content-Encoding"] = "gzip"
        return answer

    server.after_request(after)
