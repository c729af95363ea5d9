"""Pieces of figures that several history charts share: lines, limits, strips.

What belongs here: traces and shapes as plain dictionaries. What does not: whole figures.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from dash_app.panels import Context
from dash_app.theme import Palette, faded

Row = dict[str, Any]
Trace = dict[str, Any]


def line(
    context: Context,
    rows: Sequence[Row],
    name: str,
    key: str,
    hover: str,
    *,
    factor: float = 1.0,
    axis: str = "y",
    **look: Any,
) -> Trace:
    """A line over rows; ``hover`` is a plotly template of ``y``. Missing values leave a gap."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": context.axis_times(rows),
        "y": [None if row[key] is None else factor * row[key] for row in rows],
        "yaxis": axis,
        "line": {"width": 1.6, **look},
        "hovertemplate": f"{name} {hover}<extra></extra>",
        "connectgaps": False,
    }


def limit(
    colours: Palette, value: float, axis: str = "y", *, colour: str = "explosive", text: str = ""
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A dashed threshold across the chart, with its name at the right edge."""
    shape = {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "yref": axis,
        "y0": value,
        "y1": value,
        "line": {"color": colours[colour], "width": 1, "dash": "dash"},
        "layer": "below",
    }
    if not text:
        return shape, None
    note = {
        "xref": "paper",
        "x": 0.998,
        "xanchor": "right",
        "yref": axis,
        "y": value,
        "yanchor": "bottom",
        "showarrow": False,
        "text": text,
        "font": {"size": 10, "color": colours["soft"]},
        "bgcolor": faded(colours["panel"], 0.75),
    }
    return shape, note


def strip(
    context: Context,
    rows: Sequence[Row],
    width: timedelta,
    name: str,
    colour: Callable[[Row], str],
    word: Callable[[Row], str],
    *,
    axis: str,
    base: float = 0.0,
    hatch: Callable[[str], str] = lambda _: "",
) -> Trace:
    """A band of cells, one per stretch of the same state, that names the state on hover."""
    stretches: list[tuple[Any, Any, str, str]] = []
    for row in rows:
        begin, end, paint, said = row["ts"] - width, row["ts"], colour(row), word(row)
        if stretches and stretches[-1][1] == begin and stretches[-1][3] == said:
            stretches[-1] = (stretches[-1][0], end, paint, said)
        else:
            stretches.append((begin, end, paint, said))
    return {
        "type": "bar",
        "name": name,
        "x": [context.local(begin + (end - begin) / 2) for begin, end, _, _ in stretches],
        "y": [0.84] * len(stretches),
        "base": base,
        "width": [1000 * (end - begin).total_seconds() for begin, end, _, _ in stretches],
        "yaxis": axis,
        "marker": {
            "color": [paint for _, _, paint, _ in stretches],
            "line": {"width": 0},
            "pattern": {
                "shape": [hatch(said) for _, _, _, said in stretches],
                "fillmode": "overlay",
                "fgcolor": context.colours["panel"],
                "fgopacity": 0.35,
                "size": 6,
                "solidity": 0.25,
            },
        },
        "customdata": [said for _, _, _, said in stretches],
        "hovertemplate": f"{name} %{{customdata}}<extra></extra>",
    }


def marks(
    context: Context,
    rows: Sequence[Row],
    key: str,
    colour: str,
    *,
    factor: float = 1.0,
    axis: str = "y",
    symbol: str = "diamond",
) -> Trace:
    """Markers on some rows; the lines beneath carry the hover text."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": context.axis_times(rows),
        "y": [None if row[key] is None else factor * row[key] for row in rows],
        "yaxis": axis,
        "marker": {
            "symbol": symbol,
            "size": 8,
            "color": colour,
            "line": {"width": 1, "color": context.colours["panel"]},
        },
        "hoverinfo": "skip",
    }
