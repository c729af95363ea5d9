"""Tasks that `regimes up` runs once: told when they end, tried again while there is something left to do."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from regimes_dagster import supervisor as supervising
from regimes_dagster.home_folder import make_closed
from regimes_dagster.supervisor import Child, Supervisor


def task(folder: Path, fails: int) -> Child:
    """A process that fails as often as asked, then ends well; it counts its starts in a file."""
    code = (
        "import pathlib, sys; file = pathlib.Path(sys.argv[1]); n = len(file.read_text()) if file.exists() else 0; "
        f"file.write_text('x' * (n + 1)); print('nobody answers'); sys.exit(1 if n < {fails} else 0)"
    )
    return Child(
        "backfill", [sys.executable, "-c", code, str(folder / "starts")], log=folder / "logs" / "b.log", once=True
    )


def watched(child: Child, said: list[str], enough: int) -> None:
    with Supervisor(said.append) as running:
        running.start(child)

        def tick() -> None:
            running.stopping = running.stopping or len(said) >= enough

        running.watch(every=0.02, tick=tick)


def test_a_first_backfill_that_failed_is_tried_again_until_it_has_nothing_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "AGAIN_PAUSES", (0.05, 0.1))
    child, said = task(tmp_path, fails=3), list[str]()
    child.again = lambda: True
    watched(child, said, enough=4)
    assert (tmp_path / "starts").read_text() == "xxxx"
    assert [line.splitlines()[0].split(";")[0] for line in said] == [
        "backfill ended with code 1",
        "backfill ended with code 1 again",
        "backfill ended with code 1 again",
        "backfill is done.",
    ]
    assert "nobody answers" in said[0]
    assert "nobody answers" not in said[1]


def test_one_that_failed_with_nothing_left_to_do_is_told_once(tmp_path: Path) -> None:
    child, said = task(tmp_path, fails=1), list[str]()
    child.again = lambda: False
    watched(child, said, enough=1)
    assert (tmp_path / "starts").read_text() == "x"
    assert said[0].startswith("backfill ended with code 1. Log: ")


@pytest.mark.parametrize(("nohup", "goes_on"), [(False, False), (True, True)])
def test_a_terminal_that_is_closed_stops_the_children_and_nohup_does_not(
    tmp_path: Path, nohup: bool, goes_on: bool
) -> None:
    """The children live in sessions of their own: after the window was closed they held the ports for ever."""
    program = tmp_path / "up.py"
    program.write_text(
        "import signal, sys\n"
        "from regimes_dagster.supervisor import Child, Supervisor\n"
        f"signal.signal(signal.SIGHUP, signal.{'SIG_IGN' if nohup else 'SIG_DFL'})\n"
        "child = Child('sleeper', [sys.executable, '-c', 'import time; time.sleep(600)'], log=None)\n"
        "with Supervisor(print) as running:\n"
        "    running.start(child)\n"
        "    print(child.process.pid, flush=True)\n"
        "    running.watch(every=0.05)\n"
    )
    up = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    assert up.stdout is not None
    sleeper = int(up.stdout.readline())
    try:
        up.send_signal(signal.SIGHUP)
        if goes_on:
            with pytest.raises(subprocess.TimeoutExpired):
                up.wait(1.0)
            assert psutil.pid_exists(sleeper)
        else:
            assert up.wait(60) == 0
            assert not psutil.pid_exists(sleeper)
    finally:
        up.terminate()
        up.wait(60)


def test_a_log_that_has_grown_large_is_cut_while_its_writer_goes_on(tmp_path: Path) -> None:
    """Dagster's daemon writes 4 MB a day into a file that nobody cut: more than a gigabyte a year."""
    log, small = tmp_path / "daemon.log", tmp_path / "regimes.log"
    small.write_text("short")
    with log.open("ab") as writer:
        for round_ in (b"1", b"2"):
            writer.write(round_ * 100)
            writer.flush()
            supervising.cut_logs(tmp_path, limit=100)
            assert log.stat().st_size == 0
            assert (tmp_path / "daemon.log.1").read_bytes() == round_ * 100
        writer.write(b"after")
    assert log.read_bytes() == b"after"
    assert small.read_text() == "short"
    supervising.cut_logs(tmp_path / "gone", limit=100)


def test_the_logs_are_looked_at_while_the_processes_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "LOGS_EVERY", 0.0)
    looked: list[Path] = []
    monkeypatch.setattr(supervising, "cut_logs", looked.append)
    child, said = task(tmp_path, fails=0), list[str]()
    watched(child, said, enough=1)
    assert set(looked) == {tmp_path / "logs"}


def test_folders_are_closed_all_the_way_down(tmp_path: Path) -> None:
    """`mkdir(mode=..., parents=True)` closed the last one only, and the doctor complained about every fresh start."""
    tmp_path.chmod(0o755)
    made = make_closed(tmp_path / ".regimes" / "demo" / "pg")
    assert made.stat().st_mode & 0o777 == 0o700
    for above in (made.parent, made.parent.parent):
        # Root's may be passed through, because its embedded server runs as an account of its own.
        assert above.stat().st_mode & 0o777 == (0o711 if os.geteuid() == 0 else 0o700)
    assert make_closed(made) == made
    assert tmp_path.stat().st_mode & 0o777 == 0o755
