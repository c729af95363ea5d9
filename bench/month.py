"""A simulated month: the real schedule function, real runs and real deliveries, faster than real time, with faults.

What belongs here: living through the hours, the faults in between, and what is counted afterwards. What does not:
faults of a running installation's processes (``bench/drill.py``).

``python -m bench.month [--hours 720] [--minutes 60]`` writes ``docs/simulated-month.md``. It stops after the given
minutes and says how many hours it lived through.
"""

import argparse
import gc
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import sqlalchemy as sa

from bench.installation import installation
from regimes_dagster.clock import Clock
from regimes_dagster.commands.backfill import run_months
from regimes_dagster.database import embedded_server
from regimes_dagster.definitions import build_defs
from regimes_dagster.instance import dagster_instance
from regimes_dagster.jobs import HOURLY, QUIET
from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.platform import Platform
from regimes_dagster.purge import log_size, purge_checks, purge_runs
from regimes_dagster.replay import DERIVED
from regimes_dagster.resources.webhooks import Webhooks
from regimes_dagster.settings import Settings, load_settings
from regimes_dagster.sources.protocol import Kind, Outage, Source
from regimes_dagster.sources.registry import build_sources

REPORT = Path(__file__).resolve().parent.parent / "docs" / "simulated-month.md"

START = utc("2024-04-10 00:00")
FIRST = "2024-01-01"

#: These rest on minute bars, which are kept for 14 days and have no history to fetch later: live and backfill differ.
LIVE_ONLY = ("leader", "leader_reason", "lead_lag_s", "lead_p")

#: Share of ticks that meet each fault.
FAULTS = {"outage of a symbol": 0.02, "tick missed": 0.02, "run killed": 0.012, "database restarted": 0.008}


class Receiver:
    """A webhook receiver on loopback that counts what arrives; one answer in four is a 503."""

    def __init__(self) -> None:
        self.accepted: Counter[str] = Counter()
        self.refused = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                refuse = random.random() < 0.25
                receiver.refused += refuse
                if not refuse:
                    receiver.accepted[str(self.headers["webhook-id"])] += 1
                self.send_response(503 if refuse else 204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Time:
    """The simulated system clock."""

    def __init__(self, moment: pd.Timestamp) -> None:
        self.moment = moment

    def __call__(self) -> pd.Timestamp:
        return self.moment


class Unreliable:
    """The configured sources, one symbol of which may be out."""

    def __init__(self) -> None:
        self.out: str | None = None

    def __call__(self, settings: Settings, kind: Kind) -> Sequence[Source]:
        return [_Wrapped(source, self) for source in build_sources(settings, kind)]


class _Wrapped:
    def __init__(self, source: Source, state: Unreliable) -> None:
        self._source, self._state = source, state
        self.name, self.kinds, self.always_read = source.name, source.kinds, source.always_read

    def fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Any:
        if symbol == self._state.out:
            raise Outage(self.name, symbol, "the drill has taken it away")
        return self._source.fetch(kind, symbol, window, now)


def platform_at(settings: Settings, clock: Time, sources: Unreliable) -> Platform:
    """A platform whose system clock is the simulated one; nothing is declared, so the real schedule acts."""
    engine = Platform(settings).engine
    return Platform(settings, sources=sources, clock=Clock(engine, system=clock))


def one_tick(settings: Settings, definitions: Any, instance: Any, platform: Platform, at: pd.Timestamp) -> bool:
    """What the daemon does at a tick: ask the schedule, run what it requests."""
    import dagster as dg

    from regimes_dagster.schedules import hourly_schedule

    context = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=at.to_pydatetime(), resources={"platform": platform}
    )
    request: Any = hourly_schedule(context)
    job = definitions.resolve_job_def(HOURLY)
    result = job.execute_in_process(instance=instance, tags=dict(request.tags), run_config=QUIET, raise_on_error=False)
    return bool(result.success)


