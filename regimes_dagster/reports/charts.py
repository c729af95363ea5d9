"""Two kinds of charts, described by their data and drawn as inline SVG.

What belongs here: dots with intervals, and lines with bands. What does not: scales (``axis.py``), colours and fonts
(``page.py`` sets them for the classes used here), what is shown.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby

from regimes_dagster.reports.axis import Axis, axis_of, short

WIDTH = 760
LABEL_W, VALUE_W = 210, 150
ROW_H, GROUP_H, AXIS_H = 24, 26, 34
PLOT_H = 260
#: Lines are told apart by dashes and markers too, not by colour alone.
DASHES = ("", "7 4", "2 4", "9 3 2 3", "12 4", "4 2")


@dataclass(frozen=True)
class Dot:
    """A value with its interval, and the tick of a baseline; ``n`` observations are named where given."""

    group: str
    label: str
    value: float
    low: float = math.nan
    high: float = math.nan
    baseline: float = math.nan
    n: int | None = None


@dataclass(frozen=True)
class DotPlot:
    """Values with intervals, one row each, in groups. ``reference`` is a vertical line; ``scale`` multiplies."""

    title: str
    dots: Sequence[Dot]
    unit: str = ""
    scale: float = 1.0
    reference: float = math.nan
    caption: str = ""


@dataclass(frozen=True)
class Line:
    """A series; ``low`` and ``high`` are the edges of a band."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class LineChart:
    """Lines over a common axis. With ``steps`` the x values are evenly spaced and so named; ``mark`` is one of them."""

    title: str
    lines: Sequence[Line]
    x_label: str
    y_label: str
    steps: Sequence[str] = ()
    mark: str | None = None
    reference: float = math.nan
    y_from_zero: bool = False
    caption: str = ""


Chart = DotPlot | LineChart


def draw(chart: Chart) -> str:
    """The chart as an HTML figure."""
    body, height = _dot_plot(chart) if isinstance(chart, DotPlot) else _line_chart(chart)
    caption = f"<p>{escape(chart.caption)}</p>" if chart.caption else ""
    return (
        f"<figure><figcaption><b>{escape(chart.title)}</b>{caption}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(chart.title, quote=True)}">'
        f"{body}</svg></figure>"
    )


def _dot_plot(chart: DotPlot) -> tuple[str, float]:
    dots = [_scaled(dot, chart.scale) for dot in chart.dots]
    reference = chart.reference * chart.scale
    axis = axis_of([v for dot in dots for v in (dot.value, dot.low, dot.high, dot.baseline)] + [reference])
    left, right = LABEL_W + 10, WIDTH - VALUE_W
    y = 6.0
    rows: list[str] = []
    for group, members in groupby(dots, key=lambda dot: dot.group):
        rows.append(f'<text class="group" x="0" y="{y + 17:.0f}">{escape(group)}</text>')
        y += GROUP_H
        for dot in members:
            rows.append(_dot_row(dot, axis, left, right, y + ROW_H / 2, chart.unit))
            y += ROW_H
    grid = [_vertical(axis.place(tick, left, right), 4, y, "grid") for tick in axis.ticks]
    labels = [
        f'<text class="tick" x="{axis.place(tick, left, right):.1f}" y="{y + 16:.0f}" text-anchor="middle">'
        f"{axis.label(tick)}{f' {chart.unit}' if i == len(axis.ticks) - 1 and chart.unit else ''}</text>"
        for i, tick in enumerate(axis.ticks)
    ]
    line = [] if math.isnan(reference) else [_vertical(axis.place(reference, left, right), 4, y, "reference")]
    return "".join([*grid, *line, *rows, *labels]), y + AXIS_H - 8


def _scaled(dot: Dot, scale: float) -> Dot:
    return replace(
        dot, value=scale * dot.value, low=scale * dot.low, high=scale * dot.high, baseline=scale * dot.baseline
    )


