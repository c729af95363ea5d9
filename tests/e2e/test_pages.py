"""Every page: figures from the tables, nothing from outside, readable by everyone, fits a phone."""

import re
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from dash_app import wording
from dash_app.components import explained
from dash_app.view import PAGES
from tests.e2e.conftest import SYMBOLS, settled

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_no_serious_violation_no_complaint_and_asks_nobody_else(served, watch, path, theme):
    watched = watch(theme=theme)
    watched.page.goto(served.url + path)
    settled(watched.page)
    found = Axe().run(watched.page)
    serious = [
        f"{one['id']}: {one['help']} at {[node['target'] for node in one['nodes']][:3]}"
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert watched.complaints == []
    assert watched.outside == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_a_phone_without_sideways_scrolling(served, watch, path):
    page = watch(width=390, height=844, has_touch=True, is_mobile=True, device_scale_factor=2).page
    page.goto(served.url + path)
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_on_a_phone_the_regimes_come_first(served, watch):
    page = watch(width=390, height=844).page
    page.goto(served.url)
    settled(page)
    tops = page.locator(".panel").evaluate_all(
        "all => all.map(one => [one.getBoundingClientRect().top, one.dataset.panel])"
    )
    assert min(tops)[1] == "regimes"


def test_on_a_phone_the_current_tab_is_in_view(served, watch):
    page = watch(width=390, height=844, has_touch=True, is_mobile=True).page
    for path, name in (("/health", "Data health"), ("/", "Overview")):
        page.goto(served.url + path)
        settled(page)
        tab = page.get_by_role("navigation", name="Pages").get_by_role("link", name=name)
        expect(tab).to_be_in_viewport(ratio=0.99)


def test_cascades_are_listed_with_the_figures_of_their_alerts(served, watch, rows):
    page = watch().page
    page.goto(f"{served.url}/cascades?range=30d")
    settled(page)
    alerts = rows["alerts"]
    since = served.newest - timedelta(days=30)
    expected = alerts[(alerts["event_type"] == "LIQUIDATION_CASCADE") & (alerts["ts"] > since)]
    listed = page.locator("table[data-table=cascades] tbody tr")
    expect(listed).to_have_count(len(expected))
    for alert in expected.to_dict("records")[:3]:
        row = listed.filter(has_text=wording.money(alert["data"]["total_liquidated_usd"])).first
        expect(row).to_contain_text(alert["data"]["side_bias"])
        expect(row).to_contain_text(wording.money(alert["data"]["velocity_usd_per_hour"], per_hour=True))
        expect(row).to_contain_text(alert["severity"])


def test_the_liquidation_chart_draws_the_sums_of_the_table(served, watch, rows):
    page = watch().page
    page.goto(f"{served.url}/cascades?symbol=ETH/USDT&range=24h")
    settled(page)
    liquidations = rows["liquidation_features"]
    newest = liquidations[liquidations["symbol"] == "ETH/USDT"].tail(24)
    drawn = page.locator("#csums-chart .js-plotly-plot").evaluate(
        "plot => [plot.data[0].y, plot.data[1].y, plot.data[2].y]"
    )
    for values, column in zip(drawn, ("long_liq_usd", "short_liq_usd", "critical_velocity_eff"), strict=True):
        assert values == pytest.approx(newest[column].tolist())


def test_funding_shows_rate_score_and_venue_of_every_symbol(served, watch, rows):
    page = watch().page
    page.goto(f"{served.url}/funding")
    settled(page)
    newest = rows["funding_features"].groupby("symbol").last()
    for symbol in SYMBOLS:
        row = page.locator("table[data-table=funding] tbody tr", has_text=wording.base(symbol))
        expect(row).to_contain_text(wording.basis_points(newest.loc[symbol, "funding_rate_8h"]))
        expect(row).to_contain_text(wording.sigma(newest.loc[symbol, "funding_z_score"]))


def test_regimes_show_every_timeframe(served, watch, rows):
    page = watch().page
    page.goto(f"{served.url}/regimes")
    settled(page)
    newest = rows["regimes"].groupby("symbol").last()
    for symbol in SYMBOLS:
        row = page.locator("table[data-table=regimes] tbody tr", has_text=wording.base(symbol))
        for timeframe in ("1h", "4h", "1d", "1w"):
            expect(row).to_contain_text(newest.loc[symbol, f"regime_{timeframe}"])
        expect(row).to_contain_text(wording.whole_percent(newest.loc[symbol, "confidence"]))


def test_correlation_shows_every_pair_against_its_band(served, watch, rows):
    page = watch().page
    page.goto(f"{served.url}/correlation")
    settled(page)
    newest = rows["correlation_features"].groupby("asset_pair").last()
    for pair, figures in newest.iterrows():
        row = page.locator("table[data-table=pairs] tbody tr", has_text=wording.pair_name(str(pair)))
        expect(row).to_contain_text(wording.number(figures["return_correlation"], 2, sign=True))
        expect(row).to_contain_text(wording.sigma(figures["break_z"]))
    cells = page.locator("table.matrix tbody td a").all_inner_texts()
    assert sorted(set(cells)) == sorted({wording.number(value, 2, sign=True) for value in newest["return_correlation"]})


def test_an_alert_says_why_it_fired_what_was_sent_and_what_became_of_it(served, watch, rows):
    watched = watch()
    page = watched.page
    page.goto(f"{served.url}/alerts?range=30d&event=LIQUIDATION_CASCADE")
    settled(page)
    page.locator("table[data-table=alerts] tbody tr td a").first.click()
    detail = page.locator("[data-panel=adetail]")
    expect(detail).to_be_visible()
    alert_id = re.search(r"alert=([^&]+)", page.url).group(1)
    alert = rows["alerts"].set_index("alert_id").loc[alert_id]
    expect(detail).to_contain_text(alert["title"])
    windows = alert["explain"]["terms"]["windows"]
    for part in (alert["explain"]["inputs"], alert["explain"]["thresholds"], *windows.values()):
        for name, value in part.items():
            expect(detail).to_contain_text(explained.label(name))
            expect(detail).to_contain_text(explained.written(name, value))
    limit = detail.locator("#adetail-chart .js-plotly-plot").evaluate("plot => plot.layout.shapes[1].y0")
    assert limit == pytest.approx(windows["1h"]["velocity_limit"])
    expect(detail.locator("pre")).to_contain_text('"velocity_usd_per_hour"')
    deliveries = rows["alert_deliveries"]
    expect(detail.locator("table[data-table=attempts] tbody tr")).to_have_count(
        int((deliveries["alert_id"] == alert_id).sum())
    )
    expect(detail.locator("#adetail-chart .js-plotly-plot .scatterlayer path").first).to_be_attached()
    assert watched.complaints == []


def test_replay_and_silence_are_asked_of_the_sensor_not_done_here(serve, watch):
    import sqlalchemy as sa

    own = serve()
    page = watch().page
    page.goto(f"{own.url}/alerts?range=30d&event=LIQUIDATION_CASCADE")
    settled(page)
    page.locator("table[data-table=alerts] tbody tr td a").first.click()
    page.get_by_role("button", name="Send again").click()
    expect(page.locator("form[data-action=REPLAY] output")).to_contain_text("Requested")
    page.locator("form[data-action=SILENCE] input").fill("maintenance")
    page.locator("form[data-action=SILENCE] button").click()
    expect(page.locator("form[data-action=SILENCE] output")).to_contain_text("Requested")
    with own.engine.connect() as connection:
        asked = connection.execute(sa.text("SELECT kind, args FROM alert_requests ORDER BY requested_at")).all()
    assert [kind for kind, _ in asked] == ["REPLAY", "SILENCE"]
    assert asked[0].args["alert_id"]
    assert asked[1].args["event_type"] == "LIQUIDATION_CASCADE"
    assert asked[1].args["hours"] == "1"


def test_data_health_names_lag_gaps_and_silent_venues(served, watch, rows):
    page = watch().page
    page.goto(f"{served.url}/health")
    settled(page)
    expect(page.locator("table[data-table=health] tbody tr")).to_have_count(9)
    expect(page.locator("table[data-table=health] tbody tr").first).to_contain_text("LIVE")
    assert page.locator(".strip").count() == 9
    expect(page.locator("table[data-table=sources] tbody tr", has_text="bitfinex").first).to_contain_text(
        "the venue lists no perpetual"
    )
    expect(page.locator("table[data-table=sources] tbody tr")).to_have_count(len(rows["source_status"]))
