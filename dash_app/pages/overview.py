"""The overview: what state the market is in, is the data alive, what fired.

What belongs here: the arrangement of the guide's panels. What does not: the panels' content (``components``).
"""

from typing import Any

from dash_app import wording
from dash_app.components import (
    alert_rows,
    cascade_table,
    controls,
    correlation_views,
    liquidation_chart,
    market_charts,
    regime_rows,
    volatility_bars,
)
from dash_app.components.frame import chart, grid, panel, place
from dash_app.panels import Context, Page, Part
from dash_app.tree import Tree, h

RANGED = ("symbol", "range", "start", "end")


def _controls(context: Context) -> Tree:
    return h(
        "div",
        "controls",
        controls.symbols(context.view, context.settings.symbols),
        controls.ranges(context.view, ("24h", "72h", "7d", "30d", "90d")),
    )


def _price_text(context: Context) -> Tree:
    symbol = context.view.symbol
    row = context.snap.market.get(symbol)
    if row is None:
        return h("p", "foot", f"No hourly bar of {symbol} is stored.")
    before, funding = context.snap.day_ago.get(symbol), context.snap.funding.get(symbol)
    change = row["close"] / before - 1 if before and row["close"] else None
    parts = [
        h("b", "num big", wording.price(row["close"])),
        h("span", None, f" {wording.percent(change, 1, sign=True)} in 24 h"),
        h("span", None, f" · {row['ohlcv_venue'] or 'no venue'}"),
    ]
    if funding and funding["funding_rate_8h"] is not None:
        parts.append(
            h(
                "span",
                None,
                f" · funding {wording.basis_points(funding['funding_rate_8h'])} per 8 h, z "
                f"{wording.sigma(funding['funding_z_score'])}",
            )
        )
    return h("p", "foot", *parts)


def _liquidation_text(context: Context) -> Tree:
    row = context.snap.liquidation.get(context.view.symbol)
    if row is None:
        return h("p", "foot", "No liquidations are stored for this symbol; see Data health.")
    bound = (
        "lower bound: a venue in the sum sends samples only" if row["is_lower_bound"] else "sum over the listed venues"
    )
    return h(
        "p",
        "foot",
        h("span", "key k-long", "long"),
        h("span", "key k-short", "short"),
        h(
            "span",
            "key k-limit",
            f"limit {wording.money(row['critical_velocity_eff'], per_hour=True)} ({row['threshold_mode'].lower()})",
        ),
        h("span", None, f"coverage {wording.whole_percent(row['coverage'])}, {bound}"),
    )


def _top(context: Context) -> Tree:
    return cascade_table.largest(context, context.snap.cascades)


PRICE = (
    Part("price-controls", _controls, ("correlation",), (*RANGED, "pair")),
    Part("price-text", _price_text, ("market", "funding"), ("symbol",)),
    Part("price-chart", market_charts.price, ("market", "liquidation", "funding", "alerts"), RANGED, "figure"),
)
REGIMES = (
    Part("regimes-rows", regime_rows.regime_rows, ("regimes",), ("symbol",)),
    Part("regimes-foot", regime_rows.as_of, ("regimes",)),
)
LIQUIDATIONS = (
    Part("liquidations-chart", liquidation_chart.liquidations, ("liquidation",), RANGED, "figure"),
    Part("liquidations-text", _liquidation_text, ("liquidation",), ("symbol",)),
    Part("liquidations-top", _top, ("alerts", "liquidation"), ("symbol",)),
)
VOLATILITY = (Part("volatility-bars", volatility_bars.volatility_bars, ("volatility",), ("symbol",)),)
CORRELATION = (
    Part("correlation-matrix", correlation_views.matrix, ("correlation",), ("symbol", "pair")),
    Part(
        "correlation-pairs",
        lambda context: controls.pairs(context.view, context.snap.pairs),
        ("correlation",),
        (*RANGED, "pair"),
    ),
    Part("correlation-chart", correlation_views.pair_chart, ("correlation",), ("pair", *RANGED), "figure"),
    Part("correlation-text", correlation_views.summary, ("correlation",)),
)
ALERTS = (Part("alerts-lines", alert_rows.lines, ("alerts",), ("symbol",)),)


def layout() -> Any:
    """The arrangement; on a phone the panels stack with the regimes first."""
    return grid(
        "overview",
        panel("regimes", "Regimes", place(REGIMES[0], 9), place(REGIMES[1], 1), area="regimes"),
        panel(
            "price",
            "Price, liquidation zones, cascades, funding",
            place(PRICE[0], 1),
            place(PRICE[1], 1),
            chart(PRICE[2], "l", "Price with liquidation zones and cascades; funding below"),
            area="price",
        ),
        panel(
            "liquidations",
            "Liquidations per hour",
            place(LIQUIDATIONS[1], 1),
            chart(LIQUIDATIONS[0], "s", "Liquidated longs and shorts per hour with the limit in force"),
            place(LIQUIDATIONS[2], 5),
            hint="top 5 cascades · 24 h",
            area="liquidations",
        ),
        panel("volatility", "Volatility", place(VOLATILITY[0], 9), hint="24 h · caution factor", area="volatility"),
        panel(
            "correlation",
            "Correlation",
            place(CORRELATION[0], 4),
            place(CORRELATION[1], 1),
            chart(CORRELATION[2], "s", "Correlation of the pair inside its usual band, break_z below"),
            place(CORRELATION[3], 1),
            hint="72 h, hourly returns",
            area="correlation",
        ),
        panel("alerts", "Latest alerts", place(ALERTS[0], 8), area="alerts"),
    )


PAGE = Page("/", (*REGIMES, *PRICE, *LIQUIDATIONS, *VOLATILITY, *CORRELATION, *ALERTS), layout)
