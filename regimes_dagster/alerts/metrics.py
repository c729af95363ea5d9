"""The figures of delivery: queue depth, latency from alert row to 2xx, failures by endpoint.

What belongs here: the figures, their form for Dagster's metadata and for Prometheus, and the verdicts of the two
asset checks. What does not: serving them (the dashboard's ``/metrics``, ``checks.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa

from regimes_dagster.partitions import utc

#: A due delivery later than this turns the check red.
LATE = timedelta(minutes=15)

#: Latencies and failures are those of the last day.
PERIOD = timedelta(hours=24)

_ENDPOINTS = sa.text("""
    SELECT e.endpoint, e.host, e.name, e.format, e.state, e.state_reason, e.consecutive_failures, e.retry_at,
           count(d.alert_id) FILTER (WHERE d.state IN ('PENDING', 'RETRYING')) AS waiting,
           min(d.next_attempt_at) FILTER (WHERE d.state IN ('PENDING', 'RETRYING')) AS oldest_due,
           count(d.alert_id) FILTER (WHERE d.state = 'DELIVERED' AND d.delivered_at > :since) AS delivered,
           count(d.alert_id) FILTER (WHERE d.state = 'DEAD' AND d.last_attempt_at > :since) AS dead,
           count(d.alert_id) FILTER (WHERE d.state = 'EXPIRED' AND d.created_at > :since) AS expired,
           coalesce(sum(d.attempts - (d.state = 'DELIVERED')::int) FILTER (WHERE d.last_attempt_at > :since), 0)
               AS failed_attempts
    FROM webhook_endpoints e
    LEFT JOIN alert_deliveries d ON d.endpoint = e.endpoint
         AND (d.state IN ('PENDING', 'RETRYING') OR d.created_at > :since OR d.last_attempt_at > :since)
    WHERE e.state <> 'REMOVED'
    GROUP BY e.endpoint ORDER BY e.name
""")

_LATENCY = sa.text("""
    SELECT percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
               ORDER BY extract(epoch FROM d.delivered_at - a.recorded_at)::double precision) AS quantiles,
           count(*) AS n
    FROM alert_deliveries d JOIN alerts a ON a.alert_id = d.alert_id
    WHERE d.state = 'DELIVERED' AND d.delivered_at > :since AND d.series = 0
""")


@dataclass(frozen=True)
class EndpointFigures:
    """One endpoint's figures; counts of the last 24 h, ``waiting`` now."""

    endpoint: str
    label: str
    name: str
    state: str
    state_reason: str | None
    waiting: int
    late_s: float
    delivered: int
    dead: int
    expired: int
    failed_attempts: int


@dataclass(frozen=True)
class DeliveryFigures:
    """Figures over all endpoints.

    Attributes
    ----------
    waiting
        Deliveries that are planned and neither delivered nor given up.
    oldest_due_s
        Seconds by which the oldest due delivery is late; 0 if none is.
    p50_s, p95_s
        Seconds from the alert row to the 2xx answer over the last 24 h; None without any.
    """

    waiting: int
    oldest_due_s: float
    p50_s: float | None
    p95_s: float | None
    n: int
    endpoints: tuple[EndpointFigures, ...] = field(default=())

    @property
    def dead(self) -> int:
        """Deliveries given up within 24 h."""
        return sum(endpoint.dead for endpoint in self.endpoints)

    @property
    def disabled(self) -> tuple[EndpointFigures, ...]:
        """Endpoints that are switched off."""
        return tuple(endpoint for endpoint in self.endpoints if endpoint.state == "DISABLED")

    def as_metadata(self) -> dict[str, float | int | str]:
        """Name and figure, for a run's or a check's metadata; endpoints as host and four digits."""
        found: dict[str, float | int | str] = {
            "waiting": self.waiting,
            "oldest_due_s": round(self.oldest_due_s, 1),
            "delivered_24h": self.n,
            "dead_24h": self.dead,
        }
        if self.p50_s is not None and self.p95_s is not None:
            found |= {"latency_p50_s": round(self.p50_s, 2), "latency_p95_s": round(self.p95_s, 2)}
        for endpoint in self.endpoints:
            found[f"failures {endpoint.label}"] = (
                f"{endpoint.state}: {endpoint.failed_attempts} failed attempts, "
                f"{endpoint.dead} dead, {endpoint.waiting} waiting"
            )
        return found


