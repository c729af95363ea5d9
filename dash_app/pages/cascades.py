"""Cascades: where leverage was flushed, when, and by how much.

What belongs here: the page's parts. What does not: the cascade rule (computed by the pipeline).
"""

from typing import Any

from dash_app import wording
from dash_app.components import cascade_table, controls, liquidation_chart, market_charts
from dash_app.components.frame import chart, grid, panel, place
from dash_app.components.spoken import evidence, spoken
from dash_app.components.table import Column, numbers, table, times
from dash_app.panels import Context, Page, Part
from dash_app.queries import alerts, latest
from dash_app.tree import Tree, h

RANGED = ("symbol", "range", "start", "end")


def _controls(context: Context) -> Tree:
    return h("div", "controls", controls.symbols(context.view, context.settings.symbols), controls.ranges(context.view))


def _text(context: Context) -> Tree:
    rows, width = liquidation_chart.sums(context)
    columns = [
        times(f"Until ({context.zone_name})", "ts"),
        numbers("Long /h", "long_liq_usd", wording.money),
        numbers("Short /h", "short_liq_usd", wording.money),
        numbers("Limit /h", "critical_velocity_eff", wording.money),
        numbers("Coverage", "coverage", wording.whole_percent),
    ]
    worst = max((row for row in rows if row["severity"] is not None), key=lambda row: row["severity"], default=None)
    words = (
        "No liquidation is stored in this range."
        if worst is None
        else f"Highest severity {wording.number(worst['severity'])} × limit; bars are means per hour over "
        f"{wording.hours(width.total_seconds() / 3600)}."
    )
    keys = (
        h("span", "key k-long", "long"),
        h("span", "key k-short", "short"),
        h("span", "key k-limit", "limit in force"),
        h("span", "key k-hatch", "not observed"),
    )
    return spoken(context, "liquidations", "liquidation_features", columns, rows, *keys, words)


def _events(context: Context) -> Tree:
    start, end = context.window
    rows = alerts.cascades(context.reader, start, end)
    return table(
        "cascades",
        "Cascades of the range, all symbols",
        cascade_table.columns(context),
        rows,
        empty=cascade_table.nothing(context, f"this range ({context.view.range_key})"),
        row_key=lambda row: row["alert_id"],
        tools=True,
    )


def _zones(context: Context) -> Tree:
    rows = context.once("zones", lambda: latest.zones(context.reader, context.view.symbol, context.window[1]))
    columns = [
        Column("Side", lambda row: row["side"].lower()),
        Column(
            "Price",
            lambda row: h(
                "span",
                {"title": f"{wording.price(row['price_low'])} to {wording.price(row['price_high'])}"},
                wording.price(row["price_center"]),
            ),
            lambda row: row["price_center"],
            number=True,
        ),
        numbers("Flushed", "liq_usd", wording.money),
        numbers("Share", "usd_share", wording.whole_percent),
        numbers("Longs", "long_share", wording.whole_percent),
        numbers(
            "Distance", "dist_pct", lambda value: wording.percent(None if value is None else value / 100, 1, sign=True)
        ),
        times("Last touch", "last_touch_ts"),
    ]
    return h(
        "div",
        "block",
        table(
            "zones",
            f"Liquidation zones of {context.view.symbol}",
            columns,
            rows,
            empty="No zone: fewer than 50 liquidations or 250,000 USD in the last week.",
        ),
        h(
            "p",
            "foot",
            "Zones say where leverage was flushed in the last week. They do not say that a price level will hold.",
        ),
    )


PARTS = (
    Part("cprice-controls", _controls, ("correlation",), (*RANGED, "pair")),
    Part("cprice-chart", market_charts.price, ("market", "liquidation", "funding", "alerts"), RANGED, "figure"),
    Part("csums-chart", liquidation_chart.liquidations, ("liquidation",), RANGED, "figure"),
    Part("csums-text", _text, ("liquidation",), RANGED),
    Part("cevents-table", _events, ("alerts", "liquidation"), ("range", "start", "end", "symbol")),
    Part("czones-table", _zones, ("liquidation",), RANGED),
    Part("cevidence-table", evidence("8", "9", "10", "11"), ("evidence",)),
)


def layout() -> Any:
    """Charts first, then the events and the zones."""
    return grid(
        "page",
        panel(
            "cprice",
            "Price with liquidation zones and cascades",
            place(PARTS[0], 1),
            chart(PARTS[1], "l", "Price with liquidation zones and cascades; funding below"),
            hint="▲ cascade · bands: flushed leverage · below: funding per 8 h",
        ),
        panel(
            "csums",
            "Liquidations per hour",
            chart(PARTS[2], "m", "Liquidated longs and shorts per hour with the limit in force"),
            place(PARTS[3], 1),
        ),
        panel("cevents", "Cascades", place(PARTS[4], 6), hint="all symbols · suppressed ones included", area="half"),
        panel("czones", "Zones", place(PARTS[5], 6), hint="last 7 days, weighted by age", area="half"),
        panel("cevidence", "Evidence", place(PARTS[6], 2), hint="measured, not promised"),
    )


PAGE = Page("/cascades", PARTS, layout)
