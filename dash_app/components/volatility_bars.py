"""The guide's volatility chart: one bar per symbol, marked by regime, with forecast, edges and caution factor.

What belongs here: the bars, drawn as page elements so that they read aloud and cost nothing for 100 symbols. What
does not: history (``pages/volatility.py``).
"""

from typing import Any

from dash_app import wording
from dash_app.components import badges, crowd
from dash_app.panels import Context
from dash_app.theme import REGIME_MARKS
from dash_app.tree import Tree, h, link, note

Row = dict[str, Any]


def volatility_bars(context: Context) -> Tree:
    """Bars on one scale; edges of the regimes as lines where they fall on it. Of many symbols the most volatile."""
    rows, symbols = context.snap.volatility, context.settings.symbols
    if not rows:
        return note("No volatility yet. It needs 22 of 24 hourly bars.")
    limits = context.settings.volatility
    values = [
        value for row in rows.values() for value in (row["volatility"], row["vol_forecast_24h"]) if value is not None
    ]
    top = max([*values, limits.high_vol_threshold * 0.8]) * 1.08
    edges = [(limits.stable_threshold, "1"), (limits.high_vol_threshold, "2"), (limits.explosive_threshold, "3")]
    shown = [edge for edge, _ in edges if edge < top]
    chosen = crowd.telling(symbols, context.view.symbol, lambda symbol: (_size(rows.get(symbol)),))
    body = [_bar(context, symbol, rows.get(symbol), top, shown) for symbol in chosen]
    scale = h(
        "div",
        {"class": "vol-scale", "aria-hidden": "true"},
        h("span", {"style": {"--x": "0%"}}, "0"),
        *(
            h("span", {"style": {"--x": f"{100 * edge / top:.2f}%"}}, f"{100 * edge:g} %")
            for edge in shown
            if edge > 0.1 * top
        ),
    )
    if not crowd.many(len(symbols)):
        return h("div", "vols", *body, scale)
    regimes = [rows[symbol]["regime"] for symbol in symbols if symbol in rows]
    counts = [(f"{mark} {name}", regimes.count(name), f"reg-{name.lower()}") for name, mark in REGIME_MARKS.items()]
    more = crowd.rest(
        len(symbols), len(chosen), "the most volatile first", context.view.href(page="/volatility"), "all"
    )
    return h("div", "vols dense", crowd.counted(counts), *body, scale, more)


def _size(row: Row | None) -> float:
    return -1.0 if row is None or row["volatility"] is None else float(row["volatility"])


def _bar(context: Context, symbol: str, row: Row | None, top: float, edges: list[float]) -> Tree:
    href = context.view.href(page="/volatility", symbol=symbol)
    name = link(href, wording.base(symbol), class_="sym")
    if row is None or row["volatility"] is None:
        why = "too few bars" if row else "no rows"
        return h(
            "div",
            {"class": "vol", "key": symbol},
            h("div", "line", name, h("span", "grow", ""), h("span", "soft", f"– {why}")),
        )
    regime = row["regime"]
    percentile = "–" if row["vol_pctl_90d"] is None else f"{100 * row['vol_pctl_90d']:.0f}th pct"
    forecast = row["vol_forecast_24h"]
    text = f"{wording.percent(row['volatility'])} per 24 h, {regime}, forecast {wording.percent(forecast)}"
    return h(
        "div",
        {"class": "vol", "key": symbol},
        h(
            "div",
            "line",
            name,
            badges.regime(regime),
            h("span", "grow", ""),
            h("b", "num", wording.percent(row["volatility"])),
            h(
                "span",
                {"class": "num risk", "title": "Caution (stop-width) factor, not a position size"},
                wording.times(row["risk_multiplier"]),
            ),
        ),
        h(
            "div",
            {
                "class": f"vol-bar reg-{regime.lower()}",
                "role": "meter",
                "aria-label": f"Volatility {wording.base(symbol)}",
                "aria-valuemin": "0",
                "aria-valuemax": f"{100 * top:.2f}",
                "aria-valuenow": f"{100 * row['volatility']:.2f}",
                "aria-valuetext": text,
            },
            h("i", {"style": {"--v": f"{100 * row['volatility'] / top:.2f}%"}}),
            *(h("u", {"style": {"--t": f"{100 * edge / top:.2f}%"}}) for edge in edges),
            h(
                "b",
                {
                    "style": {"--t": f"{100 * min(forecast, top) / top:.2f}%"},
                    "title": f"Forecast {wording.percent(forecast)}",
                },
            )
            if forecast is not None
            else None,
        ),
        h(
            "div",
            "line soft",
            h("span", None, percentile, " of 90 d"),
            h("span", "grow", ""),
            h("span", None, "forecast ", wording.percent(forecast)),
        ),
    )
