"""Validity test 16: do confirmed regimes predict returns, and do they last longer?

What belongs here: forward returns by confirmed direction with HAC errors, rank correlation of the bias, and how long
the leading family lasts. What does not: the votes.
"""

import math

import numpy as np

from regimes_dagster.evidence.block_bootstrap import Interval, combined_interval, statistic_interval
from regimes_dagster.evidence.finding import ALL, Finding, Test, nothing_to_measure
from regimes_dagster.evidence.hac import regression, two_sided_p
from regimes_dagster.evidence.inputs import Bools, Floats, Inputs, Ints
from regimes_dagster.reports.charts import Dot, DotPlot

NAME = "16_confirmation"
TITLE = "Confirmed regimes: direction and persistence"
QUESTION = "Does a confirmed regime say anything about the next days' return, and does it last longer than one that " \
    "is not confirmed?"  # fmt: skip

HORIZONS_H = (24, 72)
RATIO_TARGET = 1.5
MIN_HOURS = 720
#: Draws of figures that sort all hours each time.
RANK_DRAWS = 300


def confirmation(inputs: Inputs) -> Test:
    """HAC regression of forward returns on confirmed directions; median hours until the family changes."""
    if inputs.regimes.empty:
        return nothing_to_measure(NAME, TITLE, QUESTION, "no regimes in the period")
    family = inputs.column(inputs.regimes, "family")
    confirmed = inputs.codes(inputs.regimes, "state", ("ACTIVE",)) == 0
    bias = inputs.column(inputs.regimes, "long_bias")
    known = np.isfinite(family) & np.isfinite(inputs.column(inputs.regimes, "confidence"))
    findings: list[Finding] = []
    moves: list[Dot] = []
    for k, symbol in enumerate(inputs.symbols):
        for hours in HORIZONS_H:
            forward = 1e4 * inputs.forward_return(hours)[k]
            of_symbol = _direction(symbol, hours, forward, family[k], confirmed[k], known[k])
            findings.extend(of_symbol)
            moves.extend(
                Dot(symbol, f"{'bull' if 'bull' in f.metric else 'bear'}, next {hours} h", f.value, f.low, f.high)
                for f in of_symbol
            )
        findings.append(_rank(symbol, bias[k], inputs.forward_return(24)[k], known[k] & (inputs.hours % 24 == 0)))
    lasting = [_lasting(inputs.symbols[k], family[[k]], confirmed[[k]], known[[k]]) for k in range(len(inputs.symbols))]
    lasting.append(_lasting(ALL, family, confirmed, known))
    charts = [
        DotPlot("Return above that of unconfirmed hours", moves, unit="bp", reference=0.0,
                caption="Bars that cross the line: no effect that can be told from chance."),
        DotPlot("Hours until the leading family changes: confirmed over not confirmed",
                [Dot(f.symbol, "ratio of medians", f.value, f.low, f.high) for f in lasting], reference=RATIO_TARGET,
                caption="Line: what is asked for. Partly by construction: see the note."),
    ]  # fmt: skip
    return Test(NAME, TITLE, QUESTION, [*findings, *lasting], charts)


def _direction(
    symbol: str, hours: int, forward: Floats, family: Floats, confirmed: Bools, known: Bools
) -> list[Finding]:
    bull, bear = (confirmed & (family == direction) for direction in (1, -1))
    usable = known & np.isfinite(forward)
    x = np.column_stack([np.ones(len(forward)), bull, bear]).astype(np.float64)
    slopes = regression(np.where(usable, forward, np.nan), x, 2 * hours)
    rest = usable & ~bull & ~bear
    findings = []
    for position, (word, chosen) in enumerate((("bull", bull), ("bear", bear)), start=1):
        hit = usable & chosen
        parts = np.stack([np.where(hit, forward, 0), hit, np.where(rest, forward, 0), rest]).astype(np.float64)
        interval = combined_interval(parts, _difference, f"{NAME}|{symbol}|{word}|{hours}")
        t = float(slopes.t[position])
        findings.append(
            Finding.of(
                symbol, f"excess_return_bp_{word}_{hours}h", interval, int(hit.sum()), baseline=0.0,
                p=two_sided_p(t) if math.isfinite(t) else None, claim=1 if word == "bull" else -1,
                target="price goes on in the confirmed direction",
                note=f"above unconfirmed hours, HAC t {t:.1f}",
            ).unless_few(MIN_HOURS)
        )  # fmt: skip
    return findings


def _difference(sums: Floats) -> Floats:
    return np.asarray(sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3])


def _rank(symbol: str, bias: Floats, forward: Floats, midnight: Bools) -> Finding:
    """Spearman correlation of the bias with the next 24 h return, one row per midnight.

    Ranks are taken once over all days; the interval resamples days in blocks of a week.
    """
    from scipy.stats import rankdata

    daily = np.flatnonzero(midnight & np.isfinite(bias) & np.isfinite(forward))
    if len(daily) < 3:
        return Finding(symbol, "rank_correlation_24h", math.nan, n=len(daily), note="too few days")
    a, b = rankdata(bias[daily]), rankdata(forward[daily])
    parts = np.stack([np.ones_like(a), a, b, a * a, b * b, a * b])
    interval = combined_interval(parts, _pearson, f"{NAME}|{symbol}|rank", block=7)
    note = "Spearman correlation of long_bias with the next 24 h return, one row per day"
    return Finding.of(symbol, "rank_correlation_24h", interval, len(daily), baseline=0.0, note=note)


def _pearson(sums: Floats) -> Floats:
    n, a, b, aa, bb, ab = sums.T
    return np.asarray((ab - a * b / n) / np.sqrt((aa - a * a / n) * (bb - b * b / n)))


def hours_until_change(family: Floats) -> Floats:
    """float[K, P]: hours until the leading family is another; NaN where it does not change before the end."""
    length = family.shape[1]
    place = np.arange(length)
    changes = np.zeros(family.shape, dtype=bool)
    changes[:, 1:] = family[:, 1:] != family[:, :-1]
    upcoming = np.where(changes, place, length)
    following = np.minimum.accumulate(upcoming[:, ::-1], axis=1)[:, ::-1]
    after = np.full(family.shape, length)
    after[:, :-1] = following[:, 1:]
    return np.where(after < length, after - place, np.nan)


def _lasting(symbol: str, family: Floats, confirmed: Bools, known: Bools) -> Finding:
    left = hours_until_change(family)
    directed = known & (np.abs(family) == 1) & np.isfinite(left)
    yes, no = directed & confirmed, directed & ~confirmed

    def ratio(hours: Ints) -> float:
        sample, with_yes, with_no = left[:, hours], yes[:, hours], no[:, hours]
        if not with_yes.any() or not with_no.any():
            return math.nan
        return float(np.median(sample[with_yes]) / np.median(sample[with_no]))

    interval: Interval = statistic_interval(ratio, family.shape[1], f"{NAME}|{symbol}|lasting", draws=RANK_DRAWS)
    medians = [float(np.median(left[part])) if part.any() else math.nan for part in (yes, no)]
    return Finding.of(
        symbol, "persistence_ratio", interval, int(yes.sum()), baseline=1.0,
        target=f"> {RATIO_TARGET:g}",
        holds=bool(interval.value > RATIO_TARGET) if math.isfinite(interval.value) else None,
        note=f"median hours until the family changes: {medians[0]:.0f} confirmed, {medians[1]:.0f} not. "
        "Partly by construction: a confirmed family holds more weight, so more of it must change first",
    ).unless_few(MIN_HOURS)  # fmt: skip
