"""Every statement of the dashboard finds its rows through an index: a scan of a growing table shows up years later.

Sequential scans are priced out, so that PostgreSQL uses an index wherever one can serve; what is asserted is that the
rows of every table that grows are found by a condition on an index, or come in the order of an index up to a limit.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from dash_app.queries import alerts, export, funding, health, history, latest
from dash_app.reader import Reader, Rows
from regimes_dagster.schemas import DERIVED_TABLES, RAW_TABLES
from tests.e2e.conftest import SYMBOLS

PAIR = "BTC/USDT/ETH/USDT"
GROWING = {str(model.to_schema().name) for model in (*DERIVED_TABLES, *RAW_TABLES)} | {"alerts", "alert_deliveries"}
#: Read in the order of an index up to a limit, or hopping from key to key: no condition on the index is needed.
ORDERED = {"newest alerts", "pairs"}


class Spy(Reader):
    """A reader that remembers the statements it was given."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.seen: list[tuple[sa.Executable, Mapping[str, Any]]] = []

    def rows(self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None) -> Rows:
        self.seen.append((statement, parameters or {}))
        return super().rows(statement, parameters)


@pytest.fixture(scope="module")
def spy(served) -> Iterator[Spy]:
    reader = Spy(served.database_url)
    yield reader
    reader.close()


def questions(newest: datetime) -> dict[str, Any]:
    """Every function of the package with the arguments that the pages and routes give it."""
    start, day = newest - timedelta(days=30), newest - timedelta(hours=24)
    columns = {"close": "last"}
    found: dict[str, Any] = {
        **{
            f"newest {table}": lambda r, table=table: latest.newest(
                r, table, [PAIR] if table == "correlation_features" else SYMBOLS, newest
            )
            for table in latest.KEYS
        },
        "pairs": latest.pairs,
        "closes a day ago": lambda r: latest.closes_at(r, SYMBOLS, day),
        "zones": lambda r: latest.zones(r, "BTC/USDT", newest),
        "funding per venue": lambda r: latest.venues(r, SYMBOLS),
        "series": lambda r: history.series(r, "market_metrics", "BTC/USDT", start, newest, columns),
        "series, grouped": lambda r: history.series(
            r, "market_metrics", "BTC/USDT", newest - timedelta(days=365), newest, columns
        ),
        "series of a pair": lambda r: history.series(
            r, "correlation_features", PAIR, start, newest, {"break_z": "min"}
        ),
        "settlements": lambda r: funding.settled(r, "BTC/USDT", start, newest),
        "newest alerts": lambda r: alerts.listing(r, limit=12, end=newest),
        "alerts of a range": lambda r: alerts.listing(r, start=day, end=newest),
        "alerts of a kind": lambda r: alerts.listing(r, start=start, end=newest, event="FUNDING_ANOMALY"),
        "cascades": lambda r: alerts.cascades(r, start, newest),
        "opened": lambda r: alerts.opened(r, day, newest),
        "known episodes": lambda r: alerts.known_episodes(r, ["a", "b"]),
        "one alert": lambda r: alerts.one(r, "a"),
        "attempts": lambda r: alerts.attempts(r, "a"),
        "delivery totals": lambda r: alerts.totals(r, day),
        "days held": lambda r: health.days(r, SYMBOLS, start, newest),
        "first hours": lambda r: health.first_hours(r, SYMBOLS),
    }
    for table in (*latest.KEYS, "ohlcv", "funding_rates", "liquidations", "alerts"):
        key = PAIR if table == "correlation_features" else "BTC/USDT"
        stamp = export.moment_column(table)
        statement = export.select(table, [stamp], key=key, start=start, end=newest, limit=1_000)
        found[f"export {table}"] = lambda r, statement=statement: r.rows(statement)
    return found


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


@pytest.mark.parametrize("name", questions(datetime(2026, 1, 1, tzinfo=UTC)))
def test_rows_of_a_growing_table_are_found_through_an_index(spy, served, name):
    spy.seen.clear()
    questions(served.newest)[name](spy)
    assert spy.seen
    for statement, parameters in spy.seen:
        with served.engine.connect() as connection:
            connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
            compiled = statement.compile(served.engine, compile_kwargs={"render_postcompile": True})
            plan = connection.exec_driver_sql(
                f"EXPLAIN (FORMAT JSON) {compiled}", {**compiled.params, **parameters}
            ).scalar_one()
        for node in nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]):
            if node.get("Relation Name") not in GROWING:
                continue
            assert node["Node Type"] != "Seq Scan", f"{name}: no index serves {node['Relation Name']}"
            conditions = "Index Cond" in node or "Recheck Cond" in node
            assert conditions or name in ORDERED, f"{name}: {node['Relation Name']} is read whole: {node}"
