"""The fault drill: what happens when a part of a running installation is taken away, and how it comes back.

What belongs here: the faults of processes, the database and the disk, and what is looked at afterwards. What does
not: the simulated month (``bench/month.py``).

``python -m bench.drill [NAME ...]`` runs a real daemon on an embedded server whose disk is a small tmpfs (root on
Linux; elsewhere the disk drill is left out), one simulated hour per run, and puts its table into docs/reliability.md.
"""

import argparse
import os
import platform as machine
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from bench.installation import installation
from bench.month import FIRST, Receiver, Time, Unreliable, _against_backfill, one_tick, platform_at
from regimes_dagster.commands.backfill import run_months
from regimes_dagster.database import embedded_server
from regimes_dagster.definitions import build_defs
from regimes_dagster.instance import dagster_environment, dagster_instance
from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.platform import Platform
from regimes_dagster.schedules import DEMO_CLOCK
from regimes_dagster.settings import Settings
from regimes_dagster.supervisor import Child, Supervisor, python

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- drill -->", "<!-- end of drill -->"

START = utc("2024-03-10 00:00")
DISK_MB = 700

#: A drill that has not recovered after this has failed.
PATIENCE = 420.0

FEATURES = ("market_metrics", "volatility_features", "liquidation_features", "funding_features", "regimes")


@dataclass
class Site:
    """A running installation."""

    settings: Settings
    platform: Platform
    supervisor: Supervisor
    daemon: Child
    receiver: Receiver
    disk: Path | None

    def newest(self) -> Any:
        """Newest joined hour, or None while the database is away."""
        with suppress(Exception):
            return self.platform.newest_joined_hour()
        return None

    def descendants(self) -> list[psutil.Process]:
        """The daemon's own processes: its code server and the runs."""
        assert self.daemon.process is not None
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.daemon.process.pid).children(recursive=True)
        return []

    def wait_for_run(self) -> None:
        """Until a run is at work."""
        deadline = time.monotonic() + 120
        query = sa.text("SELECT count(*) FROM dagster.runs WHERE status = 'STARTED'")
        while time.monotonic() < deadline:
            with suppress(Exception), self.platform.engine.connect() as connection:
                if connection.execute(query).scalar():
                    return
            time.sleep(0.2)


def code_server(site: Site) -> psutil.Process | None:
    """The process that holds the definitions."""
    return next((p for p in site.descendants() if "grpc" in " ".join(_cmdline(p))), None)


