"""Cascades as a table: the guide's top-5 and the whole list.

What belongs here: columns over OPEN rows of LIQUIDATION_CASCADE. What does not: which rows (``queries/alerts.py``).
"""

from collections.abc import Sequence
from typing import Any

from dash_app import wording
from dash_app.components import badges
from dash_app.components.table import Column, table, times
from dash_app.panels import Context
from dash_app.tree import Tree, h, link, moment

Row = dict[str, Any]


def payload(row: Row, name: str) -> Any:
    """A value of the alert's payload, or None."""
    return row["data"].get(name) if isinstance(row["data"], dict) else None


def side(value: str | None) -> Tree:
    """LONG or SHORT with its mark."""
    return h("span", f"side side-{str(value).lower()}", value or wording.MISSING)


def columns(context: Context) -> list[Column]:
    """Columns of a cascade, the guide's figures first."""

    def open_it(row: Row) -> Tree:
        return link(context.view.href(page="/alerts", alert=row["alert_id"]), wording.base(row["symbol"]), class_="sym")

    return [
        times(f"Time ({context.zone_name})", "ts"),
        Column("Symbol", open_it, lambda row: row["symbol"]),
        Column("Side", lambda row: side(payload(row, "side_bias")), lambda row: payload(row, "side_bias")),
        Column(
            "Total",
            lambda row: wording.money(payload(row, "total_liquidated_usd")),
            lambda row: payload(row, "total_liquidated_usd"),
            number=True,
        ),
        Column(
            "Velocity",
            lambda row: wording.money(payload(row, "velocity_usd_per_hour"), per_hour=True),
            lambda row: payload(row, "velocity_usd_per_hour"),
            number=True,
        ),
        Column(
            "× limit",
            lambda row: wording.number(payload(row, "severity")),
            lambda row: payload(row, "severity"),
            number=True,
        ),
        Column("Severity", lambda row: badges.severity(row["severity"]), lambda row: row["severity"]),
    ]


def largest(context: Context, rows: Sequence[Row], count: int = 5) -> Tree:
    """The largest cascades by total, the guide's top 5."""
    ordered = sorted(rows, key=lambda row: payload(row, "total_liquidated_usd") or 0, reverse=True)[:count]
    return table(
        "top-cascades",
        "Largest cascades of the last 24 hours",
        columns(context),
        ordered,
        empty=nothing(context),
        row_key=lambda row: row["alert_id"],
    )


def nothing(context: Context, span: str = "24 h") -> Tree:
    """No cascade: what the limits are, and when it was last looked at."""
    limits = [row for row in context.snap.liquidation.values() if row["critical_velocity_eff"] is not None]
    words = ", ".join(
        f"{wording.base(row['symbol'])} {wording.money(row['critical_velocity_eff'], per_hour=True)}"
        for row in limits[:4]
    )
    newest = max((row["ts"] for row in limits), default=None)
    return h(
        "p",
        "empty",
        f"No cascade in {span}. ",
        f"Limits in force: {words}; checked " if words else "No liquidations are stored yet.",
        moment(newest, "hm") if newest else None,
        " " + context.zone_name if newest else None,
    )
