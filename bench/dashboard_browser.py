"""What a reader's browser measures: first view, switches, refreshes, bytes, script time and heap.

What belongs here: driving chromium over a served dashboard. What does not: the server and the filling.

Times are wall milliseconds as the reader has them (until every panel is drawn), and for refreshes the length of the
callback requests. Bytes are what went over the wire, headers included. Script time and heap are the browser's own
counters (DevTools protocol, ``Performance.getMetrics``). CPU seconds say what a wait is worth on another machine.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import quantiles

import psutil
from playwright.sync_api import Browser, CDPSession, Page, ViewportSize, expect, sync_playwright

from bench.dashboard_market import Arrivals
from tests.e2e.conftest import ARGUMENTS, chromium

VIEWPORT: ViewportSize = {"width": 1440, "height": 1000}
PAGES = ("Cascades", "Funding", "Volatility", "Regimes", "Correlation", "Alerts", "Data health", "Overview")
MIB = 2**20


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, 95th percentile and maximum."""
    ordered = sorted(values)
    cut = quantiles(ordered, n=20, method="inclusive") if len(ordered) > 1 else ordered * 19
    return round(cut[9], 1), round(cut[18], 1), round(ordered[-1], 1)


@dataclass
class Seen:
    """Everything that was measured in one session, in milliseconds and bytes."""

    first: list[float] = field(default_factory=list)
    first_cpu: list[float] = field(default_factory=list)
    first_bytes: int = 0
    again_bytes: int = 0
    pages: dict[str, list[float]] = field(default_factory=dict)
    symbols: list[float] = field(default_factory=list)
    callbacks: list[float] = field(default_factory=list)
    refresh_bytes: list[float] = field(default_factory=list)
    poll_bytes: list[float] = field(default_factory=list)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless chromium.

    Raises
    ------
    RuntimeError
        If none is installed.
    """
    program = chromium()
    if program is None:
        raise RuntimeError("no chromium on this machine; install it or name its program in REGIMES_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def settled(page: Page) -> None:
    """Wait until every place has its first content and every chart is drawn."""
    expect(page.locator(".panel").first).to_be_visible(timeout=60_000)
    expect(page.locator("[aria-busy=true]")).to_have_count(0, timeout=60_000)


def _cpu_s() -> float:
    """CPU seconds so far of the browser's processes, which are this one's children."""
    total = 0.0
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "chrom" in one.name():
                total += one.cpu_times().user + one.cpu_times().system
    return total


def _since(started: float) -> float:
    return 1000 * (time.perf_counter() - started)


class Wire:
    """Bytes per request of one page, as the browser counted them."""

    def __init__(self, page: Page) -> None:
        self._client: CDPSession = page.context.new_cdp_session(page)
        self._client.send("Network.enable")
        self._urls: dict[str, str] = {}
        self.answers: list[tuple[str, float]] = []
        self._client.on("Network.requestWillBeSent", self._asked)
        self._client.on("Network.loadingFinished", self._came)

    def _asked(self, event: dict[str, object]) -> None:
        request = event["request"]
        assert isinstance(request, dict)
        self._urls[str(event["requestId"])] = str(request["url"])

    def _came(self, event: dict[str, object]) -> None:
        self.answers.append((self._urls.get(str(event["requestId"]), ""), float(str(event["encodedDataLength"]))))

    def total(self, part: str = "") -> float:
        """Bytes of all answers whose address contains ``part``."""
        return sum(size for url, size in self.answers if part in url)


def look(browser: Browser, url: str, symbols: list[str], arrivals: Arrivals, rounds: int) -> Seen:
    """First views in new browser profiles, then one reader who switches about and whose page is refreshed."""
    seen = Seen()
    for _ in range(rounds):
        context = browser.new_context(viewport=VIEWPORT)
        page = context.new_page()
        wire = Wire(page)
        before, started = _cpu_s(), time.perf_counter()
        page.goto(url)
        settled(page)
        seen.first.append(_since(started))
        seen.first_cpu.append(_cpu_s() - before)
        page.wait_for_timeout(300)
        seen.first_bytes = int(wire.total())
        context.close()
    context = browser.new_context(viewport=VIEWPORT)
    page = context.new_page()
    page.goto(url)
    settled(page)
    wire = Wire(page)
    page.reload()
    settled(page)
    page.wait_for_timeout(300)
    seen.again_bytes = int(wire.total())
    for _ in range(rounds):
        for name in PAGES:
            started = time.perf_counter()
            _open(page, name)
            seen.pages.setdefault(name, []).append(_since(started))
        started = time.perf_counter()
        _next_symbol(page, symbols)
        seen.symbols.append(_since(started))
    _refreshes(page, wire, seen, arrivals, rounds)
    context.close()
    return seen


def _open(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
    expect(page).to_have_title(f"{name} · regimes", timeout=60_000)
    settled(page)


def _next_symbol(page: Page, symbols: list[str]) -> None:
    plot = page.locator("#price-chart .js-plotly-plot")
    now = plot.evaluate("plot => plot.data[0].name")
    position = next(i for i, name in enumerate(symbols) if name.startswith(f"{now}/"))
    wanted = symbols[(position + 1) % len(symbols)]
    listed = page.locator("[data-panel=price] select[data-param=symbol]")
    if listed.count():
        listed.select_option(wanted)
    else:
        page.get_by_role("navigation", name="Symbol").get_by_role("link", name=wanted.split("/")[0], exact=True).click()
    limit = time.monotonic() + 30
    while plot.evaluate("plot => plot.data[0].name") != wanted.split("/")[0]:
        if time.monotonic() > limit:
            raise RuntimeError(f"the chart did not switch to {wanted}")
        page.wait_for_timeout(5)


def _refreshes(page: Page, wire: Wire, seen: Seen, arrivals: Arrivals, rounds: int) -> None:
    """An hour arrives in every table; the page's own timer finds it."""
    finished: list[float] = []
    page.on(
        "requestfinished",
        lambda request: (
            finished.append(request.timing["responseEnd"]) if "_dash-update-component" in request.url else None
        ),
    )
    for _ in range(rounds):
        finished.clear()
        wire.answers.clear()
        arrivals.one()
        limit = time.monotonic() + 60
        while len(finished) < 2:  # the header's and the page's
            if time.monotonic() > limit:
                raise RuntimeError("the page did not notice an hour that arrived")
            page.wait_for_timeout(20)
        page.wait_for_timeout(1500)
        seen.callbacks.extend(finished)
        seen.refresh_bytes.append(wire.total("_dash-update-component"))
        seen.poll_bytes.extend(size for address, size in wire.answers if "/api/version" in address)