def _cmdline(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return list(process.cmdline())
    return []


def database_stopped(site: Site) -> str:
    site.wait_for_run()
    server = embedded_server({"REGIMES_HOME": str(site.settings.home)})
    server.stop("immediate")
    time.sleep(10)
    with suppress(Exception):  # a process of the platform may have started it before we do
        server.start()
    return "stopped at once in the middle of a run, started 10 s later"


def daemon_killed(site: Site) -> str:
    site.wait_for_run()
    assert site.daemon.process is not None
    os.kill(site.daemon.process.pid, signal.SIGKILL)
    return "SIGKILL in the middle of a run"


def run_killed(site: Site) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        site.wait_for_run()
        victims = [process for process in site.descendants() if "spawn_main" in " ".join(_cmdline(process))]
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.kill()
        if victims:
            return f"SIGKILL of the run's process in the middle ({len(victims)} processes)"
        time.sleep(0.1)  # the run had just ended
    raise RuntimeError("no process of a run was found to kill")


def code_server_killed(site: Site) -> str:
    server = code_server(site)
    if server is None:
        return "no code server was found"
    server.kill()
    return "SIGKILL"


def two_daemons(site: Site) -> str:
    environment = {**os.environ, **site.daemon.env}
    second = subprocess.Popen(
        list(site.daemon.argv),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(75)
    os.killpg(second.pid, signal.SIGKILL)
    second.wait()
    return "a second daemon on the same database for 75 s"


def disk_full(site: Site) -> str:
    assert site.disk is not None
    ballast = site.disk / "ballast"
    site.wait_for_run()
    with suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(b"\0" * 2**20)
            file.flush()
    time.sleep(45)
    ballast.unlink()
    return "filled in the middle of a run, freed 45 s later"


DRILLS: dict[str, tuple[str, Callable[[Site], str]]] = {
    "daemon": ("daemon killed", daemon_killed),
    "run": ("run killed", run_killed),
    "code": ("code server killed", code_server_killed),
    "daemons": ("two daemons", two_daemons),
    "database": ("database stopped", database_stopped),
    "disk": ("disk full (database full)", disk_full),
}


@contextmanager
def running() -> Iterator[Site]:
    """A daemon at work on the simulated market, with history up to START."""
    receiver = Receiver()
    with (
        small_disk() as disk,
        installation(
            REGIMES_HOME=str(disk / "home") if disk else tempfile.mkdtemp(prefix="regimes-drill-"),
            REGIMES_HISTORY_START=FIRST,
            REGIMES_SOURCES__SIMULATED__START=FIRST,
            WEBHOOKS_ALL=receiver.url,
            REGIMES_ALERTS__ALLOW_NETWORKS='["127.0.0.0/8"]',
        ) as settings,
    ):
        platform = Platform(settings)
        platform.clock.declare(START, "drill")
        with dagster_instance(settings) as instance:
            outcome = run_months(build_defs(settings, platform), instance, FIRST, START.date())
        if not outcome.success:
            raise RuntimeError(outcome.error)
        platform.clock.declare(START, DEMO_CLOCK)
        environment = {**dagster_environment(settings), "PYTHONPATH": str(ROOT)}
        log = Path(tempfile.gettempdir()) / f"regimes-drill-daemon-{os.getpid()}.log"
        daemon = Child(
            "dagster-daemon",
            python("-m", "dagster._daemon", "run", "-w", str(ROOT / "workspace.yaml")),
            log=log,
            env=environment,
        )
        with Supervisor(print) as supervisor:
            supervisor.start(daemon)
            threading.Thread(target=supervisor.watch, daemon=True).start()
            site = Site(settings, platform, supervisor, daemon, receiver, disk)
            try:
                recovered(site, START, "start")
                yield site
            finally:
                supervisor.stop()
                platform.engine.dispose()


@contextmanager
def small_disk() -> Iterator[Path | None]:
    """A tmpfs of its own, or None where it cannot be mounted."""
    if machine.system() != "Linux" or os.geteuid() != 0:
        yield None
        return
    folder = tempfile.mkdtemp(prefix="regimes-disk-")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0755", "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode:
        yield None
        return
    try:
        yield Path(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


def recovered(site: Site, since: Any, what: str) -> float:
    """Seconds until two more hours have been computed after ``since``.

    Raises
    ------
    RuntimeError
        If that does not happen in time.
    """
    started = time.monotonic()
    while time.monotonic() - started < PATIENCE:
        newest = site.newest()
        if newest is not None and newest >= since + 2 * HOUR:
            return time.monotonic() - started
        time.sleep(0.5)
    raise RuntimeError(f"{what}: no hour was computed within {PATIENCE:.0f} s after it")


def verdict(site: Site) -> str:
    """Whether anything is lost or doubled."""
    newest = site.platform.newest_joined_hour()
    assert newest is not None
    done = newest - HOUR  # the run of the newest hour may be between two tables
    window = Window(START - timedelta(days=5), done)
    expected = len(window.hours()) * len(site.settings.symbols)
    lost = {
        table: expected - len(site.platform.warehouse.read(table, window=window, columns=["symbol", "ts"]))
        for table in FEATURES
    }
    lost = {table: count for table, count in lost.items() if count}
    with site.platform.engine.connect() as connection:
        doubled = connection.execute(
            sa.text("SELECT count(*) - count(DISTINCT (episode_id, phase, level)) FROM alerts")
        ).scalar_one()
    twice = sum(1 for count in site.receiver.accepted.values() if count > 1)
    parts = [
        "no hour lost" if not lost else f"LOST {lost}",
        "no alert doubled" if not doubled else f"{doubled} DOUBLED",
    ]
    return ", ".join([*parts, f"{twice} messages received twice" if twice else "no message sent twice"])


def in_process(name: str) -> tuple[str, str, str, str]:
    """Faults of time, with the clock in our hand: a jump of an hour, and 26 hours asleep."""
    clock, at = Time(START), START + timedelta(minutes=1)
    with installation(REGIMES_HISTORY_START=FIRST, REGIMES_SOURCES__SIMULATED__START=FIRST) as settings:
        platform = platform_at(settings, clock, Unreliable())
        definitions = build_defs(settings, platform)
        with dagster_instance(settings) as instance:
            if not run_months(definitions, instance, FIRST, START.date()).success:
                raise RuntimeError("the history could not be computed")
            steps = (1, 2, 4, 3, 4, 5) if name == "jump" else (1, 2, 28, 29)
            started = time.monotonic()
            for hour in steps:
                clock.moment = at + hour * HOUR
                if not one_tick(settings, definitions, instance, platform, clock.moment):
                    raise RuntimeError(f"the run of {clock.moment} failed")
            seconds = time.monotonic() - started
        differing = {t: n for t, n in _against_backfill(settings, platform, clock.moment).items() if n}
        platform.engine.dispose()
    same = "rows equal an undisturbed backfill" if not differing else f"DIFFERS {differing}"
    if name == "jump":
        return (
            "clock jumps an hour ahead and back",
            "the schedule ticks at hours 1, 2, 4, 3, 4, 5",
            same,
            f"{seconds:.0f} s for 6 runs",
        )
    return ("asleep for 26 hours", "no tick for 26 hours", same, "by the first run after it")


def table(rows: list[tuple[str, str, str, str]]) -> str:
    """The results as Markdown."""
    lines = ["| fault | what was done | afterwards | computing again after |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", help=f"of {', '.join([*DRILLS, 'jump', 'asleep'])}; default all")
    parser.add_argument("--out", type=Path, default=REPORT)
    given = parser.parse_args()
    wanted = given.names or [*DRILLS, "jump", "asleep"]
    rows: list[tuple[str, str, str, str]] = []
    failed = 0
    if any(name in DRILLS for name in wanted):
        with running() as site:
            for name in [name for name in wanted if name in DRILLS]:
                title, act = DRILLS[name]
                if name == "disk" and site.disk is None:
                    rows.append((title, "left out: a small disk needs root on Linux", "-", "-"))
                    continue
                print(f"{title} ...", flush=True)
                before = site.newest()
                try:
                    what = act(site)
                    seconds = recovered(site, site.newest() or before, title)
                    rows.append((title, what, verdict(site), f"{seconds:.0f} s (two more hours)"))
                except RuntimeError as error:
                    failed += 1
                    rows.append((title, "see below", f"NOT RECOVERED: {error}", "-"))
                print(rows[-1], flush=True)
    for name in ("jump", "asleep"):
        if name in wanted:
            print(f"{name} ...", flush=True)
            rows.append(in_process(name))
            print(rows[-1], flush=True)
    text = given.out.read_text() if given.out.exists() else f"{BEGIN}\n{END}\n"
    head, rest = text.split(BEGIN)[0], text.split(END)[-1]
    given.out.write_text(f"{head}{BEGIN}\n{table(rows)}\n{END}{rest}")
    return 1 if failed or any("LOST" in row[2] or "DOUBLED" in row[2] or "DIFFERS" in row[2] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
