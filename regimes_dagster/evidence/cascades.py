"""Validity tests 8 and 10: does the cascade rule catch the known days, and what comes after a cascade?

What belongs here: recall, alert rate, precision, and the aftermath of liquidation cascades. What does not: the rule.
"""

import math

import numpy as np
import pandas as pd

from regimes_dagster.evidence.block_bootstrap import Interval
from regimes_dagster.evidence.event_study import EventStudy, event_study
from regimes_dagster.evidence.finding import ALL, Finding, Test, nothing_to_measure
from regimes_dagster.evidence.inputs import Bools, Floats, Inputs
from regimes_dagster.evidence.known_days import KNOWN_EVENTS
from regimes_dagster.features.hourly_grid import hour_number
from regimes_dagster.partitions import utc
from regimes_dagster.reports.charts import Dot, DotPlot

RECALL = "08_cascade_recall"
AFTERMATH = "10_cascade_aftermath"
RECALL_TITLE = "Cascades: caught days, alert rate, precision"
RECALL_QUESTION = "Does the rule open a cascade around the days known for liquidations, at how many alerts, and how " \
    "often is the market really wilder afterwards?"  # fmt: skip
AFTERMATH_TITLE = "After a cascade"
AFTERMATH_QUESTION = "How do price and volatility go on after a cascade, compared with any such hour of the week?"

EVENT_TYPE = "LIQUIDATION_CASCADE"
MAX_RATE = 5.0
#: A day is caught by a cascade within this distance of its noon.
AROUND_H = 36
#: Share of the hours around a known day in which the rule must have been able to alert.
WATCHED_SHARE = 0.9
MIN_ALERTS = 10
MONTH_H = 720
WILD = 1.5
MIN_PRECISION = 0.6
RETURN_HOURS = (1, 4, 24, 72)


def cascade_tests(inputs: Inputs) -> list[Test]:
    """Tests 8 and 10."""
    watched = watched_hours(inputs)
    if not watched.any():
        why = "no hour of the period in which liquidations were covered and the history was long enough"
        return [
            nothing_to_measure(RECALL, RECALL_TITLE, RECALL_QUESTION, why),
            nothing_to_measure(AFTERMATH, AFTERMATH_TITLE, AFTERMATH_QUESTION, why),
        ]
    events = inputs.opened(EVENT_TYPE)
    return [_recall(inputs, events, watched), _aftermath(inputs, events, watched)]


def watched_hours(inputs: Inputs) -> Bools:
    """bool[K, P]: hours in which the rule could alert."""
    if inputs.liquidation.empty:
        return np.zeros((len(inputs.symbols), len(inputs.hours)), dtype=bool)
    known = np.isfinite(inputs.column(inputs.liquidation, "severity"))
    flags = inputs.liquidation[["symbol", "ts"]].assign(warm=inputs.liquidation["warming_up"].astype(float))
    return np.asarray(known & (inputs.column(flags, "warm") == 0), dtype=np.bool_)


def _recall(inputs: Inputs, events: pd.DataFrame, watched: Bools) -> Test:
    findings: list[Finding] = []
    caught_all, expected_all, by_chance = 0, 0, 0.0
    ratio = inputs.forward_rv_ratio()
    wild = np.where(np.isfinite(ratio), (ratio > WILD).astype(float), np.nan)
    dots = []
    for k, symbol in enumerate(inputs.symbols):
        mine = events[events["k"] == k]
        months = watched[k].sum() / MONTH_H
        if not months:
            continue
        rate = len(mine) / months
        findings.append(
            Finding(
                symbol, "alerts_per_30_days", rate,
                target=f"<= {MAX_RATE:g}", holds=bool(rate <= MAX_RATE) if months >= 1 else None,
                n=len(mine), note=f"over {watched[k].sum() / 24:.0f} watched days",
            )
        )  # fmt: skip
        caught, expected = _caught(inputs, k, mine["t"].to_numpy(), watched[k])
        chance = 1 - math.exp(-rate * 2 * AROUND_H / MONTH_H)
        caught_all, expected_all, by_chance = (
            caught_all + len(caught),
            expected_all + len(expected),
            chance * len(expected) + by_chance,
        )
        if expected:
            missed = sorted(set(expected) - set(caught))
            note = f"caught {', '.join(caught) or 'none'}" + (f"; missed {', '.join(missed)}" if missed else "")
            findings.append(
                Finding(
                    symbol, "recall", len(caught) / len(expected), baseline=chance,
                    target="every known day", holds=not missed, n=len(expected), note=f"{note}; baseline: by chance",
                )
            )  # fmt: skip
        study = event_study(wild, mine["k"].to_numpy(), mine["t"].to_numpy(), watched, f"{RECALL}|{symbol}")
        findings.append(_precision(symbol, study))
        dots.append(_dot(symbol, "after a cascade", study))
    if expected_all:
        findings.append(
            Finding(
                ALL, "recall", caught_all / expected_all, baseline=by_chance / expected_all,
                target="every known day", holds=caught_all == expected_all, n=expected_all,
                note=f"{caught_all} of {expected_all} symbol-days; baseline: by chance at the measured alert rate",
            )
        )  # fmt: skip
    study = event_study(wild, events["k"].to_numpy(), events["t"].to_numpy(), watched, f"{RECALL}|{ALL}")
    findings.append(_precision(ALL, study))
    dots.append(_dot(ALL, "after a cascade", study))
    chart = DotPlot(
        f"Share of cascades after which the next 24 h are more than {WILD:g} times as volatile as usual",
        dots, unit="%", scale=100, reference=MIN_PRECISION,
        caption="Tick: random times of the same hour of the week. Line: what is asked for.",
    )  # fmt: skip
    return Test(RECALL, RECALL_TITLE, RECALL_QUESTION, findings, [chart])


