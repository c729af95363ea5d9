"""Alerts as lines and as a table.

What belongs here: one alert in a list, with what became of it. What does not: its details (``pages/alerts.py``).
"""

from typing import Any

from dash_app import wording
from dash_app.components import badges
from dash_app.components.table import Column, times
from dash_app.panels import Context
from dash_app.tree import Tree, h, link, moment, note

Row = dict[str, Any]

REASONS = {
    "AGE": "too old to post",
    "COOLDOWN": "cooling down",
    "STALE_INPUT": "stale input",
    "WEBHOOKS_OFF": "webhooks off",
    "WARMING_UP": "warming up",
}


def subject(row: Row) -> str:
    """The symbol or pair of an alert, as people say it."""
    return wording.pair_name(row["asset_pair"]) if row["asset_pair"] else wording.base(row["symbol"])


def outcome(row: Row) -> Tree:
    """Where the message went: ``3/3``, waiting, dead, or why it stays here."""
    if row["retracted_at"] is not None:
        return badges.state("retracted", None)
    if row["suppressed_reason"]:
        return badges.state(
            row["suppressed_reason"],
            None,
            f"kept: {REASONS.get(row['suppressed_reason'], row['suppressed_reason'].lower())}",
        )
    if not row["planned"]:
        return badges.state("none", None, "no endpoint")
    share = f"{row['delivered']}/{row['planned']}"
    if row["dead"]:
        return badges.state("dead", False, f"{share}, {row['dead']} dead")
    if row["waiting"]:
        return badges.state("waiting", None, f"{share}, waiting")
    return badges.state("delivered", True, f"{share} delivered")


def lines(context: Context) -> Tree:
    """The latest alerts, one line each."""
    rows = context.snap.recent[:8]
    if not rows:
        return note("No alert yet. Alerts open when a feature passes its limit; see the pages for the limits in force.")
    items = [
        h(
            "li",
            {"key": row["alert_id"]},
            badges.severity(row["severity"]),
            link(
                context.view.href(page="/alerts", alert=row["alert_id"]),
                h("b", None, subject(row)),
                " ",
                wording.event_name(row["event_type"]).lower(),
                class_="alert-title",
            ),
            h("span", "soft num", moment(row["ts"], "age")),
            outcome(row),
        )
        for row in rows
    ]
    return h("ul", "alert-lines", *items)


def columns(context: Context) -> list[Column]:
    """Columns of the list of alerts."""
    return [
        times(f"Time ({context.zone_name})", "ts"),
        Column("Severity", lambda row: badges.severity(row["severity"]), lambda row: row["severity"]),
        Column(
            "Event",
            lambda row: (
                wording.event_name(row["event_type"]) + ("" if row["phase"] == "OPEN" else f" · {row['phase'].lower()}")
            ),
            lambda row: row["event_type"],
        ),
        Column("Symbol", subject, lambda row: row["symbol"]),
        Column(
            "What happened",
            lambda row: link(context.view.href(alert=row["alert_id"]), row["description"] or row["title"]),
            lambda row: row["description"],
        ),
        Column("Delivered", outcome, lambda row: row["delivered"]),
    ]
