"""What Prometheus scrapes: requests, reading, freshness, deliveries.

What belongs here: counters of this process and the text format. What does not: the pipeline's own metrics.
"""

import os
import threading
import time
from bisect import bisect_left
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dash_app.freshness import STATES
from dash_app.reader import Reader, ReadError
from dash_app.snapshot import SnapshotKeeper

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_ROUTES = (
    "/api/features",
    "/api/cascades",
    "/api/volatility",
    "/api/regimes",
    "/api/funding",
    "/api/correlation",
    "/api/alerts",
    "/api/history",
    "/api/version",
    "/_dash-update-component",
)


class Metrics:
    """Counters of one process."""

    def __init__(self, keeper: SnapshotKeeper, reader: Reader) -> None:
        self._keeper, self._reader = keeper, reader
        self._lock = threading.Lock()
        self._count: dict[tuple[str, int], int] = {}
        self._times: dict[str, list[int]] = {}
        self._total: dict[str, float] = {}

    def counting(self, app: ASGIApp) -> ASGIApp:
        """The application with every request counted and timed."""

        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            status, started = 500, time.perf_counter()

            async def listen(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await app(scope, receive, listen)
            finally:
                self._record(_route(scope["path"]), status, time.perf_counter() - started)

        return call

    def _record(self, route: str, status: int, seconds: float) -> None:
        with self._lock:
            self._count[route, status] = self._count.get((route, status), 0) + 1
            self._times.setdefault(route, [0] * (len(BUCKETS) + 1))[bisect_left(BUCKETS, seconds)] += 1
            self._total[route] = self._total.get(route, 0.0) + seconds

    def text(self) -> str:
        """The Prometheus text format."""
        snap = self._keeper.current
        lines = [
            "# HELP regimes_dashboard_requests_total Requests by route and status.",
            "# TYPE regimes_dashboard_requests_total counter",
        ]
        with self._lock:
            lines += [
                f'regimes_dashboard_requests_total{{route="{route}",status="{status}"}} {n}'
                for (route, status), n in sorted(self._count.items())
            ]
            lines += [
                "# HELP regimes_dashboard_request_seconds Time until the answer was sent.",
                "# TYPE regimes_dashboard_request_seconds histogram",
            ]
            for route, counts in sorted(self._times.items()):
                running = 0
                for limit, n in zip((*BUCKETS, "+Inf"), counts, strict=True):
                    running += n
                    lines.append(f'regimes_dashboard_request_seconds_bucket{{route="{route}",le="{limit}"}} {running}')
                lines.append(f'regimes_dashboard_request_seconds_sum{{route="{route}"}} {self._total[route]:.6f}')
                lines.append(f'regimes_dashboard_request_seconds_count{{route="{route}"}} {running}')
        lines += _gauge("regimes_dashboard_database_up", "1 while the database answers.", 0 if snap.error else 1)
        lines += _gauge(
            "regimes_dashboard_snapshot_rebuilds_total",
            "Times the present state was read.",
            self._keeper.rebuilds,
            "counter",
        )
        lines += _gauge(
            "regimes_dashboard_snapshot_failures_total", "Times it could not be read.", self._keeper.failures, "counter"
        )
        lines += _gauge(
            "regimes_dashboard_snapshot_seconds", "Duration of the last reading.", round(self._keeper.last_seconds, 6)
        )
        lines += _gauge("regimes_dashboard_resident_bytes", "Resident memory of this process.", _resident())
        lines += [
            "# HELP regimes_data_age_seconds Age of the newest row of a stage.",
            "# TYPE regimes_data_age_seconds gauge",
        ]
        stages = snap.stages()
        lines += [
            f'regimes_data_age_seconds{{stage="{stage.name}"}} {stage.age.total_seconds():.0f}'
            for stage in stages
            if stage.age is not None
        ]
        lines += [
            "# HELP regimes_data_state Freshness of a stage: 0 live, 1 delayed, 2 stale, 3 no data.",
            "# TYPE regimes_data_state gauge",
        ]
        lines += [f'regimes_data_state{{stage="{stage.name}"}} {STATES.index(stage.state)}' for stage in stages]
        lines += _gauge("regimes_open_episodes", "Episodes that are active now.", snap.open_episodes)
        lines += [
            "# HELP regimes_alert_deliveries Deliveries of the last 24 h by state.",
            "# TYPE regimes_alert_deliveries gauge",
        ]
        lines += [f'regimes_alert_deliveries{{state="{state}"}} {n}' for state, n in sorted(snap.deliveries.items())]
        lines += ["# HELP regimes_alerts_opened Alerts opened in the last 24 h.", "# TYPE regimes_alerts_opened gauge"]
        lines += [
            f'regimes_alerts_opened{{event_type="{row["event_type"]}",severity="{row["severity"]}"}} {row["n"]}'
            for row in snap.opened
        ]
        return "\n".join(lines) + "\n" + self._deliveries()

    def _deliveries(self) -> str:
        """Figures of the delivery ledger; nothing while the database is down, which has a gauge of its own."""
        try:
            return self._reader.delivery_figures()
        except ReadError:
            return ""


def _gauge(name: str, help_: str, value: float, kind: str = "gauge") -> list[str]:
    return [f"# HELP {name} {help_}", f"# TYPE {name} {kind}", f"{name} {value}"]


def _route(path: str) -> str:
    return next((route for route in _ROUTES if path.startswith(route)), "other")


def _resident() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
