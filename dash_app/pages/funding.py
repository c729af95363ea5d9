"""Funding: rates in 8-hour equivalents, how unusual they are, and how long deviations last.

What belongs here: the page's parts. What does not: the anomaly rule.
"""

from typing import Any

from dash_app import theme, wording
from dash_app.components import badges, controls, rules, traces
from dash_app.components.frame import chart, grid, panel, place
from dash_app.components.market_charts import revision, x_axis
from dash_app.components.spoken import evidence, spoken
from dash_app.components.table import Column, numbers, table, texts, times
from dash_app.panels import Context, Figure, Page, Part
from dash_app.queries import funding, latest
from dash_app.theme import faded
from dash_app.tree import Tree, h, link

Row = dict[str, Any]
RANGED = ("symbol", "range", "start", "end")


def _bp(value: float | None) -> str:
    return wording.basis_points(value)


def _now(context: Context) -> Tree:
    rows = [context.snap.funding[symbol] for symbol in context.settings.symbols if symbol in context.snap.funding]
    columns = [
        Column(
            "Symbol",
            lambda row: link(context.view.href(symbol=row["symbol"]), wording.base(row["symbol"]), class_="sym"),
            lambda row: row["symbol"],
        ),
        numbers("8 h rate", "funding_rate_8h", _bp),
        Column(
            "Raw",
            lambda row: (
                f"{_bp(row['funding_rate'])} / {row['interval_h']:g} h" if row["funding_rate"] is not None else "–"
            ),
            lambda row: row["funding_rate"],
            number=True,
        ),
        numbers("Per year", "funding_apr", lambda value: wording.percent(value, 1, sign=True)),
        numbers("z", "funding_z_score", wording.sigma),
        numbers(
            "Change 24 h",
            "change_24h_pp",
            lambda value: "–" if value is None else f"{wording.number(100 * value, 2, sign=True)} bp",
        ),
        numbers("Score", "anomaly_score", wording.number),
        numbers("Rank 90 d", "pctl_90d", wording.whole_percent),
        numbers("Half-life", "half_life_h", wording.hours),
        numbers("Venue spread", "spread_8h_bp", lambda value: "–" if value is None else f"{value:.1f} bp"),
        texts("Venue", "venue"),
        Column("State", _state, lambda row: row["state"]),
    ]
    return table(
        "funding",
        "Funding now, every symbol",
        columns,
        rows,
        empty="No funding is stored yet; see Data health for the venues.",
        row_key=lambda row: row["symbol"],
        tools=len(rows) > 6,
        row_class=lambda row: "chosen" if row["symbol"] == context.view.symbol else "",
    )


def _state(row: Row) -> Tree | str:
    if row["is_anomaly"]:
        return h("span", {"title": "; ".join(row["reasons"] or [])}, badges.state("anomaly", False, "anomaly"))
    if row["quality"] != "OK":
        return badges.state("few", None, f"{row['n_ref']} values")
    return badges.state("usual", True, "usual")


def _rows(context: Context) -> list[Row]:
    start, end = context.window
    return context.once("settled", lambda: funding.settled(context.reader, context.view.symbol, start, end))


def _chart(context: Context) -> Figure:
    colours, settled = context.colours, _rows(context)
    limits = context.settings.funding
    if not settled:
        return theme.blank(colours)
    rows = funding.held(settled, context.window[1])
    for row in rows:
        sd = row["funding_volatility"]
        known = row["funding_mean"] is not None and sd is not None
        row["low"] = row["funding_mean"] - limits.anomaly_z_threshold * sd if known else None
        row["high"] = row["funding_mean"] + limits.anomaly_z_threshold * sd if known else None
    odd = [row for row in settled if row["is_anomaly"]]
    band: dict[str, Any] = {"width": 0}
    low = traces.line(context, rows, "usual, low", "low", "%{y:+.2f} bp", factor=1e4, color=colours["soft"], **band) | {
        "hoverinfo": "skip",
        "hovertemplate": None,
    }
    high = traces.line(
        context, rows, "usual, high", "high", "%{y:+.2f} bp", factor=1e4, color=colours["soft"], **band
    ) | {
        "hoverinfo": "skip",
        "hovertemplate": None,
        "fill": "tonexty",
        "fillcolor": faded(colours["soft"], 0.16),
    }
    data = [
        low,
        high,
        traces.line(
            context,
            rows,
            "rate",
            "funding_rate_8h",
            "%{y:+.2f} bp per 8 h",
            factor=1e4,
            color=colours["accent"],
            shape="hv",
        ),
        traces.marks(context, odd, "funding_rate_8h", colours["explosive"], factor=1e4),
        traces.line(context, rows, "z", "funding_z_score", "%{y:+.1f}σ", axis="y2", color=colours["text"], width=1.2),
    ]
    shapes = [traces.limit(colours, sign * limits.anomaly_z_threshold, "y2")[0] for sign in (1, -1)]
    layout = theme.layout(
        colours,
        xaxis=x_axis(context, anchor="y2"),
        yaxis=theme.axis(
            colours, domain=[0.36, 1], fixedrange=True, ticksuffix=" bp", zeroline=True, zerolinecolor=colours["line"]
        ),
        yaxis2=theme.axis(
            colours,
            domain=[0, 0.28],
            fixedrange=True,
            ticksuffix="σ",
            nticks=4,
            zeroline=True,
            zerolinecolor=colours["line"],
        ),
        shapes=shapes,
        uirevision=revision(context),
    )
    return {"data": data, "layout": layout}


