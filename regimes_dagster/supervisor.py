"""The processes that `regimes up` and `regimes demo` run side by side.

What belongs here: starting, watching, restarting and stopping child processes, and waiting until they answer.
What does not: which processes there are (``commands/up.py``, ``commands/demo.py``).
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import httpx

from regimes_dagster.home_folder import make_closed

#: Pauses before the restarts of a process that keeps dying, seconds; the last one repeats.
RESTART_PAUSES = (1.0, 2.0, 5.0, 15.0, 60.0)

#: Pauses before a task that failed is tried again, seconds; the last one repeats.
AGAIN_PAUSES = (60.0, 300.0, 900.0)

#: A process that lived this long is healthy again: its next death starts from the first pause.
HEALTHY_AFTER = 300.0

#: A log that has grown to this is moved to ``NAME.log.1``, bytes: Dagster's daemon alone writes 4 MB a day.
LOG_LIMIT = 20_000_000

#: How often the logs' sizes are looked at, seconds.
LOGS_EVERY = 60.0

#: What processes get to finish their work after SIGINT before they are killed, seconds; an hourly run takes about 10.
STOP_GRACE = 30.0


class StartError(RuntimeError):
    """A process could not be started or never answered; the message says where its log is."""


@dataclass
class Child:
    """One supervised process.

    Attributes
    ----------
    name, argv, env
        What is run; ``env`` is added to the environment of the supervisor.
    log
        File that takes its output, or None to let it write to the terminal.
    ready_url
        Address that answers 2xx once it serves, or None.
    once
        A task that ends by itself and is not started again when it ended well.
    again
        For such a task: asked after it failed, whether to try it again after a pause; None never does.
    """

    name: str
    argv: Sequence[str]
    log: Path | None
    env: Mapping[str, str] = field(default_factory=dict)
    ready_url: str | None = None
    once: bool = False
    again: Callable[[], bool] | None = None
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    deaths: int = 0
    restart_at: float | None = None

    @property
    def alive(self) -> bool:
        """Whether the process runs now."""
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """Starts children, restarts the ones that die, and stops exactly what it started.

    A context manager: inside it SIGINT, SIGTERM and SIGHUP ask for a stop instead of ending this process, and leaving
    it, however that happens, stops the children.
    """

    def __init__(self, say: Callable[[str], None] = print) -> None:
        self._children: list[Child] = []
        self._say = say
        self._previous: dict[signal.Signals, object] = {}
        self.stopping = False

    def __enter__(self) -> "Supervisor":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # A terminal that is closed hangs up; `nohup` has asked to go on all the same.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def start(self, child: Child) -> None:
        """Start one process in a group of its own, so that Ctrl-C reaches it through us and in order."""
        self._children.append(child)
        self._spawn(child)

    def wait_ready(self, name: str, timeout: float = 120.0) -> None:
        """Wait until the child's address answers.

        Raises
        ------
        StartError
            If the process ended, or did not answer within ``timeout`` seconds.
        """
        child = next(child for child in self._children if child.name == name)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and not self.stopping:
            if not child.alive:
                raise StartError(f"{name} ended while starting.{_tail(child.log)}")
            if child.ready_url is None or _answers(child.ready_url):
                return
            time.sleep(0.1)
        if not self.stopping:
            raise StartError(f"{name} did not answer at {child.ready_url} within {timeout:.0f} s.{_tail(child.log)}")

    def watch(self, every: float = 0.5, tick: Callable[[], None] | None = None) -> None:
        """Block until a stop is asked for, restarting children that die; ``tick`` is called each round."""
        looked = time.monotonic()
        while not self.stopping:
            for child in self._children:
                self._revive(child)
            if time.monotonic() - looked >= LOGS_EVERY:
                looked = time.monotonic()
                for folder in {child.log.parent for child in self._children if child.log is not None}:
                    cut_logs(folder)
            if tick is not None:
                tick()
            time.sleep(every)

    def stop(self) -> None:
        """Stop all children, last started first.

        Each is asked alone, not its whole group: a Dagster run that the daemon has started may end its work. What
        is still there after the grace is killed, group and all.
        """
        self.stopping = True
        running = [child for child in reversed(self._children) if child.process is not None]
        for child in running:
            if child.alive and child.process is not None:
                child.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + STOP_GRACE
        while time.monotonic() < deadline and any(_group_lives(child) for child in running):
            time.sleep(0.05)
        for child in running:
            if _group_lives(child):
                self._say(f"{child.name} did not stop within {STOP_GRACE:.0f} s and was killed")
                _signal_group(child, signal.SIGKILL)
            if child.process is not None:
                child.process.wait()
        self._children.clear()

    def _spawn(self, child: Child) -> None:
        output: IO[bytes] | None = None
        if child.log is not None:
            make_closed(child.log.parent)
            output = child.log.open("ab")
        child.process = subprocess.Popen(
            list(child.argv),
            env={**os.environ, **child.env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
        )
        if output is not None:
            output.close()
        child.started_at = time.monotonic()
        child.restart_at = None

    def _revive(self, child: Child) -> None:
        if child.alive or self.stopping or child.process is None:
            return
        now = time.monotonic()
        if child.once:
            if child.restart_at is None:
                self._say_ended(child, now)
            elif now >= child.restart_at:
                self._spawn(child)
            return
        if child.restart_at is None:
            if now - child.started_at > HEALTHY_AFTER:
                child.deaths = 0
            pause = RESTART_PAUSES[min(child.deaths, len(RESTART_PAUSES) - 1)]
            child.deaths += 1
            child.restart_at = now + pause
            self._say(
                f"{child.name} ended with code {child.process.returncode}; "
                f"starting it again in {pause:.0f} s.{_tail(child.log, 3)}"
            )
        elif now >= child.restart_at:
            self._spawn(child)

    def _say_ended(self, child: Child, now: float) -> None:
        code = child.process.returncode if child.process else None
        if code and child.again is not None and child.again():
            pause = AGAIN_PAUSES[min(child.deaths, len(AGAIN_PAUSES) - 1)]
            child.deaths += 1
            child.restart_at = now + pause
            # The first time with its last words; later the log holds nothing new.
            again, words = ("", _tail(child.log, 8)) if child.deaths == 1 else (" again", "")
            self._say(f"{child.name} ended with code {code}{again}; next try in {pause / 60:.0f} min.{words}")
            return
        child.process = None
        self._say(
            f"{child.name} is done." if code == 0 else f"{child.name} ended with code {code}.{_tail(child.log, 8)}"
        )

    def _on_signal(self, number: int, frame: object) -> None:
        self.stopping = True


def cut_logs(folder: Path, limit: int = LOG_LIMIT) -> None:
    """Move what large logs of a folder hold to ``NAME.log.1``, in place of what was there before.

    Their writers keep their files open and append, so that the content is copied and the file emptied; what is written
    between the two (a few milliseconds) is lost. A full disk or a file that has gone waits for the next look.
    """
    for log in folder.glob("*.log"):
        with contextlib.suppress(OSError):
            if log.stat().st_size >= limit:
                shutil.copyfile(log, log.with_name(f"{log.name}.1"))
                os.truncate(log, 0)


def free_port_or_fail(port: int, what: str, setting: str) -> None:
    """Refuse to start on a port that something else holds.

    Raises
    ------
    StartError
        If the port is taken; the message names the setting to change.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise StartError(
                f"port {port} for {what} is taken. Is regimes already running? Otherwise choose another: {setting}"
            ) from None


def python(*arguments: str) -> list[str]:
    """The command line of this interpreter."""
    return [sys.executable, *arguments]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _group_lives(child: Child) -> bool:
    """Whether the child or a process it started is still there; ended children are collected."""
    if child.process is None:
        return False
    child.process.poll()
    try:
        os.killpg(child.process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of zombies
        return False
    return True


def _signal_group(child: Child, number: signal.Signals) -> None:
    if child.process is None:
        return
    try:
        os.killpg(child.process.pid, number)
    except ProcessLookupError:
        return


def _tail(log: Path | None, lines: int = 15) -> str:
    if log is None or not log.exists():
        return ""
    last = log.read_text(errors="replace").splitlines()[-lines:]
    return f" Log: {log}\n" + "\n".join(f"  | {line}" for line in last)
