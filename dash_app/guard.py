"""Who may look, from where, and with which headers: one ASGI middleware over every path.

What belongs here: authentication (none, basic, proxy), the same-origin rule for unsafe methods, security headers.
What does not: routes. ``/healthz`` alone is open, so that a supervisor needs no password.

The password hash has werkzeug's form ``scrypt:N:r:p$salt$hex``. A right password is remembered for a minute (as a
keyed digest), because scrypt is slow on purpose and a page asks several times a second.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
import secrets
import threading
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from regimes_dagster.configuration.sections import DashboardSection, is_loopback

log = logging.getLogger("dash_app.guard")

OPEN_PATHS = ("/healthz",)
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
REMEMBER_S = 60.0


class RefusedBind(ValueError):  # noqa: N818 - named for what happened
    """The dashboard would be open to other machines without a log-in."""


def check_bind(section: DashboardSection, host: str) -> None:
    """Refuse to listen where anybody could read along.

    Raises
    ------
    RefusedBind
        If ``auth`` is none on an address that other machines reach, or a mode lacks what it needs.
    """
    loopback = section.model_copy(update={"host": host}).is_loopback
    if section.auth == "none" and not loopback:
        raise RefusedBind(
            f"the dashboard does not listen on {host} without a log-in; set [dashboard] auth to basic or "
            "proxy, or use --host 127.0.0.1"
        )
    if section.auth == "basic" and not (section.user and section.password_hash):
        raise RefusedBind(
            "[dashboard] auth = basic needs user and password_hash; `regimes config hash-password` makes the hash"
        )
    if section.auth == "proxy" and not section.trusted_proxies:
        raise RefusedBind("[dashboard] auth = proxy needs trusted_proxies, the networks whose header is believed")


def verify(password: str, stored: str) -> bool:
    """Whether a password has the hash ``scrypt:N:r:p$salt$hex``."""
    try:
        method, salt, digest = stored.split("$", 2)
        _, n, r, p = method.split(":")
        made = hashlib.scrypt(
            password.encode(), salt=salt.encode(), n=int(n), r=int(r), p=int(p), maxmem=132 * int(n) * int(r) * int(p)
        )
    except ValueError:
        return False
    return hmac.compare_digest(made.hex(), digest)


def content_policy(script_hashes: Sequence[str]) -> str:
    """The content security policy: own files and hashed inline scripts, nothing evaluated, nothing from elsewhere.

    Styles may be inline: plotly and Dash's own components write style elements while they draw.
    """
    return "; ".join(
        (
            "default-src 'self'",
            "script-src 'self' " + " ".join(script_hashes),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self'",
            "connect-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


class Guard:
    """ASGI middleware: checks a request, then puts the security headers on its answer.

    Parameters
    ----------
    app : ASGI application
    section : DashboardSection
        ``[dashboard]``: mode, user, hash, trusted networks.
    policy : str
        The content security policy.
    """

    def __init__(self, app: ASGIApp, section: DashboardSection, policy: str) -> None:
        self._app, self._section = app, section
        self._headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "same-origin",
            "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        self._key = secrets.token_bytes(32)
        self._good: dict[bytes, float] = {}
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if "server" in headers:
                    del headers["server"]
            await send(message)

        refusal = None if scope["path"] in OPEN_PATHS else self._refusal(scope)
        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if not self._known(scope, headers):
            extra = (
                {"WWW-Authenticate": 'Basic realm="regimes", charset="UTF-8"'}
                if self._section.auth == "basic"
                else None
            )
            return _problem(401, "log-in needed", "This dashboard needs a log-in.", extra)
        if scope["method"] not in SAFE_METHODS and not (self._same_origin(headers) and self._own_host(headers)):
            return _problem(
                403,
                "cross-origin request",
                "Requests that change something are accepted from this dashboard's own pages only.",
            )
        return None

    def _same_origin(self, headers: Headers) -> bool:
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site in ("same-origin", "none")
        origin = headers.get("origin")
        if origin is None:
            return headers.get("referer") is None  # no browser: curl, a script
        own = {headers.get("host", "")}
        if self._section.public_url:
            own.add(urlsplit(self._section.public_url).netloc)
        return urlsplit(origin).netloc in own

    def _own_host(self, headers: Headers) -> bool:
        """Without a log-in, the name that was asked for must be this machine's.

        Another site can give its own name this machine's address (DNS rebinding) and is then of the same origin.
        """
        if self._section.auth != "none":
            return True
        name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        own = urlsplit(self._section.public_url).hostname if self._section.public_url else None
        return is_loopback(name) or name == own

    def _known(self, scope: Scope, headers: Headers) -> bool:
        mode = self._section.auth
        if mode == "none":
            return True
        if mode == "proxy":
            return bool(headers.get(self._section.user_header)) and self._from_proxy(scope)
        return self._password_fits(headers.get("authorization", ""))

    def _from_proxy(self, scope: Scope) -> bool:
        client = scope.get("client")
        if not client:
            return False
        try:
            address = ipaddress.ip_address(client[0])
        except ValueError:
            return False
        return any(address in network for network in self._section.trusted_proxies)

    def _password_fits(self, header: str) -> bool:
        kind, _, encoded = header.partition(" ")
        if kind.lower() != "basic" or len(encoded) > 2_000 or self._section.password_hash is None:
            return False
        mark = hmac.new(self._key, encoded.encode(), hashlib.sha256).digest()
        now = time.monotonic()
        with self._lock:
            if self._good.get(mark, 0.0) > now:
                return True
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        right_user = hmac.compare_digest(user.encode(), (self._section.user or "").encode())
        right = verify(password, self._section.password_hash.get_secret_value()) and right_user
        if right:
            with self._lock:
                self._good = {key: until for key, until in self._good.items() if until > now} | {mark: now + REMEMBER_S}
        return right


def _problem(status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(
        {"type": "about:blank", "title": title, "status": status, "detail": detail},
        status,
        headers={"Cache-Control": "no-store", **(headers or {})},
        media_type="application/problem+json",
    )
