"""``alerts.explain`` for people: inputs, terms and thresholds with their units.

What belongs here: the shape of an explanation on the page, and which limit it says was in force. What does not:
making explanations (the features do) and the chart (``alert_detail.py``).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from dash_app import wording
from dash_app.components import badges
from dash_app.components.table import Column, table
from dash_app.tree import Tree, h

GROUPS = {"inputs": "Inputs", "terms": "Terms of the formula", "thresholds": "Thresholds in force"}


def _pp(value: float) -> str:
    return wording.number(value, 3, sign=True) + " pp"


#: Pattern of a name -> how its figures are written; the first that fits.
UNITS: tuple[tuple[str, Callable[[Any], str]], ...] = (
    (r"velocity", lambda value: wording.money(value, per_hour=True)),
    (r"usd", wording.money),
    (
        r"quantile|coverage|confidence|share|weight|heat|margin|off_ratio|release$",
        lambda value: wording.percent(value, 1),
    ),
    (r"^(z|break_z|critical_z|off_z)$|_z$|z_score|z_threshold", lambda value: wording.sigma(value, 2)),
    (r"apr", lambda value: wording.percent(value, 1)),
    (r"_pp$|reversal_threshold", _pp),
    (r"rate|funding|deviation|sd_floor|peak_mean|before_24h", wording.basis_points),
    (r"volatility|edge", wording.percent),
    (r"_hours?$|_h$|^hours_|hours_needed", wording.hours),
)
#: Funding has a volatility of its own: of rates, not of prices.
FUNDING_UNITS = ((r"volatility", wording.basis_points), *UNITS)


def written(name: str, value: Any, event_type: str = "") -> str:
    """A value with the unit that its name implies; anything but a number as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return badges.plain(value)
    for pattern, write in FUNDING_UNITS if event_type.startswith("FUNDING") else UNITS:
        if re.search(pattern, name):
            return write(value)
    return badges.plain(value)


def label(name: str) -> str:
    """A name in words, without the unit that stands beside its figure."""
    return re.sub(r"_usd_per_hour$|_usd(?=_|$)|_pp$|_hours$|_h$", "", name).replace("_", " ")


def blocks(event_type: str, explain: Any) -> tuple[list[Tree], list[Tree]]:
    """Lists of facts, to stand side by side, and tables, to stand below them.

    A mapping of mappings (windows, timeframes) is a table; other mappings are lists of their own.
    """
    if not isinstance(explain, Mapping) or not explain:
        return [h("div", None, h("h3", None, "Why"), h("p", "soft", "This event carries no explanation."))], []
    lists: list[Tree] = []
    tables: list[Tree] = []
    for name in (*GROUPS, *(one for one in explain if one not in GROUPS)):
        part = explain.get(name)
        if part in (None, {}):
            continue
        title = GROUPS.get(name, label(name).capitalize())
        _block(event_type, title, part if isinstance(part, Mapping) else {name: part}, lists, tables)
    return lists, tables


def _block(event_type: str, title: str, part: Mapping[str, Any], lists: list[Tree], tables: list[Tree]) -> None:
    if all(isinstance(value, Mapping) for value in part.values()):
        tables.append(_table(event_type, title, part))
        return
    flat = {key: value for key, value in part.items() if not isinstance(value, Mapping)}
    facts = [badges.fact(label(key), written(key, value, event_type)) for key, value in flat.items()]
    lists.append(h("div", None, h("h3", None, title), h("dl", "facts", *facts)))
    for key, value in part.items():
        if isinstance(value, Mapping) and value:
            _block(event_type, label(key).capitalize(), value, lists, tables)


def _table(event_type: str, title: str, part: Mapping[str, Mapping[str, Any]]) -> Tree:
    names = list(dict.fromkeys(name for one in part.values() for name in one))

    def column(name: str) -> Column:
        number = any(isinstance(one.get(name), int | float) for one in part.values())
        return Column(
            label(name), lambda row: written(name, row.get(name), event_type), lambda row: row.get(name), number
        )

    rows = [{**value, "which": key} for key, value in part.items()]
    columns = [Column("", lambda row: h("b", None, row["which"])), *(column(name) for name in names)]
    return h("div", "block", h("h3", None, title), table(f"why-{label(title)}", title, columns, rows, empty=""))


def in_force(event_type: str, explain: Any, data: Any) -> tuple[str, float, tuple[float, ...]] | None:
    """What is drawn around an alert: column of its feature's table, factor, and the limits in force in that column.

    None for an event that is not drawn.
    """
    explain, data = explain if isinstance(explain, Mapping) else {}, data if isinstance(data, Mapping) else {}
    thresholds = explain.get("thresholds") or {}
    if event_type == "LIQUIDATION_CASCADE":
        return _cascade((explain.get("terms") or {}).get("windows") or {}, data)
    if event_type == "FUNDING_ANOMALY":
        z = thresholds.get("anomaly_z_threshold")
        return "funding_z_score", 1.0, _known(z, None if z is None else -z)
    if event_type == "FUNDING_REVERSAL":
        change = thresholds.get("reversal_threshold")
        if data.get("kind") == "RAPID":
            return "change_24h_pp", 1.0, _known(change, None if change is None else -change)
        return "funding_rate_8h", 1e4, ()
    if event_type == "VOLATILITY_REGIME_CHANGE":
        return "volatility", 100.0, _known(*(explain.get("edges") or {}).values())
    if event_type == "CORRELATION_BREAK":
        if data.get("trigger") == "ABSOLUTE":
            return "return_correlation", 1.0, _known(thresholds.get("absolute_threshold"))
        return "break_z", 1.0, _known(thresholds.get("break_z"))
    if event_type == "REGIME_CONFIRMED":
        return "confidence", 100.0, _known(thresholds.get("confidence"))
    return None


def _cascade(windows: Mapping[str, Any], data: Mapping[str, Any]) -> tuple[str, float, tuple[float, ...]]:
    """The velocity of the window that fired; a window without a column of its own as multiples of its limit."""
    hours = data.get("window_hours")
    spans = [int(name.removesuffix("h")) for name in windows if name.removesuffix("h").isdecimal()]
    limit = _known((windows.get(f"{hours:.0f}h") or {}).get("velocity_limit")) if hours else ()
    limit = limit or _known(data.get("critical_velocity_usd_per_hour"))
    if hours == 1:
        return "velocity_1h", 1.0, limit
    if hours and spans and hours == max(spans):
        return "velocity_4h", 1.0, limit
    return "severity", 1.0, (1.0,)


def _known(*values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool))
