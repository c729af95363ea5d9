"""A process that does nothing but delivery ticks, to be killed: ``python -m tests.servers.delivery_worker``.

Environment: ``WORKER_DB_URL``; ``REGIMES_CONFIG`` naming the settings; ``WORKER_PAUSE_S`` seconds between the starts
of ticks. It prints ``ready`` before the first tick.
"""

import os
import sys
import time

from regimes_dagster import database
from regimes_dagster.alerts.delivery import Engine
from regimes_dagster.alerts.tick import tick
from regimes_dagster.clock import system_now
from regimes_dagster.settings import load_settings


def main() -> None:
    engine = database.make_engine(os.environ["WORKER_DB_URL"])
    settings = load_settings()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    pause = float(os.environ.get("WORKER_PAUSE_S", "0.05"))
    while True:
        started = time.monotonic()
        tick(engine, settings, system_now(), parts=Engine())
        time.sleep(max(0.05, pause - (time.monotonic() - started)))


if __name__ == "__main__":
    main()
