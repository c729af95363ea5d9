"""`regimes demo` as a newcomer runs it: everything comes up, something arrives, Ctrl-C leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

START_SECONDS = 240


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Demo:
    """One start of the command in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.port, self.dagster, self.sink = free_port(), free_port(), free_port()
        self.log = folder / "demo.log"
        environment = {
            **os.environ,
            "REGIMES_DASHBOARD__PORT": str(self.port),
            "REGIMES_DAGSTER__PORT": str(self.dagster),
            # A live installation's own endpoint must not be posted to by the demo.
            "WEBHOOKS_CASCADE": "https://example.com/live-desk",
        }
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "regimes_dagster", "demo", "--sink-port", str(self.sink)],
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def until(self, reached: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.text()
            found = reached()
            if found:
                return found
            time.sleep(0.25)
        raise AssertionError(f"{what} did not happen within {START_SECONDS} s:\n{self.text()}")

    def newest_hour(self) -> str:
        answer = httpx.get(f"http://127.0.0.1:{self.port}/api/volatility", timeout=10, trust_env=False)
        return max((row["ts"] for row in answer.json()["items"]), default="") if answer.is_success else ""

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(90)


def started_by(folder: Path) -> list[str]:
    """Command lines of processes that work in or for the folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        line = " ".join(process.info["cmdline"] or [])
        if process.info["cwd"] == str(folder) or str(folder) in line:
            found.append(line)
    return found


def test_the_demo_comes_up_moves_and_stops_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    try:
        demo.until(lambda: "Up after" in demo.text(), "the first start")
        assert httpx.get(f"http://127.0.0.1:{demo.dagster}/server_info", trust_env=False).is_success
        first = demo.until(demo.newest_hour, "data on the dashboard")
        demo.until(lambda: "TEST" in demo.text(), "a message at the receiver")
        later = demo.until(lambda: (hour := demo.newest_hour()) > first and hour, "a new simulated hour")
    finally:
        code = demo.stop()
    assert code == 0, demo.text()
    assert "Stopped." in demo.text()
    assert "live-desk" not in demo.text()
    assert started_by(tmp_path) == []

    again = Demo(tmp_path)
    try:
        again.until(lambda: "Up after" in again.text(), "the second start")
        assert "computing" not in again.text()
        assert again.until(again.newest_hour, "data on the dashboard") >= later
    finally:
        assert again.stop() == 0
    assert started_by(tmp_path) == []
