"""How the pages behave: addresses, switches, refresh, tables, keyboard."""

import csv
import io
import re
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from playwright.sync_api import expect

from dash_app import wording
from tests.e2e.conftest import eventually, settled

pytestmark = pytest.mark.browser


def test_tabs_change_the_page_the_title_and_the_address_and_back_works(served, watch):
    watched = watch()
    page = watched.page
    page.goto(served.url)
    settled(page)
    for name, path in (("Cascades", "/cascades"), ("Volatility", "/volatility"), ("Data health", "/health")):
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        expect(page).to_have_title(re.compile(name))
        settled(page)
        assert re.search(f"{path}($|\\?)", page.url)
    page.go_back()
    expect(page).to_have_title(re.compile("Volatility"))
    settled(page)
    expect(page.locator("[data-panel=vbars]")).to_be_visible()
    assert watched.complaints == []


def test_symbol_and_range_are_in_the_address_and_survive_a_reload(served, watch, rows):
    page = watch().page
    page.goto(served.url)
    settled(page)
    page.get_by_role("navigation", name="Symbol").get_by_role("link", name="SOL").click()
    expect(page).to_have_url(re.compile("symbol=SOL/USDT"))
    page.locator("[data-panel=price]").get_by_role("link", name="7d").click()
    expect(page).to_have_url(re.compile("range=7d"))
    close = rows["market_metrics"].query("symbol == 'SOL/USDT'")["close"].iloc[-1]
    for _ in range(2):
        expect(page.locator("#price-text")).to_contain_text(wording.price(close))
        eventually(page, "#price-chart .js-plotly-plot", "plot => plot.data[0].close.length", 168)
        page.reload()
        settled(page)


def test_the_theme_follows_the_system_until_it_is_chosen(served, watch):
    page = watch(theme="light").page
    page.goto(served.url)
    settled(page)
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.get_by_role("link", name="Switch to the dark theme").click()
    expect(page).to_have_url(re.compile("theme=dark"))
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    expect(page.get_by_role("link", name="Switch to the light theme")).to_be_visible()
    page.goto(served.url)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_local_time_is_written_by_the_browser(served, watch):
    page = watch(timezone_id="Asia/Tokyo").page
    page.goto(f"{served.url}/volatility")
    settled(page)
    page.locator("details summary").first.click()
    cell = page.locator("table[data-table=volatility-data] tbody time").first
    expect(cell).to_have_text(re.compile(f"{served.newest:%H:%M}$"))
    page.get_by_role("link", name="local", exact=True).click()
    expect(cell).to_have_text(re.compile(f"{served.newest + timedelta(hours=9):%H:%M}$"))
    expect(page.locator("table[data-table=volatility-data] thead")).to_contain_text("(local)")
    last = page.locator("#vchart-figure .js-plotly-plot").evaluate("plot => plot.data[1].x[plot.data[1].x.length - 1]")
    assert last.startswith(f"{served.newest + timedelta(hours=9):%Y-%m-%dT%H:%M}")


def test_a_wrong_value_in_the_address_falls_back_with_a_note(served, watch):
    watched = watch()
    page = watched.page
    page.goto(f"{served.url}/cascades?symbol=DOGE/USDT&range=17h&from=yesterday")
    settled(page)
    banner = page.locator("#header-banner")
    expect(banner).to_contain_text("'DOGE/USDT' is not known; shown instead: BTC/USDT")
    expect(banner).to_contain_text("'17h' is not known")
    expect(banner).to_contain_text("'yesterday' is no moment")
    assert watched.complaints == []


def test_a_mistyped_page_is_the_overview_with_a_note(served, watch):
    page = watch().page
    answer = page.goto(f"{served.url}/cascade?symbol=ETH/USDT")
    assert answer is not None
    assert answer.status == 404
    settled(page)
    expect(page.locator("#header-banner")).to_contain_text("There is no page '/cascade'; this is the overview.")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Cascades").click()
    expect(page).to_have_url(re.compile(r"/cascades\?symbol=ETH/USDT"))
    settled(page)
    expect(page.locator("#header-banner")).not_to_contain_text("There is no page")


def test_a_refresh_brings_a_row_inserted_meanwhile_and_keeps_zoom_and_focus(serve, watch):
    own = serve()
    watched = watch()
    page = watched.page
    start, end = own.newest - timedelta(hours=30), own.newest - timedelta(hours=6)
    page.goto(f"{own.url}/volatility?from={start:%Y-%m-%dT%H:%MZ}&to={end:%Y-%m-%dT%H:%MZ}")
    settled(page)
    plot = page.locator("#vchart-figure .js-plotly-plot")
    before = plot.evaluate("plot => plot.layout.xaxis.range")
    page.locator("[data-panel=vtable] .sym").first.focus()
    with own.engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE volatility_features SET volatility = 0.0777, regime = 'EXPLOSIVE', risk_multiplier = "
                "1.8 WHERE symbol = 'BTC/USDT' AND ts = :ts"
            ),
            {"ts": own.newest},
        )
    bar = page.locator("[data-panel=vbars] .vol", has=page.get_by_role("link", name="BTC", exact=True))
    expect(bar).to_contain_text("7.77 %", timeout=90_000)
    expect(bar).to_contain_text("EXPLOSIVE")
    assert plot.evaluate("plot => plot.layout.xaxis.range") == before
    assert page.evaluate("document.activeElement.className") == "sym"
    assert watched.complaints == []


