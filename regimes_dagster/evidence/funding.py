"""Validity tests 12 and 13: does extreme funding come back, and what do price and volatility do after it?

What belongs here: decay of extremes, and event studies of funding anomalies. What does not: the scores.
"""

import math

import numpy as np
import pandas as pd

from regimes_dagster.evidence.block_bootstrap import DRAWS, Interval, combined_interval
from regimes_dagster.evidence.event_study import event_study
from regimes_dagster.evidence.finding import ALL, Finding, Test, nothing_to_measure
from regimes_dagster.evidence.inputs import Bools, Floats, Inputs
from regimes_dagster.features.hourly_grid import HOUR_US
from regimes_dagster.parameters import FundingParameters
from regimes_dagster.reports.charts import Dot, DotPlot, Line, LineChart

REVERSION = "12_funding_mean_reversion"
AFTER = "13_funding_event_study"
REVERSION_TITLE = "Extreme funding comes back"
REVERSION_QUESTION = "How much of an extreme is left after 8 hours to 7 days, and how often is it halved within a day?"
AFTER_TITLE = "Price and volatility around extreme funding"
AFTER_QUESTION = "Do price or volatility differ after a funding anomaly from any such hour of the week?"

EVENT_TYPE = "FUNDING_ANOMALY"
HORIZONS_H = (8, 24, 72, 168)
HALVED_H = 24
#: Share of extremes that were halved after 24 h on seven venues, 2020 to 2023.
HALVED_ANCHOR = (0.58, 0.63)
MIN_EXTREMES = 30
MIN_EVENTS = 10
RETURN_HOURS = (-72, -24, 24, 72)
SIGNS = {"positive": 1, "negative": -1}


def funding_tests(inputs: Inputs, params: FundingParameters) -> list[Test]:
    """Tests 12 and 13."""
    if inputs.funding.empty or not inputs.funding["funding_z_score"].notna().any():
        why = "no funding scores in the period"
        return [
            nothing_to_measure(REVERSION, REVERSION_TITLE, REVERSION_QUESTION, why),
            nothing_to_measure(AFTER, AFTER_TITLE, AFTER_QUESTION, why),
        ]
    return [_reversion(inputs, params), _around(inputs)]


def extremes(inputs: Inputs, params: FundingParameters) -> tuple[Floats, Floats, Floats, Bools]:
    """8-hour rate x, reference mean and sign of each extreme; hour in which it became known.

    Returns
    -------
    tuple
        x [K, P], mean [K, P], sign [K, P] (1, -1; 0 where the hour brings no new extreme), new bool[K, P].
    """
    x = inputs.column(inputs.funding, "funding_rate_8h")
    mean = inputs.column(inputs.funding, "funding_mean")
    z = inputs.column(inputs.funding, "funding_z_score")
    stamps = inputs.funding["settle_ts"].to_numpy(dtype="datetime64[us]").astype(np.int64) / HOUR_US
    settled = np.where(inputs.funding["settle_ts"].isna(), np.nan, stamps)
    settle = inputs.column(inputs.funding[["symbol", "ts"]].assign(settled=settled), "settled")
    new = np.isfinite(settle)
    new[:, 1:] &= ~(settle[:, 1:] == settle[:, :-1])
    # Venues with shorter intervals settle within the 8-hour value: only the hour in which x changes counts once.
    new &= settle % 8 == 0
    with np.errstate(invalid="ignore"):
        flagged = new & (np.abs(z) > params.anomaly_z_threshold) & (np.abs(x - mean) >= params.min_deviation)
    return x, mean, np.where(flagged, np.sign(z), 0.0), new


def _reversion(inputs: Inputs, params: FundingParameters) -> Test:
    x, mean, sign, new = extremes(inputs, params)
    findings: list[Finding] = []
    lines: list[Line] = []
    groups = [*((s, [k]) for k, s in enumerate(inputs.symbols)), (ALL, list(range(len(inputs.symbols))))]
    for symbol, rows in groups:
        for word, direction in SIGNS.items():
            of_sign = [_left(x, mean, (sign == direction), rows, h, f"{symbol}|{word}") for h in HORIZONS_H]
            for hours, (interval, n) in zip(HORIZONS_H, of_sign, strict=True):
                note = "sum of what is left over sum of the excess"
                findings.append(
                    Finding.of(symbol, f"excess_left_{word}_{hours}h", interval, n, baseline=1.0, note=note)
                )
            if symbol == ALL and of_sign[0][1]:
                known = [interval for interval, _ in of_sign]
                lines.append(_line(f"{word} extremes", known))
        for word, hours, limit in (("halved", HALVED_H, 0.5), ("smaller", HALVED_H, 1.0)):
            findings.append(_share_below(x, mean, sign != 0, new, rows, symbol, word, hours, limit))
    chart = LineChart(
        "Share of the excess that is left", lines, x_label="hours after the extreme", y_label="share",
        y_from_zero=True, caption="All symbols together, with 95 % block-bootstrap intervals.",
    )  # fmt: skip
    return Test(REVERSION, REVERSION_TITLE, REVERSION_QUESTION, findings, [chart])


def _line(name: str, known: list[Interval]) -> Line:
    return Line(
        name,
        (0.0, *(float(h) for h in HORIZONS_H)),
        (1.0, *(i.value for i in known)),
        (1.0, *(i.low for i in known)),
        (1.0, *(i.high for i in known)),
    )


