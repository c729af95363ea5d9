"""Regimes: the label of every timeframe, their agreement, and how both went.

What belongs here: the page's parts. What does not: labels and votes (computed by the pipeline).
"""

from datetime import timedelta
from typing import Any

from dash_app import theme, wording
from dash_app.components import badges, controls, regime_rows, rules, traces
from dash_app.components.frame import chart, column, grid, panel, place
from dash_app.components.market_charts import revision, x_axis
from dash_app.components.regime_rows import TIMEFRAMES
from dash_app.components.spoken import evidence, spoken
from dash_app.components.table import Column, numbers, table, times
from dash_app.panels import Context, Figure, Page, Part
from dash_app.queries import history
from dash_app.theme import faded
from dash_app.tree import Tree, h, link

Row = dict[str, Any]
RANGED = ("symbol", "range", "start", "end")
HOW: dict[str, history.How] = {
    "confidence": "last",
    "confidence_weighted": "last",
    "long_bias": "last",
    "primary_regime": "last",
    "family": "last",
    "risk_multiplier": "last",
    **{f"regime_{name}": "last" for name in TIMEFRAMES},
}


def _rows(context: Context) -> tuple[list[Row], timedelta]:
    start, end = context.window
    return context.once(
        "regimes", lambda: history.series(context.reader, "regimes", context.view.symbol, start, end, HOW, points=500)
    )


def _chart(context: Context) -> Figure:
    colours, (rows, width) = context.colours, _rows(context)
    if not rows:
        return theme.blank(colours)
    families = {-1: faded(colours["explosive"], 0.8), 0: faded(colours["soft"], 0.28), 1: faded(colours["stable"], 0.8)}
    confirm = context.settings.multi_timeframe.confirm_threshold
    shape, note = traces.limit(colours, 100 * confirm, colour="accent", text=f"confirmed above {100 * confirm:.0f} %")
    data = [
        traces.line(
            context, rows, "confidence", "confidence", "%{y:.0f} %", factor=100, color=colours["accent"], shape="hv"
        ),
        traces.line(
            context,
            rows,
            "weighted",
            "confidence_weighted",
            "%{y:.0f} %",
            factor=100,
            color=colours["soft"],
            width=1,
            dash="dot",
        ),
        *(
            traces.strip(
                context,
                rows,
                width,
                name,
                lambda row, name=name: families[badges.family(row[f"regime_{name}"] or "", context.settings)],  # type: ignore[misc]
                lambda row, name=name: (
                    f"{badges.emoji(row[f'regime_{name}'] or '', context.settings)} "
                    f"{row[f'regime_{name}'] or 'UNKNOWN'}"
                ),  # type: ignore[misc]
                axis="y2",
                base=float(position),
                hatch=lambda said: "/" if badges.family(said.split(" ")[-1], context.settings) < 0 else "",
            )
            for position, name in enumerate(reversed(TIMEFRAMES))
        ),
    ]
    layout = theme.layout(
        colours,
        barmode="overlay",
        bargap=0,
        xaxis=x_axis(context, anchor="y2"),
        yaxis=theme.axis(colours, domain=[0.5, 1], fixedrange=True, ticksuffix=" %", range=[0, 104], nticks=5),
        yaxis2=theme.axis(
            colours,
            domain=[0, 0.42],
            fixedrange=True,
            range=[0, 4],
            tickvals=[0.42, 1.42, 2.42, 3.42],
            ticktext=list(reversed(TIMEFRAMES)),
            showgrid=False,
        ),
        shapes=[shape],
        annotations=[note],
        uirevision=revision(context),
    )
    return {"data": data, "layout": layout}


