"""Charts of one symbol's market: price with zones and cascades, funding below.

What belongs here: figures as plain dictionaries (a ``go.Figure`` takes 30 times as long to build). What does not:
their data (``queries``) and the frame (``frame.py``).
"""

from datetime import timedelta
from typing import Any

from dash_app import theme, wording
from dash_app.components.cascade_table import payload
from dash_app.panels import Context, Figure
from dash_app.queries import alerts, funding, history, latest
from dash_app.theme import faded

Row = dict[str, Any]

#: Share of the window right of its end: half the newest candle or bar would be cut off.
ROOM = 0.012


def x_axis(context: Context, **more: Any) -> dict[str, Any]:
    """The time axis over the window in view, with room for the newest bar; hover and ticks in the reader's zone."""
    start, end = context.window
    return theme.axis(
        context.colours,
        type="date",
        range=[context.local(start), context.local(end + ROOM * (end - start))],
        autorange=False,
        hoverformat="%d %b %H:%M",
        showspikes=True,
        spikemode="across",
        spikethickness=1,
        spikedash="dot",
        spikecolor=context.colours["soft"],
        nticks=6,
        tickangle=0,
        **more,
    )


def revision(context: Context) -> str:
    """Zoom survives a refresh as long as symbol and range stay."""
    view = context.view
    return f"{view.symbol}|{view.pair}|{view.range_key}|{view.start}|{view.end}|{view.tz}"


def candles(context: Context) -> tuple[list[Row], timedelta]:
    """Bars of the symbol in view, at most 320."""
    start, end = context.window
    how: dict[str, history.How] = {"open": "first", "high": "max", "low": "min", "close": "last"}
    return context.once(
        "candles",
        lambda: history.series(context.reader, "market_metrics", context.view.symbol, start, end, how, points=320),
    )


def cascades(context: Context) -> list[Row]:
    """Cascades of the symbol in view within the window."""
    start, end = context.window
    return context.once(
        "cascades", lambda: alerts.cascades(context.reader, start, end, symbol=context.view.symbol, limit=200)
    )


def price(context: Context) -> Figure:
    """Candles (hollow up, filled down), zones as bands, cascades as markers, funding below."""
    colours = context.colours
    rows, _ = candles(context)
    if not rows:
        return theme.blank(colours)
    times = context.axis_times(rows)
    shapes, notes = _zones(context, rows)
    data: list[dict[str, Any]] = [
        {
            "type": "candlestick",
            "name": wording.base(context.view.symbol),
            "x": times,
            **{name: [row[name] for row in rows] for name in ("open", "high", "low", "close")},
            "increasing": {"line": {"color": colours["up"], "width": 1}, "fillcolor": "rgba(0,0,0,0)"},
            "decreasing": {"line": {"color": colours["down"], "width": 1}, "fillcolor": colours["down"]},
        },
        _cascade_marks(context, rows),
        *_funding(context),
    ]
    layout = theme.layout(
        colours,
        xaxis=x_axis(context, rangeslider={"visible": False}, anchor="y2"),
        yaxis=theme.axis(
            colours,
            domain=[0.27, 1],
            fixedrange=True,
            tickprefix="$",
            tickformat=",~r",
            automargin=_is_small(rows),  # $0.00001234 needs more room than the fixed margin
        ),
        yaxis2=theme.axis(
            colours,
            domain=[0, 0.2],
            fixedrange=True,
            ticksuffix=" bp",
            nticks=4,
            zeroline=True,
            zerolinecolor=colours["line"],
        ),
        shapes=shapes,
        annotations=notes,
        uirevision=revision(context),
    )
    return {"data": data, "layout": layout}


def _is_small(rows: list[Row]) -> bool:
    return any(row["low"] is not None and row["low"] < 0.01 for row in rows)


def _zones(context: Context, rows: list[Row]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    closes = [row[name] for row in rows for name in ("low", "high") if row[name] is not None]
    if not closes:
        return [], []
    low, high = min(closes), max(closes)
    margin = 0.12 * (high - low)
    zones = context.once("zones", lambda: latest.zones(context.reader, context.view.symbol, context.window[1]))
    shown = [zone for zone in zones if zone["price_high"] >= low - margin and zone["price_low"] <= high + margin][:4]
    shapes, notes = [], []
    for zone in shown:
        colour = context.colours["long" if (zone["long_share"] or 0) >= 0.5 else "short"]
        shapes.append(
            {
                "type": "rect",
                "layer": "below",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "yref": "y",
                "y0": zone["price_low"],
                "y1": zone["price_high"],
                "fillcolor": faded(colour, 0.10 + 0.35 * zone["usd_share"]),
                "line": {"width": 0},
            }
        )
        notes.append(
            {
                "xref": "paper",
                "x": 0.004,
                "xanchor": "left",
                "yref": "y",
                "y": zone["price_high"],
                "yanchor": "bottom",
                "showarrow": False,
                "text": f"flushed {wording.money(zone['liq_usd'])}",
                "font": {"size": 10, "color": colour},
                "bgcolor": faded(context.colours["panel"], 0.7),
            }
        )
    return shapes, notes


def _cascade_marks(context: Context, rows: list[Row]) -> dict[str, Any]:
    lows = {row["ts"]: row for row in rows}
    stamps = sorted(lows)
    found, ys = cascades(context), []
    for row in found:
        bar = next((lows[stamp] for stamp in stamps if stamp >= row["ts"]), None)
        ys.append(bar["low"] if bar else None)
    sides = [payload(row, "side_bias") for row in found]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "cascade",
        "x": context.axis_times(found),
        "y": ys,
        "marker": {
            "symbol": "triangle-up",
            "size": 11,
            "color": [context.colours["short" if one == "SHORT" else "long"] for one in sides],
            "line": {"width": 1, "color": context.colours["page"]},
        },
        "customdata": [
            [one or "", wording.money(payload(row, "total_liquidated_usd")), row["severity"]]
            for one, row in zip(sides, found, strict=True)
        ],
        "hovertemplate": "cascade %{customdata[0]} %{customdata[1]} · %{customdata[2]}<extra></extra>",
    }


def _funding(context: Context) -> list[dict[str, Any]]:
    start, end = context.window
    settled = context.once("settled", lambda: funding.settled(context.reader, context.view.symbol, start, end))
    rows = funding.held(settled, end)
    odd = [row for row in settled if row["is_anomaly"]]
    bp = "%{y:+.2f} bp per 8 h · z %{customdata:+.1f}σ<extra>funding</extra>"
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "funding",
            "x": context.axis_times(rows),
            "y": [_bp(row["funding_rate_8h"]) for row in rows],
            "customdata": [row["funding_z_score"] for row in rows],
            "yaxis": "y2",
            "line": {"color": context.colours["accent"], "width": 1.5, "shape": "hv"},
            "hovertemplate": bp,
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "anomaly",
            "x": context.axis_times(odd),
            "y": [_bp(row["funding_rate_8h"]) for row in odd],
            "yaxis": "y2",
            "marker": {"symbol": "diamond", "size": 7, "color": context.colours["explosive"]},
            "hoverinfo": "skip",
        },
    ]


def _bp(rate: float | None) -> float | None:
    return None if rate is None else 1e4 * rate
