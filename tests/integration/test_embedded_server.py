"""The embedded server's life: made, started once, stopped, killed, started again, and closed to other users."""

import importlib.util
import os
import shutil
import site
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from regimes_dagster import database, embedded
from regimes_dagster.embedded import EmbeddedServer, EmbeddedServerError

ROOT = Path(__file__).resolve().parents[2]
SITE_PACKAGES = site.getsitepackages()

QUICK = {"fsync": "off", "shared_buffers": "16MB"}


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="regimes-test-"))
    yield folder
    EmbeddedServer(folder / "pg").stop("immediate")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(home: Path) -> EmbeddedServer:
    made = EmbeddedServer(home / "pg", QUICK)
    assert made.start() is True
    return made


def start_script(home: Path) -> str:
    """A program that starts the server and says whether it was the one to start it."""
    return (
        "from pathlib import Path; from regimes_dagster.embedded import EmbeddedServer; "
        f"s = EmbeddedServer(Path({str(home / 'pg')!r}), {QUICK}); print(s.start(), s.status().pid)"
    )


def ask(server: EmbeddedServer, query: str) -> object:
    with psycopg.connect(server.url().replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description and cursor.rowcount else None
        return row[0] if row else None


def test_it_starts_once_and_answers(server: EmbeddedServer) -> None:
    assert server.start() is False
    status = server.status()
    assert status.running
    assert status.pid is not None
    assert ask(server, "SHOW server_encoding") == "UTF8"
    assert ask(server, "SHOW timezone") == "UTC"


def test_it_outlives_the_command_that_started_it_and_its_terminal(home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", start_script(home)], start_new_session=True) as command:
        assert command.wait(60) == 0
    server = EmbeddedServer(home / "pg", QUICK)
    pid = server.status().pid
    assert pid is not None
    assert server.ready()
    assert os.getsid(pid) != command.pid


def test_stopping_says_whether_it_ran(server: EmbeddedServer) -> None:
    assert server.stop() is True
    assert not server.status().running
    assert server.stop() is False


def test_it_listens_on_no_port_and_nobody_else_may_enter_its_folders(server: EmbeddedServer) -> None:
    assert ask(server, "SHOW listen_addresses") == ""
    for folder in (server.data, server.socket_folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_another_user_cannot_connect(server: EmbeddedServer) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    server.data.parent.chmod(0o755)
    path = str(server.socket_folder / embedded.SOCKET_NAME)
    probe = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({path!r})"
    done = subprocess.run([_system_python(), "-c", probe], user="nobody", capture_output=True, text=True, check=False)
    assert "Permission denied" in done.stderr


def test_rows_survive_a_kill_and_a_left_over_process_file(server: EmbeddedServer) -> None:
    """Also while a process of the killed server is still busy."""
    ask(server, "CREATE TABLE kept (a) AS VALUES (42)")
    pid = server.status().pid
    assert pid is not None
    busy = psycopg.connect(server.url().replace("+psycopg", ""))
    busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 5e6)")
    killed = psutil.Process(pid)
    killed.kill()
    psutil.wait_procs([killed], timeout=10)
    assert (server.data / "postmaster.pid").exists()
    assert not server.status().running
    assert server.start() is True
    assert ask(server, "SELECT a FROM kept") == 42
    busy.close()


def test_a_reused_process_id_does_not_stop_a_start(server: EmbeddedServer) -> None:
    """In a container every start gives the same small numbers, so the old server's id is taken by something else."""
    lines = (server.data / "postmaster.pid").read_text().splitlines()
    server.stop()
    account = server._account()
    stranger = subprocess.Popen(["sleep", "60"], user=account.uid if account else None)
    try:
        left_over = "\n".join([str(stranger.pid), *lines[1:]]) + "\n"
        (server.data / "postmaster.pid").write_text(left_over)
        (server.socket_folder / f"{embedded.SOCKET_NAME}.lock").write_text(left_over)
        assert server.status().pid is None
        assert server.start() is True
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_processes_that_start_it_at_once_get_one_server(home: Path) -> None:
    script = start_script(home)
    many = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [process.communicate(timeout=120)[0].split() for process in many]
    assert sorted(answer[0] for answer in answers) == ["False", "False", "False", "True"]
    assert len({answer[1] for answer in answers}) == 1


def test_a_first_start_that_was_interrupted_leaves_nothing_half_made(home: Path) -> None:
    fresh = home / "pg.new"
    fresh.mkdir()
    (fresh / "PG_VERSION").write_text("18\n")
    server = EmbeddedServer(home / "pg", QUICK)
    assert server.start() is True
    assert not fresh.exists()


def test_a_database_whose_making_was_interrupted_is_made_at_the_next_start(server: EmbeddedServer) -> None:
    with psycopg.connect(server.url("postgres").replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DROP DATABASE regimes")
    (server.data / "regimes.made").unlink()
    assert server.start() is False
    assert ask(server, "SELECT 1") == 1


def test_a_path_with_spaces_and_quotes_works(home: Path) -> None:
    server = EmbeddedServer(home / "it's my data" / "pg", QUICK)
    try:
        assert server.start() is True
        assert ask(server, "SELECT 1") == 1
    finally:
        server.stop("immediate")


def test_a_path_too_long_for_a_socket_gets_a_short_folder_of_its_own(home: Path) -> None:
    server = EmbeddedServer(home / ("long" * 30) / "pg", QUICK)
    try:
        assert server.start() is True
        assert len(str(server.socket_folder / embedded.SOCKET_NAME)) < embedded.MAX_SOCKET_PATH
        assert stat.S_IMODE(server.socket_folder.stat().st_mode) == 0o700
        assert ask(server, "SELECT 1") == 1
    finally:
        server.stop("immediate")
        shutil.rmtree(server.socket_folder, ignore_errors=True)


def test_a_socket_folder_that_somebody_else_made_is_refused(home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a folder of somebody else")
    server = EmbeddedServer(home / "pg", QUICK)
    server.socket_folder.mkdir()
    os.chown(server.socket_folder, 12345, 12345)
    with pytest.raises(EmbeddedServerError, match="belongs to somebody else"):
        server.start()


def test_data_of_another_user_is_refused_with_what_to_do(server: EmbeddedServer) -> None:
    """Made as root in a container, then used by an ordinary user."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    code = (
        f"import sys; sys.path[:0] = {[str(ROOT), *map(str, SITE_PACKAGES)]!r}; from pathlib import Path\n"
        "from regimes_dagster.embedded import EmbeddedServer, EmbeddedServerError\n"
        f"try: EmbeddedServer(Path({str(server.data)!r})).start()\n"
        "except EmbeddedServerError as error: print(error)"
    )
    done = subprocess.run([_system_python(), "-c", code], user="nobody", capture_output=True, text=True, check=False)
    if "ModuleNotFoundError" in done.stderr or "ImportError" in done.stderr:
        pytest.skip("the system's interpreter cannot use this installation's packages")
    assert "belongs to another user" in done.stdout, done.stderr
    assert "REGIMES_HOME" in done.stdout


def test_a_folder_with_other_things_in_it_is_never_made_a_database(home: Path) -> None:
    (home / "pg").mkdir()
    (home / "pg" / "photo.jpg").write_text("mine")
    with pytest.raises(EmbeddedServerError, match="neither empty nor"):
        EmbeddedServer(home / "pg").start()
    assert (home / "pg" / "photo.jpg").read_text() == "mine"


def test_data_of_a_version_that_is_not_installed_says_what_to_do(home: Path) -> None:
    (home / "pg").mkdir()
    (home / "pg" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedServerError, match=r"made by PostgreSQL 9.*restore"):
        EmbeddedServer(home / "pg").start()


def test_without_the_wheel_the_error_names_db_url(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(database.DatabaseUnavailable, match="Set DB_URL"):
        database.find_url(None, environment={"REGIMES_HOME": str(home)})


def test_a_server_that_cannot_start_shows_the_end_of_its_log(home: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=r"did not start(.|\n)*work_mem"):
        EmbeddedServer(home / "pg", {"work_mem": "lots"}).start()


def test_without_starting_a_stopped_server_is_named_with_the_command_that_starts_it(home: Path) -> None:
    with pytest.raises(database.DatabaseUnavailable, match="regimes db start"):
        database.find_url(None, start=False, environment={"REGIMES_HOME": str(home)})


def _system_python() -> str:
    """An interpreter that another user may run (the project's own may lie in a closed folder)."""
    for place in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if Path(place).exists():
            return place
    pytest.skip("no interpreter that another user may run")