@dataclass(frozen=True)
class Soak:
    """A page left open while hours arrive."""

    seconds: float
    refreshes: int
    script_ms_per_s: float
    task_ms_per_s: float
    heap_start_mib: float
    heap_end_mib: float
    nodes_start: float
    nodes_end: float
    listeners_start: float
    listeners_end: float


def soak(browser: Browser, url: str, arrivals: Arrivals, seconds: float) -> Soak:
    """Leave the overview open for so long, an hour arriving as often as in the demo."""
    context = browser.new_context(viewport=VIEWPORT)
    page = context.new_page()
    page.goto(url)
    settled(page)
    page.wait_for_timeout(3_000)
    client = context.new_cdp_session(page)
    client.send("Performance.enable")

    def now() -> dict[str, float]:
        client.send("HeapProfiler.collectGarbage")
        return {one["name"]: one["value"] for one in client.send("Performance.getMetrics")["metrics"]}

    with arrivals:
        page.wait_for_timeout(45_000)  # the first refreshes fill caches that then stay
        written, before, started = arrivals.written, now(), time.monotonic()
        page.wait_for_timeout(1000 * seconds)
        after, ended = now(), time.monotonic()
    context.close()
    span = ended - started
    return Soak(
        seconds=span,
        refreshes=arrivals.written - written,
        script_ms_per_s=1000 * (after["ScriptDuration"] - before["ScriptDuration"]) / span,
        task_ms_per_s=1000 * (after["TaskDuration"] - before["TaskDuration"]) / span,
        heap_start_mib=before["JSHeapUsedSize"] / MIB,
        heap_end_mib=after["JSHeapUsedSize"] / MIB,
        nodes_start=before["Nodes"],
        nodes_end=after["Nodes"],
        listeners_start=before["JSEventListeners"],
        listeners_end=after["JSEventListeners"],
    )
