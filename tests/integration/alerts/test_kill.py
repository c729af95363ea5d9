"""kill -9 at random points: at least once everywhere, exactly once on record, few doubles.

The seed of every run is printed; ``KILL_SEED=1234`` repeats one.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from regimes_dagster import tables
from tests.servers.receivers import Receiver, slow

ROOT = Path(__file__).resolve().parents[3]


def start(outbox, settings) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "WORKER_DB_URL": outbox.engine.url.render_as_string(hide_password=False),
        "REGIMES_CONFIG": str(settings.config_file),
    }
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.delivery_worker"],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    return worker


@pytest.mark.parametrize(
    ("alerts", "kills", "workers"),
    [
        pytest.param(150, 5, 1, id="small"),
        pytest.param(120, 4, 2, id="two-daemons"),
        pytest.param(1000, 30, 1, id="full", marks=pytest.mark.slow),
        pytest.param(1000, 30, 2, id="full-two-daemons", marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_points_every_endpoint_gets_every_alert(outbox, settings_for, alerts, kills, workers) -> None:
    seed = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"seed {seed}")
    chance = random.Random(seed)
    receivers = [Receiver(slow(0.004 * (n + 1))) for n in range(3)]
    for receiver in receivers:
        receiver.__enter__()
    processes: list[subprocess.Popen[str]] = []
    try:
        settings = settings_for(*(receiver.url for receiver in receivers))
        ids = outbox.add(settings, alerts)
        processes = [start(outbox, settings) for _ in range(workers)]
        done = 0
        while done < kills:
            time.sleep(chance.uniform(0.02, 0.6))
            victim = chance.randrange(workers)
            processes[victim].send_signal(signal.SIGKILL)
            processes[victim].wait()
            done += 1
            processes[victim] = start(outbox, settings)
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
        kills_in_all = kills + workers
        outbox.now.move(25)  # leases of the killed may be taken over now
        while outbox.deliver(settings, budget_s=60).posts:
            pass
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        for receiver in receivers:
            receiver.__exit__(None, None, None)
    doubles = [sum(receiver.ids.values()) - len(receiver.ids) for receiver in receivers]
    print(f"doubles {doubles} after {kills_in_all} kills")
    for receiver in receivers:
        assert len(receiver.ids) == alerts
    assert sum(doubles) <= kills_in_all * len(receivers), "at most the one post in flight per endpoint and kill"
    assert outbox.states() == {"DELIVERED": 3 * alerts}
    with outbox.engine.connect() as connection:
        stored = connection.execute(sa.select(tables.table("alerts").c.alert_id)).scalars().all()
    assert sorted(stored) == sorted(ids)