def figures(connection: sa.Connection, now: pd.Timestamp) -> DeliveryFigures:
    """Read the figures.

    Parameters
    ----------
    now
        The system's moment.
    """
    since = (now - PERIOD).to_pydatetime()
    endpoints = tuple(
        EndpointFigures(
            endpoint=row.endpoint,
            label=f"{row.host} ({row.endpoint[:4]})",
            name=row.name,
            state=row.state,
            state_reason=row.state_reason,
            waiting=row.waiting,
            late_s=_late(row.oldest_due, row.retry_at, now),
            delivered=row.delivered,
            dead=row.dead,
            expired=row.expired,
            failed_attempts=int(row.failed_attempts),
        )
        for row in connection.execute(_ENDPOINTS, {"since": since})
    )
    latency = connection.execute(_LATENCY, {"since": since}).one()
    p50, p95 = latency.quantiles or (None, None)
    return DeliveryFigures(
        waiting=sum(endpoint.waiting for endpoint in endpoints),
        oldest_due_s=max((endpoint.late_s for endpoint in endpoints), default=0.0),
        p50_s=p50,
        p95_s=p95,
        n=latency.n,
        endpoints=endpoints,
    )


def prometheus(found: DeliveryFigures) -> str:
    """The figures as Prometheus text; endpoints are labelled with host and four digits."""
    lines = [
        *_metric(
            "regimes_alert_deliveries_waiting", "gauge", "Deliveries planned and not settled", [({}, found.waiting)]
        ),
        *_metric(
            "regimes_alert_oldest_due_seconds",
            "gauge",
            "Lateness of the oldest due delivery",
            [({}, found.oldest_due_s)],
        ),
    ]
    if found.p50_s is not None and found.p95_s is not None:
        samples: list[tuple[Mapping[str, str], float]] = [
            ({"quantile": "0.5"}, found.p50_s),
            ({"quantile": "0.95"}, found.p95_s),
        ]
        lines += _metric("regimes_alert_latency_seconds", "gauge", "Alert row to 2xx answer, last 24 h", samples)
    for name, text, attribute in (
        ("regimes_alert_endpoint_waiting", "Deliveries waiting for the endpoint", "waiting"),
        ("regimes_alert_endpoint_failed_attempts", "Failed attempts, last 24 h", "failed_attempts"),
        ("regimes_alert_endpoint_dead", "Deliveries given up, last 24 h", "dead"),
        ("regimes_alert_endpoint_delivered", "Deliveries answered with 2xx, last 24 h", "delivered"),
    ):
        lines += _metric(name, "gauge", text, [({"endpoint": e.label}, getattr(e, attribute)) for e in found.endpoints])
    up: list[tuple[Mapping[str, str], float]] = [
        ({"endpoint": e.label, "state": e.state}, 1 if e.state == "ACTIVE" else 0) for e in found.endpoints
    ]
    lines += _metric("regimes_alert_endpoint_up", "gauge", "1 while the endpoint is active", up)
    return "\n".join(lines) + "\n"


def late_verdict(found: DeliveryFigures) -> tuple[bool, str]:
    """Whether the oldest due delivery is at most 15 minutes late, and what to say."""
    late = [e for e in found.endpoints if e.late_s > LATE.total_seconds()]
    if not late:
        return True, f"{found.waiting} deliveries wait, none is late"
    worst = max(late, key=lambda e: e.late_s)
    return False, (
        f"the oldest due delivery to {worst.label} is {worst.late_s / 60:.0f} minutes late; check that the sensor "
        "`alert_delivery` runs (Dagster, Automation)"
    )


def dead_verdict(found: DeliveryFigures) -> tuple[bool, str]:
    """Whether nothing was given up in 24 h and no endpoint is switched off, and what to say."""
    dead = [f"{e.label}: {e.dead} dead" for e in found.endpoints if e.dead]
    off = [f"{e.label} is switched off ({e.state_reason})" for e in found.disabled]
    if not dead and not off:
        return True, "no delivery was given up in the last 24 h"
    what = "; ".join([*dead, *off])
    return False, f"{what}. See `regimes alerts list --state DEAD`; send again with `regimes alerts replay`"


def _late(oldest: Any, retry_at: Any, now: pd.Timestamp) -> float:
    """Seconds by which the oldest due delivery is late; while the endpoint is paused or held nothing is due."""
    if oldest is None:
        return 0.0
    due = utc(oldest) if retry_at is None else max(utc(oldest), utc(retry_at))
    return max(0.0, (now - due).total_seconds())


def _metric(name: str, kind: str, text: str, samples: list[tuple[Mapping[str, str], float]] | list[Any]) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{shown}}} {value:g}" if shown else f"{name} {value:g}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
