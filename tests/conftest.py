"""Fixtures that every layer may use: one real PostgreSQL per test session, one fresh migrated database per test.

What belongs here: the test server, databases on it, the recorded acceptance data. What does not: fixtures of one
package (they live in that package's own ``conftest.py``).

A database is copied from a migrated template (tens of milliseconds), so tests may write, break and drop whatever
they like. The server is the embedded one, without fsync, in a temporary folder; it is stopped at the end.
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from regimes_dagster import database, migrations
from regimes_dagster.embedded import EmbeddedServer
from regimes_dagster.migrations import generate
from regimes_dagster.storage import Warehouse

_TEMPLATE = "regimes_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedServer]:
    """The session's PostgreSQL server, with the migrated template database on it."""
    if not generate.in_step():
        pytest.fail(
            "schemas.py or tables.py changed since the initial migration was generated: "
            "run `python -m regimes_dagster.migrations.generate` and commit the file",
            pytrace=False,
        )
    # A short path: a socket's may have 107 bytes at most. Not tmp_path_factory's, which grows with the test's name.
    folder = Path(tempfile.mkdtemp(prefix="regimes-test-"))
    server = EmbeddedServer(folder / "pg", {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"})
    try:
        server.start()
        _execute(server, f"CREATE DATABASE {_TEMPLATE}")
        engine = database.make_engine(server.url(_TEMPLATE), poolclass=sa.NullPool)
        migrations.upgrade(engine)
        engine.dispose()
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database_url(postgres: EmbeddedServer) -> Iterator[str]:
    """SQLAlchemy URL of a fresh, migrated, empty database; dropped after the test."""
    yield from fresh_database(postgres, _TEMPLATE)


@pytest.fixture
def empty_database_url(postgres: EmbeddedServer) -> Iterator[str]:
    """SQLAlchemy URL of a database without any table."""
    yield from fresh_database(postgres, "template1")


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    """An engine on ``database_url``."""
    made = database.make_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
def warehouse(engine: sa.Engine) -> Warehouse:
    """Frames in and out of ``engine``'s database."""
    return Warehouse(engine)


@pytest.fixture(scope="session")
def acceptance() -> Path:
    """Folder of the recorded history (2023 and 2024); skips where it is not installed."""
    given = os.environ.get("REGIMES_ACCEPTANCE_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data" / "acceptance-2024"
    if not folder.is_dir():
        pytest.skip(f"no recorded history in {folder}; set REGIMES_ACCEPTANCE_DATA to its folder")
    return folder


def fresh_database(server: EmbeddedServer, template: str = _TEMPLATE) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    _execute(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield server.url(name)
    _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(server: EmbeddedServer, statement: str) -> None:
    with psycopg.connect(server.url("postgres").replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(statement.encode())
