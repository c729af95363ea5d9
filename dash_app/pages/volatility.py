"""Volatility: level, regime, forecast and what they were.

What belongs here: the page's parts. What does not: estimators and regimes (computed by the pipeline).
"""

from datetime import timedelta
from typing import Any

from dash_app import theme, wording
from dash_app.components import badges, controls, rules, traces, volatility_bars
from dash_app.components.frame import chart, column, grid, panel, place
from dash_app.components.market_charts import revision, x_axis
from dash_app.components.spoken import evidence, spoken
from dash_app.components.table import Column, numbers, table, texts, times
from dash_app.panels import Context, Figure, Page, Part
from dash_app.queries import history
from dash_app.theme import regime_colour
from dash_app.tree import Tree, h, link

Row = dict[str, Any]
RANGED = ("symbol", "range", "start", "end")
#: The same marks as the bars': regimes are not told apart by colour alone.
HATCHES = {"HIGH_VOL": "/", "EXPLOSIVE": "x", "EXTREME": "|"}
HOW: dict[str, history.How] = {
    "volatility": "max",
    "vol_forecast_24h": "last",
    "regime": "last",
    "risk_multiplier": "last",
    "vol_pctl_90d": "last",
    "quality": "last",
}


def _rows(context: Context) -> tuple[list[Row], timedelta]:
    start, end = context.window
    return context.once(
        "volatility",
        lambda: history.series(context.reader, "volatility_features", context.view.symbol, start, end, HOW, points=800),
    )


def _chart(context: Context) -> Figure:
    colours, (rows, width) = context.colours, _rows(context)
    if not rows:
        return theme.blank(colours)
    limits = context.settings.volatility
    scale = limits.threshold_scale.get(context.view.symbol, 1.0)
    top = max((row["volatility"] for row in rows if row["volatility"] is not None), default=0.0)
    shapes, notes = [], []
    for edge, name, colour in (
        (limits.stable_threshold, "HIGH_VOL", "high_vol"),
        (limits.high_vol_threshold, "EXPLOSIVE", "explosive"),
        (limits.explosive_threshold, "EXTREME", "extreme"),
    ):
        if edge * scale <= 1.25 * top:
            shape, note = traces.limit(
                colours, 100 * edge * scale, colour=colour, text=f"{name} above {100 * edge * scale:g} %"
            )
            shapes.append(shape)
            notes.append(note)
    data = [
        traces.line(
            context,
            rows,
            "forecast",
            "vol_forecast_24h",
            "%{y:.2f} %",
            factor=100,
            color=colours["soft"],
            width=1.2,
            dash="dot",
        ),
        traces.line(
            context,
            rows,
            "volatility",
            "volatility",
            "%{y:.2f} % per 24 h",
            factor=100,
            color=colours["accent"],
            width=1.8,
        ),
        traces.strip(
            context,
            rows,
            width,
            "regime",
            lambda row: regime_colour(colours, row["regime"]),
            lambda row: row["regime"] or "UNKNOWN",
            axis="y2",
            hatch=lambda said: HATCHES.get(said, ""),
        ),
    ]
    layout = theme.layout(
        colours,
        xaxis=x_axis(context, anchor="y2"),
        yaxis=theme.axis(colours, domain=[0.12, 1], fixedrange=True, ticksuffix=" %", rangemode="tozero"),
        yaxis2=theme.axis(colours, domain=[0, 0.055], fixedrange=True, visible=False, range=[0, 1]),
        bargap=0,
        shapes=shapes,
        annotations=notes,
        uirevision=revision(context),
    )
    return {"data": data, "layout": layout}


def _text(context: Context) -> Tree:
    rows, width = _rows(context)
    columns = [
        times(f"Hour ended ({context.zone_name})", "ts"),
        numbers("Volatility", "volatility", wording.percent),
        Column("Regime", lambda row: badges.regime(row["regime"]), lambda row: row["regime"]),
        numbers("Forecast", "vol_forecast_24h", wording.percent),
        numbers("Rank 90 d", "vol_pctl_90d", wording.whole_percent),
    ]
    known = [row["regime"] for row in rows if row["regime"] not in (None, "UNKNOWN")]
    shares = ", ".join(
        f"{name} {100 * known.count(name) / len(known):.0f} %"
        for name in ("STABLE", "HIGH_VOL", "EXPLOSIVE", "EXTREME")
        if name in known
    )
    step = (
        f" Highest value of each {wording.hours(width.total_seconds() / 3600)}." if width > timedelta(hours=1) else ""
    )
    return spoken(
        context,
        "volatility",
        "volatility_features",
        columns,
        rows,
        h("span", "key k-accent", "volatility"),
        h("span", "key k-dots", "forecast of the next 24 h"),
        f"Time in regimes: {shares or 'unknown'}.{step}",
    )


