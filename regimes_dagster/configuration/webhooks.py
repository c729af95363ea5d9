"""From the webhook entries of the file and the guide's variables to endpoints: one per address.

What belongs here: checks of addresses and secrets that need no network, and decision 23 (entries with one
address merge). What does not: vetting resolved addresses, signing and sending (``alerts/``).
"""

import base64
import binascii
import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast
from urllib.parse import SplitResult, urlsplit, urlunsplit

from pydantic import SecretStr

from regimes_dagster.configuration.problems import Path, Problem, dotted
from regimes_dagster.configuration.reading import Tree
from regimes_dagster.configuration.sections import AlertsSection, WebhookEntry
from regimes_dagster.vocabulary import WEBHOOK_VARIABLES, EventType, Severity, WebhookFormat

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SECRET_PREFIX = "whsec_"  # noqa: S105 - the public prefix of the specification
_CHAT_HOSTS: dict[str, WebhookFormat] = {
    "discord.com": "discord",
    "discordapp.com": "discord",
    "hooks.slack.com": "slack",
    "hooks.slack-gov.com": "slack",
    "api.telegram.org": "telegram",
}


@dataclass(frozen=True)
class Filter:
    """What one entry asks for; ``None`` means all (or, for the severity, the default per event)."""

    events: frozenset[EventType] | None = None
    symbols: frozenset[str] | None = None
    min_severity: Severity | None = None


@dataclass(frozen=True)
class Endpoint:
    """One address that alerts are posted to.

    Attributes
    ----------
    id : str
        First 16 hex digits of the SHA-256 of the normalised address; shown to people as host and 4 digits.
    name : str
        Names of the entries that named the address, joined by commas.
    host : str
        Host of the address.
    url : SecretStr
        The normalised address.
    format : str
        ``json``, ``discord``, ``slack`` or ``telegram``.
    filters : tuple of Filter
        An alert is sent if any of them lets it through.
    secrets : tuple of SecretStr
        ``whsec_`` secrets, newest first; two during a rotation.
    origins : tuple of str
        Where the entries stand.
    """

    id: str
    name: str
    host: str
    url: SecretStr
    format: WebhookFormat
    filters: tuple[Filter, ...]
    secrets: tuple[SecretStr, ...]
    origins: tuple[str, ...]

    @property
    def label(self) -> str:
        """Host and four characters of the hash: all that people are shown of an address."""
        return f"{self.host} ({self.id[:4]})"


@dataclass(frozen=True)
class _Candidate:
    key: str
    origin: str
    name: str
    url: str
    format: WebhookFormat | None
    secrets: tuple[str, ...]
    filter: Filter


def build_endpoints(
    alerts: AlertsSection, tree: Tree, environ: Mapping[str, str], problems: list[Problem]
) -> tuple[Endpoint, ...]:
    """Endpoints of the configuration in the order in which they are named.

    Every entry that cannot be used is added to ``problems`` with the key or variable it comes from; addresses
    and secrets are never part of a message.
    """
    candidates = [*_from_variables(tree, environ), *_from_entries(alerts, tree, environ, problems)]
    merged: dict[str, tuple[Endpoint, _Candidate]] = {}
    for candidate in candidates:
        wrong = url_mistake(candidate.url, alerts.allow_networks)
        if wrong is not None:
            problems.append(Problem(candidate.key, candidate.origin, wrong))
            continue
        endpoint = _endpoint(candidate)
        known = merged.get(endpoint.id)
        if known is None:
            merged[endpoint.id] = (endpoint, candidate)
            continue
        merged[endpoint.id] = _merge(*known, candidate, problems)
    return tuple(endpoint for endpoint, _ in merged.values())


def _from_variables(tree: Tree, environ: Mapping[str, str]) -> list[_Candidate]:
    found = []
    for variable, events in WEBHOOK_VARIABLES.items():
        urls = [url.strip() for url in environ.get(variable, "").split(",") if url.strip()]
        origin = tree.origins.get((variable,), variable)
        for place, url in enumerate(urls, start=1):
            name = variable if len(urls) == 1 else f"{variable} #{place}"
            wanted = Filter(events=frozenset(events) if events is not None else None)
            found.append(_Candidate("" if len(urls) == 1 else f"address {place}", origin, name, url, None, (), wanted))
    return found


