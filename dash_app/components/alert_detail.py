"""One alert in full: why it fired, what was sent, what became of it.

What belongs here: the detail of the alert in the address. What does not: the list (``alert_rows.py``).
"""

import json
from datetime import timedelta
from typing import Any

from dash_app import theme, wording
from dash_app.components import badges, explained, traces
from dash_app.components.alert_rows import REASONS, subject
from dash_app.components.table import Column, numbers, table, times
from dash_app.panels import Context, Figure
from dash_app.queries import alerts, history
from dash_app.tree import Tree, h, link, moment, note

Row = dict[str, Any]

#: Event type -> table around it.
AROUND = {
    "LIQUIDATION_CASCADE": "liquidation_features",
    "FUNDING_ANOMALY": "funding_features",
    "FUNDING_REVERSAL": "funding_features",
    "VOLATILITY_REGIME_CHANGE": "volatility_features",
    "CORRELATION_BREAK": "correlation_features",
    "REGIME_CONFIRMED": "regimes",
}
#: Column drawn -> unit behind its figures; ``$`` stands before them.
UNITS = {
    "velocity_1h": "$",
    "velocity_4h": "$",
    "severity": " × limit",
    "funding_z_score": "σ",
    "funding_rate_8h": " bp",
    "change_24h_pp": " pp",
    "volatility": " %",
    "break_z": "σ",
    "confidence": " %",
}
BEFORE, AFTER = timedelta(hours=48), timedelta(hours=24)


def chosen(context: Context) -> Row | None:
    """The alert in the address, or None."""
    if not context.view.alert:
        return None
    return context.once("alert", lambda: alerts.one(context.reader, context.view.alert))


def why(context: Context) -> Tree:
    """Headline, inputs, terms, thresholds."""
    row = chosen(context)
    if row is None:
        if not context.view.alert:
            return h("p", "empty none-chosen", "Choose an alert in the list to see why it fired.")
        return note("There is no alert of this id any more.")
    facts = [
        badges.fact(
            "Triggered by", h("span", None, "the hour that ended ", moment(row["ts"], "full"), f" {context.zone_name}")
        ),
        badges.fact(
            "Episode",
            h("span", None, f"{row['phase'].lower()} at level {row['level']}, opened ", moment(row["onset_ts"], "dh")),
        ),
        badges.fact("Recorded", moment(row["recorded_at"], "full")),
    ]
    if row["suppressed_reason"]:
        facts.append(
            badges.fact("Kept, not posted", REASONS.get(row["suppressed_reason"], str(row["suppressed_reason"])))
        )
    if row["retracted_at"] is not None:
        facts.append(
            badges.fact(
                "Retracted",
                h(
                    "span",
                    None,
                    moment(row["retracted_at"], "full"),
                    ": a recomputation found that the condition did not hold",
                ),
            )
        )
    lists, tables = explained.blocks(row["event_type"], row["explain"])
    return h(
        "div",
        "block",
        h(
            "div",
            "line",
            badges.severity(row["severity"]),
            h("b", "big", row["title"]),
            h("span", "grow", ""),
            link(context.view.href(alert=""), "close", class_="button"),
        ),
        h("p", None, row["description"]),
        h(
            "div",
            "split",
            h("div", None, h("h3", None, "Event"), h("dl", "facts", *facts)),
            *lists,
        ),
        *tables,
    )


def payload(context: Context) -> Tree:
    """The message as receivers get it in the json format."""
    row = chosen(context)
    if row is None:
        return h("p", "soft", "")
    body = {
        "event_type": row["event_type"],
        "timestamp": row["ts"].strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "symbol": row["symbol"],
        "severity": row["severity"],
        "title": row["title"],
        "description": row["description"],
        "source": row["source"],
        "data": row["data"],
    }
    if row["asset_pair"]:
        body["asset_pair"] = row["asset_pair"]
    return h("pre", {"tabindex": "0", "aria-label": "Payload"}, json.dumps(body, indent=2, ensure_ascii=False))


