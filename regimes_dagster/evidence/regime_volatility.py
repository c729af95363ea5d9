"""Validity test 5: is the next day wilder in a wilder regime?

What belongs here: forward volatility by volatility regime and its trend. What does not: the regimes
(``features/volatility_regime.py``).
"""

import math

import numpy as np

from regimes_dagster.evidence.block_bootstrap import mean_interval
from regimes_dagster.evidence.finding import Finding, Test, nothing_to_measure
from regimes_dagster.evidence.inputs import DAY_H, Inputs
from regimes_dagster.evidence.trend_test import explained_share, jonckheere
from regimes_dagster.features.volatility_hysteresis import REGIME_NAMES
from regimes_dagster.reports.charts import Dot, DotPlot

NAME = "05_regime_forward_volatility"
TITLE = "Volatility regimes and the volatility that follows"
QUESTION = "Is the volatility of the next 24 hours higher, the higher the regime? Every regime that occurs is compared."

#: A trend over fewer days than this decides nothing.
MIN_DAYS = 60
#: A regime seen on fewer days is shown, and does not decide.
MIN_REGIME_DAYS = 3
P_TARGET = 1e-6


def regime_forward_volatility(inputs: Inputs) -> Test:
    """Mean realised volatility of the next 24 h by regime; Jonckheere's trend test on non-overlapping days."""
    if inputs.volatility.empty:
        return nothing_to_measure(NAME, TITLE, QUESTION, "no volatility features in the period")
    forward = inputs.forward_rv()
    regime = inputs.codes(inputs.volatility, "regime", REGIME_NAMES)
    midnight = inputs.hours % DAY_H == 0
    findings: list[Finding] = []
    dots: list[Dot] = []
    for k, symbol in enumerate(inputs.symbols):
        means, days = [], []
        for code, name in enumerate(REGIME_NAMES):
            values = np.where(regime[k] == code, forward[k], np.nan)
            at_midnight = values[midnight & np.isfinite(values)]
            n = int(np.isfinite(values).sum())
            if not n:
                continue
            interval = mean_interval(values[None], f"{NAME}|{symbol}|{name}")
            note = f"{n} hours on {len(at_midnight)} separate days"
            findings.append(
                Finding.of(symbol, f"forward_volatility_{name}", interval, n, baseline=_mean(forward[k]), note=note)
            )
            dots.append(Dot(symbol, name, interval.value, interval.low, interval.high))
            if len(at_midnight) >= MIN_REGIME_DAYS:
                means.append(interval.value)
                days.append(at_midnight)
        findings.extend(_verdict(symbol, means, days))
    chart = DotPlot(
        "Realised volatility of the next 24 hours, by the regime in force",
        dots,
        unit="%",
        scale=100,
        caption="Mean with 95 % block-bootstrap interval (blocks of 168 h).",
    )
    return Test(NAME, TITLE, QUESTION, findings, [chart])


def _verdict(symbol: str, means: list[float], days: list[np.ndarray]) -> list[Finding]:
    n = sum(len(part) for part in days)
    trend = jonckheere(days)
    rises = bool(np.all(np.diff(means) > 0)) if len(means) > 1 else None
    few = len(means) < 2
    note = "only one regime occurs on three days or more" if few else f"Jonckheere z {trend.z:.1f}, p {trend.p:.0e}"
    return [
        Finding(
            symbol,
            "rises_with_regime",
            math.nan if rises is None else float(rises),
            target="forward volatility rises from each regime that occurs to the next",
            holds=rises,
            n=n,
            note=f"{len(means)} regimes on {MIN_REGIME_DAYS} days or more",
        ).unless_few(MIN_DAYS),
        Finding(
            symbol,
            "trend_p_value",
            trend.p,
            target=f"p < {P_TARGET:.0e} (Jonckheere, one row per day)",
            holds=None if few or math.isnan(trend.p) else trend.p < P_TARGET,
            n=n,
            note=note,
        ).unless_few(MIN_DAYS),
        Finding(
            symbol, "explained_share", explained_share(days), n=n, note="share of the daily variance between regimes"
        ),
    ]


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan
