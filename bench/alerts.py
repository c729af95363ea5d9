"""How fast alerts arrive: an idle tick, 1,000 alerts x 3 endpoints with one dead, and latency beside a hanging one.

What belongs here: measuring the delivery path with real receivers and a database of its own. What does not: the
twenty-minute soak (``soak_alerts.py``).
"""

import random
import statistics
import time

from bench.alert_installation import Installation, installation
from bench.report import Result
from regimes_dagster.alerts.metrics import figures
from regimes_dagster.alerts.tick import tick
from regimes_dagster.clock import system_now
from tests.servers.receivers import Manner, answer, hang, ok

ALERTS = 1000
LATENCY_MINUTES = 3.0
INTERVAL_S = 10.0


def run() -> list[Result]:
    """One row per measurement, in seconds."""
    idle = _idle(50)
    rows: list[tuple[str, float, float]] = [
        ("idle tick: median, p95", statistics.median(idle), statistics.quantiles(idle, n=20)[-1])
    ]
    for name, dead in (("answers 500", answer(500)), ("hangs", hang)):
        took = _drain(dead)
        label = f"{ALERTS} alerts x 3 endpoints, one {name}: until the healthy have all; per alert"
        rows.append((label, took, took / ALERTS))
    p50, p95, count = _latency(LATENCY_MINUTES, INTERVAL_S)
    label = f"row's commit to 2xx, {count} alerts, interval {INTERVAL_S:g} s, beside a hanging endpoint: p50, p95"
    rows.append((label, p50, p95))
    return [
        Result(
            name="alerts",
            title="Alert delivery",
            how="Real HTTP receivers on loopback, a PostgreSQL with fsync; the sensor's own tick.",
            columns=("measurement", "s", "s"),
            rows=rows,
            notes=["Aim: latency p95 under 20 s at the default interval; the drain under 60 s."],
        )
    ]


def _idle(ticks: int) -> list[float]:
    with installation([ok, ok, ok]) as made:
        made.record(1)
        _tick(made)
        return [_tick(made) for _ in range(ticks)]


def _drain(dead: Manner) -> float:
    with installation([ok, ok, dead]) as made:
        made.record(ALERTS)
        started = time.monotonic()
        while any(len(receiver.ids) < ALERTS for receiver in made.receivers[:2]):
            _tick(made)
        return max(receiver.requests[ALERTS - 1].at for receiver in made.receivers[:2]) - started


def _latency(minutes: float, interval_s: float) -> tuple[float, float, int]:
    chance = random.Random(7)
    with installation([ok, ok, hang]) as made:
        worker = made.worker(interval_s)
        end, count = time.monotonic() + minutes * 60, 0
        while time.monotonic() < end:
            made.record(1, first=count)
            count += 1
            time.sleep(chance.uniform(0.2, 3.0))
        time.sleep(interval_s + 5)
        worker.kill()
        worker.wait()
        with made.engine.connect() as connection:
            found = figures(connection, system_now())
        if found.p50_s is None or found.p95_s is None or found.n < 2 * count:
            raise RuntimeError(f"only {found.n} of {2 * count} deliveries arrived")
        return found.p50_s, found.p95_s, count


def _tick(made: Installation) -> float:
    started = time.monotonic()
    tick(made.engine, made.settings, system_now())
    return time.monotonic() - started