def _later(x: Floats, hours: int) -> Floats:
    out = np.full(x.shape, np.nan)
    if hours < x.shape[1]:
        out[:, :-hours] = x[:, hours:]
    return out


def _left(x: Floats, mean: Floats, chosen: Bools, rows: list[int], hours: int, name: str) -> tuple[Interval, int]:
    excess, left = x - mean, _later(x, hours) - mean
    known = chosen & np.isfinite(left) & np.isfinite(excess)
    parts = np.stack([np.where(known, left, 0.0)[rows].sum(axis=0), np.where(known, excess, 0.0)[rows].sum(axis=0)])
    interval = combined_interval(parts, lambda s: np.asarray(s[:, 0] / s[:, 1]), f"{REVERSION}|{name}|{hours}")
    return interval, int(known[rows].sum())


def _share_below(
    x: Floats,
    mean: Floats,
    extreme: Bools,
    new: Bools,
    rows: list[int],
    symbol: str,
    word: str,
    hours: int,
    limit: float,
) -> Finding:
    """Share of extremes of either sign whose excess is below ``limit`` of itself after ``hours``."""
    excess, later = x - mean, _later(x, hours) - mean
    known = extreme & np.isfinite(later)
    with np.errstate(invalid="ignore", divide="ignore"):
        below = known & (later / excess <= limit)
        usual = new & np.isfinite(later) & (excess != 0)
        baseline = float((usual & (later / excess <= limit))[rows].sum() / max(usual[rows].sum(), 1))
    parts = np.stack([below[rows].sum(axis=0), known[rows].sum(axis=0)]).astype(np.float64)
    interval = combined_interval(parts, lambda s: np.asarray(s[:, 0] / s[:, 1]), f"{REVERSION}|{symbol}|{word}")
    n = int(known[rows].sum())
    low, high = HALVED_ANCHOR
    anchored = word == "halved"
    return Finding.of(
        symbol, f"{word}_within_{hours}h", interval, n, baseline=baseline,
        target=f"{low:g} to {high:g} lies within the interval" if anchored else None,
        holds=interval.contains(low, high) if anchored and math.isfinite(interval.low) else None,
        note="share of extremes; baseline: all 8-hour values",
    ).unless_few(MIN_EXTREMES)  # fmt: skip


def _around(inputs: Inputs) -> Test:
    events = inputs.opened(EVENT_TYPE)
    events = events[events["severity"] != "INFO"].reset_index(drop=True)
    score = inputs.column(inputs.funding, "funding_z_score")
    eligible: Bools = np.isfinite(score)
    # Over all tests about 6 + 5 claims per symbol are corrected together: the smallest p-value must survive that.
    draws = max(DRAWS, 40 * (6 + 5 * len(inputs.symbols)))
    findings: list[Finding] = []
    moves: list[Dot] = []
    wild: list[Dot] = []
    for word, direction in SIGNS.items():
        k, t = _places(events, direction)
        for hours in RETURN_HOURS:
            study = event_study(
                1e4 * inputs.forward_return(hours), k, t, eligible, f"{AFTER}|{word}|{hours}", draws=draws
            )
            when = "after" if hours > 0 else "before"
            findings.append(
                Finding.of(
                    ALL, f"return_bp_{abs(hours)}h_{when}_{word}", study.after, study.n, baseline=study.baseline,
                    p=study.p, claim=-direction if hours > 0 else 0,
                    target="price goes against the crowded side, more than at random times" if hours > 0 else None,
                    note="mean log return in basis points; baseline: random times",
                ).unless_few(MIN_EVENTS)
            )  # fmt: skip
            label = f"{abs(hours)} h {when}"
            after = study.after
            moves.append(Dot(f"{word} extremes", label, after.value, after.low, after.high, study.baseline, study.n))
        study = event_study(inputs.forward_rv_ratio(), k, t, eligible, f"{AFTER}|{word}|volatility", draws=draws)
        findings.append(
            Finding.of(
                ALL, f"forward_volatility_ratio_{word}", study.after, study.n, baseline=study.baseline, p=study.p,
                claim=1, target="volatility is higher than at random times",
                note="next 24 h over the 30-day median; baseline: random times",
            ).unless_few(MIN_EVENTS)
        )  # fmt: skip
        after = study.after
        wild.append(Dot(f"{word} extremes", "next 24 h", after.value, after.low, after.high, study.baseline, study.n))
    charts = [
        DotPlot("Return around the onset of extreme funding", moves, unit="bp", reference=0.0,
                caption="All symbols together. Tick: random times of the same symbol and hour of the week."),
        DotPlot("Volatility of the next 24 h over its usual level", wild, reference=1.0, caption="Tick: random times."),
    ]  # fmt: skip
    return Test(AFTER, AFTER_TITLE, AFTER_QUESTION, findings, charts)


def _places(events: pd.DataFrame, direction: int) -> tuple[np.ndarray, np.ndarray]:
    score = np.array([float(data["funding_z_score"] or 0.0) for data in events["data"]])
    chosen = np.sign(score) == direction
    return events["k"].to_numpy()[chosen], events["t"].to_numpy()[chosen]
