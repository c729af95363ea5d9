"""A throw-away installation for benchmarks: its own folder, database and settings on the simulated market.

What belongs here: setting up and taking down. What does not: measuring.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regimes_dagster.database import embedded_server
from regimes_dagster.settings import Settings, load_settings

SIMULATED = {
    "REGIMES_SOURCES__OHLCV": '["simulated"]',
    "REGIMES_SOURCES__FUNDING": '["simulated"]',
    "REGIMES_SOURCES__LIQUIDATIONS": '["simulated"]',
    "REGIMES_SOURCES__SIMULATED__START": "2023-01-01",
    "REGIMES_HISTORY_START": "2023-01-01",
}


def symbols(count: int) -> list[str]:
    """Names of simulated symbols, the first three as everywhere."""
    return ["BTC/USDT", "ETH/USDT", "SOL/USDT", *(f"SIM{number:03d}/USDT" for number in range(3, count))][:count]


@contextmanager
def installation(**variables: str) -> Iterator[Settings]:
    """Settings of a fresh installation with its own embedded server; stopped and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="regimes-bench-") as folder:
        environment = {**SIMULATED, "REGIMES_HOME": str(Path(folder) / "home"), "DB_URL": "", **variables}
        saved = dict(os.environ)
        os.environ.update(environment)
        try:
            yield load_settings(cwd=Path(folder))
        finally:
            embedded_server({"REGIMES_HOME": environment["REGIMES_HOME"]}).stop()
            os.environ.clear()
            os.environ.update(saved)
