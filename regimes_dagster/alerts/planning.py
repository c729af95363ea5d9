"""Who gets an alert: filters, severities, silences and age, as pure decisions.

What belongs here: whether an alert is posted at all (decision 24) and to which endpoints. What does not: rows
(``records.py``, ``ledger.py``).
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pandas as pd

from regimes_dagster.alerts.silences import Silence, silenced
from regimes_dagster.alerts.subject import Subject, rank
from regimes_dagster.settings import Endpoint, Filter

#: Events that say nothing while the market data behind them is stale.
INHIBITED_BY_STALE_DATA = frozenset({"VOLATILITY_REGIME_CHANGE", "CORRELATION_BREAK", "REGIME_CONFIRMED"})

#: Decision 27: hourly tables are STALE above twice 75 minutes.
STALE_AFTER = timedelta(minutes=150)


@dataclass(frozen=True)
class Plan:
    """One delivery to be written: PENDING, or SUPPRESSED with the reason."""

    endpoint: str
    state: str
    reason: str | None = None


def alert_reason(
    *,
    event_type: str,
    ts: pd.Timestamp,
    machine_reason: str | None,
    now: pd.Timestamp,
    max_age: timedelta,
    stale: bool,
    enabled: bool,
) -> str | None:
    """Why an alert is not posted to anybody, or None.

    Parameters
    ----------
    machine_reason
        COOLDOWN or WARMING_UP as the episode machine says.
    now
        The platform's moment; a backfill and the hourly run differ in nothing else.
    stale
        Whether the newest hour of one of its symbols is stale.
    enabled
        False while the kill switch is on.
    """
    if machine_reason:
        return machine_reason
    if now - ts > max_age:
        return "AGE"
    if stale and event_type in INHIBITED_BY_STALE_DATA:
        return "STALE_INPUT"
    return None if enabled else "WEBHOOKS_OFF"


def may_announce_late(ts: pd.Timestamp, enabled_at: pd.Timestamp) -> bool:
    """Whether an endpoint is told of an episode that is older than the age limit and still active."""
    return ts >= enabled_at


def plan(
    subject: Subject,
    endpoints: Iterable[Endpoint],
    *,
    minimum: Mapping[str, str],
    silences: Sequence[Silence],
    states: Mapping[str, str],
    now: pd.Timestamp,
) -> list[Plan]:
    """Deliveries of one alert, one per endpoint that asks for it.

    Endpoints whose filters do not ask for the event or symbol get none. Those that ask, but not at this severity, or
    under a silence, or while switched off, get a SUPPRESSED one that says why.

    Parameters
    ----------
    minimum
        Lowest severity per event where the endpoint names none; INFO for events that are absent.
    states
        State per endpoint; a missing one is ACTIVE.
    now
        Moment at which silences are judged.
    """
    plans = []
    quiet = silenced(silences, subject, now)
    for endpoint in endpoints:
        asking = [wanted for wanted in endpoint.filters if _asks(wanted, subject)]
        if not asking:
            continue
        lowest = min(rank(wanted.min_severity or minimum.get(subject.event_type, "INFO")) for wanted in asking)
        if rank(subject.severity) < lowest:
            plans.append(Plan(endpoint.id, "SUPPRESSED", "BELOW_SEVERITY"))
        elif quiet:
            plans.append(Plan(endpoint.id, "SUPPRESSED", "SILENCED"))
        elif subject.is_simulated and not is_local(endpoint.host):
            plans.append(Plan(endpoint.id, "SUPPRESSED", "SIMULATED"))
        elif states.get(endpoint.id) == "DISABLED":
            plans.append(Plan(endpoint.id, "SUPPRESSED", "ENDPOINT_DISABLED"))
        else:
            plans.append(Plan(endpoint.id, "PENDING"))
    return plans


def is_local(host: str) -> bool:
    """Whether a host is this machine: figures of a simulated market go nowhere else (decision 8)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _asks(wanted: Filter, subject: Subject) -> bool:
    by_event = wanted.events is None or subject.event_type in wanted.events or subject.event_type == "TEST"
    by_symbol = wanted.symbols is None or any(subject.is_about(symbol) for symbol in wanted.symbols)
    return by_event and by_symbol