def attempts(context: Context) -> Tree:
    """Deliveries per endpoint, and the forms for replay and silence."""
    row = chosen(context)
    if row is None:
        return h("p", "soft", "")
    found = alerts.attempts(context.reader, row["alert_id"])
    columns = [
        Column(
            "Endpoint",
            lambda one: h(
                "span",
                {"title": one["endpoint"]},
                f"{one['name'] or 'removed'} · {one['host'] or ''} …{one['endpoint'][:4]}",
            ),
        ),
        Column(
            "State",
            lambda one: badges.state(
                one["state"],
                {"DELIVERED": True, "DEAD": False, "EXPIRED": False}.get(one["state"]),
                one["state"].lower() + (f": {one['reason'].lower()}" if one["reason"] else ""),
            ),
            lambda one: one["state"],
        ),
        numbers("Attempts", "attempts", wording.count),
        Column(
            "HTTP",
            lambda one: str(one["last_status"] or one["last_error"] or "–"),
            lambda one: one["last_status"],
            number=True,
        ),
        times("Last", "last_attempt_at"),
        times("Next", "next_attempt_at"),
        Column("Replay", lambda one: "original" if one["series"] == 0 else f"replay {one['series']}"),
    ]
    kept = REASONS.get(row["suppressed_reason"] or "", "no endpoint wants this event")
    return h(
        "div",
        "block",
        table("attempts", "Deliveries of this alert", columns, found, empty=f"Not sent to anybody: {kept}."),
        h("div", "fields", *_forms(context, row)),
    )


def _forms(context: Context, row: Row) -> list[Tree]:
    if not context.reader.can_request:
        return [h("p", "soft", "Replay and silence are off: this dashboard has read access only.")]
    return [
        h(
            "form",
            {"class": "field", "data-action": "REPLAY", "data-args": json.dumps({"alert_id": row["alert_id"]})},
            h("button", {"type": "submit", "class": "button"}, "Send again"),
            h("output", {"role": "status"}, ""),
        ),
        h(
            "form",
            {
                "class": "field",
                "data-action": "SILENCE",
                "data-args": json.dumps({"event_type": row["event_type"], "symbol": row["symbol"]}),
            },
            h(
                "button",
                {"type": "submit", "class": "button"},
                f"Silence {wording.event_name(row['event_type']).lower()} {subject(row)}",
            ),
            h(
                "select",
                {"name": "hours", "aria-label": "For how long"},
                *(h("option", {"value": str(hours)}, f"for {hours} h") for hours in (1, 4, 24, 72)),
            ),
            h("input", {"name": "comment", "placeholder": "why (optional)", "aria-label": "Why", "maxlength": "200"}),
            h("output", {"role": "status"}, ""),
        ),
    ]


def chart(context: Context) -> Figure:
    """The figure that fired, two days before and one after, with the threshold in force."""
    colours, row = context.colours, chosen(context)
    if row is None or row["event_type"] not in AROUND:
        return theme.blank(colours, "")
    source = AROUND[row["event_type"]]
    drawn = explained.in_force(row["event_type"], row["explain"], row["data"])
    if drawn is None:
        return theme.blank(colours, "")
    column, factor, limits = drawn
    suffix = UNITS.get(column, "")
    key = row["asset_pair"] or row["symbol"]
    rows, _ = history.series(context.reader, source, key, row["ts"] - BEFORE, row["ts"] + AFTER, {column: "last"})
    if not rows:
        return theme.blank(colours, "The hours around this alert are not stored any more")
    values = [abs(factor * one[column]) for one in rows if one[column] is not None]
    shown = [value * factor for value in limits if not values or abs(value * factor) <= 1.6 * max(values)]
    prefix = "$" if suffix == "$" else ""
    unit = "" if prefix else suffix
    at = context.local(row["ts"])
    data = [
        traces.line(
            context,
            rows,
            column.replace("_", " "),
            column,
            f"{prefix}%{{y:,.4~g}}{unit}",
            factor=factor,
            color=colours["accent"],
            width=1.8,
        )
    ]
    vertical = {
        "type": "line",
        "xref": "x",
        "x0": at,
        "x1": at,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": colours["text"], "width": 1, "dash": "dot"},
    }
    layout = theme.layout(
        colours,
        xaxis=theme.axis(colours, type="date", nticks=7, hoverformat="%d %b %H:%M"),
        yaxis=theme.axis(
            colours, fixedrange=True, tickprefix=prefix, ticksuffix=unit, tickformat=".2~s" if prefix else None
        ),
        shapes=[vertical, *(traces.limit(colours, value)[0] for value in shown)],
        annotations=[
            {
                "x": at,
                "xref": "x",
                "y": 1,
                "yref": "paper",
                "yanchor": "bottom",
                "showarrow": False,
                "text": "fired",
                "font": {"size": 10, "color": colours["soft"]},
            }
        ],
        margin={**theme.MARGIN, "t": 20},
        uirevision=row["alert_id"],
    )
    return {"data": data, "layout": layout}
