"""The hourly run as the daemon starts it, from the launch to the last delivered alert, part by part.

What belongs here: a real webserver, daemon and receiver on a throw-away installation, runs launched through GraphQL,
and the stamps of their events. What does not: what the steps compute (``bench/backfill.py``).
"""

import json
import os
import socket
import statistics
import threading
import time
from collections import defaultdict
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import sqlalchemy as sa

from bench.installation import installation, symbols
from bench.report import SMALL, Result
from regimes_dagster.settings import Settings

LAUNCH = """
mutation Launch($tags: [ExecutionTag!]!) {
  launchRun(executionParams: {
    selector: {repositoryName: "__repository__", repositoryLocationName: "regimes", jobName: "hourly"},
    executionMetadata: {tags: $tags}, runConfigData: {}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""

#: Symbols and measured runs.
CASES = ((3, 16), (100, 8))

START = "2024-01-01"
MOMENT = "2024-06-20 12:00"
MONTH = "2024-06-01"

FETCHING = ("ohlcv", "funding_rates", "liquidations", "minute_bars")
CHECKING = "contract"

#: Seconds after a run within which its alerts must have arrived: three intervals of the sensor.
PATIENCE = 35.0

PARTS = ("queue", "process start", "fetch", "read and compute", "write", "checks", "bookkeeping", "launch to success")


def run() -> list[Result]:
    """One row per part of a run and number of symbols, and the memory of every process."""
    rows, memory, notes = [], [], []
    cases = CASES[:1] if SMALL else CASES
    for count, runs in cases:
        parts, late, peaks = _measure(count, runs)
        for name in PARTS:
            rows.append((f"{count} symbols: {name}", *_spread(parts[name])))
        if late:  # an hour without an alert has no delivery
            rows.append((f"{count} symbols: alert recorded to delivered ({len(late)} alerts)", *_spread(late)))
            whole = parts["launch to last delivery"]
            rows.append((f"{count} symbols: launch to last delivery ({len(whole)} runs with alerts)", *_spread(whole)))
        memory.extend((f"{name}, {count} symbols", peak) for name, peak in sorted(peaks.items()))
        notes.append(f"{count} symbols: {runs} runs; {len(late)} alerts were due and posted in these hours.")
    return [
        Result(
            "hourly_run",
            "Hourly run",
            "Launched through the webserver, queued and run by the daemon in a process of its own, on the simulated "
            "market after the history was backfilled; seconds. `process start` is imports and plan, up to the first "
            "step; `fetch` is the raw assets, `read and compute` the others, `write` is checking and storing what they "
            "returned, `checks` the asset checks, `bookkeeping` what remains of the run.",
            ("part", "p50", "p95", "largest"),
            rows,
            notes,
        ),
        Result(
            "memory",
            "Memory",
            "Largest resident memory of each process during those runs; `run` is the process of the hourly run itself.",
            ("process", "MiB"),
            memory,
        ),
    ]


def _spread(values: list[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    return statistics.median(values), statistics.quantiles(values, n=20, method="inclusive")[-1], max(values)


class _Accepts(BaseHTTPRequestHandler):
    """A receiver of alerts that takes them all."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        return


def _measure(count: int, runs: int) -> tuple[dict[str, list[float]], list[float], dict[str, float]]:
    from regimes_dagster.commands.backfill import run_months
    from regimes_dagster.commands.up import platform_children
    from regimes_dagster.definitions import build_defs
    from regimes_dagster.instance import dagster_environment, dagster_instance
    from regimes_dagster.partitions import utc
    from regimes_dagster.platform import Platform
    from regimes_dagster.supervisor import Supervisor

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), _Accepts)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    variables = {
        "REGIMES_DASHBOARD__PORT": str(_free_port()),
        "REGIMES_DAGSTER__PORT": str(_free_port()),
        "REGIMES_SYMBOLS": json.dumps(symbols(count)),
        "REGIMES_HISTORY_START": START,
        "WEBHOOKS_ALL": f"http://127.0.0.1:{receiver.server_port}/",
        "REGIMES_ALERTS__ALLOW_NETWORKS": '["127.0.0.0/8"]',
        "REGIMES_ALERTS__MIN_SEVERITY": '{"VOLATILITY_REGIME_CHANGE": "INFO"}',
    }
    parts: dict[str, list[float]] = defaultdict(list)
    late: list[float] = []
    peaks: dict[str, float] = {}
    with installation(**variables) as settings:
        platform = Platform(settings)
        moment = utc(MOMENT)
        platform.clock.declare(moment, "bench")
        with dagster_instance(settings) as instance:
            outcome = run_months(build_defs(settings, platform), instance, START, MONTH)
            assert outcome.success, outcome.error
        children = platform_children(settings, {**os.environ, **dagster_environment(settings)})
        with Supervisor(lambda text: None) as supervisor, dagster_instance(settings) as instance:
            for child in children:
                supervisor.start(child)
            for name in ("dashboard", "dagster-webserver"):
                supervisor.wait_ready(name)
            for hour in range(runs + 1):
                moment += timedelta(hours=1)
                platform.clock.declare(moment, "bench")
                found = _one_run(settings, instance, peaks)
                delivered = _deliveries(platform, found["launched"])
                if not hour:
                    continue  # the first run starts the code server's imports
                for name in PARTS:
                    parts[name].append(found[name])
                late.extend(at - planned for planned, at in delivered)
                if delivered:
                    last = max(found["end"], *(at for _, at in delivered))
                    parts["launch to last delivery"].append(last - found["launched"])
            for child in children:
                if child.process is not None:
                    peaks[child.name] = _peak(child.process.pid)
        platform.engine.dispose()
    receiver.shutdown()
    return parts, late, peaks


