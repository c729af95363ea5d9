"""The text and the data table that go with every chart, and the evidence panel.

What belongs here: what a reader who cannot see the chart, or does not trust it, needs. What does not: the chart.
"""

from collections.abc import Sequence
from typing import Any

from dash_app import wording
from dash_app.components import badges
from dash_app.components.table import Column, table
from dash_app.panels import Context
from dash_app.queries import latest
from dash_app.tree import Child, Tree, h, moment, note

Row = dict[str, Any]

#: Rows of the table under a chart.
SPOKEN_ROWS = 48


def spoken(
    context: Context, name: str, source: str, columns: Sequence[Column], rows: Sequence[Row], *words: Child
) -> Tree:
    """A sentence on the chart, its newest rows as a table, and where all rows can be had."""
    start, end = context.window
    key = "asset_pair" if source == "correlation_features" else "symbol"
    value = context.view.pair if key == "asset_pair" else context.view.symbol
    href = f"/api/history/{source}?{key}={value}&from={start:%Y-%m-%dT%H:%MZ}&to={end:%Y-%m-%dT%H:%MZ}&format=csv"
    newest = list(rows)[-SPOKEN_ROWS:][::-1]
    return h(
        "div",
        "block",
        h("p", "foot", *words),
        h(
            "details",
            None,
            h("summary", None, "Figures as a table"),
            table(f"{name}-data", f"{name}: newest figures", columns, newest, empty="No rows in this range."),
            h(
                "p",
                "foot",
                "All rows of this range: ",
                h("a", {"href": href, "download": True}, "CSV"),
                " · ",
                h("a", {"href": href.replace("csv", "parquet"), "download": True}, "Parquet"),
            ),
        ),
    )


def evidence(*tests: str) -> Any:
    """A builder of the evidence panel: measured validity of a feature, by the numbers of its tests."""

    def build(context: Context) -> Tree:
        rows = latest.evidence(context.reader, tests)
        if not rows:
            return note(
                "Nothing measured yet. `regimes evidence` measures every signal on your own history and "
                "fills this panel."
            )
        columns = [
            Column("What", lambda row: row["note"] or row["metric"].replace("_", " "), lambda row: row["metric"]),
            Column(
                "Symbol",
                lambda row: (
                    wording.pair_name(row["symbol"]) if row["symbol"].count("/") > 1 else wording.base(row["symbol"])
                ),
            ),
            Column("Measured", lambda row: _with_interval(row), lambda row: row["value"], number=True),
            Column("Baseline", lambda row: badges.plain(row["baseline"]), lambda row: row["baseline"], number=True),
            Column("Asked for", lambda row: row["target"] or "–"),
            Column("Holds", _holds, lambda row: str(row["holds"])),
            Column(
                "Period",
                lambda row: h(
                    "span", None, moment(row["period_start"], "day"), " to ", moment(row["period_end"], "day")
                ),
            ),
            Column("n", lambda row: wording.count(row["n"]), lambda row: row["n"], number=True),
        ]
        return table(f"evidence-{'-'.join(tests)}", "Measured validity", columns, rows, empty="")

    return build


def _with_interval(row: Row) -> str:
    if row["value"] is None:
        return wording.MISSING
    text = f"{row['value']:.3g}"
    return text if row["ci_low"] is None else f"{text} [{row['ci_low']:.3g}, {row['ci_high']:.3g}]"


def _holds(row: Row) -> Tree | str:
    if row["holds"] is None:
        return "reported"
    return badges.state("holds", bool(row["holds"]), "holds" if row["holds"] else "does not hold")
