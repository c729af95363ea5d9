"""`regimes demo` from nothing to the first page with data, and the second start.

What belongs here: starting the real command and asking the dashboard until it has data. What does not: installing
packages (the first start of all takes about a minute longer).
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from bench.hourly_run import _free_port
from bench.report import Result


def run() -> list[Result]:
    """First and second start on an empty folder."""
    with tempfile.TemporaryDirectory(prefix="regimes-bench-") as folder:
        rows = [(name, *_start(Path(folder))) for name in ("first start", "second start")]
    return [
        Result(
            "demo_start",
            "`make demo` after installation",
            "Seconds from the command to the first page whose data is there, and until everything answers.",
            ("start", "first page with data", "everything up"),
            rows,
        )
    ]


def _start(folder: Path) -> tuple[float, float]:
    port, dagster, sink = _free_port(), _free_port(), _free_port()
    environment = {**os.environ, "REGIMES_DASHBOARD__PORT": str(port), "REGIMES_DAGSTER__PORT": str(dagster)}
    log = folder / "demo.log"
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "regimes_dagster", "demo", "--sink-port", str(sink)],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        data = _until(lambda: _has_data(port), process) - started
        up = _until(lambda: "Up after" in log.read_text(), process) - started
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    return data, up


def _until(reached: "object", process: "subprocess.Popen[bytes]") -> float:
    while not reached():  # type: ignore[operator]
        if process.poll() is not None:
            raise RuntimeError(f"the demo ended with code {process.returncode}")
        time.sleep(0.1)
    return time.monotonic()


def _has_data(port: int) -> bool:
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/api/volatility", timeout=2, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.is_success and '"regime"' in answer.text
