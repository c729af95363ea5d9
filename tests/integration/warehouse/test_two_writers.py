"""Two runs on the same table and month take turns; on different months they do not wait."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from regimes_dagster.partitions import Window, utc
from regimes_dagster.storage import Scope, Warehouse, Write, WriteCounts
from tests.integration.warehouse.conftest import MakeBars


class Paused(Warehouse):
    """Stops after taking its locks, until it is let go."""

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine)
        self.holds, self.go = threading.Event(), threading.Event()

    def _store(self, *arguments: Any) -> WriteCounts:
        self.holds.set()
        assert self.go.wait(30)
        return super()._store(*arguments)


def wait_until_somebody_waits(engine: sa.Engine) -> None:
    query = sa.text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    deadline = time.monotonic() + 20
    with engine.connect() as connection:
        while not connection.execute(query).scalar():
            assert time.monotonic() < deadline, "nobody waits for the first writer"
            time.sleep(0.01)


def test_two_runs_on_the_same_month_take_turns(
    warehouse: Warehouse, engine: sa.Engine, make_bars: MakeBars, february: Window
) -> None:
    first, second = Paused(engine), Warehouse(engine)
    early = Write("ohlcv", make_bars(hours=10), [Scope(february)])
    late = Write("ohlcv", make_bars(hours=6).assign(volume=7.0), [Scope(february)])
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first.write, [early])
        assert first.holds.wait(20)
        two = pool.submit(second.write, [late])
        wait_until_somebody_waits(engine)
        first.go.set()
        assert one.result(30) == {"ohlcv": WriteCounts(inserted=10)}
        # The second saw what the first had written: it updated six rows and deleted four.
        assert two.result(30) == {"ohlcv": WriteCounts(updated=6, deleted=4)}
    assert warehouse.read("ohlcv")["volume"].tolist() == [7.0] * 6


def test_a_run_on_another_month_or_table_does_not_wait(
    engine: sa.Engine, make_bars: MakeBars, february: Window
) -> None:
    march = Window(utc("2024-03-01"), utc("2024-04-01"))
    paused = Paused(engine)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(paused.write, [Write("ohlcv", make_bars(), [Scope(february)])])
        assert paused.holds.wait(20)
        other = Warehouse(engine)
        assert other.write([Write("ohlcv", make_bars("2024-03-01 01:00"), [Scope(march)])])["ohlcv"].inserted == 3
        volume = make_bars()[["venue", "symbol", "ts"]].assign(volume_usd=1.0)
        assert other.write([Write("perp_volume_usd", volume, [Scope(february)])])["perp_volume_usd"].inserted == 3
        paused.go.set()
        waiting.result(30)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_the_order_the_rows_are_those_of_one_writer_as_a_whole(
    warehouse: Warehouse, engine: sa.Engine, make_bars: MakeBars, february: Window, seed: int
) -> None:
    rng = random.Random(seed)
    frames = [make_bars(hours=rng.randint(1, 60)).assign(volume=float(i)) for i in range(8)]

    def write(frame: pd.DataFrame) -> None:
        # Two tables, named in another order by every other writer: locks must not be taken in the order of the call.
        volume = frame[["venue", "symbol", "ts"]].assign(volume_usd=frame["volume"])
        writes = [Write("ohlcv", frame, [Scope(february)]), Write("perp_volume_usd", volume, [Scope(february)])]
        Warehouse(engine).write(writes if rng.random() < 0.5 else writes[::-1])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, frames))
    bars, volume = warehouse.read("ohlcv"), warehouse.read("perp_volume_usd")
    winner = int(bars["volume"].iloc[0])
    pd.testing.assert_frame_equal(bars, frames[winner], check_dtype=False)
    assert volume["volume_usd"].tolist() == bars["volume"].tolist()
