"""Fixtures of the delivery tests: settings from a file, alerts in the outbox, a clock that can be moved."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from regimes_dagster import database, tables
from regimes_dagster.alerts import endpoints, ledger
from regimes_dagster.alerts.delivery import Engine, Tally, deliver
from regimes_dagster.alerts.planning import Plan
from regimes_dagster.alerts.post import Limits
from regimes_dagster.clock import system_now
from regimes_dagster.embedded import EmbeddedServer
from regimes_dagster.settings import Settings, load_settings
from tests.conftest import fresh_database

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

SettingsFor = Callable[..., Settings]


@pytest.fixture(scope="module")
def module_database_url(postgres: EmbeddedServer) -> Iterator[str]:
    """One database per file: these tests are many and small."""
    yield from fresh_database(postgres)


@pytest.fixture
def database_url(module_database_url: str) -> str:
    """The file's database, emptied."""
    emptier = database.make_engine(module_database_url, poolclass=sa.NullPool)
    with emptier.begin() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(sa.delete(table))
    return module_database_url


@pytest.fixture
def settings_for(tmp_path: Path) -> SettingsFor:
    """Settings whose endpoints are the given URLs (or tables of keys), allowed on loopback."""

    def make(*hooks: str | Mapping[str, Any], environ: Mapping[str, str] | None = None, **alerts: Any) -> Settings:
        lines = ['symbols = ["BTC/USDT", "ETH/USDT", "SOL/USDT"]', "[alerts]", 'allow_networks = ["127.0.0.0/8"]']
        lines += [f"{key} = {_toml(value)}" for key, value in alerts.items()]
        for number, hook in enumerate(hooks):
            entry = {"name": f"hook{number}", **({"url": hook} if isinstance(hook, str) else hook)}
            lines += ["[[alerts.webhook]]", *(f"{key} = {_toml(value)}" for key, value in entry.items())]
        folder = tmp_path / f"settings{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "regimes.toml").write_text("\n".join(lines))
        return load_settings(dict(environ or {}), cwd=folder)

    return make


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


@dataclass
class MovedClock:
    """The system's clock, moved by hand."""

    offset: timedelta = field(default_factory=timedelta)

    def __call__(self) -> pd.Timestamp:
        return system_now() + self.offset

    def move(self, seconds: float) -> None:
        self.offset += timedelta(seconds=seconds)


@dataclass
class Outbox:
    """Alerts and their deliveries in a real database, and the engine that sends them with short limits."""

    engine: sa.Engine
    now: MovedClock = field(default_factory=MovedClock)
    limits: Limits = field(default_factory=Limits)
    resolver: Any = None
    tls: Any = None

    def add(
        self, settings: Settings, count: int = 1, *, first: int = 0, episode: str | None = None,
        phases: Iterable[tuple[str, int]] = (("OPEN", 1),), to: Iterable[str] | None = None, **values: Any,
    ) -> list[str]:  # fmt: skip
        """Record ``count`` episodes with the given phases and plan them for every endpoint (or those given)."""
        rows = []
        moment = self.now()
        for number in range(first, first + count):
            for step, (phase, level) in enumerate(phases):
                rows.append(
                    ledger.alert_row(
                        **{
                            "episode_id": episode or f"{number:016x}",
                            "phase": phase,
                            "level": level,
                            "event_type": "LIQUIDATION_CASCADE",
                            "key": "BTC/USDT",
                            "symbol": "BTC/USDT",
                            "ts": moment.floor("h") + timedelta(seconds=step),
                            "severity": "CRITICAL",
                            "title": "Liquidation Cascade Detected - BTC/USDT",
                            "description": "Large liquidation event with velocity 375000 USD/h",
                            "source": "CASCADE",
                            "data": {"total_liquidated_usd": 1500000.0 + number},
                            "recorded_at": moment,
                            "config_hash": "0" * 16,
                            "is_simulated": False,
                            **values,
                        }
                    )
                )
        targets = [e.id for e in settings.endpoints] if to is None else list(to)
        with self.engine.begin() as connection:
            endpoints.sync(connection, settings, moment)
            ledger.insert_alerts(connection, rows)
            plans = [(row["alert_id"], Plan(target, "PENDING")) for row in rows for target in targets]
            ledger.insert_deliveries(connection, plans, moment=moment)
        return [row["alert_id"] for row in rows]

    def hurry(self) -> None:
        """Short limits, for receivers that keep a post waiting; elsewhere a busy machine must not look like one."""
        self.limits = Limits(connect_s=0.5, read_s=0.6, total_s=0.9)

    def deliver(self, settings: Settings, *, budget_s: float = 20.0, **more: Any) -> Tally:
        """One tick."""
        parts = Engine(now=self.now, limits=self.limits, spread=lambda: 0.0, resolver=self.resolver, tls=self.tls)
        return deliver(self.engine, settings, budget_s=budget_s, parts=parts, **more)

    def rows(self, **where: Any) -> list[Any]:
        """Deliveries, oldest alert first."""
        deliveries, alerts = tables.table("alert_deliveries"), tables.table("alerts")
        query = sa.select(deliveries).join(alerts, alerts.c.alert_id == deliveries.c.alert_id)
        query = query.order_by(alerts.c.ts, deliveries.c.alert_id, deliveries.c.endpoint, deliveries.c.series)
        for name, value in where.items():
            query = query.where(deliveries.c[name] == value)
        with self.engine.connect() as connection:
            return list(connection.execute(query))

    def states(self) -> dict[str, int]:
        """How many deliveries are in each state."""
        found: dict[str, int] = {}
        for row in self.rows():
            found[row.state] = found.get(row.state, 0) + 1
        return found

    def endpoint(self, number: int = 0, settings: Settings | None = None) -> Any:
        """The row of an endpoint."""
        known = tables.table("webhook_endpoints")
        query = sa.select(known)
        if settings is not None:
            query = query.where(known.c.endpoint == settings.endpoints[number].id)
        with self.engine.connect() as connection:
            return connection.execute(query).all()[0 if settings is not None else number]


@pytest.fixture
def outbox(engine: sa.Engine) -> Outbox:
    """An empty outbox."""
    return Outbox(engine)
