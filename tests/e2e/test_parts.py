"""Every part of every page, built from the filled tables without a browser."""

import json
from datetime import timedelta

import plotly.graph_objects as go
import pytest
import sqlalchemy as sa

from dash_app.pages import PAGES
from dash_app.panels import Context, update
from dash_app.reader import DatabaseDown, Reader
from dash_app.snapshot import SnapshotKeeper
from dash_app.view import RANGES, View
from tests.e2e.conftest import settings_for

PAIR = "BTC/USDT/ETH/USDT"
PARTS = [(path, part.id) for path, page in PAGES.items() for part in page.parts]


@pytest.fixture(scope="module")
def context(served):
    reader, settings = Reader(served.database_url), settings_for()
    keeper = SnapshotKeeper(reader, settings)
    keeper.refresh()

    def make(**view: object) -> Context:
        return Context(View(**{"symbol": "BTC/USDT", "pair": PAIR, **view}), keeper.current, reader, settings)

    yield make
    reader.close()


def _part(path: str, name: str):
    return next(part for part in PAGES[path].parts if part.id == name)


@pytest.mark.parametrize(("path", "name"), [(path, name) for path, name in PARTS if _part(path, name).kind == "figure"])
@pytest.mark.parametrize("span", RANGES)
def test_a_figure_is_valid_and_has_at_most_two_thousand_points_a_trace(context, rows, path, name, span):
    alert = rows["alerts"]["alert_id"].iloc[-1]
    figure = _part(path, name).build(context(page=path, range=span, alert=alert))
    go.Figure(figure)  # raises for a property that plotly does not know
    json.dumps(figure, allow_nan=False)
    assert all(len(trace.get("x", ())) <= 2_000 for trace in figure["data"])


@pytest.mark.parametrize(("path", "name"), [(path, name) for path, name in PARTS if _part(path, name).kind == "tree"])
def test_a_tree_is_plain_json_of_tags_attributes_and_text(context, path, name):
    def walk(node: object) -> None:
        if isinstance(node, str):
            return
        tag, attributes, *children = node  # type: ignore[misc]
        assert tag.isalnum()
        assert tag not in ("script", "style", "iframe")
        assert not any(key.startswith("on") for key in attributes)
        for child in children:
            walk(child)

    tree = json.loads(json.dumps(_part(path, name).build(context(page=path)), allow_nan=False))
    walk(tree)


def test_a_part_is_sent_again_only_if_its_data_or_its_view_changed(context):
    page = PAGES["/volatility"]
    first = update(page.parts, context(page="/volatility"), {})
    assert set(first.content) == {part.id for part in page.parts}
    assert update(page.parts, context(page="/volatility"), first.have).content == {}
    other = update(page.parts, context(page="/volatility", symbol="ETH/USDT"), first.have)
    assert "vchart-figure" in other.content
    assert "vevidence-table" not in other.content


def test_a_part_that_cannot_be_read_keeps_its_content_and_says_so(context):
    class Away(Reader):
        def rows(self, statement, parameters=None):  # type: ignore[no-untyped-def]
            raise DatabaseDown("the database does not answer")

    page = PAGES["/volatility"]
    seen = context(page="/volatility")
    away = Context(seen.view, seen.snap, Away("postgresql://nobody@127.0.0.1:1/none"), seen.settings)
    news = update(page.parts, away, {})
    assert "vbars-rows" in news.content
    assert "vchart-figure" not in news.content
    assert "does not answer" in news.problems["vchart"]


def test_a_state_that_cannot_be_put_together_is_said_and_the_next_one_is_read(served):
    """An unexpected row must not end the thread that reads: the page would show the same state for ever."""

    class Odd(Reader):
        odd = True

        def rows(self, statement, parameters=None):  # type: ignore[no-untyped-def]
            if self.odd:
                raise KeyError("a column that is not there")
            return super().rows(statement, parameters)

    reader = Odd(served.database_url)
    keeper = SnapshotKeeper(reader, settings_for())
    keeper.refresh()
    assert not keeper.current.ready
    assert "server's log" in str(keeper.current.error)
    reader.odd = False
    keeper.refresh()
    assert keeper.current.ready
    assert keeper.current.error is None
    reader.close()


@pytest.mark.parametrize("zone", ["America", "../etc/passwd", "", "Nowhere/Else", "\x00"])
def test_a_zone_that_does_not_exist_is_utc(context, zone):
    seen = context()
    odd = Context(seen.view, seen.snap, seen.reader, seen.settings, zone=zone)
    assert odd.local(seen.snap.now) == seen.local(seen.snap.now)


@pytest.mark.parametrize(
    "table", ["market_metrics", "volatility_features", "liquidation_features", "funding_features", "regimes"]
)
def test_the_newest_row_and_a_range_are_read_through_the_primary_key(served, table):
    """A sequential scan over a table that grows by the hour would show up only years later."""
    queries = (
        f"SELECT * FROM {table} WHERE symbol = 'BTC/USDT' ORDER BY ts DESC LIMIT 1",
        f"SELECT * FROM {table} WHERE symbol = 'BTC/USDT' AND ts > :start AND ts <= :end ORDER BY ts",
    )
    with served.engine.connect() as connection:
        for query in queries:
            values = {"start": served.newest - timedelta(hours=48), "end": served.newest} if ":start" in query else {}
            plan = "\n".join(row[0] for row in connection.execute(sa.text(f"EXPLAIN {query}"), values))
            assert "Seq Scan" not in plan
            assert f"pk_{table}" in plan
