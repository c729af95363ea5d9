"""The calibration as a page for people, and as lines for a terminal.

What belongs here: tables, plots and wording. What does not: the figures (``measure.py``), charts and page frame
(``reports/``).
"""

import math
from collections.abc import Iterator
from html import escape
from typing import Any

from regimes_dagster.calibration.measure import Calibration, Tried
from regimes_dagster.calibration.rates import QUANTILES
from regimes_dagster.calibration.recompute import TABLES
from regimes_dagster.reports.axis import short
from regimes_dagster.reports.charts import Line, LineChart, draw
from regimes_dagster.reports.page import Cell, Section, page, table

#: More lines than this in one plot say nothing; the table has them all.
MAX_LINES = 6

TITLES = {
    "liquidation": "Liquidation cascades",
    "funding": "Funding anomalies and reversals",
    "volatility": "Volatility regimes",
    "multi_timeframe": "Confirmed regimes",
    "correlation": "Correlation breaks",
}

_SHOWN = (0.05, 0.50, 0.95, 0.99, 0.995, 0.999)


def html_report(found: Calibration) -> str:
    """The calibration as one HTML document."""
    sections = []
    for name, title in TITLES.items():
        tried = [one for one in found.tried if one.knob.section == name]
        if tried:
            body = "".join(_tried(one) for one in tried) + _quantiles(found, TABLES[name])
            sections.append(Section(name, title, body))
    warning = "The market is simulated: choose thresholds on a real one." if found.is_simulated else None
    return page(
        "How many alerts other thresholds would have given",
        f"{', '.join(found.symbols)}, {found.period.start:%Y-%m-%d} to {found.period.end:%Y-%m-%d} UTC. Each point "
        "is a recomputation of the whole period with that one key changed, episodes and cooldowns included. Rates are "
        "per 30 days in which the rule could be evaluated.",
        sections,
        warning=warning,
    )


def lines(found: Calibration) -> Iterator[str]:
    """The calibration for a terminal."""
    for name, title in TITLES.items():
        tried = [one for one in found.tried if one.knob.section == name]
        if not tried:
            continue
        yield ""
        yield title
        yield from _quantile_lines(found, TABLES[name])
        for one in tried:
            yield ""
            yield from _rate_lines(one)


def value_text(value: Any) -> str:
    """A parameter as it is written in ``regimes.toml``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and abs(value) >= 1e4:
        return f"{value:.0f}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rate_lines(tried: Tried) -> Iterator[str]:
    keys = tried.keys
    yield f"  {tried.knob.name}: {_counted(tried)} per 30 days; for more: {tried.knob.more_alerts}"
    if not keys:
        yield "    nothing to count: no hour of the period in which the rule could be evaluated"
        return
    yield f"    {'':<10}" + "".join(f"{key:>19}" for key in keys)
    for value, by_key in tried.rates.items():
        mark = "*" if value == tried.current else " "
        cells = "".join(f"{_rate_text(by_key, key):>19}" for key in keys)
        yield f"   {mark}{value_text(value):<10}{cells}"
    if not tried.matters:
        yield "    no difference: another limit decides here"


def _rate_text(by_key: dict[str, Any], key: str) -> str:
    rate = by_key.get(key)
    return "-" if rate is None else f"{rate.opened:.1f} ({rate.critical:.1f} crit.)"


def _counted(tried: Tried) -> str:
    name = tried.knob.event_type.replace("_", " ").lower()
    return f"{name} alerts" + ("" if tried.lowest == "INFO" else f" of {tried.lowest} and above")


def _quantile_lines(found: Calibration, name: str) -> Iterator[str]:
    frame = found.quantiles[name]
    yield f"    {'quantile':<20}{'':<19}" + "".join(f"{100 * q:>10g} %"[-10:] for q in _SHOWN)
    for row in frame.to_dict("records"):
        figures = "".join(f"{short(row[str(q)]):>10}" for q in _SHOWN)
        yield f"    {row['figure']:<20}{row['key']:<19}{figures}"


def _tried(tried: Tried) -> str:
    keys = tried.keys
    head = f"<h3><code>{escape(tried.knob.name)}</code></h3><p class='soft'>For more alerts: {escape(tried.knob.more_alerts)}.</p>"  # noqa: E501
    if not keys:
        return head + "<p>Nothing to count: no hour of the period in which the rule could be evaluated.</p>"
    drawn = draw(_chart(tried)) if tried.matters else "<p>No difference: another limit decides here.</p>"
    rows: list[list[Cell | str]] = [
        [value_text(value), *(Cell(_rate_text(by_key, key), "number") for key in keys)]
        for value, by_key in tried.rates.items()
    ]
    current = list(tried.rates).index(tried.current)
    heads: list[Cell | str] = [tried.knob.key, *(Cell(key, "number") for key in keys)]
    figures = table(heads, rows, current=current)
    return f"{head}{drawn}<details><summary>Figures</summary>{figures}</details>"


def _chart(tried: Tried) -> LineChart:
    steps = [value_text(value) for value in tried.rates]
    return LineChart(
        f"{_counted(tried).capitalize()} per 30 days",
        [
            Line(key, range(len(steps)), [by.opened if (by := r.get(key)) else math.nan for r in tried.rates.values()])
            for key in tried.keys[:MAX_LINES]
        ],
        x_label=f"{tried.knob.name} (in force: {value_text(tried.current)})",
        y_label="alerts per 30 days",
        steps=steps,
        mark=value_text(tried.current),
        y_from_zero=True,
    )


def _quantiles(found: Calibration, name: str) -> str:
    frame = found.quantiles[name]
    head: list[Cell | str] = ["figure", "", "unit", Cell("hours", "number")]
    head += [Cell(f"{100 * q:g} %", "number") for q in QUANTILES]
    rows: list[list[Cell | str]] = [
        [
            row["figure"],
            Cell(row["key"], "nowrap"),
            row["unit"],
            Cell(f"{row['hours']:,}", "number"),
            *(Cell(short(row[str(q)]), "number") for q in QUANTILES),
        ]
        for row in frame.to_dict("records")
    ]
    return f"<h3>Quantiles of the period</h3>{table(head, rows)}"
