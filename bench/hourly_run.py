"""The hourly run as the daemon starts it: queue, process start, steps; and the memory of each process.

What belongs here: a real webserver and daemon on a throw-away installation, a few runs launched through GraphQL, and
the stamps of their events. What does not: what the steps compute (``bench/backfill.py``).
"""

import json
import os
import socket
import statistics
import time
from pathlib import Path
from typing import Any

import httpx

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

RUNS = 3
CASES = (3, 100)


def run() -> list[Result]:
    """One row per number of symbols, and the memory of every process."""
    rows, memory = [], []
    for count in CASES[:1] if SMALL else CASES:
        figures, peaks = _measure(count)
        rows.append((f"{count} symbols", *figures))
        memory.extend((f"{name}, {count} symbols", peak) for name, peak in sorted(peaks.items()))
    return [
        Result(
            "hourly_run",
            "Hourly run",
            f"Launched through the webserver, run by the daemon in a process of its own; median (and largest) of "
            f"{RUNS} runs after the history was backfilled, seconds. `to first step` is process start and imports.",
            ("case", "in the queue", "to first step", "steps", "launch to success", "largest"),
            rows,
        ),
        Result(
            "memory",
            "Memory",
            "Largest resident memory of each process during those runs.",
            ("process", "MiB"),
            memory,
        ),
    ]


def _measure(count: int) -> tuple[list[float], dict[str, float]]:
    from regimes_dagster.commands.backfill import run_months
    from regimes_dagster.commands.up import platform_children
    from regimes_dagster.definitions import build_defs
    from regimes_dagster.instance import dagster_environment, dagster_instance
    from regimes_dagster.partitions import utc
    from regimes_dagster.platform import Platform
    from regimes_dagster.supervisor import Supervisor

    ports = {"REGIMES_DASHBOARD__PORT": str(_free_port()), "REGIMES_DAGSTER__PORT": str(_free_port())}
    start = "2024-01-01"
    with installation(REGIMES_SYMBOLS=json.dumps(symbols(count)), REGIMES_HISTORY_START=start, **ports) as settings:
        platform = Platform(settings)
        moment = utc("2024-06-20 12:00")
        platform.clock.declare(moment, "bench")
        with dagster_instance(settings) as instance:
            outcome = run_months(build_defs(settings, platform), instance, start, "2024-06-01")
            assert outcome.success, outcome.error
        children = platform_children(settings, {**os.environ, **dagster_environment(settings)})
        with Supervisor(lambda text: None) as supervisor, dagster_instance(settings) as instance:
            for child in children:
                supervisor.start(child)
            for name in ("dashboard", "dagster-webserver"):
                supervisor.wait_ready(name)
            measured = []
            peaks: dict[str, float] = {}
            for hour in range(RUNS + 1):
                platform.clock.declare(moment + (hour + 1) * (utc("2024-01-01 01:00") - utc("2024-01-01")), "bench")
                measured.append(_one_run(settings, instance, peaks))
            for child in children:
                if child.process is not None:
                    peaks[child.name] = _peak(child.process.pid)
        platform.engine.dispose()
    parts = [[run[part] for run in measured[1:]] for part in ("queued", "starting", "steps", "whole")]
    return [*(statistics.median(part) for part in parts), max(parts[-1])], peaks


def _one_run(settings: Settings, instance: Any, peaks: dict[str, float]) -> dict[str, float]:
    from dagster import DagsterEventType

    from regimes_dagster.jobs import range_tags

    tags = [{"key": key, "value": value} for key, value in range_tags("2024-06-01", "2024-06-01").items()]
    launched = time.time()
    answer = httpx.post(
        f"http://127.0.0.1:{settings.dagster.port}/graphql",
        json={"query": LAUNCH, "variables": {"tags": tags}},
        timeout=60,
        trust_env=False,
    ).json()
    run_id = answer["data"]["launchRun"]["run"]["runId"]
    while not (run := instance.get_run_by_id(run_id)).is_finished:
        for pid in _processes_of(run_id):
            peaks["run"] = max(peaks.get("run", 0.0), _peak(pid))
        time.sleep(0.1)
    assert run.is_success, f"run {run_id} ended as {run.status}"
    stamps: dict[Any, float] = {}
    for record in instance.all_logs(run_id):
        if record.dagster_event is not None:
            stamps.setdefault(record.dagster_event.event_type, record.timestamp)
    dequeued = stamps.get(DagsterEventType.RUN_DEQUEUED, stamps[DagsterEventType.RUN_STARTING])
    first = stamps[DagsterEventType.STEP_START]
    end = stamps[DagsterEventType.RUN_SUCCESS]
    return {"queued": dequeued - launched, "starting": first - dequeued, "steps": end - first, "whole": end - launched}


def _processes_of(run_id: str) -> list[int]:
    """Processes whose command line names the run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if run_id.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
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
