"""`make screenshots`: every page in both themes and at phone width, over an invented market, into docs/screenshots.

What belongs here: taking the pictures. What does not: the market (``tests/e2e/market.py``) and any check (the browser
tests). Needs chromium (``REGIMES_CHROMIUM``, else the one on the path).
"""

import argparse
import sys
import tempfile
from pathlib import Path

import sqlalchemy as sa
from playwright.sync_api import Page, expect, sync_playwright

from dash_app.app import build_app
from dash_app.server import running
from dash_app.view import PAGES
from regimes_dagster import database, migrations
from regimes_dagster.embedded import EmbeddedServer
from tests.e2e import market
from tests.e2e.conftest import ARGUMENTS, SYMBOLS, chromium, newest_hour, settings_for

HOURS = 24 * 200
DESKTOP = {"width": 1320, "height": 900}
PHONE = {"width": 390, "height": 844}
#: Pictures above this are a burden on the repository.
MOST_BYTES = 300_000


def main() -> int:
    """Take every picture; returns the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, default=Path("docs/screenshots"))
    out: Path = arguments.parse_args().out
    program = chromium()
    if program is None:
        print("no chromium on this machine; install it or name its program in REGIMES_CHROMIUM", file=sys.stderr)
        return 1
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="regimes-shots-") as folder:
        server = EmbeddedServer(Path(folder) / "pg", {"fsync": "off"})
        server.start()
        try:
            url = server.url("postgres")
            engine = database.make_engine(url, poolclass=sa.NullPool)
            migrations.upgrade(engine)
            rows = market.frames(SYMBOLS, newest_hour(), HOURS)
            market.fill(engine, rows)
            alert = rows["alerts"].query("event_type == 'LIQUIDATION_CASCADE'").sort_values("ts")["alert_id"].iloc[-1]
            with running(build_app(settings_for(), url)) as address:
                _take(program, address, str(alert), out)
        finally:
            server.stop("immediate")
    heavy = [file.name for file in out.glob("*.png") if file.stat().st_size > MOST_BYTES]
    if heavy:
        print(f"larger than {MOST_BYTES} bytes: {', '.join(heavy)}", file=sys.stderr)
    return 1 if heavy else 0


def _take(program: str, address: str, alert: str, out: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        for theme in ("dark", "light"):
            page = browser.new_context(viewport=DESKTOP, color_scheme=theme).new_page()
            for path, name in _paths(alert):
                _shoot(page, address + path, out / f"{name}-{theme}.png", whole=name != "alert")
        phone = browser.new_context(viewport=PHONE, color_scheme="dark", is_mobile=True, has_touch=True).new_page()
        for path, name in _paths(alert):
            _shoot(phone, address + path, out / f"{name}-phone.png")
        browser.close()


def _paths(alert: str) -> list[tuple[str, str]]:
    names = [(path, path.strip("/") or "overview") for path in PAGES]
    return [*names, (f"/alerts?range=7d&alert={alert}", "alert")]


def _shoot(page: Page, address: str, file: Path, *, whole: bool = True) -> None:
    page.goto(address)
    expect(page.locator(".panel").first).to_be_visible(timeout=60_000)
    expect(page.locator("[aria-busy=true]")).to_have_count(0, timeout=60_000)
    page.wait_for_timeout(700)
    page.screenshot(path=file, full_page=whole)
    print(f"{file} {file.stat().st_size // 1024} kB")


if __name__ == "__main__":
    sys.exit(main())