def _table(context: Context) -> Tree:
    rows = [context.snap.volatility[symbol] for symbol in context.settings.symbols if symbol in context.snap.volatility]
    columns = [
        Column(
            "Symbol",
            lambda row: link(context.view.href(symbol=row["symbol"]), wording.base(row["symbol"]), class_="sym"),
            lambda row: row["symbol"],
        ),
        Column("Regime", lambda row: badges.regime(row["regime"]), lambda row: row["regime"]),
        numbers("24 h", "volatility", wording.percent),
        numbers("Per year", "vol_annualised", wording.whole_percent),
        numbers("Forecast", "vol_forecast_24h", wording.percent),
        texts("Model", "forecast_model"),
        numbers("Rank 90 d", "vol_pctl_90d", wording.whole_percent),
        Column(
            "Relative",
            lambda row: (row["relative_regime"] or "–").replace("_", " ").lower(),
            lambda row: row["relative_regime"],
        ),
        numbers("Caution", "risk_multiplier", wording.times),
        numbers("Position scale", "position_scale", lambda value: wording.times(value, 2)),
        numbers("P(lower in 24 h)", "mean_reversion_prob", wording.whole_percent),
        numbers("Half-life", "half_life_days", lambda value: "–" if value is None else f"{value:.1f} d"),
        numbers("In regime", "bars_in_regime", wording.hours),
        Column(
            "Tags",
            lambda row: (
                ", ".join(
                    name
                    for name, holds in (
                        ("flash wick", row["flash_wick"]),
                        ("suspect wick", row["suspect_wick"]),
                        ("few bars", row["quality"] != "OK"),
                    )
                    if holds
                )
                or "–"
            ),
        ),
    ]
    return h(
        "div",
        "block",
        table(
            "volatility",
            "Volatility now, every symbol",
            columns,
            rows,
            empty="No volatility yet. It needs 22 of 24 hourly bars.",
            row_key=lambda row: row["symbol"],
            tools=len(rows) > 6,
            row_class=lambda row: "chosen" if row["symbol"] == context.view.symbol else "",
        ),
        h(
            "p",
            "foot",
            "The caution factor widens stops (",
            h("b", None, "not"),
            " a position size); the position scale aims at ",
            wording.percent(context.settings.volatility.target_daily_vol, 1),
            " per day.",
        ),
    )


PARTS = (
    Part("vbars-rows", volatility_bars.volatility_bars, ("volatility",), ("symbol",)),
    Part(
        "vchart-controls",
        lambda context: h(
            "div", "controls", controls.symbols(context.view, context.settings.symbols), controls.ranges(context.view)
        ),
        ("correlation",),
        (*RANGED, "pair"),
    ),
    Part("vchart-figure", _chart, ("volatility",), RANGED, "figure"),
    Part("vchart-text", _text, ("volatility",), RANGED),
    Part("vtable-rows", _table, ("volatility", "correlation"), (*RANGED, "pair")),
    Part("vrules-facts", rules.volatility, ()),
    Part("vevidence-table", evidence("5", "6", "7"), ("evidence",)),
)


def layout() -> Any:
    """Bars beside the history, figures and evidence below."""
    return grid(
        "page",
        column(
            "third",
            panel("vbars", "Now", place(PARTS[0], 9), hint="24 h · caution factor"),
            panel("vrules", "Rules in force", place(PARTS[5], 4)),
        ),
        panel(
            "vchart",
            "Volatility and regime",
            place(PARTS[1], 1),
            chart(PARTS[2], "l", "Volatility with the regimes' edges and its forecast"),
            place(PARTS[3], 1),
            area="twothirds",
        ),
        panel("vtable", "Every symbol", place(PARTS[4], 4)),
        panel("vevidence", "Evidence", place(PARTS[6], 3), hint="measured, not promised"),
    )


PAGE = Page("/volatility", PARTS, layout)
