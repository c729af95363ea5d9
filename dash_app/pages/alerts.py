"""Alerts: the list with filters, one alert in full, endpoints, silences.

What belongs here: the page's parts. What does not: delivery (the sensor's), details of one alert
(``components/alert_detail.py``).
"""

from typing import Any

from dash_app import wording
from dash_app.components import alert_detail, alert_rows, badges, controls
from dash_app.components.frame import chart, grid, panel, place
from dash_app.components.table import Column, numbers, table, times
from dash_app.panels import Context, Page, Part
from dash_app.queries import alerts
from dash_app.tree import Tree, h, link, moment
from regimes_dagster.schemas import EVENT_TYPES, OPERATIONAL_EVENT_TYPES

FILTERS = ("symbol", "range", "start", "end", "event", "severity", "search", "alert")
MOST = 300


def _stats(context: Context) -> Tree:
    snap = context.snap
    states = snap.deliveries
    waiting = states.get("PENDING", 0) + states.get("RETRYING", 0)
    dead = states.get("DEAD", 0) + states.get("EXPIRED", 0)
    working = sum(1 for row in snap.endpoints if row["state"] == "ACTIVE")
    opened = sum(row["n"] for row in snap.opened)
    critical = sum(row["n"] for row in snap.opened if row["severity"] == "CRITICAL")
    return h(
        "div",
        "stats",
        badges.figure("Opened · 24 h", wording.count(opened), f"{critical} critical"),
        badges.figure("Open now", wording.count(snap.open_episodes), "episodes that are active"),
        badges.figure("Delivered · 24 h", wording.count(states.get("DELIVERED", 0)), "messages accepted by a receiver"),
        badges.figure("Waiting", wording.count(waiting), "pending or retrying"),
        badges.figure("Dead · 24 h", wording.count(dead), "given up; replay possible"),
        badges.figure("Endpoints", f"{working} / {len(snap.endpoints)}", "working / configured"),
    )


def _controls(context: Context) -> Tree:
    view = context.view
    events = [
        ("", "every event"),
        *((name, wording.event_name(name)) for name in (*EVENT_TYPES, *OPERATIONAL_EVENT_TYPES)),
    ]
    severities = [("", "every severity"), ("WARNING", "warning and above"), ("CRITICAL", "critical only")]
    return h(
        "div",
        "controls",
        h(
            "div",
            "field",
            controls.select("Event", "event", view.event, events),
            controls.select("Severity", "severity", view.severity, severities),
            h(
                "input",
                {
                    "type": "search",
                    "data-param": "q",
                    "value": view.search,
                    "placeholder": "search",
                    "aria-label": "Search in titles",
                    "class": "select",
                },
            ),
        ),
        controls.ranges(view, ("24h", "7d", "30d", "90d", "1y")),
    )


def _list(context: Context) -> Tree:
    view, (start, _) = context.view, context.window
    rows = alerts.listing(
        context.reader,
        limit=MOST,
        start=start,
        end=max(context.now, context.window[1]),
        event=view.event,
        severity=view.severity,
        search=view.search,
    )
    filtered = "that matches the filters" if view.event or view.severity or view.search else "in this range"
    columns = alert_rows.columns(context)
    tree = table(
        "alerts",
        "Alerts",
        columns,
        rows,
        empty=f"No alert {filtered}. Looked back to {start:%Y-%m-%d %H:%M} UTC.",
        row_key=lambda row: row["alert_id"],
        tools=True,
        row_class=lambda row: "chosen" if row["alert_id"] == view.alert else "",
    )
    if len(rows) == MOST:
        return h(
            "div",
            "block",
            tree,
            h("p", "foot", f"The newest {MOST}; choose a shorter range or a filter to see others."),
        )
    return tree