def _deliveries(platform: Any, since: float) -> list[tuple[float, float]]:
    """Seconds in which the messages of a run were recorded and delivered, once none is pending."""
    query = sa.text(
        "SELECT extract(epoch FROM created_at), extract(epoch FROM delivered_at), state IN ('PENDING', 'RETRYING') "
        "FROM alert_deliveries WHERE created_at > to_timestamp(:since)"
    )
    deadline = time.monotonic() + PATIENCE
    while True:
        with platform.engine.connect() as connection:
            rows = connection.execute(query, {"since": since}).all()
        if not any(pending for _, _, pending in rows) or time.monotonic() > deadline:
            return [(float(planned), float(at)) for planned, at, _ in rows if at is not None]
        time.sleep(0.1)


def _one_run(settings: Settings, instance: Any, peaks: dict[str, float]) -> dict[str, float]:
    from regimes_dagster.jobs import range_tags

    tags = [{"key": key, "value": value} for key, value in range_tags(MONTH, MONTH).items()]
    launched = time.time()
    answer = httpx.post(
        f"http://127.0.0.1:{settings.dagster.port}/graphql",
        json={"query": LAUNCH, "variables": {"tags": tags}},
        timeout=60,
        trust_env=False,
    ).json()
    run_id = answer["data"]["launchRun"]["run"]["runId"]
    while not (run := instance.get_run_by_id(run_id)).is_finished:
        for worker in _run_workers():
            peaks["run"] = max(peaks.get("run", 0.0), _peak(worker))
        time.sleep(0.2)
    assert run.is_success, f"run {run_id} ended as {run.status}"
    return _split(launched, [record for record in instance.all_logs(run_id) if record.dagster_event is not None])


def _split(launched: float, records: list[Any]) -> dict[str, float]:
    """Seconds of each part of a run, from the stamps of its events."""
    from dagster import DagsterEventType as Type

    first: dict[Any, float] = {}
    steps: dict[str, dict[Any, float]] = defaultdict(dict)
    for record in records:
        event = record.dagster_event
        first.setdefault(event.event_type, record.timestamp)
        if event.step_key:
            steps[event.step_key].setdefault(event.event_type, record.timestamp)
    dequeued = first.get(Type.RUN_DEQUEUED, first[Type.RUN_STARTING])
    begin, end = first[Type.STEP_START], first[Type.RUN_SUCCESS]
    parts = dict.fromkeys(PARTS, 0.0)
    for name, at in steps.items():
        returned = at.get(Type.STEP_OUTPUT, at[Type.STEP_SUCCESS])
        kind = "fetch" if name in FETCHING else "checks" if CHECKING in name or name == "health" else "read and compute"
        parts[kind] += returned - at[Type.STEP_START]
        parts["write"] += at.get(Type.HANDLED_OUTPUT, returned) - returned if kind != "checks" else 0.0
    parts |= {"queue": dequeued - launched, "process start": begin - dequeued, "launch to success": end - launched}
    known = sum(parts[name] for name in ("fetch", "read and compute", "write", "checks"))
    parts["bookkeeping"] = end - begin - known
    return {**parts, "launched": launched, "end": end}


def _run_workers() -> list[int]:
    """Processes in which Dagster's code server runs a job: it starts them by spawning itself."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            parent, line = process.parent(), " ".join(process.cmdline())
            if parent and "api grpc" in " ".join(parent.cmdline()) and "spawn_main" in line:
                found.append(process.pid)
    return found


def _peak(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
