"""Webhook addresses and signing secrets as they are written: which are acceptable, and how they are named.

What belongs here: checks that need no network; their messages never quote an address or a secret. What does not:
vetting what a host name resolves to, which happens before every post (``alerts/addresses.py``).
"""

import base64
import binascii
import hashlib
import ipaddress
from collections.abc import Sequence
from typing import cast
from urllib.parse import SplitResult, urlsplit, urlunsplit

from regimes_dagster.vocabulary import WebhookFormat

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SECRET_PREFIX = "whsec_"  # noqa: S105 - the public prefix of the specification
_CHAT_HOSTS: dict[str, WebhookFormat] = {
    "discord.com": "discord",
    "discordapp.com": "discord",
    "hooks.slack.com": "slack",
    "hooks.slack-gov.com": "slack",
    "api.telegram.org": "telegram",
}


def secret_mistake(secret: str) -> str | None:
    """What is wrong with a signing secret, or None: ``whsec_`` and strict base64 of 24 to 64 bytes."""
    hint = "Make one with: regimes config secret."
    if not secret.startswith(SECRET_PREFIX):
        return f"holds a secret that does not start with {SECRET_PREFIX}. {hint}"
    try:
        raw = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return f"holds a secret that is not base64 after {SECRET_PREFIX}. {hint}"
    if not 24 <= len(raw) <= 64:
        return f"holds a secret of {len(raw)} bytes, must be 24 to 64 bytes in base64 after {SECRET_PREFIX}. {hint}"
    return None


def url_mistake(url: str, allow_networks: Sequence[Network]) -> str | None:
    """What is wrong with a webhook address, or None. Host names are vetted again when they are resolved."""
    if any(character.isspace() or ord(character) < 32 for character in url):
        return "holds an address with a blank in it; several addresses are separated by commas."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "holds an address that cannot be read: its host or port (1 to 65535) is malformed."
    if parts.scheme not in ("http", "https"):
        return f"holds an address with the scheme {parts.scheme or '(none)'}, must be https://host/path."
    if "@" in parts.netloc:
        return "holds an address with a user name or password before the host; put a secret in `secret_env` instead."
    if not parts.hostname:
        return "holds an address without a host, must be https://host/path."
    if port == 0:
        return "holds an address with port 0, must be 1 to 65535."
    if parts.fragment:
        return "holds an address with a # part, which is never sent; remove it."
    return _host_mistake(parts, allow_networks)


def _host_mistake(parts: SplitResult, allow_networks: Sequence[Network]) -> str | None:
    host = cast(str, parts.hostname)
    literal = _address(host)
    if literal is None:
        try:
            encoded = host.encode("idna")
        except UnicodeError:
            return f"holds an address whose host {host} is not a valid name."
        if len(encoded) > 253 or host.replace(".", "").isdigit():
            return f"holds an address whose host {host} is not a valid name."
        if parts.scheme == "http" and not allow_networks:
            return (
                f"posts to {host} over http, must be https. http is possible only inside networks named in "
                "alerts.allow_networks."
            )
        return None
    allowed = any(literal.version == network.version and literal in network for network in allow_networks)
    if parts.scheme == "http" and not allowed:
        return (
            f"posts to {host} over http, must be https. http is possible only inside networks named in "
            f'alerts.allow_networks, e.g. ["{_network_of(literal)}"].'
        )
    if not allowed and not literal.is_global:
        return (
            f"posts to {host}, which is not a public address. If it is yours, name its network: "
            f'alerts.allow_networks = ["{_network_of(literal)}"].'
        )
    return None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if host == "localhost" or host.endswith(".localhost"):
        return ipaddress.IPv4Address("127.0.0.1")
    try:
        return ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return None


def _network_of(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if address.is_loopback and address.version == 4:
        return "127.0.0.0/8"
    return f"{address}/{32 if address.version == 4 else 128}"


def normalise_url(url: str) -> str:
    """Scheme and host in lower case, default port and empty path made plain; path and query as they stand."""
    parts = urlsplit(url)
    host = (parts.hostname or "").encode("idna").decode().rstrip(".")
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(parts.scheme)
    port = f":{parts.port}" if parts.port is not None and parts.port != default else ""
    return urlunsplit((parts.scheme.lower(), f"{host}{port}", parts.path or "/", parts.query, ""))


def endpoint_id(url: str) -> str:
    """First 16 hex digits of the SHA-256 of the normalised address."""
    return hashlib.sha256(normalise_url(url).encode()).hexdigest()[:16]


def guessed_format(host: str) -> WebhookFormat:
    """Format that the host of an address suggests."""
    for known, form in _CHAT_HOSTS.items():
        if host == known or host.endswith(f".{known}"):
            return form
    return "json"
