"""The endpoints' rows: what the settings name, with the state that outlives a process.

What belongs here: keeping ``webhook_endpoints`` in step with the settings. What does not: the settings themselves
(``configuration/webhooks.py`` checks and merges entries), and the breaker (``breaker.py``).

The table never holds an address or a secret: an endpoint is a hash, a host and a name.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from regimes_dagster import tables
from regimes_dagster.partitions import utc
from regimes_dagster.settings import Endpoint, Settings


@dataclass(frozen=True)
class KnownEndpoint:
    """State of an endpoint, and since when it has been named without a break (platform time)."""

    state: str
    enabled_at: pd.Timestamp


def sync(
    connection: sa.Connection, settings: Settings, now: pd.Timestamp, *, remove: bool = False
) -> dict[str, KnownEndpoint]:
    """Write the settings' endpoints; their states by id.

    A new endpoint, or one that comes back, is enabled from now on: it is never flooded with history. A disabled
    endpoint becomes active when anything of its entry changes.

    Parameters
    ----------
    now
        The platform's moment.
    remove
        Mark endpoints that the settings no longer name as REMOVED and cancel what waits for them. Only the
        delivery sensor does it: a command in another shell may see other variables.
    """
    endpoints = tables.table("webhook_endpoints")
    moment = now.to_pydatetime()
    for endpoint in settings.endpoints:
        row = {
            "endpoint": endpoint.id,
            "name": endpoint.name,
            "host": endpoint.host,
            "format": endpoint.format,
            "filters": filters(endpoint),
            "fingerprint": fingerprint(endpoint, settings),
        }
        new = insert(endpoints).values(
            **row, state="ACTIVE", consecutive_failures=0, enabled_at=moment, state_reason=None
        )
        back = endpoints.c.state == "REMOVED"
        revived = back | ((endpoints.c.state == "DISABLED") & (endpoints.c.fingerprint != new.excluded.fingerprint))
        changed = [endpoints.c[name].is_distinct_from(new.excluded[name]) for name in row if name != "endpoint"]
        connection.execute(
            new.on_conflict_do_update(
                index_elements=["endpoint"],
                set_={
                    **{name: new.excluded[name] for name in row if name != "endpoint"},
                    "enabled_at": sa.case((back, new.excluded.enabled_at), else_=endpoints.c.enabled_at),
                    "state": sa.case((revived, "ACTIVE"), else_=endpoints.c.state),
                    "state_reason": sa.case((revived, sa.null()), else_=endpoints.c.state_reason),
                    "consecutive_failures": sa.case((revived, 0), else_=endpoints.c.consecutive_failures),
                    **{
                        name: sa.case((revived, sa.null()), else_=endpoints.c[name])
                        for name in ("opened_at", "retry_at", "failing_since")
                    },
                },
                where=sa.or_(back, *changed),
            )
        )
    if remove:
        _remove_absent(connection, [endpoint.id for endpoint in settings.endpoints])
    rows = connection.execute(sa.select(endpoints.c.endpoint, endpoints.c.state, endpoints.c.enabled_at))
    return {row.endpoint: KnownEndpoint(row.state, utc(row.enabled_at)) for row in rows}


def filters(endpoint: Endpoint) -> list[dict[str, Any]]:
    """The filters as they are stored and shown; null means all."""
    return [
        {
            "events": sorted(wanted.events) if wanted.events is not None else None,
            "symbols": sorted(wanted.symbols) if wanted.symbols is not None else None,
            "min_severity": wanted.min_severity,
        }
        for wanted in endpoint.filters
    ]


def fingerprint(endpoint: Endpoint, settings: Settings) -> str:
    """16 hex digits that change with anything that could cure a disabled endpoint; nothing can be read from it."""
    content = json.dumps(
        [
            endpoint.id,
            endpoint.format,
            filters(endpoint),
            [hashlib.sha256(secret.get_secret_value().encode()).hexdigest() for secret in endpoint.secrets],
            [str(network) for network in settings.alerts.allow_networks],
        ],
        sort_keys=True,
    )
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _remove_absent(connection: sa.Connection, present: Sequence[str]) -> None:
    endpoints, deliveries = tables.table("webhook_endpoints"), tables.table("alert_deliveries")
    gone = (
        sa.update(endpoints)
        .where(endpoints.c.endpoint.not_in(present), endpoints.c.state != "REMOVED")
        .values(state="REMOVED", state_reason="no longer configured", retry_at=None)
    )
    connection.execute(gone)
    connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.endpoint.not_in(present), deliveries.c.state.in_(("PENDING", "RETRYING")))
        .values(state="CANCELLED", reason="ENDPOINT_REMOVED", next_attempt_at=None, lease_until=None)
    )
