"""Validity test 17: how many alerts does a user get?

What belongs here: alerts per 30 days against the budget, and that every episode opens once. What does not: who gets
them (``alerts/``).
"""

import math

import numpy as np
import pandas as pd

from regimes_dagster.evidence.cascades import watched_hours
from regimes_dagster.evidence.finding import ALL, Finding, Test
from regimes_dagster.evidence.inputs import Bools, Floats, Inputs
from regimes_dagster.reports.charts import Dot, DotPlot

NAME = "17_alert_budget"
TITLE = "Alert budget"
QUESTION = "How many alerts does each rule raise per 30 days in which it could, and is every episode told once?"

MONTH_H = 720
#: The budget is for three symbols and their three pairs; it grows with them.
BUDGET_SYMBOLS = 3
TOLERANCE = 0.30

#: Alerts per 30 days over three symbols; None is reported only.
BUDGET: dict[str, float | None] = {
    "cascades": 8.0,
    "funding_warnings": 8.0,
    "funding_criticals": 4.5,
    "funding_reversals": None,
    "volatility_rises": 8.0,
    "correlation_breaks": 1.3,
    "confirmed_regimes": 8.0,
}


def alert_budget(inputs: Inputs) -> Test:
    """Alerts per 30 days: opened and not kept silent, over the hours in which each rule could be evaluated."""
    findings: list[Finding] = []
    dots: list[Dot] = []
    rules = _rules(inputs)
    for metric, (events, months) in rules.items():
        budget = BUDGET[metric]
        rates = {key: float((events["symbol"] == key).sum()) / m for key, m in months.items() if m > 0}
        if not rates:
            note = "not measured: no hour in which it could fire"
            findings.append(Finding(ALL, metric, math.nan, n=0, note=note))
            continue
        total = sum(rates.values()) * BUDGET_SYMBOLS / len(rates)
        for key, rate in rates.items():
            count = int((events["symbol"] == key).sum())
            note = f"{count} in {30 * months[key]:.0f} days"
            findings.append(Finding(key, metric, rate, n=count, note=note))
        measured = min(months[key] for key in rates)
        findings.append(
            Finding(
                ALL, metric, total, target=None if budget is None else f"<= {budget:g} + 30 %",
                holds=None if budget is None or measured < 1 else total <= (1 + TOLERANCE) * budget,
                n=sum(int((events["symbol"] == key).sum()) for key in rates),
                note=f"per 30 days, for three {'pairs' if metric == 'correlation_breaks' else 'symbols'}"
                + ("; less than 30 days to judge by" if measured < 1 else ""),
            )
        )  # fmt: skip
        shown = math.nan if budget is None else budget
        dots.append(Dot("per 30 days, three symbols", metric.replace("_", " "), total, baseline=shown))
    findings.append(_once(inputs.events))
    chart = DotPlot("Alerts per 30 days", dots, reference=0.0, caption="Tick: the budget.")
    return Test(NAME, TITLE, QUESTION, findings, [chart])


def _once(events: pd.DataFrame) -> Finding:
    opened = events[events["phase"] == "OPEN"]
    per_episode = opened.groupby(["feature", "episode_id"]).size()
    twice = int((per_episode > 1).sum())
    return Finding(
        ALL, "episodes_opened_twice", float(twice), target="0", holds=twice == 0, n=len(per_episode),
        note="every episode has one OPEN",
    )  # fmt: skip


def _rules(inputs: Inputs) -> dict[str, tuple[pd.DataFrame, dict[str, float]]]:
    """Metric -> events that count, and months per key in which the rule could fire."""

    def months(known: Bools) -> dict[str, float]:
        return {symbol: float(known[k].sum()) / MONTH_H for k, symbol in enumerate(inputs.symbols)}

    def finite(frame: pd.DataFrame, column: str) -> dict[str, float]:
        values: Floats = inputs.column(frame, column)
        return months(np.isfinite(values))

    funding = finite(inputs.funding, "funding_z_score")
    anomalies = inputs.opened("FUNDING_ANOMALY")
    critical = _reached(inputs.events, "FUNDING_ANOMALY", "CRITICAL")
    warned = anomalies[(anomalies["severity"] != "INFO")]
    volatility = inputs.opened("VOLATILITY_REGIME_CHANGE")
    correlated = inputs.correlation[inputs.correlation["break_z"].notna()] if len(inputs.correlation) else None
    pairs = {} if correlated is None else (correlated.groupby("asset_pair").size() / MONTH_H).to_dict()
    return {
        "cascades": (inputs.opened("LIQUIDATION_CASCADE"), months(watched_hours(inputs))),
        "funding_warnings": (warned[~warned["episode_id"].isin(critical["episode_id"])], funding),
        "funding_criticals": (critical, funding),
        "funding_reversals": (inputs.opened("FUNDING_REVERSAL"), funding),
        "volatility_rises": (volatility[volatility["severity"] != "INFO"], finite(inputs.volatility, "volatility")),
        "correlation_breaks": (inputs.opened("CORRELATION_BREAK"), {str(p): float(m) for p, m in pairs.items()}),
        "confirmed_regimes": (inputs.opened("REGIME_CONFIRMED"), finite(inputs.regimes, "confidence")),
    }


def _reached(events: pd.DataFrame, event_type: str, severity: str) -> pd.DataFrame:
    """One row per episode that reached a severity."""
    chosen = (events["event_type"] == event_type) & (events["severity"] == severity)
    chosen &= events["suppressed_reason"].isna() & events["phase"].isin(["OPEN", "ESCALATE"])
    return events[chosen].drop_duplicates("episode_id")