def _text(context: Context) -> Tree:
    rows, _ = _rows(context)
    columns = [
        times(f"Hour ended ({context.zone_name})", "ts"),
        Column("Primary", lambda row: row["primary_regime"] or "–"),
        numbers("Confidence", "confidence", wording.whole_percent),
        numbers("Weighted", "confidence_weighted", wording.whole_percent),
        numbers("Long bias", "long_bias", lambda value: wording.number(value, 2, sign=True)),
        *(Column(name, lambda row, name=name: row[f"regime_{name}"] or "–") for name in TIMEFRAMES),  # type: ignore[misc]
    ]
    known = [row for row in rows if row["family"] is not None]
    shares = (
        ", ".join(
            f"{word} {100 * sum(1 for row in known if row['family'] == family) / len(known):.0f} %"
            for family, word in ((1, "bull"), (0, "neutral"), (-1, "bear"))
        )
        if known
        else "unknown"
    )
    return spoken(
        context,
        "regimes",
        "regimes",
        columns,
        rows,
        h("span", "key k-accent", "confidence"),
        h("span", "key k-dots", "weighted"),
        h("span", "key k-bull", "bull"),
        h("span", "key k-neutral", "neutral"),
        h("span", "key k-bear", "bear"),
        f"Leading family: {shares} of the time.",
    )


def _table(context: Context) -> Tree:
    rows = [context.snap.regimes[symbol] for symbol in context.settings.symbols if symbol in context.snap.regimes]

    def timeframe(name: str) -> Column:
        def cell(row: Row) -> Tree:
            label = row[f"regime_{name}"]
            scores = f"price {wording.sigma(row[f'price_z_{name}'])}, volatility {wording.sigma(row[f'vol_z_{name}'])}"
            return h(
                "span",
                {"title": scores, "class": f"label fam-{badges.FAMILIES[badges.family(label, context.settings)]}"},
                h("span", {"aria-hidden": "true"}, badges.emoji(label, context.settings) + " "),
                label,
            )

        return Column(name, cell, lambda row: row[f"regime_{name}"])

    columns = [
        Column(
            "Symbol",
            lambda row: link(context.view.href(symbol=row["symbol"]), wording.base(row["symbol"]), class_="sym"),
            lambda row: row["symbol"],
        ),
        *(timeframe(name) for name in TIMEFRAMES),
        numbers("Confidence", "confidence", wording.whole_percent),
        numbers("Weighted", "confidence_weighted", wording.whole_percent),
        numbers("Long bias", "long_bias", lambda value: wording.number(value, 2, sign=True)),
        numbers("Caution", "risk_multiplier", wording.times),
        numbers("Heat", "heat", wording.whole_percent),
        numbers("In regime", "hours_in_regime", wording.hours),
    ]
    return h(
        "div",
        "block",
        table(
            "regimes",
            "Regimes now, every symbol and timeframe",
            columns,
            rows,
            empty="No regimes yet. They need about 30 days of hourly bars.",
            row_key=lambda row: row["symbol"],
            tools=len(rows) > 6,
            row_class=lambda row: "chosen" if row["symbol"] == context.view.symbol else "",
        ),
        h(
            "p",
            "foot",
            "Agreement of timeframes says that a regime lasts, not where the price goes next: see the evidence.",
        ),
    )


PARTS = (
    Part("rnow-rows", regime_rows.regime_rows, ("regimes",), ("symbol",)),
    Part("rnow-foot", regime_rows.as_of, ("regimes",)),
    Part(
        "rchart-controls",
        lambda context: h(
            "div", "controls", controls.symbols(context.view, context.settings.symbols), controls.ranges(context.view)
        ),
        ("correlation",),
        (*RANGED, "pair"),
    ),
    Part("rchart-figure", _chart, ("regimes",), RANGED, "figure"),
    Part("rchart-text", _text, ("regimes",), RANGED),
    Part("rtable-rows", _table, ("regimes", "correlation"), (*RANGED, "pair")),
    Part("rrules-facts", rules.regimes, ()),
    Part("revidence-table", evidence("16"), ("evidence",)),
)


def layout() -> Any:
    """The guide's panel beside the history, figures and evidence below."""
    return grid(
        "page",
        column(
            "third",
            panel("rnow", "Now", place(PARTS[0], 9), place(PARTS[1], 1)),
            panel("rrules", "Rules in force", place(PARTS[6], 3)),
        ),
        panel(
            "rchart",
            "Agreement and timeframes",
            place(PARTS[2], 1),
            chart(PARTS[3], "l", "Confidence over time and the label of each timeframe"),
            place(PARTS[4], 1),
            area="twothirds",
        ),
        panel("rtable", "Every symbol", place(PARTS[5], 4)),
        panel("revidence", "Evidence", place(PARTS[7], 3), hint="measured, not promised"),
    )


PAGE = Page("/regimes", PARTS, layout)
