"""The frame of a panel: heading, places for trees and charts, and their skeletons of fixed height.

What belongs here: Dash components without data. What does not: content (trees and figures are written into these
places by callbacks, leaf by leaf).
"""

from typing import Any

from dash import dcc, html

from dash_app.panels import Part

CHART_CONFIG: Any = {
    "displaylogo": False,
    "displayModeBar": False,
    "responsive": True,
    "doubleClick": "reset+autosize",
    "showTips": False,
}


def place(part: Part, lines: int = 4) -> html.Div:
    """Where a tree goes; until the first data arrive, ``lines`` grey bars hold the height."""
    bars = [html.Span(className="bone") for _ in range(lines)]
    return html.Div(bars, id=part.id, className="island", **_named({"data-skeleton": "1", "aria-busy": "true"}))


def chart(part: Part, height: str, label: str) -> html.Div:
    """Where a figure goes; ``height`` is one of the classes s, m, l, xl."""
    graph = dcc.Graph(id=part.id, config=CHART_CONFIG, figure=_blank(), className="graph", responsive=True)
    return html.Div(graph, className=f"chart chart-{height}", role="img", **_named({"aria-label": label}))


def _named(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes whose names are no Python names (Dash's stubs know none of them)."""
    return attributes


def _blank() -> dict[str, Any]:
    hidden = {"visible": False}
    empty = "rgba(0,0,0,0)"
    return {"data": [], "layout": {"paper_bgcolor": empty, "plot_bgcolor": empty, "xaxis": hidden, "yaxis": hidden}}


def panel(name: str, title: str, *children: Any, hint: str = "", area: str = "") -> html.Section:
    """A panel: heading, hint at its right, content, and the line that says when it could not be refreshed."""
    head: list[Any] = [html.H2(title, id=f"{name}-title")]
    if hint:
        head.append(html.Span(hint, className="hint"))
    return html.Section(
        [html.Div(head, className="panel-head"), html.P(className="problem", role="status"), *children],
        className="panel" + (f" area-{area}" if area else ""),
        **_named({"data-panel": name, "aria-labelledby": f"{name}-title"}),
    )


def column(area: str, *panels: Any) -> html.Div:
    """Panels below each other in one column of a grid."""
    return html.Div(list(panels), className=f"column area-{area}")


def grid(kind: str, *panels: Any) -> html.Div:
    """Panels on the grid named in ``style.css``."""
    return html.Div(list(panels), className=f"grid grid-{kind}")
