"""A throw-away installation for the alert benchmarks: its own PostgreSQL, receivers and settings.

What belongs here: what ``bench_alerts.py`` and ``soak_alerts.py`` share. What does not: measuring.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from regimes_dagster import database, migrations
from regimes_dagster.alerts import endpoints, ledger
from regimes_dagster.alerts.planning import Plan
from regimes_dagster.clock import system_now
from regimes_dagster.embedded import EmbeddedServer
from regimes_dagster.settings import Settings, load_settings
from tests.servers.receivers import Manner, Receiver

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Installation:
    """An empty, migrated database with one endpoint per receiver."""

    engine: sa.Engine
    settings: Settings
    receivers: list[Receiver]

    def record(self, count: int, *, first: int = 0) -> list[str]:
        """Record alerts as the ``alerts`` asset does, planned for every endpoint, in one transaction; their ids."""
        moment = system_now()
        rows = [
            ledger.alert_row(
                episode_id=f"{number:016x}",
                phase="OPEN",
                level=1,
                event_type="LIQUIDATION_CASCADE",
                key="BTC/USDT",
                symbol="BTC/USDT",
                ts=moment.floor("s") + timedelta(microseconds=number),
                severity="CRITICAL",
                title="Liquidation Cascade Detected - BTC/USDT",
                description="Large liquidation event with velocity 375000 USD/h",
                source="CASCADE",
                data={"total_liquidated_usd": 1_500_000, "velocity_usd_per_hour": 375_000, "side_bias": "LONG"},
                recorded_at=moment,
                config_hash="",
                is_simulated=False,
            )
            for number in range(first, first + count)
        ]
        with self.engine.begin() as connection:
            endpoints.sync(connection, self.settings, moment)
            ledger.insert_alerts(connection, rows)
            plans = [(str(row["alert_id"]), Plan(e.id, "PENDING")) for row in rows for e in self.settings.endpoints]
            ledger.insert_deliveries(connection, plans, moment=moment)
        return [str(row["alert_id"]) for row in rows]

    def worker(self, pause_s: float) -> subprocess.Popen[str]:
        """A process that runs a tick, waits, and runs the next."""
        environment = {
            **os.environ,
            "WORKER_DB_URL": self.engine.url.render_as_string(hide_password=False),
            "WORKER_PAUSE_S": str(pause_s),
            "REGIMES_CONFIG": str(self.settings.config_file),
        }
        command = [sys.executable, "-m", "tests.servers.delivery_worker"]
        started = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert started.stdout is not None
        if started.stdout.readline() != "ready\n":
            raise RuntimeError("the worker did not start; see its output above")
        return started


@contextmanager
def installation(manners: Sequence[Manner]) -> Iterator[Installation]:
    """Everything up; torn down at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="regimes-bench-")))
        server = EmbeddedServer(folder / "pg")
        server.start()
        stack.callback(server.stop, "immediate")
        receivers = [stack.enter_context(Receiver(manner)) for manner in manners]
        lines = ["[alerts]", 'allow_networks = ["127.0.0.0/8"]']
        for number, receiver in enumerate(receivers):
            lines += ["[[alerts.webhook]]", f'name = "r{number}"', f'url = "{receiver.url}"']
        (folder / "regimes.toml").write_text("\n".join(lines))
        engine = database.make_engine(server.url())
        stack.callback(engine.dispose)
        migrations.upgrade(engine)
        yield Installation(engine, load_settings({}, cwd=folder), receivers)
