"""A local HTTP server that speaks for a venue and can be told to misbehave.

What belongs here: routing, the log of requests, and the faults that real venues show. What does not: any venue's
wire format (one file per venue family beside this one).
"""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Handler = Callable[[dict[str, str], "re.Match[str]"], Any]


@dataclass
class Fault:
    """What a request gets instead of its answer.

    ``cut`` closes the connection in the middle of the body; ``hang`` answers after so many seconds; ``change``
    turns the true answer into a wrong one.
    """

    status: int = 200
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    hang: float = 0.0
    change: Callable[[Any], Any] | None = None


GEO_BLOCK = Fault(451, '{"code":0,"msg":"Service unavailable from a restricted location according to b. Eligibility."}')
FORBIDDEN = Fault(403, "<html><head><title>403 Forbidden</title></head><body>blocked</body></html>")
SERVER_ERROR = Fault(500, '{"msg":"internal error"}')
BAD_GATEWAY = Fault(502, "<html><body>Bad Gateway</body></html>")
HTML = Fault(
    200, "<!DOCTYPE html><html><body>We are checking your browser</body></html>", {"Content-Type": "text/html"}
)
CUT = Fault(cut=True)


def too_many(retry_after: str | None = "7") -> Fault:
    """A rate limit, with or without the pause it asks for."""
    return Fault(429, '{"code":-1003,"msg":"Too many requests."}', {"Retry-After": retry_after} if retry_after else {})


def rows_changed(change: Callable[[list[Any]], list[Any]]) -> Fault:
    """A true answer with every list of rows in it changed, however deep it lies."""

    def inside(answer: Any) -> Any:
        if isinstance(answer, dict):
            return {name: inside(value) for name, value in answer.items()}
        rows = isinstance(answer, list) and all(isinstance(row, (dict, list)) for row in answer)
        return change(answer) if rows else answer

    return Fault(change=inside)


#: A true answer whose rows are missing, or of which every row comes twice.
EMPTY = rows_changed(lambda rows: [])
DOUBLED = rows_changed(lambda rows: [row for row in rows for _ in range(2)])


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    path: str
    query: dict[str, str]


class VenueServer:
    """Use as a context manager; ``url`` is its address."""

    def __init__(self) -> None:
        self.routes: list[tuple[re.Pattern[str], Handler]] = []
        self.log: list[Seen] = []
        self._faults: list[tuple[re.Pattern[str], Fault]] = []
        self._standing: list[tuple[Callable[[Seen], bool], Fault]] = []
        #: Each may refuse a request (see ``limits.py``).
        self.limits: list[Callable[[Seen], Fault | None]] = []
        self._lock = threading.Lock()
        outer = self

        class _Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._serve(self, "")

            def do_POST(self) -> None:
                outer._serve(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "VenueServer":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def route(self, pattern: str, handler: Handler) -> None:
        """Answer paths that match ``pattern`` with what ``handler(query, match)`` returns, as JSON."""
        self.routes.append((re.compile(pattern), handler))

    def fail_next(self, *faults: Fault, path: str = "") -> None:
        """The next requests to matching paths get these faults, in order."""
        self._faults += [(re.compile(path), fault) for fault in faults]

    def fail_while(self, when: Callable[[Seen], bool], fault: Fault) -> None:
        """Requests for which ``when`` is true get the fault."""
        self._standing.append((when, fault))

    def heal(self) -> None:
        """No more faults."""
        self._faults, self._standing = [], []

    def asked(self, path: str = "") -> list[Seen]:
        """Requests whose path matches."""
        return [seen for seen in self.log if re.search(path, seen.path)]

    def _fault(self, seen: Seen) -> Fault | None:
        for index, (pattern, fault) in enumerate(self._faults):
            if pattern.search(seen.path):
                del self._faults[index]
                return fault
        refusals = [refusal for limit in self.limits if (refusal := limit(seen)) is not None]
        return next((fault for when, fault in self._standing if when(seen)), refusals[0] if refusals else None)

    def _serve(self, request: BaseHTTPRequestHandler, body: str) -> None:
        parts = urlsplit(request.path)
        query = dict(parse_qsl(parts.query))
        if body.startswith("{"):
            query |= json.loads(body)
        seen = Seen(parts.path, query)
        with self._lock:
            self.log.append(seen)
            fault = self._fault(seen)
        if fault is not None and fault.hang:
            threading.Event().wait(fault.hang)
        if fault is not None and fault.change is None and (fault.status != 200 or fault.body is not None):
            self._answer(request, fault.status, fault.body or "", fault.headers)
            return
        for pattern, handler in self.routes:
            match = pattern.search(parts.path)
            if match:
                answer = handler(query, match)
                break
        else:
            self._answer(request, 404, '{"msg":"no such path"}', {})
            return
        if isinstance(answer, Fault):
            self._answer(request, answer.status, answer.body or "", answer.headers)
            return
        if fault is not None and fault.change is not None:
            answer = fault.change(answer)
        text = answer if isinstance(answer, bytes) else json.dumps(answer)
        self._answer(request, 200, text, {}, cut=fault is not None and fault.cut)

    @staticmethod
    def _answer(
        request: BaseHTTPRequestHandler, status: int, text: str | bytes, headers: dict[str, str], *, cut: bool = False
    ) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        try:
            request.send_response(status)
            for name, value in ({"Content-Type": "application/json"} | headers).items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            request.wfile.write(data[: len(data) // 2] if cut else data)
            if cut:
                request.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            request.close_connection = True
