"""The rules in force: what each word and limit means, from the settings of this installation.

What belongs here: short definitions with the numbers that apply. What does not: figures of the market.
"""

from typing import Any

from dash_app import wording
from dash_app.components import badges
from dash_app.panels import Context
from dash_app.tree import Tree, h


def volatility(context: Context) -> Tree:
    """Regimes, their edges and caution factors, and when one is left."""
    rules = context.settings.volatility
    low, middle, high = (
        f"{100 * edge:g} %" for edge in (rules.stable_threshold, rules.high_vol_threshold, rules.explosive_threshold)
    )
    spans: dict[Any, str] = {
        "STABLE": f"up to {low}",
        "HIGH_VOL": f"{low} to {middle}",
        "EXPLOSIVE": f"{middle} to {high}",
        "EXTREME": f"above {high}",
    }
    rows = [
        h(
            "div",
            "fact",
            h("dt", None, badges.regime(name)),
            h("dd", None, f"{span} · caution {wording.times(rules.risk_multipliers[name])}"),
        )
        for name, span in spans.items()
    ]
    return h(
        "div",
        "block",
        h("dl", "facts", *rows),
        h(
            "p",
            "foot",
            f"Per 24 h, {rules.estimator.replace('_', '-').title()} estimator. Up at once; down after "
            f"{rules.down_bars} hours {100 * rules.hysteresis:.0f} % below the edge. The upright mark on a "
            "bar is the forecast of the next 24 h.",
        ),
    )


def regimes(context: Context) -> Tree:
    """Labels with sign and family, and what confirms a regime."""
    rules = context.settings.multi_timeframe
    names = [name for name in badges.LABELS if name != "UNKNOWN"] + list(rules.labels)
    items = [
        h(
            "span",
            {"class": f"label fam-{badges.FAMILIES[badges.family(name, context.settings)]}"},
            f"{badges.emoji(name, context.settings)} {name}",
        )
        for name in names
    ]
    weights = ", ".join(f"{name} {100 * timeframe.weight:.0f} %" for name, timeframe in rules.timeframes.items())
    return h(
        "div",
        "block",
        h("div", "line", *items),
        h(
            "p",
            "foot",
            "Confidence: share of timeframes in the leading family. Confirmed above "
            f"{wording.whole_percent(rules.confirm_threshold)} by votes and by weight ({weights}); released "
            f"below {wording.whole_percent(rules.release)}.",
        ),
    )


def correlation(context: Context) -> Tree:
    """What a break is."""
    rules = context.settings.correlation
    facts = [
        badges.fact("Correlation", f"hourly log returns, {rules.window_h} h, at least {rules.min_window_h} valid"),
        badges.fact("Usual band", f"5 to 95 % of the last {rules.baseline_days} days"),
        badges.fact(
            "Relative break",
            f"break_z at or below {wording.sigma(rules.break_z)} and {wording.number(rules.min_drop)} below usual",
        ),
        badges.fact("Absolute break", f"correlation below {wording.number(rules.absolute_threshold)}"),
        badges.fact("Ends", f"break_z above {wording.sigma(rules.off_z)} for {rules.release_bars} hours"),
    ]
    return h("dl", "facts", *facts)


def funding(context: Context) -> Tree:
    """What an anomaly is."""
    rules = context.settings.funding
    facts = [
        badges.fact("Score", f"8-hour rate against the previous {rules.z_reference_settlements} values"),
        badges.fact(
            "Anomaly",
            f"|z| above {wording.number(rules.anomaly_z_threshold, 1)} and {1e4 * rules.min_deviation:g} bp "
            f"from the mean, or {100 * rules.reversal_threshold:g} bp in 24 h",
        ),
        badges.fact(
            "Critical",
            f"|z| from {wording.number(rules.critical_z, 1)} and {wording.percent(rules.critical_apr, 0)} a year",
        ),
        badges.fact("Ends", f"|z| below {wording.number(rules.off_z, 1)}"),
    ]
    return h("dl", "facts", *facts)
