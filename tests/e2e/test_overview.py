"""The overview in a browser: its figures are those of the tables."""

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from dash_app import wording
from tests.e2e.conftest import SYMBOLS, settled

pytestmark = pytest.mark.browser


def test_the_header_says_live_and_counts_what_opened_in_24_hours(served, watch, rows):
    watched = watch()
    watched.page.goto(served.url)
    settled(watched.page)
    status = watched.page.locator(".header-status")
    expect(status.locator("#pill")).to_contain_text("LIVE")
    alerts = rows["alerts"]
    day = alerts[alerts["ts"] > served.newest - timedelta(hours=24)]
    for name, event in (
        ("Cascades 24 h", "LIQUIDATION_CASCADE"),
        ("Volatility events 24 h", "VOLATILITY_REGIME_CHANGE"),
    ):
        expected = int((day["event_type"] == event).sum())
        expect(status.locator(".count", has_text=name)).to_contain_text(f"{name} {expected}")
    assert watched.complaints == []
    assert watched.outside == []


def test_the_volatility_panel_shows_the_newest_row_of_every_symbol(served, watch, rows):
    page = watch().page
    page.goto(served.url)
    settled(page)
    newest = rows["volatility_features"].groupby("symbol").last()
    for symbol in SYMBOLS:
        bar = page.locator(
            "[data-panel=volatility] .vol", has=page.get_by_role("link", name=wording.base(symbol), exact=True)
        )
        row = newest.loc[symbol]
        expect(bar).to_contain_text(wording.percent(row["volatility"]))
        expect(bar).to_contain_text(row["regime"])
        expect(bar).to_contain_text(wording.times(row["risk_multiplier"]))
        expect(bar).to_contain_text(f"forecast {wording.percent(row['vol_forecast_24h'])}")


def test_the_regimes_panel_shows_label_confidence_bias_and_multiplier(served, watch, rows):
    page = watch().page
    page.goto(served.url)
    settled(page)
    newest = rows["regimes"].groupby("symbol").last()
    for symbol in SYMBOLS:
        block = page.locator(
            "[data-panel=regimes] .regime-row", has=page.get_by_role("link", name=wording.base(symbol), exact=True)
        )
        row = newest.loc[symbol]
        expect(block).to_contain_text(row["primary_regime"])
        expect(block).to_contain_text(row["emoji"])
        expect(block).to_contain_text(wording.whole_percent(row["confidence"]))
        expect(block).to_contain_text(f"long bias {wording.number(row['long_bias'], 2, sign=True)}")
        expect(block).to_contain_text(f"risk {wording.times(row['risk_multiplier'])}")
        assert block.get_by_role("meter").get_attribute("aria-valuenow") == str(round(100 * row["confidence"]))
