"""Correlations as a table with shaded cells, and one pair inside its usual band.

What belongs here: the matrix, the sentence about leaders and breaks, the pair's chart. What does not: the pair's
table (``pages/correlation.py``).
"""

from typing import Any

from dash_app import theme, wording
from dash_app.components import crowd
from dash_app.components.market_charts import revision, x_axis
from dash_app.components.table import Column, numbers, table
from dash_app.panels import Context, Figure
from dash_app.queries import history
from dash_app.theme import faded
from dash_app.tree import Tree, h, link, note

Row = dict[str, Any]

#: A full matrix up to so many symbols (decision 20: beyond that each symbol against the benchmark).
FULL_MATRIX = crowd.ALL
#: Pairs listed in place of a matrix.
UNUSUAL = 8


def sides(pair: str) -> tuple[str, str]:
    """The two symbols of a pair."""
    parts = pair.split("/")
    return "/".join(parts[:2]), "/".join(parts[2:])


def matrix(context: Context) -> Tree:
    """72 h correlations; the stronger the shade, the higher. Broken pairs carry a mark.

    Beyond ``FULL_MATRIX`` symbols: the pairs furthest below their usual band.
    """
    rows = context.snap.correlation
    if not rows:
        return note("No correlations yet. They need 65 common hours of two symbols.")
    by_pair = {frozenset(sides(pair)): row for pair, row in rows.items()}
    known = {symbol for pair in by_pair for symbol in pair}
    symbols = [symbol for symbol in context.settings.symbols if symbol in known]
    if len(symbols) > FULL_MATRIX:
        return _unusual(context)
    head = h(
        "tr",
        None,
        h("th", {"scope": "col"}, h("span", "sr", "Symbol")),
        *(h("th", {"scope": "col", "class": "mid"}, wording.base(symbol)) for symbol in symbols),
    )
    body = [
        h(
            "tr",
            {"key": one},
            h("th", {"scope": "row"}, wording.base(one)),
            *(_cell(context, by_pair.get(frozenset((one, other))), one == other) for other in symbols),
        )
        for one in symbols
    ]
    return h(
        "div",
        {"class": "scroll", "role": "region", "tabindex": "0", "aria-label": "Correlation matrix"},
        h(
            "table",
            "matrix",
            h("caption", "sr", "Correlation of hourly returns over 72 hours"),
            h("thead", None, head),
            h("tbody", None, *body),
        ),
    )


def _unusual(context: Context) -> Tree:
    rows = context.snap.correlation

    def rank(pair: str) -> tuple[float, ...]:
        z = rows[pair]["break_z"] if pair in rows else None
        return (-100.0,) if z is None else (-z,)

    pairs = [pair for pair in context.snap.pairs if pair in rows]
    shown = crowd.telling(pairs, context.view.pair, rank, UNUSUAL)
    columns = [
        Column("Pair", lambda row: wording.pair_name(row["asset_pair"]), lambda row: row["asset_pair"]),
        Column("72 h", lambda row: _link(context, row), lambda row: row["return_correlation"], number=True),
        Column(
            "Usual band",
            lambda row: (
                f"{wording.number(row['band_low'], sign=True)} to {wording.number(row['band_high'], sign=True)}"
            ),
            lambda row: row["band_low"],
            number=True,
        ),
        numbers("break_z", "break_z", wording.sigma),
    ]
    return h(
        "div",
        "block",
        table(
            "unusual-pairs",
            "Pairs furthest below their usual band",
            columns,
            [rows[pair] for pair in shown],
            empty="No pair has a correlation yet.",
            row_key=lambda row: row["asset_pair"],
            row_class=lambda row: "chosen" if row["asset_pair"] == context.view.pair else "",
        ),
        crowd.rest(
            len(pairs), len(shown), "the furthest below their band first", context.view.href(page="/correlation"), "all"
        ),
    )


def _link(context: Context, row: Row) -> Tree:
    mark = "⚡ " if row["trigger"] != "NONE" else ""
    href = context.view.href(page="/correlation", pair=row["asset_pair"])
    return link(href, mark + wording.number(row["return_correlation"], 2, sign=True))