def _precision(symbol: str, study: EventStudy) -> Finding:
    return Finding.of(
        symbol, "precision", study.after, study.n, baseline=study.baseline, p=study.p,
        target=f">= {MIN_PRECISION:g}", holds=bool(study.after.value >= MIN_PRECISION) if study.n else None,
        note=f"share followed by more than {WILD:g} x the usual 24 h volatility; baseline: random times",
    ).unless_few(MIN_ALERTS)  # fmt: skip


def _caught(inputs: Inputs, k: int, opened: np.ndarray, watched: np.ndarray) -> tuple[list[str], list[str]]:
    """Known events that a cascade fell on, and those that it could have fallen on."""
    caught, expected = [], []
    for known in KNOWN_EVENTS:
        if not known.hit(inputs.symbols[k]):
            continue
        first = hour_number(utc(known.first)) + 12 - AROUND_H - int(inputs.hours[0])
        last = hour_number(utc(known.last)) + 12 + AROUND_H - int(inputs.hours[0])
        if first < 0 or last >= len(watched) or watched[first : last + 1].mean() < WATCHED_SHARE:
            continue
        expected.append(str(known))
        if ((opened >= first) & (opened <= last)).any():
            caught.append(str(known))
    return caught, expected


def _aftermath(inputs: Inputs, events: pd.DataFrame, watched: Bools) -> Test:
    findings: list[Finding] = []
    k, t = events["k"].to_numpy(), events["t"].to_numpy()
    ratio = inputs.forward_rv_ratio()
    dots = []
    for symbol, chosen in [*((s, k == i) for i, s in enumerate(inputs.symbols)), (ALL, k >= 0)]:
        study = event_study(ratio, k[chosen], t[chosen], watched, f"{AFTERMATH}|{symbol}|volatility")
        note = "next 24 h over the 30-day median; baseline: random times"
        findings.append(_reported(symbol, "forward_volatility_ratio", study, note))
        dots.append(_dot(symbol, "next 24 h", study))
    sides = np.array([str(data["side_bias"]) for data in events["data"]], dtype=object)
    returns = []
    for side in ("LONG", "SHORT"):
        for hours in RETURN_HOURS:
            study = _returns_after(inputs, k[sides == side], t[sides == side], watched, f"{side}|{hours}")
            metric = f"return_bp_after_{side.lower()}s_{hours}h"
            note = f"mean log return in basis points after liquidated {side.lower()}s; baseline: random times"
            findings.append(_reported(ALL, metric, study, note))
            returns.append(_dot(f"{side.lower()}s liquidated", f"{hours} h", study))
    charts = [
        DotPlot(
            "Volatility of the next 24 h over its usual level", dots, reference=1.0,
            caption="1: as usual. Tick: random times of the same hour of the week.",
        ),
        DotPlot("Return after a cascade", returns, unit="bp", reference=0.0, caption="Tick: random times."),
    ]  # fmt: skip
    return Test(AFTERMATH, AFTERMATH_TITLE, AFTERMATH_QUESTION, findings, charts)


def _returns_after(inputs: Inputs, k: np.ndarray, t: np.ndarray, watched: Bools, name: str) -> EventStudy:
    outcome: Floats = 1e4 * inputs.forward_return(int(name.split("|")[1]))
    return event_study(outcome, k, t, watched, f"{AFTERMATH}|{name}")


def _reported(symbol: str, metric: str, study: EventStudy, note: str) -> Finding:
    return Finding.of(symbol, metric, study.after, study.n, baseline=study.baseline, p=study.p, note=note)


def _dot(group: str, label: str, study: EventStudy) -> Dot:
    after: Interval = study.after
    return Dot(group, label, after.value, after.low, after.high, study.baseline, study.n)
