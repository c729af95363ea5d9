"""The address as the state of the page."""

import string
from datetime import UTC, datetime
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st

from dash_app.view import PAGES, RANGES, View, parse

SYMBOLS = ("BTC/USDT", "ETH/USDT")
PAIRS = ("BTC/USDT/ETH/USDT",)
EVENTS = ("FUNDING_ANOMALY",)

moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(
    lambda one: one.replace(second=0, microsecond=0, tzinfo=UTC)
)
views = st.builds(
    View,
    page=st.sampled_from(list(PAGES)),
    symbol=st.sampled_from(SYMBOLS),
    pair=st.just(PAIRS[0]),
    range=st.sampled_from(["", *RANGES]),
    start=st.none() | moments,
    event=st.sampled_from(["", *EVENTS]),
    severity=st.sampled_from(["", "WARNING"]),
    search=st.text(string.ascii_letters + " &=?/", max_size=20).map(str.strip),
    tz=st.sampled_from(["utc", "local"]),
    theme=st.sampled_from(["", "dark", "light"]),
)


@given(views)
def test_every_view_comes_back_from_its_own_address(view):
    parts = urlsplit(view.href())
    again, notes = parse(parts.path, parts.query, symbols=SYMBOLS, pairs=PAIRS, events=EVENTS)
    assert (again, notes) == (view, [])


@given(st.text(max_size=60), st.text(max_size=200))
def test_any_address_gives_a_view(path, query):
    view, _ = parse(path, query, symbols=SYMBOLS, pairs=PAIRS, events=EVENTS)
    assert view.page in PAGES
    assert view.symbol in SYMBOLS
    assert "\x00" not in view.search + view.alert


def test_a_wrong_value_names_itself_and_what_is_possible():
    view, notes = parse("/cascades", "symbol=DOGE/USDT&range=5m", symbols=SYMBOLS)
    assert view.symbol == "BTC/USDT"
    assert notes[0].startswith("symbol 'DOGE/USDT' is not known")
    assert "24h" in notes[1]


def test_another_page_drops_what_belongs_to_this_one():
    view = View(page="/alerts", symbol="BTC/USDT", search="flash", alert="abc", tz="local")
    assert view.href(page="/") == "/?symbol=BTC/USDT&tz=local"


def test_another_symbol_leaves_the_zoom():
    view = View(
        page="/funding", symbol="BTC/USDT", start=datetime(2024, 1, 1, tzinfo=UTC), end=datetime(2024, 2, 1, tzinfo=UTC)
    )
    assert "from" not in view.href(symbol="ETH/USDT")
    assert "from=2024-01-01T00:00Z" in view.href(tz="local")