def killed_tick(at: pd.Timestamp, rng: random.Random, instance: Any) -> None:
    """The same in a process of its own, killed somewhere on the way: up to 6 s after its run began."""
    import dagster as dg

    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    before = instance.get_runs_count(started)
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.month", "--tick", at.isoformat()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and instance.get_runs_count(started) == before:
        time.sleep(0.1)
    try:
        process.wait(timeout=rng.uniform(0.0, 6.0))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def live(hours: int, minutes: float, intensity: float = 1.0, seed: int = 7) -> dict[str, Any]:
    """Live through the hours; returns the figures."""
    rng = random.Random(seed)
    receiver = Receiver()
    clock, sources = Time(START), Unreliable()
    with installation(
        REGIMES_HISTORY_START=FIRST,
        REGIMES_SOURCES__SIMULATED__START=FIRST,
        WEBHOOKS_ALL=receiver.url,
        REGIMES_ALERTS__ALLOW_NETWORKS='["127.0.0.0/8"]',
    ) as settings:
        platform = platform_at(settings, clock, sources)
        met: Counter[str] = Counter()
        walls: list[float] = []
        deliveries: list[float] = []
        memory: list[float] = []
        logs: list[tuple[int, int]] = []
        failed = 0
        deadline = time.monotonic() + 60 * minutes
        with dagster_instance(settings) as instance:
            definitions = build_defs(settings, platform)
            first = run_months(definitions, instance, FIRST, START.date())
            if not first.success:
                raise RuntimeError(f"the history could not be computed: {first.error}")
            base = sum(log_size(platform.engine).values())
            lived = 0
            out_until = START
            asleep_until = START
            for number in range(1, hours + 1):
                at = START + number * HOUR + timedelta(minutes=1)
                clock.moment = at
                if time.monotonic() > deadline:
                    break
                lived = number
                fault = _fault(rng, met, number, hours, intensity)
                if fault == "outage of a symbol":
                    sources.out, out_until = rng.choice(settings.symbols), at + timedelta(hours=rng.randint(1, 5))
                elif fault == "tick missed":
                    asleep_until = at + timedelta(hours=rng.randint(0, 26))
                elif fault == "run killed":
                    killed_tick(at, rng, instance)
                    continue
                elif fault == "database restarted":
                    server = embedded_server({"REGIMES_HOME": str(settings.home)})
                    server.stop("immediate")
                    server.start()
                if at > out_until:
                    sources.out = None
                if at <= asleep_until and number < hours - 30:
                    continue
                started = time.monotonic()
                failed += not one_tick(settings, definitions, instance, platform, at)
                walls.append(time.monotonic() - started)
                started = time.monotonic()
                Webhooks(platform).deliver()
                deliveries.append(time.monotonic() - started)
                if number % 24 == 0:
                    gc.collect()
                    memory.append(psutil.Process().memory_info().rss / 2**20)
                    logs.append((number, sum(log_size(platform.engine).values())))
                    print(f"{number} h, {walls[-1]:.1f} s, {memory[-1]:.0f} MiB", flush=True)
            sources.out = None
            for extra in range(1, 4):  # the last faults heal
                clock.moment = START + (lived + extra) * HOUR + timedelta(minutes=1)
                failed += not one_tick(settings, definitions, instance, platform, clock.moment)
                for _ in range(3):
                    clock.moment += timedelta(minutes=11)
                    Webhooks(platform).deliver()
            figures = {
                "hours": lived,
                "faults": dict(met),
                "failed runs": failed,
                "tick": _quantiles(walls),
                "delivery": _quantiles(deliveries),
                "memory": memory,
                "log base": base,
                "log": logs,
                "log end": sum(log_size(platform.engine).values()),
                "runs": instance.get_runs_count(),
            }
            figures |= _counts(platform, receiver, clock.moment)
            deleted = purge_runs(instance, Clock().now() + timedelta(days=3), budget_s=3600)
            purge_checks(platform.engine, Clock().now())
            with platform.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                for table in log_size(platform.engine):
                    connection.execute(sa.text(f'VACUUM FULL dagster."{table}"'))
            figures |= {
                "purged": deleted,
                "log purged": sum(log_size(platform.engine).values()),
                "partitions known after": len(instance.get_materialized_partitions(_asset("market_metrics"))),
            }
        figures["differences"] = _against_backfill(settings, platform, clock.moment)
        platform.engine.dispose()
    return figures


def _asset(name: str) -> Any:
    import dagster as dg

    return dg.AssetKey(name)


def _fault(rng: random.Random, met: Counter[str], number: int, hours: int, intensity: float) -> str | None:
    if number < 6 or number > hours - 6:
        return None
    point = rng.random()
    for name, share in FAULTS.items():
        if point < share * intensity:
            met[name] += 1
            return name
        point -= share * intensity
    return None


def _quantiles(values: list[float]) -> tuple[float, float]:
    if len(values) < 2:
        return (float("nan"), float("nan"))
    cuts = statistics.quantiles(values, n=20)
    return (statistics.median(values), cuts[18])


def _counts(platform: Platform, receiver: Receiver, now: pd.Timestamp) -> dict[str, Any]:
    window = Window(START, now.floor("h"))
    hours = len(window.hours())
    gaps = {}
    for table in ("market_metrics", "volatility_features", "liquidation_features", "funding_features", "regimes"):
        rows = platform.warehouse.read(table, window=window, columns=["symbol", "ts"])
        gaps[table] = len(platform.settings.symbols) * hours - len(rows)
    with platform.engine.connect() as connection:
        size = connection.execute(
            sa.text(
                "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n "
                "ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND c.relkind = 'r'"
            )
        ).scalar_one()
        counted = connection.execute(sa.text("SELECT state, count(*) FROM alert_deliveries GROUP BY 1"))
        states = {str(state): int(count) for state, count in counted}
        distinct = connection.execute(
            sa.text("SELECT count(*), count(DISTINCT (episode_id, phase, level)) FROM alerts")
        ).one()
    months = (now - utc(FIRST)).total_seconds() / timedelta(days=30).total_seconds()
    return {
        "gaps": gaps,
        "bytes per symbol-month": int(size) / len(platform.settings.symbols) / months,
        "alerts": tuple(distinct),
        "deliveries": states,
        "received": len(receiver.accepted),
        "received twice": sum(1 for count in receiver.accepted.values() if count > 1),
        "refused": receiver.refused,
    }