def _cell(context: Context, row: Row | None, same: bool) -> Tree:
    if same:
        return h("td", "cell c-self", "1")
    if row is None or row["return_correlation"] is None:
        return h("td", "cell c-none", "–")
    rho = row["return_correlation"]
    step = min(5, int(abs(rho) * 6))
    broken = row["trigger"] != "NONE"
    text = ("⚡ " if broken else "") + wording.number(rho, 2, sign=True)
    href = context.view.href(page="/correlation", pair=row["asset_pair"])
    band = (
        f"usual {wording.number(row['band_low'])} to {wording.number(row['band_high'])}, break_z "
        f"{wording.sigma(row['break_z'])}"
    )
    return h(
        "td",
        {"class": f"cell c-{'n' if rho < 0 else 'p'}{step}" + (" broken" if broken else "")},
        link(href, text, title=band),
    )


def summary(context: Context) -> Tree:
    """Who leads, and which pairs are broken."""
    rows = list(context.snap.correlation.values())
    leaders = [
        f"{wording.base(row['leader'])} leads {wording.pair_name(row['asset_pair'])} by {row['lead_lag_s']:.0f} s"
        for row in rows
        if row["leader"] != "NONE" and row["lead_lag_s"]
    ]
    broken = [
        f"{wording.pair_name(row['asset_pair'])} at {wording.sigma(row['break_z'])}"
        for row in rows
        if row["trigger"] != "NONE"
    ]
    reasons = {row["leader_reason"] for row in rows if row["leader_reason"]}
    leader = ", ".join(leaders) or "leader: none" + (f" ({next(iter(reasons))})" if len(reasons) == 1 else "")
    return h(
        "p",
        "foot",
        f"{leader} · "
        + (
            "broken: " + ", ".join(broken)
            if broken
            else f"no pair at or below {wording.sigma(context.settings.correlation.break_z)}"
        ),
    )


def pair_rows(context: Context) -> list[Row]:
    """History of the pair in view."""
    start, end = context.window
    how: dict[str, history.How] = {
        "return_correlation": "last",
        "band_low": "last",
        "band_high": "last",
        "baseline_correlation": "last",
        "break_z": "min",
        "spread_z": "widest",
    }
    return context.once(
        "pair",
        lambda: history.series(context.reader, "correlation_features", context.view.pair, start, end, how, points=700),
    )[0]


def pair_chart(context: Context) -> Figure:
    """Correlation inside its usual band, break_z below with its limit."""
    colours = context.colours
    rows = pair_rows(context)
    if not rows:
        return theme.blank(colours)
    times = context.axis_times(rows)

    def line(name: str, key: str, **more: Any) -> dict[str, Any]:
        return {"type": "scatter", "mode": "lines", "name": name, "x": times, "y": [row[key] for row in rows], **more}

    none = {"width": 0, "color": colours["soft"]}
    limit = context.settings.correlation.break_z
    data = [
        line("usual, low", "band_low", line=none, hoverinfo="skip"),
        line(
            "usual, high",
            "band_high",
            line=none,
            fill="tonexty",
            fillcolor=faded(colours["soft"], 0.18),
            hoverinfo="skip",
        ),
        line(
            "usual",
            "baseline_correlation",
            line={"color": colours["soft"], "width": 1, "dash": "dot"},
            hovertemplate="usual %{y:.2f}<extra></extra>",
        ),
        line(
            "72 h",
            "return_correlation",
            line={"color": colours["accent"], "width": 2},
            hovertemplate="72 h %{y:+.2f}<extra></extra>",
        ),
        line(
            "break_z",
            "break_z",
            yaxis="y2",
            line={"color": colours["text"], "width": 1.2},
            hovertemplate="break_z %{y:+.1f}σ<extra></extra>",
        ),
    ]
    layout = theme.layout(
        colours,
        xaxis=x_axis(context, anchor="y2"),
        yaxis=theme.axis(colours, domain=[0.36, 1], fixedrange=True, tickformat="+.1f", nticks=5),
        yaxis2=theme.axis(
            colours,
            domain=[0, 0.26],
            fixedrange=True,
            ticksuffix="σ",
            nticks=3,
            zeroline=True,
            zerolinecolor=colours["line"],
        ),
        shapes=[
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "yref": "y2",
                "y0": limit,
                "y1": limit,
                "line": {"color": colours["explosive"], "width": 1, "dash": "dash"},
            }
        ],
        uirevision=revision(context),
    )
    return {"data": data, "layout": layout}