def _text(context: Context) -> Tree:
    rows = _rows(context)
    columns = [
        times(f"Settled ({context.zone_name})", "settle_ts"),
        numbers("8 h rate", "funding_rate_8h", _bp),
        numbers("z", "funding_z_score", wording.sigma),
        numbers("Change 24 h (pp)", "change_24h_pp", lambda value: wording.number(value, 3, sign=True)),
        Column("Anomaly", lambda row: "yes" if row["is_anomaly"] else "no"),
        texts("Venue", "venue"),
    ]
    odd = sum(1 for row in rows if row["is_anomaly"])
    threshold = wording.number(context.settings.funding.anomaly_z_threshold, 1)
    return spoken(
        context,
        "funding",
        "funding_features",
        columns,
        rows,
        h("span", "key k-accent", "rate per 8 h"),
        h("span", "key k-soft", f"usual: mean ± {threshold}σ of 90 settlements"),
        h("span", "key k-limit", f"z limit ±{threshold}"),
        f"{odd} of {len(rows)} settlements are anomalies.",
    )


def _venues(context: Context) -> Tree:
    rows = latest.venues(context.reader, [context.view.symbol])
    in_force = context.snap.funding.get(context.view.symbol, {}).get("venue")
    columns = [
        Column(
            "Venue",
            lambda row: row["venue"] + (" · in force" if row["venue"] == in_force else ""),
            lambda row: row["venue"],
        ),
        numbers("8 h rate", "funding_rate_8h", _bp),
        numbers("z", "funding_z_score", wording.sigma),
        times("Block ended", "ts"),
    ]
    return table(
        "funding-venues",
        f"Funding of {context.view.symbol} by venue",
        columns,
        rows,
        empty="No venue has a complete 8-hour block of the last two days.",
    )


PARTS = (
    Part("fnow-table", _now, ("funding", "correlation"), (*RANGED, "pair")),
    Part(
        "fchart-controls",
        lambda context: h(
            "div", "controls", controls.symbols(context.view, context.settings.symbols), controls.ranges(context.view)
        ),
        ("correlation",),
        (*RANGED, "pair"),
    ),
    Part("fchart-figure", _chart, ("funding",), RANGED, "figure"),
    Part("fchart-text", _text, ("funding",), RANGED),
    Part("fvenues-table", _venues, ("funding",), ("symbol",)),
    Part("frules-facts", rules.funding, ()),
    Part("fevidence-table", evidence("12", "13"), ("evidence",)),
)


def layout() -> Any:
    """The present first, then history, venues and evidence."""
    return grid(
        "page",
        panel("fnow", "Funding now", place(PARTS[0], 4), hint="basis points of the position per 8 hours"),
        panel(
            "fchart",
            "Rate and score",
            place(PARTS[1], 1),
            chart(PARTS[2], "l", "Funding rate inside its usual band, score below"),
            place(PARTS[3], 1),
        ),
        panel("fvenues", "Venues", place(PARTS[4], 3), area="third"),
        panel("frules", "Rules in force", place(PARTS[5], 4), area="third"),
        panel("fevidence", "Evidence", place(PARTS[6], 3), hint="measured, not promised", area="third"),
    )


PAGE = Page("/funding", PARTS, layout)
