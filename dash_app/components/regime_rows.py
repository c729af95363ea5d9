"""The guide's regimes panel: per symbol the label, confidence, timeframes, bias and caution factor.

What belongs here: the rows. What does not: history (``pages/regimes.py``).
"""

from collections.abc import Sequence
from typing import Any

from dash_app import wording
from dash_app.components import badges, crowd
from dash_app.panels import Context
from dash_app.tree import Tree, h, link, moment, note

Row = dict[str, Any]

TIMEFRAMES = ("1h", "4h", "1d", "1w")


def regime_rows(context: Context) -> Tree:
    """One block per symbol in the configured order; of many symbols a line for each of the most telling ones."""
    rows, symbols = context.snap.regimes, context.settings.symbols
    if not rows:
        return note("No regimes yet. They need about 30 days of hourly bars.")
    if crowd.many(len(symbols)):
        return _many(context, symbols)
    return h("div", "rows", *(_row(context, symbol, rows.get(symbol)) for symbol in symbols))


def _many(context: Context, symbols: Sequence[str]) -> Tree:
    rows = context.snap.regimes

    def rank(symbol: str) -> tuple[float, ...]:
        row = rows.get(symbol)
        if row is None:
            return (0.0,)
        return (1.0, row["state"] == "ACTIVE", row["confidence"] or 0.0, abs(row["long_bias"] or 0.0))

    shown = crowd.telling(symbols, context.view.symbol, rank)
    families = [rows[symbol]["family"] for symbol in symbols if symbol in rows]
    confirmed = sum(1 for row in rows.values() if row["state"] == "ACTIVE")
    return h(
        "div",
        "rows",
        crowd.counted(
            [
                ("up", families.count(1), "fam-bull"),
                ("down", families.count(-1), "fam-bear"),
                ("no trend", families.count(0), "fam-neutral"),
                ("confirmed", confirmed, "soft"),
                ("without a regime", len(symbols) - len(families), "soft"),
            ]
        ),
        *(_line(context, symbol, rows.get(symbol)) for symbol in shown),
        crowd.rest(
            len(symbols), len(shown), "confirmed ones first, by confidence", context.view.href(page="/regimes"), "all"
        ),
    )


def _line(context: Context, symbol: str, row: Row | None) -> Tree:
    name = link(context.view.href(page="/regimes", symbol=symbol), wording.base(symbol), class_="sym")
    if row is None:
        return h(
            "div", {"class": "regime-line", "key": symbol}, h("div", "line", name, h("span", "soft", "no regime yet"))
        )
    limit = context.settings.multi_timeframe.confirm_threshold
    return h(
        "div",
        {"class": "regime-line", "key": symbol},
        h(
            "div",
            "line",
            h("span", {"aria-hidden": "true"}, row["emoji"]),
            name,
            h("span", f"label fam-{badges.FAMILIES[row['family']]}", row["primary_regime"]),
            h("span", "grow", ""),
            h(
                "span",
                {"class": "num soft", "title": "Long bias: weighted directional lean, −1 to +1"},
                wording.number(row["long_bias"], 2, sign=True),
            ),
            h("b", "num share", wording.whole_percent(row["confidence"])),
        ),
        badges.meter(
            row["confidence"],
            f"Confidence {wording.base(symbol)}",
            text=f"{wording.whole_percent(row['confidence'])}, limit {wording.whole_percent(limit)}",
            tick=limit,
            kind="on" if row["state"] == "ACTIVE" else "off",
        ),
    )


def _row(context: Context, symbol: str, row: Row | None) -> Tree:
    href = context.view.href(page="/regimes", symbol=symbol)
    if row is None:
        return h(
            "div",
            {"class": "regime-row", "key": symbol},
            h("div", "line", link(href, wording.base(symbol), class_="sym"), h("span", "soft", "no regime yet")),
        )
    limit = context.settings.multi_timeframe.confirm_threshold
    confidence = row["confidence"]
    unknown = row["primary_regime"] == "UNKNOWN" or confidence is None
    actionable = row["state"] == "ACTIVE"
    if unknown:
        verdict = "unknown"
    elif actionable:
        verdict = "confirmed"
    elif row["family"] == 0:
        verdict = "no trend"
    else:
        verdict = f"below {wording.whole_percent(limit)}" if confidence <= limit else "not by weight"
    return h(
        "div",
        {"class": "regime-row", "key": symbol},
        h(
            "div",
            "line",
            h("span", {"class": "emoji", "aria-hidden": "true"}, row["emoji"]),
            link(href, wording.base(symbol), class_="sym"),
            h("span", f"label fam-{badges.FAMILIES[row['family']]}", row["primary_regime"]),
            h("span", "grow", ""),
            h("b", "num", wording.whole_percent(confidence)),
        ),
        badges.meter(
            confidence,
            f"Confidence {wording.base(symbol)}",
            text=f"{wording.whole_percent(confidence)}, limit {wording.whole_percent(limit)}",
            tick=limit,
            kind="on" if actionable else "off",
        ),
        h(
            "div",
            "line soft",
            *(
                h(
                    "span",
                    {"class": "tf", "title": f"{name}: {row[f'regime_{name}']}"},
                    f"{name} ",
                    h("span", {"aria-hidden": "true"}, badges.emoji(row[f"regime_{name}"], context.settings)),
                    h("span", "sr", row[f"regime_{name}"]),
                )
                for name in TIMEFRAMES
            ),
            h("span", "grow", ""),
            h("span", None, verdict),
        ),
        h(
            "div",
            "line soft",
            h(
                "span",
                {"title": "Weighted directional lean, −1 to +1"},
                "long bias ",
                h("b", None, wording.number(row["long_bias"], 2, sign=True)),
            ),
            h(
                "span",
                {"title": "Caution (stop-width) factor, not a position size"},
                "risk ",
                h("b", None, wording.times(row["risk_multiplier"])),
            ),
            h("span", "grow", ""),
            h("span", None, f"for {wording.hours(row['hours_in_regime'])}"),
        ),
    )


def as_of(context: Context) -> Tree:
    """The hour the rows stand for."""
    newest = max((row["ts"] for row in context.snap.regimes.values()), default=None)
    return h(
        "p",
        "foot",
        "hour ended ",
        moment(newest, "hm"),
        " · confirmed above ",
        wording.whole_percent(context.settings.multi_timeframe.confirm_threshold),
    )
