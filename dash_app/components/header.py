"""The bar at the top of every page: tabs, status, counts, clock, theme.

What belongs here: the header's trees and the banner under it. What does not: freshness rules (``freshness.py``).
"""

from dash_app import freshness, wording
from dash_app.panels import Context
from dash_app.reader import AWAY, Rows
from dash_app.tree import Tree, h, link, moment
from dash_app.view import PAGES

PILL_MARKS = {"LIVE": "●", "DELAYED": "◐", "STALE": "○", "NO DATA": "○"}


def tabs(context: Context) -> Tree:
    """Links to every page, the current one marked."""
    view = context.view
    items = [
        link(
            view.href(page=path),
            name,
            class_="tablink on" if path == view.page else "tablink",
            aria_current="page" if path == view.page else None,
            key=path,
        )
        for path, name in PAGES.items()
    ]
    other = "light" if context.theme == "dark" else "dark"
    return h(
        "div",
        "bar",
        link(view.href(page="/"), h("span", {"class": "logo", "aria-hidden": "true"}, "◢"), " regimes", class_="brand"),
        h("nav", {"class": "tablinks", "aria-label": "Pages"}, *items),
        h(
            "div",
            "switches",
            h(
                "span",
                {"class": "switch", "role": "group", "aria-label": "Time zone"},
                *(
                    link(
                        view.href(tz=zone),
                        name,
                        class_="on" if view.tz == zone else None,
                        aria_current="true" if view.tz == zone else None,
                    )
                    for zone, name in (("utc", "UTC"), ("local", "local"))
                ),
            ),
            link(
                view.href(theme=other),
                "☀" if other == "light" else "☾",
                class_="icon",
                aria_label=f"Switch to the {other} theme",
                title=f"{other.capitalize()} theme",
            ),
        ),
    )


def status(context: Context) -> Tree:
    """Is it alive, and what happened in the last 24 h."""
    snap, now = context.snap, context.now
    stages = snap.stages()
    market = stages[0]
    details = "; ".join(
        f"{stage.name}: {stage.state}, {wording.duration(stage.age)} old (limit {wording.duration(stage.limit)})"
        for stage in stages
    )
    pill = h(
        "span",
        {"class": f"pill p-{market.state.lower().replace(' ', '-')}", "id": "pill", "role": "status", "title": details},
        h("span", {"aria-hidden": "true"}, PILL_MARKS[market.state] + " "),
        market.state,
    )
    late = [stage for stage in stages[1:] if stage.state not in ("LIVE",)]
    next_run: Tree | str = "simulated clock" if snap.declared else moment(freshness.next_run(now), "hm")
    return h(
        "div",
        {"class": "status", "data-now": now.isoformat(), "data-declared": "1" if snap.declared else None},
        h("span", "pills", pill, h("span", {"class": "pill p-offline", "role": "status"}, "○ OFFLINE")),
        h("span", "said", "data ", moment(market.newest, "age"), " old")
        if market.newest
        else h("span", "said", "no data yet"),
        *(
            h("span", {"class": "said late", "key": stage.name}, f"{stage.name} {stage.state.lower()}")
            for stage in late
        ),
        _count("Cascades 24 h", snap.counted("LIQUIDATION_CASCADE"), context.view.href(page="/cascades")),
        _count(
            "Volatility events 24 h",
            snap.counted("VOLATILITY_REGIME_CHANGE"),
            context.view.href(page="/alerts", event="VOLATILITY_REGIME_CHANGE"),
        ),
        _count("Open alerts", snap.open_episodes, context.view.href(page="/alerts")),
        h("span", "said", "Next run ", next_run),
        h("span", "said clock", moment(now, "now"), f" {context.zone_name}"),
    )


def _count(name: str, value: int, href: str) -> Tree:
    return link(href, f"{name} ", h("b", None, wording.count(value)), class_="said count")


def unreachable(sources: Rows) -> list[str]:
    """Venues of bars, if not one of them can be reached from here; otherwise none."""
    asked = [row for row in sources if row["kind"] == "ohlcv"]
    if not all(row["state"] in ("OUTAGE", "GEO_BLOCKED") for row in asked):
        return []
    return list(dict.fromkeys(str(row["venue"]) for row in asked))


def banner(context: Context) -> Tree:
    """Permanent and passing notes: simulated data, a database that is away, wrong values in the address."""
    snap = context.snap
    lines: list[Tree] = []
    if snap.is_simulated:
        lines.append(
            h(
                "p",
                {"class": "ribbon", "key": "simulated"},
                "Simulated market: every price, liquidation and alert on this page is invented.",
            )
        )
    if snap.error and not snap.ready:
        lines.append(
            h(
                "p",
                {"class": "warn", "key": "wait", "role": "alert"},
                f"Nothing to show yet: {snap.error}. This page goes on trying.",
            )
        )
    elif snap.error:
        lines.append(
            h(
                "p",
                {"class": "warn", "key": "down", "role": "alert"},
                *(
                    ["The database does not answer since ", moment(snap.down_since, "hms"), "."]
                    if snap.error.startswith(AWAY)
                    else ["Not refreshed since ", moment(snap.down_since, "hms"), f": {snap.error}."]
                ),
                " Shown is the last state; this page recovers by itself.",
            )
        )
    elif not snap.market:
        lines.append(
            h(
                "p",
                {"class": "warn", "key": "empty"},
                "The tables are empty. `regimes up` fetches the history when it starts and goes on trying, "
                "`regimes backfill` does it once.",
            )
        )
    silent = unreachable(snap.sources)
    if silent and not snap.error:
        lines.append(
            h(
                "p",
                {"class": "warn", "key": "silent", "role": "alert"},
                f"No venue of bars can be reached: {', '.join(silent)}. Is this machine online? `regimes probe` asks "
                "each of them; Data health has what they said.",
            )
        )
    if snap.mode == "read_only":
        lines.append(
            h(
                "p",
                {"class": "info", "key": "mode"},
                "Read-only session: replay and silence are off until `regimes db upgrade` has made the role "
                "regimes_dashboard.",
            )
        )
    lines += [h("p", {"class": "info", "key": f"note{number}"}, text) for number, text in enumerate(context.notes)]
    return h("div", "banner", *lines)