def test_a_refresh_touches_only_what_changed(serve, watch):
    own = serve()
    page = watch().page
    page.goto(own.url)
    settled(page)
    page.wait_for_timeout(700)
    seen = page.evaluate_handle(
        """() => { const seen = new Set();
        new MutationObserver(all => all.forEach(one => {
            const panel = (one.target.closest ? one.target : one.target.parentElement)?.closest('[data-panel]');
            if (panel && !(one.target.parentElement || one.target).closest('time')) seen.add(panel.dataset.panel); }))
            .observe(document.querySelector('main'), {subtree: true, childList: true, characterData: true});
        return seen; }"""
    )
    with own.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE regimes SET confidence = 0.25 WHERE symbol = 'ETH/USDT' AND ts = :ts"), {"ts": own.newest}
        )
    block = page.locator("[data-panel=regimes] .regime-row", has=page.get_by_role("link", name="ETH", exact=True))
    expect(block).to_contain_text("25 %", timeout=90_000)
    touched = set(seen.evaluate("seen => [...seen]"))
    assert "regimes" in touched
    assert touched <= {"regimes", "alerts"}


def test_a_page_drawn_from_another_state_than_announced_asks_again(serve, watch):
    """Two processes behind one port: one has seen a row that the other, which draws the page, has not."""
    own = serve()
    page = watch().page
    asked: list[str] = []
    page.route(
        "**/api/version",
        lambda route: route.fulfill(
            json={"v": "other", "now": f"{own.newest:%Y-%m-%dT%H:%M:%SZ}", "declared": False, "state": "LIVE"}
        ),
    )
    page.on("request", lambda one: asked.append(one.url) if "_dash-update-component" in one.url else None)
    page.goto(own.url)
    settled(page)
    asked.clear()
    for _ in range(200):
        if len(asked) >= 4:  # the header and the page, twice: not once and then quiet for an hour
            break
        page.wait_for_timeout(100)
    assert len(asked) >= 4


def test_a_browser_that_gets_no_answer_says_offline_and_recovers(served, watch):
    page = watch().page
    page.clock.install()
    page.goto(served.url)
    settled(page)
    offline = page.locator(".p-offline")
    expect(offline).to_be_hidden()
    page.route("**/api/version", lambda route: route.abort())
    page.clock.run_for(70_000)
    expect(offline).to_be_visible()
    page.unroute("**/api/version")
    page.clock.run_for(20_000)
    expect(offline).to_be_hidden()


def test_zooming_writes_the_range_to_the_address_and_loads_the_resolution_that_fits(served, watch):
    page = watch().page
    page.goto(f"{served.url}/volatility?range=90d")
    settled(page)
    plot = page.locator("#vchart-figure .js-plotly-plot")
    coarse = plot.evaluate("plot => plot.data[1].x.slice(0, 2)")
    box = plot.locator(".nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.56 * box["width"], box["y"] + 40, steps=6)
    page.mouse.up()
    expect(page).to_have_url(re.compile("from=.*&to="))
    expect(page.get_by_role("link", name="× zoom")).to_be_visible()
    fine = plot.evaluate("plot => plot.data[1].x.slice(0, 2)")
    gap = [datetime.fromisoformat(pair[1]) - datetime.fromisoformat(pair[0]) for pair in (fine, coarse)]
    assert gap[0] < gap[1]


def test_a_table_sorts_filters_and_gives_csv_of_what_is_shown(served, watch):
    page = watch().page
    page.goto(f"{served.url}/alerts?range=90d")
    settled(page)
    table = page.locator("table[data-table=alerts]")
    table.get_by_role("button", name="Symbol").click()
    expect(table.locator("th", has_text="Symbol")).to_have_attribute("aria-sort", "ascending")
    symbols = table.locator("tbody tr td:nth-child(4)").all_inner_texts()
    assert symbols == sorted(symbols)
    page.get_by_label("Filter Alerts").fill("cascade")
    shown = table.locator("tbody tr:visible")
    expect(page.locator("[data-count=alerts]")).to_contain_text(" of ")
    assert all("cascade" in text.lower() for text in shown.all_inner_texts())
    with page.expect_download() as download:
        page.locator("button[data-csv=alerts]").click()
    text = download.value.path().read_text()
    lines = list(csv.reader(io.StringIO(text)))
    assert len(lines) == shown.count() + 1
    assert lines[0][1:4] == ["Severity", "Event", "Symbol"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*", lines[1][0])


def test_the_keyboard_reaches_the_content_every_tab_and_every_choice(served, watch):
    page = watch().page
    page.goto(served.url)
    settled(page)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.goto(served.url)
    settled(page)
    names, outlines = [], []
    for _ in range(45):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "() => { const one = document.activeElement; return [(one.getAttribute('aria-label') || "
            "one.textContent || '').trim(), getComputedStyle(one).outlineStyle]; }"
        )
        names.append(name)
        outlines.append(outline)
    for wanted in ("Overview", "Data health", "UTC", "local", "Switch to the light theme", "BTC", "72h"):
        assert wanted in names
    assert set(outlines) == {"solid"}
    page.get_by_role("link", name="Alerts", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page).to_have_title(re.compile("Alerts"))


@pytest.mark.slow
def test_the_page_stays_still_while_nothing_changes(served, watch):
    """A timer must not burn the reader's battery: script time and heap over 12 s with several polls."""
    page = watch().page
    page.goto(served.url)
    settled(page)
    page.wait_for_timeout(1_500)
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable")

    def measure() -> dict[str, float]:
        return {one["name"]: one["value"] for one in client.send("Performance.getMetrics")["metrics"]}

    client.send("HeapProfiler.collectGarbage")
    before = measure()
    page.wait_for_timeout(12_000)
    client.send("HeapProfiler.collectGarbage")
    after = measure()
    assert (after["ScriptDuration"] - before["ScriptDuration"]) / 12 < 0.060
    assert after["JSHeapUsedSize"] - before["JSHeapUsedSize"] < 1_500_000
    assert after["Nodes"] - before["Nodes"] < 200
