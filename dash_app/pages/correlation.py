"""Correlation: pairs against their own usual band, spreads and leaders.

What belongs here: the page's parts. What does not: the break rule.
"""

from typing import Any

from dash_app import wording
from dash_app.components import badges, controls, correlation_views, rules
from dash_app.components.frame import chart, column, grid, panel, place
from dash_app.components.spoken import evidence, spoken
from dash_app.components.table import Column, numbers, table, times
from dash_app.panels import Context, Page, Part
from dash_app.tree import Tree, h, link

Row = dict[str, Any]
RANGED = ("pair", "range", "start", "end")


def _rho(value: float | None) -> str:
    return wording.number(value, 2, sign=True)


def _text(context: Context) -> Tree:
    rows = correlation_views.pair_rows(context)
    columns = [
        times(f"Hour ended ({context.zone_name})", "ts"),
        numbers("72 h", "return_correlation", _rho),
        numbers("Usual", "baseline_correlation", _rho),
        numbers("Band low", "band_low", _rho),
        numbers("Band high", "band_high", _rho),
        numbers("break_z", "break_z", wording.sigma),
        numbers("spread_z", "spread_z", wording.sigma),
    ]
    limit = wording.sigma(context.settings.correlation.break_z)
    below = sum(
        1 for row in rows if row["break_z"] is not None and row["break_z"] <= context.settings.correlation.break_z
    )
    return spoken(
        context,
        "correlation",
        "correlation_features",
        columns,
        rows,
        h("span", "key k-accent", "72 h correlation"),
        h("span", "key k-soft", "usual band, 5 to 95 % of 90 days"),
        h("span", "key k-limit", f"break limit {limit}"),
        f"{below} of {len(rows)} points at or below the limit.",
    )


def _table(context: Context) -> Tree:
    rows = [context.snap.correlation[pair] for pair in context.snap.pairs if pair in context.snap.correlation]

    def signal(row: Row) -> Tree | str:
        if row["signal"] == "NONE":
            return (
                badges.state("usual", True, "usual")
                if row["quality"] == "OK"
                else badges.state("few", None, f"{row['n_obs']} hours")
            )
        return badges.state(row["signal"], False, row["signal"].replace("_", " ").lower())

    columns = [
        Column(
            "Pair",
            lambda row: link(
                context.view.href(pair=row["asset_pair"], start=None, end=None),
                wording.pair_name(row["asset_pair"]),
                class_="sym",
            ),
            lambda row: row["asset_pair"],
        ),
        numbers("72 h", "return_correlation", _rho),
        numbers("24 h", "corr_24h", _rho),
        numbers("168 h", "corr_168h", _rho),
        numbers("720 h", "corr_720h", _rho),
        numbers("Usual", "baseline_correlation", _rho),
        Column(
            "Band",
            lambda row: f"{_rho(row['band_low'])} to {_rho(row['band_high'])}" if row["band_low"] is not None else "–",
            lambda row: row["band_low"],
            number=True,
        ),
        numbers("break_z", "break_z", wording.sigma),
        numbers("spread_z", "spread_z", wording.sigma),
        numbers("β", "beta", wording.number),
        numbers("Half-life", "spread_half_life_h", wording.hours),
        Column("Leader", _leader, lambda row: row["leader"]),
        Column("Signal", signal, lambda row: row["signal"]),
    ]
    return table(
        "pairs",
        "Every pair now",
        columns,
        rows,
        empty="No correlations yet. They need 65 common hours of two symbols.",
        row_key=lambda row: row["asset_pair"],
        tools=len(rows) > 6,
        row_class=lambda row: "chosen" if row["asset_pair"] == context.view.pair else "",
    )


def _leader(row: Row) -> Tree | str:
    if row["leader"] == "NONE":
        return h("span", {"class": "soft", "title": row["leader_reason"]}, "none")
    lead = f" by {row['lead_lag_s']:.0f} s" if row["lead_lag_s"] else ""
    return f"{wording.base(row['leader'])}{lead}"


PARTS = (
    Part("kmatrix-table", correlation_views.matrix, ("correlation",), ("symbol", "pair")),
    Part("kmatrix-text", correlation_views.summary, ("correlation",)),
    Part(
        "kchart-controls",
        lambda context: h(
            "div", "controls", controls.pairs(context.view, context.snap.pairs), controls.ranges(context.view)
        ),
        ("correlation",),
        (*RANGED, "symbol"),
    ),
    Part("kchart-figure", correlation_views.pair_chart, ("correlation",), RANGED, "figure"),
    Part("kchart-text", _text, ("correlation",), RANGED),
    Part("ktable-rows", _table, ("correlation",), (*RANGED, "symbol")),
    Part("krules-facts", rules.correlation, ()),
    Part("kevidence-table", evidence("14", "15"), ("evidence",)),
)


def layout() -> Any:
    """The matrix beside the pair, the figures of every pair and the evidence below."""
    return grid(
        "page",
        column(
            "third",
            panel("kmatrix", "Matrix", place(PARTS[0], 5), place(PARTS[1], 1), hint="72 h, hourly returns"),
            panel("krules", "Rules in force", place(PARTS[6], 4)),
        ),
        panel(
            "kchart",
            "Pair inside its usual band",
            place(PARTS[2], 1),
            chart(PARTS[3], "l", "Correlation of the pair inside its usual band, break_z below"),
            place(PARTS[4], 1),
            area="twothirds",
        ),
        panel("ktable", "Every pair", place(PARTS[5], 4)),
        panel("kevidence", "Evidence", place(PARTS[7], 3), hint="measured, not promised"),
    )


PAGE = Page("/correlation", PARTS, layout)