def _endpoints(context: Context) -> Tree:
    def state(row: dict[str, Any]) -> Tree:
        return badges.state(
            row["state"],
            {"ACTIVE": True, "DISABLED": False}.get(row["state"]),
            row["state"].lower() + (f": {row['state_reason']}" if row["state_reason"] else ""),
        )

    columns = [
        Column("Name", lambda row: h("b", None, row["name"])),
        Column("Host", lambda row: f"{row['host']} …{row['endpoint'][:4]}"),
        Column("State", state, lambda row: row["state"]),
        numbers("Failures", "consecutive_failures", wording.count),
        times("Next try", "retry_at"),
    ]
    return table(
        "endpoints",
        "Endpoints",
        columns,
        context.snap.endpoints,
        empty="No endpoint is configured. Set WEBHOOKS_ALL or [[alerts.webhook]]; the addresses never appear here.",
    )


def _silences(context: Context) -> Tree:
    rows = alerts.silences(context.reader, context.now)
    asked = alerts.requests(context.reader)
    columns = [
        Column("What", lambda row: wording.event_name(row["event_type"]) if row["event_type"] else "every event"),
        Column("Symbol", lambda row: row["symbol"] or "all"),
        times("Until", "ends_at"),
        Column("Why", lambda row: row["comment"] or "–"),
        Column("By", lambda row: row["created_by"] or "–"),
    ]
    requests = [
        h(
            "li",
            {"key": row["id"]},
            h("span", None, row["kind"].lower()),
            h(
                "span",
                None,
                moment(row["requested_at"], "dh"),
                f" · {row['state'].lower()}" + (f": {row['result']}" if row["result"] else ""),
            ),
        )
        for row in asked[:6]
    ]
    return h(
        "div",
        "block",
        table("silences", "Silences", columns, rows, empty="Nothing is silenced."),
        h("h3", None, "Requests") if requests else None,
        h("ul", "request-lines", *requests) if requests else None,
    )


def _back(context: Context) -> Tree:
    row = alert_detail.chosen(context)
    if row is None or row["event_type"] not in alert_detail.AROUND:
        return h("p", "foot", "")
    page = {
        "LIQUIDATION_CASCADE": "/cascades",
        "CORRELATION_BREAK": "/correlation",
        "VOLATILITY_REGIME_CHANGE": "/volatility",
        "REGIME_CONFIRMED": "/regimes",
    }.get(row["event_type"], "/funding")
    changes = {"pair": row["asset_pair"]} if row["asset_pair"] else {"symbol": row["symbol"]}
    href = context.view.href(
        page=page, start=row["ts"] - alert_detail.BEFORE, end=row["ts"] + alert_detail.AFTER, **changes
    )
    return h(
        "p", "foot", "Two days before and one after; dashed: threshold in force. ", link(href, "Open on its page →")
    )


PARTS = (
    Part("astats-figures", _stats, ("alerts",)),
    Part("alist-controls", _controls, (), FILTERS),
    Part("alist-table", _list, ("alerts",), FILTERS),
    Part("adetail-why", alert_detail.why, ("alerts",), FILTERS),
    Part("adetail-chart", alert_detail.chart, ("alerts",), ("alert",), "figure"),
    Part("adetail-back", _back, ("alerts",), FILTERS),
    Part("adetail-payload", alert_detail.payload, ("alerts",), ("alert",)),
    Part("adetail-attempts", alert_detail.attempts, ("alerts",), ("alert",)),
    Part("aendpoints-table", _endpoints, ("alerts",)),
    Part("asilences-table", _silences, ("alerts",)),
)


def layout() -> Any:
    """Counts, the alert in the address, the list, endpoints and silences."""
    detail = panel(
        "adetail",
        "Why did this fire",
        place(PARTS[3], 4),
        chart(PARTS[4], "s", "The figure that fired, around the alert"),
        place(PARTS[5], 1),
        place(PARTS[7], 3),
        place(PARTS[6], 2),
    )
    return grid(
        "page",
        panel("astats", "Alerts and deliveries", place(PARTS[0], 2)),
        detail,
        panel("alist", "Alerts", place(PARTS[1], 1), place(PARTS[2], 10)),
        panel("aendpoints", "Endpoints", place(PARTS[8], 3), area="twothirds", hint="addresses are never shown"),
        panel("asilences", "Silences and requests", place(PARTS[9], 2), area="third"),
    )


PAGE = Page("/alerts", PARTS, layout)
