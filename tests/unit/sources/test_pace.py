"""The shared pace: several processes together never exceed a venue's limit, and take turns."""

import multiprocessing
import time
from pathlib import Path

import pytest

from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.pace import SharedPace


class Clock:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def pace(path: Path, clock: Clock) -> SharedPace:
    return SharedPace(path, now=lambda: clock.now, sleep=clock.sleep)


def test_the_first_question_does_not_wait_and_the_next_keep_their_distance(tmp_path: Path) -> None:
    clock = Clock()
    one = pace(tmp_path / "pace" / "binanceus", clock)
    assert [one.wait(0.15) for _ in range(4)] == pytest.approx([0.0, 0.15, 0.15, 0.15], abs=1e-5)


def test_two_processes_share_the_limit_and_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "venue"
    backfill, hourly = Clock(), Clock()
    slow, quick = pace(path, backfill), pace(path, hourly)
    for _ in range(5):
        slow.wait(1.0)
    # The hourly run comes while the backfill waits for its next slot: it gets the one after, not the last.
    hourly.now = backfill.now
    assert quick.wait(1.0) == pytest.approx(1.0, abs=1e-5)
    assert slow.wait(1.0) == pytest.approx(2.0, abs=1e-5)


def test_heavy_questions_take_more_room(tmp_path: Path) -> None:
    clock = Clock()
    one = pace(tmp_path / "venue", clock)
    one.wait(5.0)
    assert one.wait(0.1) == pytest.approx(5.0, abs=1e-5)


@pytest.mark.parametrize("left", ["", "nonsense", "99999999.0", "12.5"])
def test_what_an_earlier_start_of_the_machine_left_is_ignored(tmp_path: Path, left: str) -> None:
    path = tmp_path / "venue"
    path.write_text(left)
    assert pace(path, Clock()).wait(1.0) == 0.0


def _ask(path: str, count: int) -> None:
    one = SharedPace(Path(path))
    for _ in range(count):
        one.wait(0.02)


def test_real_processes_reserve_every_slot_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "venue"
    start = time.monotonic()
    workers = [context.Process(target=_ask, args=(str(path), 10)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    # Twenty slots of 20 ms each were given out after the start: a slot given twice would show as less.
    assert float(path.read_text()) >= start + 20 * 0.02


def test_the_client_weighs_its_questions_by_the_librarys_costs(tmp_path: Path) -> None:
    client = Client("hyperliquid", pace=tmp_path)
    room = client.exchange.rateLimit / 1000 * 10
    before = time.monotonic()
    client.exchange.throttle(10)
    reserved = float((tmp_path / "hyperliquid").read_text())
    assert before + room <= reserved + 1e-5 <= time.monotonic() + room + 1e-4
