"""The guide's cascades chart: liquidations per hour by side, the limit in force, and what was not observed.

What belongs here: one figure and its rows. What does not: price (``market_charts.py``) and the table of cascades
(``cascade_table.py``).
"""

from datetime import datetime, timedelta
from typing import Any

from dash_app import theme, wording
from dash_app.components.market_charts import revision, x_axis
from dash_app.panels import Context, Figure
from dash_app.queries import history
from dash_app.theme import faded

Row = dict[str, Any]


def sums(context: Context) -> tuple[list[Row], timedelta]:
    """Liquidations of the symbol in view by step, at most 260 bars."""
    start, end = context.window
    how: dict[str, history.How] = {
        "long_liq_usd": "avg",
        "short_liq_usd": "avg",
        "coverage": "avg",
        "critical_velocity_eff": "last",
        "is_cascade": "any",
        "severity": "max",
    }
    return context.once(
        "sums",
        lambda: history.series(
            context.reader, "liquidation_features", context.view.symbol, start, end, how, points=260
        ),
    )


def liquidations(context: Context) -> Figure:
    """Stacked longs and shorts in USD per hour, the limit in force, hours without coverage shaded."""
    colours = context.colours
    rows, width = sums(context)
    if not rows:
        return theme.blank(colours)
    middle = [context.local(row["ts"] - width / 2) for row in rows]
    hover = "%{customdata} %{fullData.name}<extra></extra>"

    def bars(name: str, key: str, colour: str, pattern: str) -> dict[str, Any]:
        return {
            "type": "bar",
            "name": name,
            "x": middle,
            "y": [row[key] for row in rows],
            "customdata": [wording.money(row[key]) for row in rows],
            "marker": {
                "color": colour,
                "line": {"width": 0},
                "pattern": {
                    "shape": pattern,
                    "fillmode": "overlay",
                    "fgcolor": colours["panel"],
                    "fgopacity": 0.75,
                    "size": 5,
                    "solidity": 0.35,
                },
            },
            "hovertemplate": hover,
        }

    limit = {
        "type": "scatter",
        "mode": "lines",
        "name": "limit",
        "x": middle,
        "y": [row["critical_velocity_eff"] for row in rows],
        "customdata": [wording.money(row["critical_velocity_eff"], per_hour=True) for row in rows],
        "line": {"color": colours["explosive"], "width": 1, "dash": "dash", "shape": "hvh"},
        "hovertemplate": "limit %{customdata}<extra></extra>",
    }
    layout = theme.layout(
        colours,
        barmode="stack",
        bargap=0.12,
        xaxis=x_axis(context),
        yaxis=theme.axis(colours, fixedrange=True, tickprefix="$", tickformat=".2~s", rangemode="tozero", nticks=5),
        yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
        uirevision=revision(context),
    )
    return {
        "data": [
            bars("long", "long_liq_usd", colours["long"], ""),
            bars("short", "short_liq_usd", colours["short"], "/"),
            limit,
            _uncovered(context, rows, width),
        ],
        "layout": layout,
    }


def _uncovered(context: Context, rows: list[Row], width: timedelta) -> dict[str, Any]:
    """Hatched stretches in which coverage is unknown or below the limit: missing hours must not look like calm ones."""
    limit = context.settings.liquidation.min_coverage
    stretches: list[tuple[datetime, datetime, float | None]] = []
    for row in rows:
        if row["coverage"] is not None and row["coverage"] >= limit:
            continue
        begin, end = row["ts"] - width, row["ts"]
        if stretches and stretches[-1][1] == begin and stretches[-1][2] == row["coverage"]:
            stretches[-1] = (stretches[-1][0], end, row["coverage"])
        else:
            stretches.append((begin, end, row["coverage"]))
    return {
        "type": "bar",
        "name": "coverage",
        "x": [context.local(begin + (end - begin) / 2) for begin, end, _ in stretches],
        "y": [1] * len(stretches),
        "width": [1000 * (end - begin).total_seconds() for begin, end, _ in stretches],
        "yaxis": "y2",
        "marker": {
            "color": faded(context.colours["soft"], 0.08),
            "line": {"width": 0},
            "pattern": {
                "shape": "/",
                "fillmode": "overlay",
                "fgcolor": context.colours["soft"],
                "fgopacity": 0.35,
                "size": 7,
                "solidity": 0.12,
            },
        },
        "customdata": [wording.whole_percent(share) if share is not None else "unknown" for _, _, share in stretches],
        "hovertemplate": "coverage %{customdata}<extra></extra>",
    }