def _against_backfill(settings: Settings, lived: Platform, now: pd.Timestamp) -> dict[str, int]:
    """Rows that differ from one undisturbed backfill of the same hours into another database."""
    with _other_database(settings) as url:
        fresh = load_settings(
            environ={**os.environ, "DB_URL": url, "REGIMES_HOME": str(settings.home / "other"), "WEBHOOKS_ALL": ""}
        )
        other = platform_at(fresh, Time(now), Unreliable())
        with dagster_instance(fresh) as instance:
            outcome = run_months(build_defs(fresh, other), instance, FIRST, now.date())
        if not outcome.success:
            raise RuntimeError(f"the undisturbed backfill failed: {outcome.error}")
        found = {}
        for table in DERIVED:
            left, right = (
                platform.warehouse.read(table).drop(columns=list(LIVE_ONLY), errors="ignore")
                for platform in (lived, other)
            )
            if len(left) != len(right):
                found[table] = abs(len(left) - len(right))
                continue
            try:
                pd.testing.assert_frame_equal(left, right, rtol=1e-12)
                found[table] = 0
            except AssertionError as error:
                print(error, flush=True)
                found[table] = -1
        other.engine.dispose()
        return found


@contextmanager
def _other_database(settings: Settings) -> Iterator[str]:
    server = embedded_server({"REGIMES_HOME": str(settings.home)})
    engine = sa.create_engine(server.url("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE undisturbed"))
    yield server.url("undisturbed")
    engine.dispose()


def report(figures: dict[str, Any]) -> str:
    """The page for docs/."""
    p50, p95 = figures["tick"]
    d50, d95 = figures["delivery"]
    faults = ", ".join(f"{count} x {name}" for name, count in figures["faults"].items()) or "none"
    memory = figures["memory"] or [float("nan")]
    grown = figures["log end"] - figures["log base"]
    per_run = grown / max(1, figures["runs"])
    differing = {name: count for name, count in figures["differences"].items() if count}
    rows = [
        ("hours lived through", str(figures["hours"])),
        ("faults", faults),
        ("runs that failed", str(figures["failed runs"])),
        ("wall time of a run, p50 / p95", f"{p50:.1f} s / {p95:.1f} s"),
        ("wall time of a delivery tick, p50 / p95", f"{d50:.2f} s / {d95:.2f} s"),
        ("hours without a row, per table", ", ".join(f"{name} {n}" for name, n in figures["gaps"].items())),
        ("alerts recorded / distinct", "{} / {}".format(*figures["alerts"])),
        ("deliveries", ", ".join(f"{name} {count}" for name, count in sorted(figures["deliveries"].items()))),
        (
            "messages received / twice / answered 503",
            f"{figures['received']} / {figures['received twice']} / {figures['refused']}",
        ),
        ("memory of the process after a day / at the end", f"{memory[0]:.0f} / {memory[-1]:.0f} MiB"),
        ("data per symbol and month", f"{figures['bytes per symbol-month'] / 1e6:.2f} MB"),
        ("Dagster's tables, without purge", f"{figures['log end'] / 1e6:.0f} MB, {per_run / 1e3:.0f} kB per run"),
        (
            "Dagster's tables, after the purge",
            f"{figures['log purged'] / 1e6:.0f} MB ({figures['purged']} runs deleted)",
        ),
        ("partitions Dagster still knows", str(figures["partitions known after"])),
        ("tables that differ from an undisturbed backfill", ", ".join(differing) or "none"),
    ]
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"""# A simulated month

Made by `make drill` (`python -m bench.month`): three simulated symbols, the real schedule function, real runs and
real deliveries on the embedded server, as fast as the machine goes ({os.cpu_count()} cores). On the way, at random:
an hourly run killed with SIGKILL somewhere in the middle, the database stopped at once and started again, one symbol's
venue out for 1 to 5 hours, ticks missed for up to 26 hours, and a receiver that answers one message in four with 503.

| | |
|---|---|
{lines}
"""


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=int, default=720)
    parser.add_argument("--minutes", type=float, default=240.0)
    parser.add_argument("--intensity", type=float, default=1.0, help="multiplies the share of faults")
    parser.add_argument("--tick", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=REPORT)
    given = parser.parse_args()
    if given.tick:
        settings = load_settings()
        at = utc(given.tick)
        platform = platform_at(settings, Time(at), Unreliable())
        with dagster_instance(settings) as instance:
            return 0 if one_tick(settings, build_defs(settings, platform), instance, platform, at) else 1
    figures = live(given.hours, given.minutes, given.intensity)
    given.out.write_text(report(figures))
    print(given.out.read_text())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
