"""`regimes webhook-sink`: a local receiver that checks signatures and shows what arrives.

What belongs here: the small HTTP server and the line it prints. What does not: the check (``alerts/verification.py``).
"""

import json
import os
import threading
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import click

#: Bytes of a body that are read; the platform's own stay under 20 kB.
MOST_BYTES = 1_000_000

_COLOURS = {"CRITICAL": "red", "WARNING": "yellow", "INFO": "blue"}


@click.command(name="webhook-sink")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8099, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option(
    "--secret-env",
    multiple=True,
    help="Environment variable with the whsec_ secret to check signatures with; repeatable.",
)
@click.option("--full", is_flag=True, help="Print the whole body below each line.")
@click.option("--answer", default=204, show_default=True, type=click.IntRange(200, 599), help="Status to answer with.")
def webhook_sink(host: str, port: int, secret_env: tuple[str, ...], full: bool, answer: int) -> None:
    """Receive alerts on this machine, check their signatures and print one line for each, until Ctrl-C."""
    from regimes_dagster.alerts.signing import SecretError, key_of

    secrets = [os.environ.get(name, "") for name in secret_env]
    for name, secret in zip(secret_env, secrets, strict=True):
        try:
            key_of(secret)
        except SecretError as error:
            raise click.UsageError(f"--secret-env {name}: {error}") from None
    server = make_server(host, port, secrets=secrets, full=full, answer=answer)
    click.echo(f"Receiving on http://{host}:{server.server_address[1]}/ (Ctrl-C stops)")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()


def make_server(
    host: str, port: int, *, secrets: Sequence[str] = (), full: bool = False, answer: int = 204
) -> ThreadingHTTPServer:
    """The receiver, bound and not yet serving."""
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "regimes-webhook-sink"
        sys_version = ""
        timeout = 30

        def do_GET(self) -> None:
            text = b"regimes webhook-sink: post alerts here\n"
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > MOST_BYTES:
                self.close_connection = True
                self._answer(411 if not length.isdigit() else 413)
                return
            body = self.rfile.read(int(length))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                seen[headers.get("webhook-id", "")] += 1
                again = seen[headers.get("webhook-id", "")] > 1
                for line in describe(headers, body, secrets, again=again, full=full):
                    click.echo(line)
            self._answer(answer)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """The line that describes the message is the log."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    return server


def describe(
    headers: dict[str, str], body: bytes, secrets: Sequence[str], *, again: bool = False, full: bool = False
) -> list[str]:
    """The lines printed for one message: stamp, severity, event, symbol, headline, phase and signature."""
    from regimes_dagster.alerts.text_limits import cut, tidy
    from regimes_dagster.alerts.verification import verdict
    from regimes_dagster.clock import system_now

    now = system_now()
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    message = parsed if isinstance(parsed, dict) else {}
    severity = str(message.get("severity", ""))
    signed = verdict(headers, body, secrets, now.timestamp())
    notes = [headers.get("regimes-phase", ""), signed if signed == "unsigned" else f"signature {signed}"]
    notes += ["simulated"] if headers.get("regimes-simulated") else []
    notes += ["again"] if again else []
    what = _headline(message) if message else f"{len(body)} bytes that are not JSON"
    line = " ".join(
        [
            f"{now:%H:%M:%S}",
            click.style(f"{severity:<8}", fg=_COLOURS.get(severity), bold=True),
            f"{message.get('event_type', ''):<24}",
            f"{str(message.get('timestamp', ''))[:16]:<16}",
            cut(tidy(what, one_line=True), 160),
            f"[{', '.join(filter(None, notes))}]",
        ]
    )
    shown = json.dumps(parsed, indent=2, ensure_ascii=False) if parsed is not None else body.decode("utf-8", "replace")
    return [line, *(["  " + text for text in shown.splitlines()] if full else [])]


def _headline(message: dict[str, Any]) -> str:
    """Title and description of a json body, or the text of a chat body."""
    if "title" in message:
        return f"{message['title']}: {message.get('description', '')}"
    return str(message.get("content") or message.get("text") or "")