def _dot_row(dot: Dot, axis: Axis, left: float, right: float, y: float, unit: str) -> str:
    n = f" (n {dot.n:,})" if dot.n is not None else ""
    parts = [f'<text class="label" x="12" y="{y + 4:.1f}">{escape(dot.label)}{n}</text>']
    if math.isfinite(dot.baseline):
        parts.append(_vertical(axis.place(dot.baseline, left, right), y - 8, y + 8, "baseline"))
    text = "not measured"
    if math.isfinite(dot.value):
        x = axis.place(dot.value, left, right)
        text = f"{short(dot.value)} {unit}".strip()
        if math.isfinite(dot.low) and math.isfinite(dot.high):
            a, b = (axis.place(v, left, right) for v in (dot.low, dot.high))
            parts.append(f'<line class="interval" x1="{a:.1f}" x2="{b:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
            text += f"  [{short(dot.low)}, {short(dot.high)}]"
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
    parts.append(f'<text class="value" x="{WIDTH}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>')
    tip = f"{dot.group}, {dot.label}: {text}"
    if math.isfinite(dot.baseline):
        tip += f"; baseline {short(dot.baseline)}"
    return f"<g><title>{escape(tip)}</title>{''.join(parts)}</g>"


def _vertical(x: float, top: float, bottom: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'


def _line_chart(chart: LineChart) -> tuple[str, float]:
    left, right, top = 58.0, WIDTH - 16.0, 34.0
    bottom = top + PLOT_H
    values = [v for line in chart.lines for part in (line.y, line.low, line.high) for v in part]
    y_axis = axis_of([*values, *([0.0] if chart.y_from_zero else []), chart.reference])
    x_axis = None if chart.steps else axis_of([v for line in chart.lines for v in line.x], 8)
    parts = []
    for tick in y_axis.ticks:
        y = y_axis.place(tick, bottom, top)
        parts.append(f'<line class="grid" x1="{left:.0f}" x2="{right:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        text = y_axis.label(tick)
        parts.append(f'<text class="tick" x="{left - 8:.0f}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    if math.isfinite(chart.reference):
        y = y_axis.place(chart.reference, bottom, top)
        parts.append(f'<line class="reference" x1="{left:.0f}" x2="{right:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')

    def across(x: float) -> float:
        if x_axis is None:
            return left + (x + 0.5) * (right - left) / len(chart.steps)
        return x_axis.place(x, left + 6, right - 6)

    named = list(enumerate(chart.steps)) if x_axis is None else [(tick, x_axis.label(tick)) for tick in x_axis.ticks]
    for x, name in named:
        marked = name == chart.mark
        if marked:
            parts.append(_vertical(across(x), top, bottom, "mark"))
        parts.append(_below(across(x), bottom + 17, name, "tick marked" if marked else "tick"))
    parts.append(_below((left + right) / 2, bottom + 36, chart.x_label, "tick"))
    parts.append(f'<text class="tick" x="0" y="{top - 18:.0f}">{escape(chart.y_label)}</text>')
    key_x = right
    for number, line in reversed(list(enumerate(chart.lines))):
        parts.append(_drawn(line, number, across, y_axis, bottom, top))
        key_x -= 9.0 * len(line.name) + 44
        parts.append(_key(line.name, number, key_x, top - 22))
    return "".join(parts), bottom + 44


def _below(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.0f}" text-anchor="middle">{escape(text)}</text>'


def _key(name: str, number: int, x: float, y: float) -> str:
    kind = f"s{number % 6}"
    return (
        f'<line class="line {kind}" stroke-dasharray="{DASHES[number % 6]}" '
        f'x1="{x:.0f}" x2="{x + 26:.0f}" y1="{y:.0f}" y2="{y:.0f}"/>'
        f'<text class="label" x="{x + 32:.0f}" y="{y + 4:.0f}">{escape(name)}</text>'
    )


def _drawn(line: Line, number: int, across: Callable[[float], float], axis: Axis, bottom: float, top: float) -> str:
    kind = f"s{number % 6}"
    points = [
        (across(x), axis.place(y, bottom, top), x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)
    ]
    if not points:
        return ""
    parts = []
    edges = [
        (across(x), axis.place(low, bottom, top), axis.place(high, bottom, top))
        for x, low, high in zip(line.x, line.low or [math.nan] * len(line.x), line.high or line.y, strict=True)
        if math.isfinite(low) and math.isfinite(high)
    ]
    if len(edges) > 1:
        outline = [f"{x:.1f},{a:.1f}" for x, a, _ in edges] + [f"{x:.1f},{b:.1f}" for x, _, b in reversed(edges)]
        parts.append(f'<polygon class="band {kind}" points="{" ".join(outline)}"/>')
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, *_ in points)
    parts.append(f'<polyline class="line {kind}" stroke-dasharray="{DASHES[number % 6]}" points="{path}"/>')
    for x, y, at, value in points:
        tip = f"{line.name}: {short(value)} at {short(at)}"
        parts.append(
            f'<circle class="point {kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(tip)}</title></circle>'
        )
    return "".join(parts)
