"""Small marks with one meaning each: severities, regimes, states, labels, bars.

What belongs here: trees that several pages repeat. Every mark carries a sign and a word, so that nothing is told
by colour alone. What does not: tables (``table.py``) and figures.
"""

from collections.abc import Mapping
from typing import Any

from dash_app import wording
from dash_app.theme import REGIME_MARKS, SEVERITY_MARKS
from dash_app.tree import Tree, h
from regimes_dagster.settings import Settings

#: Label of a timeframe -> sign and family; own classifiers add theirs in the settings.
LABELS: dict[str, tuple[str, int]] = {
    "SUPER_HOT": ("🔥", 1),
    "CAPITULATION": ("💥", -1),
    "CHOPPY": ("⚡", 0),
    "BULL_TREND": ("🚀", 1),
    "BEAR_TREND": ("🐻", -1),
    "WARMING": ("🌤️", 1),
    "COOLING": ("🌧️", -1),
    "QUIET": ("😴", 0),
    "NEUTRAL": ("⚖️", 0),
    "UNKNOWN": ("❔", 0),
}
FAMILIES = {-1: "bear", 0: "neutral", 1: "bull"}


def severity(name: str) -> Tree:
    """``◆ CRITICAL`` and the like."""
    return h(
        "span",
        f"badge sev-{name.lower()}",
        h("span", {"aria-hidden": "true"}, SEVERITY_MARKS.get(name, "●") + " "),
        name,
    )


def regime(name: str | None) -> Tree:
    """A volatility regime: mark and word in its colour."""
    word = name or "UNKNOWN"
    return h(
        "span",
        f"regime reg-{word.lower()}",
        h("span", {"aria-hidden": "true"}, REGIME_MARKS.get(word, "○") + " "),
        word,
    )


def state(word: str, good: bool | None, text: str | None = None) -> Tree:
    """A state as a pill: good, bad, or neither."""
    mark = {True: "✓", False: "✕", None: "•"}[good]
    kind = {True: "ok", False: "bad", None: "mid"}[good]
    return h("span", f"badge st-{kind}", h("span", {"aria-hidden": "true"}, mark + " "), text or word)


def emoji(label: str, settings: Settings) -> str:
    """The sign of a timeframe's label."""
    own = settings.multi_timeframe.labels.get(label)
    return own.emoji if own is not None else LABELS.get(label, ("•", 0))[0]


def family(label: str, settings: Settings) -> int:
    """-1 bear, 0 neutral, 1 bull."""
    own = settings.multi_timeframe.labels.get(label)
    return own.family if own is not None else LABELS.get(label, ("", 0))[1]


def meter(share: float | None, label: str, *, text: str, tick: float | None = None, kind: str = "") -> Tree:
    """A bar for a share between 0 and 1, with an optional tick (a threshold)."""
    if share is None:
        return h("div", {"class": "meter", "role": "img", "aria-label": f"{label}: unknown"})
    return h(
        "div",
        {
            "class": f"meter {kind}".strip(),
            "role": "meter",
            "aria-label": label,
            "aria-valuemin": "0",
            "aria-valuemax": "100",
            "aria-valuenow": str(round(100 * share)),
            "aria-valuetext": text,
            "style": {"--v": f"{100 * min(max(share, 0), 1):.1f}%"},
        },
        h("i", None),
        h("b", {"style": {"--t": f"{100 * tick:.1f}%"}}) if tick is not None else None,
    )


def figure(label: str, value: str | Tree, detail: str | Tree | None = None, kind: str = "") -> Tree:
    """A headline figure with its name above and a detail below."""
    return h(
        "div",
        f"stat {kind}".strip(),
        h("span", "stat-name", label),
        h("span", "stat-value", value),
        h("span", "stat-detail", detail) if detail is not None else None,
    )


def fact(name: str, value: str | Tree) -> Tree:
    """One line of a definition list."""
    return h("div", "fact", h("dt", None, name), h("dd", None, value))


def plain(value: Any) -> str:
    """A value of a payload or explanation as text."""
    if value is None:
        return wording.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, int):
        return f"{value:,d}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items()) or wording.MISSING
    if isinstance(value, list):
        return ", ".join(plain(item) for item in value) or wording.MISSING
    return str(value)
