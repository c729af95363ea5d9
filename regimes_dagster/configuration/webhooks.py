"""From the webhook entries of the file and the guide's variables to endpoints: one per address.

What belongs here: what an entry asks for, and decision 23 (entries with one address merge). What does not: which
addresses and secrets are acceptable (``addresses.py``), signing and sending (``alerts/``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from pydantic import SecretStr

from regimes_dagster.configuration.addresses import (
    endpoint_id,
    guessed_format,
    normalise_url,
    secret_mistake,
    url_mistake,
)
from regimes_dagster.configuration.problems import Path, Problem, dotted
from regimes_dagster.configuration.reading import Tree
from regimes_dagster.configuration.sections import AlertsSection, WebhookEntry
from regimes_dagster.vocabulary import WEBHOOK_VARIABLES, EventType, Severity, WebhookFormat


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
