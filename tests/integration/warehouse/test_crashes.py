"""A write that is cut off at any point leaves the old rows or the new ones, and the database ready for the next."""

import os
import signal
import traceback
from collections.abc import Callable
from typing import Any

import pandas as pd
import psycopg
import pytest
import sqlalchemy as sa

from regimes_dagster import database
from regimes_dagster.partitions import Window, utc
from regimes_dagster.storage import Scope, Warehouse, Write
from tests.integration.warehouse.conftest import MakeBars

#: More statements than a write of two tables has; the loop ends when the process survives.
MANY = 40


class Interrupted(Warehouse):
    """Calls ``interrupt`` before statement number ``at``, commit included."""

    def __init__(self, engine: sa.Engine, at: int, interrupt: Callable[[Any], None]) -> None:
        super().__init__(engine)
        self.at, self.interrupt, self.count = at, interrupt, 0
        sa.event.listen(
            engine, "commit", lambda connection: self.next(connection.connection.driver_connection.cursor())
        )

    def next(self, cursor: Any) -> None:
        self.count += 1
        if self.count == self.at:
            self.interrupt(cursor)

    def _step(self, cursor: Any, query: Any, parameters: Any = None) -> Any:
        self.next(cursor)
        return super()._step(cursor, query, parameters)


@pytest.fixture
def old_and_new(
    warehouse: Warehouse, make_bars: MakeBars, february: Window
) -> tuple[list[Write], pd.DataFrame, pd.DataFrame]:
    """A write that inserts, updates and deletes in two tables; the rows before it and after it."""
    hours = pd.date_range(utc("2024-02-01 01:00"), periods=4, freq="h", unit="us")
    volume = pd.DataFrame({"venue": "kraken", "symbol": "BTC/USDT", "ts": hours, "volume_usd": 1.0})
    warehouse.write([Write("ohlcv", make_bars(hours=30)), Write("perp_volume_usd", volume)])
    old = stored(warehouse)
    changed = make_bars("2024-02-01 11:00", 30).assign(volume=2.0)
    writes = [
        Write("ohlcv", changed, [Scope(february, {"symbol": "BTC/USDT"})]),
        Write("perp_volume_usd", volume.assign(volume_usd=2.0)[2:], [Scope(february)]),
    ]
    new = pd.concat([changed, volume.assign(volume_usd=2.0)[2:]], ignore_index=True)
    return writes, old, new[old.columns]


def stored(warehouse: Warehouse) -> pd.DataFrame:
    return pd.concat([warehouse.read("ohlcv"), warehouse.read("perp_volume_usd")], ignore_index=True)


def in_a_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked process; the signal that ended it, 0 if it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(70)
    _, status = os.waitpid(child, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def test_a_kill_at_any_statement_leaves_the_old_rows_and_the_next_run_succeeds(
    warehouse: Warehouse, database_url: str, old_and_new: tuple[list[Write], pd.DataFrame, pd.DataFrame]
) -> None:
    writes, old, new = old_and_new
    warehouse.engine.dispose()

    def die(_cursor: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write_and_die_at(statement: int) -> None:
        engine = database.make_engine(database_url, poolclass=sa.NullPool)
        Interrupted(engine, statement, die).write(writes)

    for statement in range(1, MANY):
        ended_by = in_a_child(lambda statement=statement: write_and_die_at(statement))  # type: ignore[misc]
        if not ended_by:
            break
        assert ended_by == signal.SIGKILL
        pd.testing.assert_frame_equal(stored(warehouse), old, obj=f"rows after a kill at statement {statement}")
    assert statement > 8, "the write has fewer statements than this test believes"
    pd.testing.assert_frame_equal(stored(warehouse), new)


def test_a_connection_lost_at_any_statement_is_a_clear_error_and_the_same_call_succeeds_again(
    warehouse: Warehouse, database_url: str, old_and_new: tuple[list[Write], pd.DataFrame, pd.DataFrame]
) -> None:
    writes, old, new = old_and_new
    engine = database.make_engine(database_url, pool_size=1)

    def cut(cursor: Any) -> None:
        with psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", (cursor.connection.info.backend_pid,))

    for statement in range(1, MANY):
        doomed, message = Interrupted(engine, statement, cut), ""
        try:
            doomed.write(writes)
        except database.DatabaseUnavailable as error:
            message = str(error)
        if not message:
            break
        assert "nothing was half written" in message
        assert "run the command again" in message
        pd.testing.assert_frame_equal(stored(warehouse), old, obj=f"rows after a loss at statement {statement}")
    assert statement > 8
    assert doomed.count == statement - 1
    pd.testing.assert_frame_equal(stored(warehouse), new)
    engine.dispose()


def test_a_connection_lost_between_two_writes_is_not_even_noticed(warehouse: Warehouse, make_bars: MakeBars) -> None:
    warehouse.write([Write("ohlcv", make_bars())])
    with warehouse.engine.connect() as connection:
        others = (
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        idle = warehouse.engine.connect()
        idle.close()
        connection.execute(sa.text(others))
    assert len(warehouse.read("ohlcv")) == 3


def test_a_full_disk_is_named_and_nothing_is_written(
    warehouse: Warehouse, engine: sa.Engine, make_bars: MakeBars
) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text("""
            CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF NEW.close > 105 THEN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END IF;
                RETURN NEW;
            END $$""")
        )
        connection.execute(
            sa.text("CREATE TRIGGER full_disk BEFORE INSERT ON ohlcv FOR EACH ROW EXECUTE FUNCTION full_disk()")
        )
    with pytest.raises(database.DatabaseUnavailable, match="no disk space left; nothing was half written"):
        warehouse.write([Write("ohlcv", make_bars(hours=10))])
    assert warehouse.read("ohlcv").empty


def test_a_server_that_is_not_there_is_a_clear_error_without_the_password() -> None:
    engine = database.make_engine("postgresql://me:s3cr3t@127.0.0.1:1/regimes")
    with pytest.raises(database.DatabaseUnavailable, match="regimes db status") as raised:
        Warehouse(engine).read("ohlcv")
    assert "s3cr3t" not in str(raised.value)
