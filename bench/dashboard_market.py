"""The fillings that the dashboard's benchmark looks at, and the hours that arrive while it does.

What belongs here: writing the browser tests' market (``tests/e2e/market.py``) for many symbols in portions that fit
into memory, and appending one hour to every table as the hourly run would. What does not: measuring.
"""

import threading
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa

from regimes_dagster import database, migrations, tables
from tests.e2e import market
from tests.e2e.conftest import SYMBOLS, newest_hour

#: Symbols written at a time, besides the first one, against which all others are correlated.
PORTION = 9
#: Tables that get a row per symbol (or pair) and hour.
HOURLY = (
    "market_metrics",
    "volatility_features",
    "liquidation_features",
    "liquidation_zones",
    "funding_features",
    "regimes",
    "correlation_features",
)
#: Columns that differ from hour to hour; the others are carried over.
MOVING = ("open", "high", "low", "close", "volatility", "total_liq_usd", "long_liq_usd", "confidence")


def names(count: int) -> list[str]:
    """``count`` symbols: the three known ones, then invented ones."""
    return [*SYMBOLS, *(f"C{number:02d}/USDT" for number in range(3, count))][:count]


def fill(url: str, symbols: list[str], days: int) -> sa.Engine:
    """Migrate an empty database and write ``days`` days of ``symbols`` up to the last full hour."""
    engine = database.make_engine(url)
    migrations.upgrade(engine)
    end, hours = newest_hour(), 24 * days
    first = symbols[0]
    if len(symbols) <= PORTION:
        market.fill(engine, market.frames(symbols, end, hours))
    else:
        for start in range(1, len(symbols), PORTION):
            part = market.frames([first, *symbols[start : start + PORTION]], end, hours, seed=6 + start)
            market.fill(engine, part if start == 1 else _without(part, first))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))
    return engine


def _without(part: market.Frames, symbol: str) -> market.Frames:
    """The same rows without a symbol that is there already, and without what is no symbol's."""
    kept = {}
    for name, frame in part.items():
        if name in ("webhook_endpoints", "signal_evidence", "alert_deliveries"):
            continue
        kept[name] = frame if name == "correlation_features" else frame[frame["symbol"] != symbol]
    kept["alert_deliveries"] = part["alert_deliveries"][
        part["alert_deliveries"]["alert_id"].isin(kept["alerts"]["alert_id"])
    ]
    return kept


class Arrivals:
    """An hour that arrives in every table whenever ``one`` is called, or every so many seconds inside ``with``.

    The platform's clock is declared to stand at the newest hour, as the demo does.
    """

    def __init__(self, engine: sa.Engine, symbols: list[str], every_s: float = 20.0) -> None:
        self._engine, self._symbols, self._every_s = engine, symbols, every_s
        self._rng = np.random.default_rng(11)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.written = 0

    def one(self) -> datetime:
        """Append the next hour; gives its end."""
        pairs = [f"{a}/{b}" for a in self._symbols for b in self._symbols if a != b]
        with self._engine.begin() as connection:
            newest = connection.execute(
                sa.text("SELECT max(ts) FROM market_metrics WHERE symbol = :symbol"), {"symbol": self._symbols[0]}
            ).scalar_one()
            following: datetime = newest + timedelta(hours=1)
            for name in HOURLY:
                source, key = tables.table(name), "asset_pair" if name == "correlation_features" else "symbol"
                factor = float(1 + 0.004 * self._rng.standard_normal())
                own = [column.name for column in source.columns]
                shown = [
                    "ts + interval '1 hour'"
                    if column == "ts"
                    else f"least({column} * :factor, 0.99)"
                    if column == "confidence"
                    else f"{column} * :factor"
                    if column in MOVING
                    else column
                    for column in own
                ]
                statement = (
                    f"INSERT INTO {name} ({', '.join(own)}) SELECT {', '.join(shown)} FROM {name} "
                    f"WHERE ts = :ts AND {key} = ANY(:keys)"
                )
                values: dict[str, Any] = {"ts": newest, "keys": pairs if key == "asset_pair" else self._symbols}
                if ":factor" in statement:
                    values["factor"] = factor
                connection.execute(sa.text(statement), values)
            connection.execute(
                sa.text(
                    "INSERT INTO platform_clock (name, now_ts, set_by) VALUES ('platform', :now, 'bench') "
                    "ON CONFLICT (name) DO UPDATE SET now_ts = excluded.now_ts"
                ),
                {"now": following + timedelta(minutes=2)},
            )
        self.written += 1
        return following

    def __enter__(self) -> "Arrivals":
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self.one()
