"""Validity test 14: what becomes of a correlation break?

What belongs here: how often pairs break, whether the correlation returns into its band within a week, and whether the
hedged spread comes back. What does not: the rule. No claim of profit is made or tested.
"""

import math

import numpy as np
import pandas as pd

from regimes_dagster.evidence.block_bootstrap import Interval, mean_interval
from regimes_dagster.evidence.finding import ALL, Finding, Test, nothing_to_measure
from regimes_dagster.evidence.inputs import Floats, Inputs
from regimes_dagster.features.hourly_grid import hour_number
from regimes_dagster.reports.charts import Dot, DotPlot

NAME = "14_correlation_breaks"
TITLE = "After a correlation break"
QUESTION = "How often do pairs break, does the correlation return within a week, and does the spread come back?"

EVENT_TYPE = "CORRELATION_BREAK"
WEEK_H = 168
VALID_SHARE = 0.9
MONTH_H = 720
MIN_BREAKS = 10


def pair_breaks(inputs: Inputs) -> Test:
    """Rate per pair, share back in band within 7 days, share of spreads that reversed within 7 days."""
    if inputs.correlation.empty:
        return nothing_to_measure(NAME, TITLE, QUESTION, "no correlation features in the period")
    events = inputs.opened(EVENT_TYPE)
    length = len(inputs.hours)
    findings: list[Finding] = []
    back_all, reversed_all = [], []
    dots: list[Dot] = []
    for pair, rows in inputs.correlation.groupby("asset_pair", sort=True):
        rho, band, beta, score = (
            _over_time(inputs, rows, c) for c in ("return_correlation", "band_low", "beta", "break_z")
        )
        mine = events[events["symbol"] == pair]["t"].to_numpy()
        months = np.isfinite(score).sum() / MONTH_H
        if months:
            note = f"over {months * 30:.0f} days in which the rule could fire"
            findings.append(Finding(str(pair), "breaks_per_30_days", len(mine) / months, n=len(mine), note=note))
        back, turned = np.full(length, np.nan), np.full(length, np.nan)
        a, b = _returns(inputs, str(pair))
        for t in mine:
            back[t], turned[t] = _returned(rho, band, int(t)), _reversed(a, b, float(beta[t]), int(t))
        back_all.append(back)
        reversed_all.append(turned)
        for name, values, wording in _outcomes(back, turned):
            interval, n = _mean(values, f"{pair}|{name}")
            findings.append(Finding.of(str(pair), name, interval, n, note=wording).unless_few(MIN_BREAKS))
            dots.append(Dot(str(pair), _LABELS[name], interval.value, interval.low, interval.high, n=n))
    for name, values, wording in _outcomes(np.stack(back_all), np.stack(reversed_all)):
        interval, n = _mean(values, f"{ALL}|{name}")
        baseline = 0.5 if name == "spread_reversed" else math.nan
        findings.append(Finding.of(ALL, name, interval, n, baseline=baseline, note=wording).unless_few(MIN_BREAKS))
        dots.append(Dot("all pairs", _LABELS[name], interval.value, interval.low, interval.high, n=n))
    chart = DotPlot("Within a week of a break", dots, unit="%", scale=100, reference=0.5, caption="Line: a coin flip.")
    return Test(NAME, TITLE, QUESTION, findings, [chart])


_LABELS = {"back_in_band": "correlation back in its band", "spread_reversed": "spread came back"}


def _outcomes(back: Floats, turned: Floats) -> list[tuple[str, Floats, str]]:
    return [
        ("back_in_band", back, "share of breaks whose 72 h correlation is back above the lower band within 7 days"),
        ("spread_reversed", turned, "share whose hedged spread moved back over the next 7 days; 0.5 is a coin flip"),
    ]


def _mean(values: Floats, name: str) -> tuple[Interval, int]:
    return mean_interval(values, f"{NAME}|{name}"), int(np.isfinite(values).sum())


def _over_time(inputs: Inputs, rows: pd.DataFrame, column: str) -> Floats:
    out = np.full(len(inputs.hours), np.nan)
    at = np.array([hour_number(ts) for ts in rows["ts"]], dtype=np.int64) - inputs.hours[0]
    keep = (at >= 0) & (at < len(out))
    out[at[keep]] = rows[column].to_numpy(dtype=np.float64, na_value=np.nan)[keep]
    return out


def _returns(inputs: Inputs, pair: str) -> tuple[Floats, Floats]:
    parts = pair.split("/")
    rows = [inputs.symbols.index("/".join(part)) for part in (parts[:2], parts[2:])]
    a, b = inputs.returns[rows, inputs.begin :]
    return a, b


def _returned(rho: Floats, band: Floats, t: int) -> float:
    """1 if the correlation is above its band within a week, NaN while that week is not over."""
    later = slice(t + 1, t + 1 + WEEK_H)
    known = np.isfinite(rho[later]) & np.isfinite(band[later])
    with np.errstate(invalid="ignore"):
        inside = known & (rho[later] >= band[later])
    if inside.any():
        return 1.0
    return 0.0 if t + WEEK_H < len(rho) and known.mean() >= VALID_SHARE else math.nan


def _reversed(a: Floats, b: Floats, beta: float, t: int) -> float:
    """1 if the hedged spread of the 72 h before moved back over the week after; NaN where unknown."""
    if t + WEEK_H >= len(a) or t < 72:
        return math.nan
    before, after = (b[part] - beta * a[part] for part in (slice(t - 71, t + 1), slice(t + 1, t + 1 + WEEK_H)))
    if np.isfinite(before).mean() < VALID_SHARE or np.isfinite(after).mean() < VALID_SHARE:
        return math.nan
    return float(np.nansum(before) * np.nansum(after) < 0)
