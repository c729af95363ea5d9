"""Designed states: empty, stale, partial, simulated, waiting, the database away and back."""

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import expect

from dash_app.app import build_app
from dash_app.server import running
from regimes_dagster import database, migrations
from regimes_dagster.embedded import EmbeddedServer
from tests.e2e import market
from tests.e2e.conftest import HOURS, SYMBOLS, eventually, newest_hour, settings_for, settled

pytestmark = pytest.mark.browser


def declare(own, since_newest):
    """Let the platform's time stand so long after the newest hour."""
    with own.engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO platform_clock (name, now_ts, set_by) VALUES ('platform', :now, 'test')"),
            {"now": own.newest + since_newest},
        )


def test_empty_tables_give_an_explanation_in_every_panel_and_no_error(serve, watch):
    own = serve(empty=True)
    watched = watch()
    page = watched.page
    for path in ("/", "/cascades", "/funding", "/volatility", "/regimes", "/correlation", "/alerts", "/health"):
        page.goto(own.url + path)
        settled(page)
        expect(page.locator("#header-banner")).to_contain_text("The tables are empty")
        expect(page.locator("#pill")).to_contain_text("NO DATA")
    page.goto(own.url)
    settled(page)
    expect(page.locator("[data-panel=volatility]")).to_contain_text("It needs 22 of 24 hourly bars")
    expect(page.locator("[data-panel=liquidations]")).to_contain_text("No cascade in 24 h")
    assert watched.complaints == []


def test_a_calm_day_says_which_limits_were_not_reached(serve, watch):
    own = serve()
    with own.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM alert_deliveries"))
        connection.execute(sa.text("DELETE FROM alerts"))
    page = watch().page
    page.goto(own.url)
    settled(page)
    panel = page.locator("[data-panel=liquidations]")
    expect(panel).to_contain_text("No cascade in 24 h. Limits in force: BTC $", timeout=90_000)
    expect(panel).to_contain_text("checked")


def test_venues_that_cannot_be_reached_are_named_above_every_page(serve, watch):
    own = serve(empty=True)
    with own.engine.begin() as connection:
        for venue in ("binanceus", "kraken"):
            connection.execute(
                sa.text(
                    "INSERT INTO source_status (kind, venue, symbol, state, message, in_use) "
                    "VALUES ('ohlcv', :venue, 'BTC/USDT', 'OUTAGE', 'no answer', false)"
                ),
                {"venue": venue},
            )
    page = watch().page
    page.goto(own.url)
    settled(page)
    expect(page.locator("#header-banner")).to_contain_text("No venue of bars can be reached: binanceus, kraken")
    with own.engine.begin() as connection:
        connection.execute(sa.text("UPDATE source_status SET state = 'OK' WHERE venue = 'kraken'"))
    expect(page.locator("#header-banner")).not_to_contain_text("can be reached", timeout=90_000)


def test_the_first_look_already_has_the_servers_time_and_not_the_browsers(serve, watch):
    """For ten seconds after loading, a demo was LIVE with "data 30 d old": the browser's clock was asked after all."""
    own = serve()
    declare(own, timedelta(minutes=50))
    page = watch().page
    page.add_init_script("Date.now = () => 4102444800000")
    page.route("**/api/version", lambda route: route.abort())
    page.goto(own.url)
    settled(page)
    expect(page.locator(".status")).to_contain_text("data 50 min old")


@pytest.mark.parametrize(("hours", "word"), [(1.5, "DELAYED"), (4, "STALE")])
def test_old_data_is_called_by_its_name(serve, watch, hours, word):
    own = serve()
    declare(own, timedelta(hours=hours))
    page = watch().page
    page.goto(own.url)
    settled(page)
    expect(page.locator("#pill")).to_contain_text(word, timeout=90_000)
    expect(page.locator(".header-status")).to_contain_text("simulated clock")


def test_simulated_data_stands_under_a_permanent_ribbon_and_real_data_does_not(serve, watch):
    own = serve()
    page = watch().page
    page.goto(own.url)
    settled(page)
    expect(page.locator(".ribbon")).to_contain_text("Simulated market")
    with own.engine.begin() as connection:
        connection.execute(sa.text("UPDATE market_metrics SET is_simulated = false"))
    expect(page.locator(".ribbon")).to_have_count(0, timeout=90_000)


def test_hours_without_coverage_are_hatched_not_drawn_as_zero(served, watch):
    page = watch().page
    missing = served.newest - timedelta(hours=HOURS - HOURS // 3)
    start, end = missing - timedelta(hours=20), missing + timedelta(hours=30)
    page.goto(f"{served.url}/cascades?from={start:%Y-%m-%dT%H:%MZ}&to={end:%Y-%m-%dT%H:%MZ}")
    settled(page)
    plot = page.locator("#csums-chart .js-plotly-plot")
    name, hours = plot.evaluate("plot => [plot.data[3].name, plot.data[3].customdata]")
    assert name == "coverage"
    assert set(hours) == {"50 %"}


def test_a_missing_figure_is_a_dash_with_its_reason(serve, watch):
    own = serve()
    with own.engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE volatility_features SET volatility = NULL, quality = 'INSUFFICIENT' WHERE symbol = "
                "'SOL/USDT' AND ts = :ts"
            ),
            {"ts": own.newest},
        )
    page = watch().page
    page.goto(own.url)
    settled(page)
    bar = page.locator("[data-panel=volatility] .vol", has=page.get_by_role("link", name="SOL", exact=True))
    expect(bar).to_contain_text("– too few bars", timeout=90_000)


def test_the_database_goes_away_and_comes_back_while_the_page_is_open(watch):
    folder = Path(tempfile.mkdtemp(prefix="regimes-test-"))
    server = EmbeddedServer(folder / "pg", {"fsync": "off", "synchronous_commit": "off"})
    try:
        server.start()
        url = server.url("postgres")
        engine = database.make_engine(url, poolclass=sa.NullPool)
        migrations.upgrade(engine)
        market.fill(engine, market.frames(SYMBOLS, newest_hour(), 24 * 40))
        with running(build_app(settings_for(), url)) as address:
            page = watch().page
            page.goto(address)
            settled(page)
            shown = page.locator("[data-panel=volatility] .vol").first.inner_text()
            server.stop("immediate")
            expect(page.locator("#header-banner")).to_contain_text("The database does not answer since", timeout=90_000)
            assert page.locator("[data-panel=volatility] .vol").first.inner_text() == shown
            expect(page.locator("[data-panel=volatility] .problem")).to_contain_text("Not refreshed")
            page.locator("[data-panel=price]").get_by_role("link", name="7d").click()
            expect(page.locator("[data-panel=price] .problem")).to_contain_text("Not refreshed")
            assert page.request.get(f"{address}/readyz").status == 503
            assert page.request.get(f"{address}/api/history/market_metrics").status == 503
            server.start()
            expect(page.locator("#header-banner")).not_to_contain_text("does not answer", timeout=90_000)
            expect(page.locator("[data-panel=price] .problem")).to_have_text("", timeout=90_000)
            eventually(page, "#price-chart .js-plotly-plot", "plot => plot.data[0].close.length", 168)
            assert page.request.get(f"{address}/readyz").status == 200
        engine.dispose()
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
