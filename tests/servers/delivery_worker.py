"""A process that does nothing but delivery ticks, to be killed: ``python -m tests.servers.delivery_worker``.

Environment: ``WORKER_DB_URL``, and ``REGIMES_CONFIG`` naming the settings; ``WORKER_PAUSE_S`` seconds lie between ticks. It prints ``ready`` before the first tick.
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
    while True:
        tick(engine, settings, system_now(), parts=Engine())
        time.sleep(float(os.environ.get("WORKER_PAUSE_S", "0.05")))


if __name__ == "__main__":
    main()
