"""Colours and chart furniture of both themes.

What belongs here: the palette, as used by figures; ``assets/style.css`` holds the same values as custom
properties (a test compares them). Regimes are never told apart by colour alone: each has a mark too. What does
not: sizes and layout (``assets/style.css``).
"""

from typing import Any

Palette = dict[str, str]

PALETTES: dict[str, Palette] = {
    "dark": {
        "page": "#0b0f17",
        "panel": "#121926",
        "raised": "#1a2333",
        "line": "#263145",
        "text": "#e8edf6",
        "soft": "#a6b2c6",
        "accent": "#86a8ff",
        "stable": "#47CB9F",
        "high_vol": "#FFC357",
        "explosive": "#ED593A",
        "extreme": "#C98BF0",
        "long": "#4EA8FF",
        "short": "#FFB454",
        "up": "#8fd8bd",
        "down": "#a6b2c6",
    },
    "light": {
        "page": "#f3f5f9",
        "panel": "#ffffff",
        "raised": "#eef2f8",
        "line": "#d5dce8",
        "text": "#131a26",
        "soft": "#4c5a70",
        "accent": "#2453c4",
        "stable": "#1B7F69",
        "high_vol": "#8A5A00",
        "explosive": "#B3200A",
        "extreme": "#7A28B8",
        "long": "#1263b5",
        "short": "#9a5b00",
        "up": "#1B7F69",
        "down": "#4c5a70",
    },
}

REGIME_MARKS = {"STABLE": "●", "HIGH_VOL": "▲", "EXPLOSIVE": "◆", "EXTREME": "✖", "UNKNOWN": "○"}
SEVERITY_MARKS = {"INFO": "●", "WARNING": "▲", "CRITICAL": "◆"}
#: Fixed, so that charts below each other share their left edge, and drawn once: with margins that fit themselves plotly
#: draws every chart a second time. Wide enough for ``$61,000`` and for days under hours.
MARGIN = {"l": 58, "r": 10, "t": 8, "b": 38}
FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def palette(theme: str) -> Palette:
    """The palette of ``dark`` or ``light``."""
    return PALETTES["light" if theme == "light" else "dark"]


def regime_colour(colours: Palette, regime: str | None) -> str:
    """Colour of a volatility regime; soft text for an unknown one."""
    return colours.get(str(regime).lower(), colours["soft"])


def faded(colour: str, alpha: float) -> str:
    """``#rrggbb`` with an opacity."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def axis(colours: Palette, **more: Any) -> dict[str, Any]:
    """The look of one axis."""
    return {
        "gridcolor": faded(colours["line"], 0.7),
        "gridwidth": 1,
        "linecolor": colours["line"],
        "zeroline": False,
        "tickfont": {"color": colours["soft"], "size": 11},
        "title": {"font": {"color": colours["soft"], "size": 11}},
        **more,
    }


def blank(colours: Palette, text: str = "No rows in this range") -> dict[str, Any]:
    """A figure that says that there is nothing to draw; an axis without rows would have no scale for its limits."""
    hidden = {"visible": False, "range": [0, 1], "fixedrange": True}
    note = {
        "text": text,
        "x": 0.5,
        "y": 0.5,
        "xref": "paper",
        "yref": "paper",
        "showarrow": False,
        "font": {"color": colours["soft"], "size": 12},
    }
    return {"data": [], "layout": layout(colours, xaxis=hidden, yaxis=hidden, annotations=[note] if text else [])}


def layout(colours: Palette, **more: Any) -> dict[str, Any]:
    """The look of a figure: quiet grid, one hover box, no chrome."""
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 12, "color": colours["text"]},
        "margin": MARGIN,
        "hovermode": "x unified",
        "hoverlabel": {
            "bgcolor": colours["raised"],
            "bordercolor": colours["line"],
            "font": {"family": FONT, "size": 12, "color": colours["text"]},
        },
        "showlegend": False,
        "dragmode": "zoom",
        "bargap": 0.15,
        "autosize": True,
        **more,
    }