def _from_entries(
    alerts: AlertsSection, tree: Tree, environ: Mapping[str, str], problems: list[Problem]
) -> list[_Candidate]:
    found = []
    names: dict[str, str] = {}
    for index, entry in enumerate(alerts.webhook):
        path: Path = ("alerts", "webhook", index)
        name = entry.name or f"webhook {index + 1}"
        if name in names:
            where = tree.origin((*path, "name"))
            problems.append(Problem(dotted((*path, "name")), where, f'is "{name}", which {names[name]} uses already.'))
        names.setdefault(name, dotted(path))
        url = _url(entry, path, tree, environ, problems)
        secrets = _secrets(entry, path, tree, environ, problems)
        if url is None:
            continue
        wanted = Filter(
            events=frozenset(entry.events) if entry.events is not None else None,
            symbols=frozenset(entry.symbols) if entry.symbols is not None else None,
            min_severity=entry.min_severity,
        )
        for key, value in (("events", entry.events), ("symbols", entry.symbols)):
            if value == ():
                where = tree.origin((*path, key))
                problems.append(
                    Problem(
                        dotted((*path, key)), where, "is empty, so nothing is ever sent; name some or leave it out."
                    )
                )
        key = dotted((*path, "url" if entry.url is not None else "url_env"))
        origin = tree.origin((*path, "url" if entry.url is not None else "url_env"))
        found.append(_Candidate(key, origin, name, url, entry.format, secrets, wanted))
    return found


def _url(
    entry: WebhookEntry, path: Path, tree: Tree, environ: Mapping[str, str], problems: list[Problem]
) -> str | None:
    if (entry.url is None) == (entry.url_env is None):
        what = "needs `url` or `url_env`." if entry.url is None else "has both `url` and `url_env`; keep one."
        problems.append(Problem(dotted(path), tree.origin(path), what))
        return None
    if entry.url is not None:
        return entry.url.get_secret_value().strip()
    return _variable(str(entry.url_env), (*path, "url_env"), tree, environ, problems)


def _variable(name: str, path: Path, tree: Tree, environ: Mapping[str, str], problems: list[Problem]) -> str | None:
    value = environ.get(name, "").strip()
    if not value:
        state = "is empty" if name in environ else "is not set"
        problems.append(
            Problem(dotted(path), tree.origin(path), f"names the environment variable {name}, which {state}.")
        )
        return None
    return value


def _secrets(
    entry: WebhookEntry, path: Path, tree: Tree, environ: Mapping[str, str], problems: list[Problem]
) -> tuple[str, ...]:
    if entry.secret and entry.secret_env:
        problems.append(Problem(dotted(path), tree.origin(path), "has both `secret` and `secret_env`; keep one."))
        return ()
    key = "secret" if entry.secret else "secret_env"
    where: Path = (*path, key)
    values: list[str] = []
    for name in entry.secret_env:
        value = _variable(name, where, tree, environ, problems)
        if value is not None:
            values.extend(part.strip() for part in value.split(",") if part.strip())
    values.extend(secret.get_secret_value().strip() for secret in entry.secret)
    if len(values) > 2:
        problems.append(
            Problem(dotted(where), tree.origin(where), f"gives {len(values)} secrets; a rotation has at most two.")
        )
    good = []
    for value in values:
        wrong = secret_mistake(value)
        if wrong is None:
            good.append(value)
        else:
            problems.append(Problem(dotted(where), tree.origin(where), wrong))
    return tuple(dict.fromkeys(good))


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


def _endpoint(candidate: _Candidate) -> Endpoint:
    url = normalise_url(candidate.url)
    host = urlsplit(url).hostname or ""
    return Endpoint(
        id=endpoint_id(url),
        name=candidate.name,
        host=host,
        url=SecretStr(url),
        format=candidate.format or guessed_format(host),
        filters=(candidate.filter,),
        secrets=tuple(SecretStr(secret) for secret in candidate.secrets),
        origins=(candidate.origin,),
    )


def _merge(
    known: Endpoint, first: _Candidate, second: _Candidate, problems: list[Problem]
) -> tuple[Endpoint, _Candidate]:
    """Decision 23. An entry that names no format or secret takes the other's; two that differ are a mistake."""
    where = f"{first.name} ({first.origin})"
    if first.format and second.format and first.format != second.format:
        message = (
            f"names the address of {where} with format {second.format}, there it is {first.format}; use one format."
        )
        problems.append(Problem(second.key, second.origin, message))
    if first.secrets and second.secrets and set(first.secrets) != set(second.secrets):
        problems.append(
            Problem(second.key, second.origin, f"names the address of {where} with another secret; use one.")
        )
    both = replace(first, format=first.format or second.format, secrets=first.secrets or second.secrets)
    endpoint = _endpoint(both)
    filters = known.filters if second.filter in known.filters else (*known.filters, second.filter)
    return replace(
        endpoint,
        name=f"{known.name}, {second.name}",
        filters=filters,
        origins=tuple(dict.fromkeys((*known.origins, second.origin))),
    ), both
