"""Backups of the whole database, and their way back.

What belongs here: running PostgreSQL's own ``pg_dump``, ``pg_restore`` and ``psql``, and what must be checked before
a restore changes anything. What does not: questions to people (``commands/db.py``).

A backup holds the data and Dagster's history (schemas ``public`` and ``dagster``) in pg_dump's custom format. A
restore is one transaction: it replaces everything, or nothing.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import sqlalchemy as sa
from sqlalchemy.engine import URL

from regimes_dagster import database, embedded, tables
from regimes_dagster.database import DatabaseError
from regimes_dagster.migrations.upgrade import DAGSTER_SCHEMA, VERSION_TABLE, refuse_unknown

Say = Callable[[str], None]

#: A restore needs every table for itself; it waits this long for others to let go.
LOCK_TIMEOUT = "10s"

PREPARE = f"""
SET lock_timeout = '{LOCK_TIMEOUT}';
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS {DAGSTER_SCHEMA} CASCADE;
DO $body$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('DROP TABLE public.%I CASCADE', found.name);
    END LOOP;
    DROP FUNCTION IF EXISTS public.request_alert_action(text, jsonb);
END
$body$;
"""  # noqa: S608 - constants of this file


class BackupError(DatabaseError):
    """A backup could not be made or restored; the message says what to do."""


def program(name: str) -> Path:
    """One of PostgreSQL's programs: the embedded server's, else the system's.

    Raises
    ------
    BackupError
        If there is none.
    """
    try:
        return embedded.binaries() / name
    except embedded.EmbeddedServerError:
        found = shutil.which(name)
        if found is None:
            raise BackupError(f"{name} was not found; install PostgreSQL's client programs") from None
        return Path(found)


def has_rows(engine: sa.Engine) -> bool:
    """True if any of the platform's tables, or Dagster's list of runs, holds a row."""
    with database.clear_errors(engine.url), engine.connect() as connection:
        there = set(sa.inspect(connection).get_table_names())
        names = [f'public."{name}"' for name in tables.metadata.tables if name in there]
        if sa.inspect(connection).has_table("runs", schema=DAGSTER_SCHEMA):
            names.append(f"{DAGSTER_SCHEMA}.runs")
        return any(
            connection.execute(sa.text(f"SELECT EXISTS (SELECT FROM {name})")).scalar()  # noqa: S608 - our own names
            for name in names
        )


def backup(url: URL, file: Path, say: Say = lambda _: None) -> int:
    """Write a backup to ``file`` and return its size in bytes; the file appears only once it is complete.

    Raises
    ------
    BackupError
        If it fails: no space, no right, a server newer than the program.
    """
    environment, name = database.libpq_arguments(url)
    partial = file.with_name(f"{file.name}.part")
    command = [program("pg_dump"), "--format=custom", "--no-owner", "--verbose", f"--file={partial}"]
    command += ["--schema=public", f"--schema={DAGSTER_SCHEMA}", name]
    try:
        _run(command, environment, "the backup", say)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return file.stat().st_size


def revision(file: Path) -> str | None:
    """The schema revision that a backup was made at; None if it holds none of the platform's tables.

    Raises
    ------
    BackupError
        If the file is no backup.
    """
    command = [program("pg_restore"), "--data-only", f"--table={VERSION_TABLE}", "--file=-", str(file)]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BackupError(f"{file} is no backup made by `regimes db backup`: {_last(done.stderr)}")
    found = re.search(r"^COPY public\.\w+ .*$\n(?P<revision>\w+)$", done.stdout, re.MULTILINE)
    return found["revision"] if found else None


def restore(url: URL, file: Path, say: Say = lambda _: None) -> None:
    """Replace the database's content by the backup, in one transaction.

    Raises
    ------
    BackupError
        If the file is no backup, other programs hold tables, or a statement fails; nothing has changed then.
    NewerSchemaError
        If a newer release made the backup.
    """
    found = revision(file)
    if found is None:
        raise BackupError(f"{file} holds no tables of this platform")
    refuse_unknown(found, "the backup's")
    environment, name = database.libpq_arguments(url)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "restore.sql"
        with script.open("w", encoding="utf-8") as out:
            out.write(PREPARE)
            out.flush()
            command = [program("pg_restore"), "--no-owner", "--no-privileges", "--verbose", "--file=-", str(file)]
            _run(command, {}, "reading the backup", say, out)
        text = script.read_text(encoding="utf-8")
        # The schema public exists in every database; older dumps carry the statement that makes it.
        script.write_text(re.sub(r"^CREATE SCHEMA public;$", "", text, flags=re.MULTILINE), encoding="utf-8")
        command = [program("psql"), "--quiet", "--no-psqlrc", "--single-transaction", "--output=/dev/null"]
        command += ["--set=ON_ERROR_STOP=1", f"--file={script}", name]
        _run(command, environment, "the restore", say)


def _run(
    command: Sequence[object], environment: dict[str, str], what: str, say: Say, out: IO[str] | None = None
) -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    lines: list[str] = []
    with subprocess.Popen(
        [str(word) for word in command],
        env={**clean, **environment},
        stdout=out if out is not None else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                lines.append(line.strip())
                if (
                    table := re.search(r'(?:dumping contents of|processing data for) table "([^"]+)"', line)
                ) is not None:
                    say(table[1])
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        text = "\n".join(lines)
        if "lock timeout" in text:
            raise BackupError(f"{what} failed: other programs use the database. Stop `regimes up`, then try again")
        raise BackupError(f"{what} failed, nothing was changed: {_last(text)}")


def _last(text: str) -> str:
    errors = [line for line in text.strip().splitlines() if "error" in line.lower() or "fatal" in line.lower()]
    return (errors or text.strip().splitlines() or ["no reason was given"])[0]
