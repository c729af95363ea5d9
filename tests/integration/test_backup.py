"""A backup brings everything back, in one step or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from regimes_dagster import backup, database, migrations
from regimes_dagster.cli import regimes, run
from regimes_dagster.storage import Warehouse, Write
from tests.integration.warehouse.test_round_trip import random_rows


@pytest.fixture
def filled(warehouse: Warehouse) -> Warehouse:
    """A database with rows in several tables, and a run in Dagster's."""
    for name in ("ohlcv", "alerts", "engine_state", "market_metrics"):
        warehouse.write([Write(name, random_rows(name, 7))])
    with warehouse.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE dagster.runs (run_id text PRIMARY KEY)"))
        connection.execute(sa.text("INSERT INTO dagster.runs VALUES ('abc')"))
    return warehouse


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Warehouse]:
    engine = database.make_engine(empty_database_url)
    yield Warehouse(engine)
    engine.dispose()


def same(left: Warehouse, right: Warehouse) -> None:
    for name in ("ohlcv", "alerts", "engine_state", "market_metrics"):
        found = right.read(name)
        assert len(found) > 10
        pd.testing.assert_frame_equal(left.read(name), found)
    with right.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT run_id FROM dagster.runs")).scalars().all() == ["abc"]


def test_rows_and_run_history_come_back_in_an_empty_database(
    filled: Warehouse, empty: Warehouse, tmp_path: Path
) -> None:
    file = tmp_path / "a.dump"
    said: list[str] = []
    assert backup.backup(filled.engine.url, file, said.append) == file.stat().st_size
    assert "public.ohlcv" in said
    backup.restore(empty.engine.url, file)
    same(filled, empty)
    assert migrations.current_revision(empty.engine) == migrations.HEAD
    assert migrations.upgrade(empty.engine, again=True) is False


def test_a_restore_replaces_what_is_there(filled: Warehouse, tmp_path: Path) -> None:
    file = tmp_path / "a.dump"
    backup.backup(filled.engine.url, file)
    before = {name: filled.read(name) for name in ("ohlcv", "alerts")}
    filled.write([Write("ohlcv", random_rows("ohlcv", 99))])
    with filled.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE stranger (a int)"))
    backup.restore(filled.engine.url, file)
    for name, rows in before.items():
        pd.testing.assert_frame_equal(filled.read(name), rows)
    assert not sa.inspect(filled.engine).has_table("stranger")


def test_a_restore_while_others_use_the_tables_changes_nothing(
    filled: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.dump"
    backup.backup(filled.engine.url, file)
    before = filled.read("alerts")
    monkeypatch.setattr(backup, "PREPARE", backup.PREPARE.replace(f"'{backup.LOCK_TIMEOUT}'", "'200ms'"))
    with filled.engine.begin() as connection:
        connection.execute(sa.text("SELECT * FROM webhook_endpoints"))
        with pytest.raises(backup.BackupError, match="Stop `regimes up`"):
            backup.restore(filled.engine.url, file)
    pd.testing.assert_frame_equal(filled.read("alerts"), before)


def test_a_backup_of_a_newer_release_is_refused_before_anything_changes(filled: Warehouse, tmp_path: Path) -> None:
    with filled.engine.begin() as connection:
        connection.execute(sa.text("UPDATE schema_version SET version_num = '9999'"))
    file = tmp_path / "a.dump"
    backup.backup(filled.engine.url, file)
    with filled.engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE schema_version SET version_num = '{migrations.HEAD}'"))
    with pytest.raises(migrations.NewerSchemaError, match="the backup's schema has revision 9999"):
        backup.restore(filled.engine.url, file)
    assert len(filled.read("alerts")) > 10


def test_what_is_no_backup_is_refused(filled: Warehouse, tmp_path: Path) -> None:
    file = tmp_path / "holiday.dump"
    file.write_text("not a dump")
    with pytest.raises(backup.BackupError, match=r"holiday.dump is no backup"):
        backup.restore(filled.engine.url, file)
    assert len(filled.read("alerts")) > 10


def test_a_backup_that_fails_leaves_no_file(tmp_path: Path) -> None:
    url = database.normalise_url("postgresql://me:s3cr3t@127.0.0.1:1/regimes")
    with pytest.raises(backup.BackupError, match="the backup failed") as raised:
        backup.backup(url, tmp_path / "a.dump")
    assert "s3cr3t" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


# --- the commands ------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DB_URL", database_url)
    monkeypatch.setenv("REGIMES_HOME", str(tmp_path / "home"))
    return tmp_path


def call(*words: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(regimes, ["db", *words], input=answer)


def test_status_url_and_upgrade_tell_about_the_database_in_use(home: Path, database_url: str) -> None:
    shown = call("status").output
    assert f"{migrations.HEAD}, up to date" in shown
    assert call("url").output.strip() == database_url
    assert call("url", "--libpq").output.strip() == database_url.replace("+psycopg", "")
    assert call("upgrade").exit_code == 0
    assert "DB_URL is set" in call("start").output
    assert "not this program's to stop" in call("stop").output


def test_restoring_over_rows_needs_force_and_a_yes(home: Path, filled: Warehouse) -> None:
    assert call("backup", "a.dump").exit_code == 0
    assert "exists" in call("backup", "a.dump").output
    refused = call("restore", "a.dump")
    assert refused.exit_code != 0
    assert "the database holds rows" in refused.output
    assert call("restore", "a.dump", "--force", answer="n\n").exit_code != 0
    assert "Restored" in call("restore", "a.dump", "--force", answer="y\n").output
    assert "Restored" in call("restore", "a.dump", "--force", "--yes").output
    assert len(filled.read("alerts")) > 10


def test_the_embedded_server_by_command(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DB_URL")
    assert "start it with `regimes db start`" in call("status").output
    try:
        assert "Started; it runs until `regimes db stop`" in call("start").output
        assert "It runs already" in call("start").output
        assert "up to date" in call("status").output
        assert call("url").output.startswith("postgresql+psycopg://regimes@/regimes?host=")
        assert call("stop").output == "Stopped.\n"
    finally:
        database.embedded_server().stop("immediate")
    assert call("stop").output == "It does not run.\n"


def test_a_database_that_does_not_answer_is_one_clear_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DB_URL", "postgresql://me:s3cr3t@127.0.0.1:1/regimes")
    assert run(["db", "upgrade"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("Error: the database (postgresql+psycopg://me:***@127.0.0.1:1/regimes) does not answer")
    assert "s3cr3t" not in shown
    assert "Traceback" not in shown
