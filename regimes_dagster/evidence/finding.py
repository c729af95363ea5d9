"""What a validity test says: figures with intervals, and the charts that show them.

What belongs here: the value types that every test returns, the wording of too little data, and their rows of
``signal_evidence``. What does not: any statistic, and how a chart is drawn (``reports/charts.py``).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import pandas as pd

from regimes_dagster.evidence.block_bootstrap import Interval
from regimes_dagster.evidence.multiple_testing import holm
from regimes_dagster.partitions import Window
from regimes_dagster.reports.charts import Chart

#: All symbols together.
ALL = "ALL"

#: Level of a claim after Holm's correction.
ALPHA = 0.05


@dataclass(frozen=True)
class Finding:
    """One measured figure.

    Attributes
    ----------
    symbol
        Symbol, pair or ``ALL``.
    metric
        Name of the figure; with test and symbol unique.
    value, low, high
        Measured value and ends of its 95 % interval; NaN where unknown.
    baseline
        What the figure would be without the signal; NaN without one.
    target
        What is asked of it, in words; None where it is only reported.
    holds
        Whether it holds; None where it is only reported, or too little data say either.
    n
        Observations.
    note
        Explanation for people.
    p
        p-value, where there is a test.
    claim
        1 or -1: the p-value is corrected together with those of all other claims (``correct``), and decides
        ``holds``: the effect exists if the corrected p-value is below 5 % and the value lies on the claimed side of
        the baseline (1 above, -1 below). 0: the p-value is only reported.
    """

    symbol: str
    metric: str
    value: float
    low: float = math.nan
    high: float = math.nan
    baseline: float = math.nan
    target: str | None = None
    holds: bool | None = None
    n: int | None = None
    note: str | None = None
    p: float | None = None
    claim: int = 0

    @classmethod
    def of(cls, symbol: str, metric: str, interval: Interval, n: int, **more: object) -> "Finding":
        """A finding from a value with its interval."""
        return cls(symbol, metric, interval.value, interval.low, interval.high, n=n, **more)  # type: ignore[arg-type]

    def unless_few(self, needed: int) -> "Finding":
        """The same, but undecided where fewer than ``needed`` observations stand behind it."""
        if self.n is None or self.n >= needed:
            return self
        note = f"too little data to decide: {self.n} observations, {needed} needed"
        return replace(self, holds=None, claim=0, note=note if self.note is None else f"{self.note}; {note}")


@dataclass(frozen=True)
class Test:
    """One validity test: what it asks, what was measured, and charts of it."""

    name: str
    title: str
    question: str
    findings: Sequence[Finding]
    charts: Sequence[Chart] = field(default_factory=tuple)

    __test__ = False  # no test of pytest's


def nothing_to_measure(name: str, title: str, question: str, why: str) -> Test:
    """A test whose data are missing: one undecided finding that says why."""
    return Test(name, title, question, [Finding(ALL, "observations", math.nan, n=0, note=f"not measured: {why}")])


def correct(tests: Sequence[Test]) -> list[Test]:
    """Holm's correction over the claims of all tests together; it decides whether they hold."""
    found = [finding.p for test in tests for finding in test.findings if finding.claim]
    corrected = iter(holm([p for p in found if _known(p)]))
    return [replace(test, findings=[_decided(finding, corrected) for finding in test.findings]) for test in tests]


def _known(p: float | None) -> TypeGuard[float]:
    return p is not None and math.isfinite(p)


def _decided(finding: Finding, corrected: Iterator[float]) -> Finding:
    if not _known(finding.p):
        return finding
    text = f"p {_p_text(finding.p)}"
    if not finding.claim:
        return replace(finding, note=_joined(finding.note, text))
    p = next(corrected)
    baseline = 0.0 if math.isnan(finding.baseline) else finding.baseline
    return replace(
        finding,
        note=_joined(finding.note, f"{text}, after Holm's correction {_p_text(p)}"),
        holds=p < ALPHA and (finding.value - baseline) * finding.claim > 0,
    )


def _joined(note: str | None, text: str) -> str:
    return text if note is None else f"{note}; {text}"


def _p_text(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}".replace("e-0", "e-")


_COLUMNS = (
    "test", "symbol", "metric", "period_start", "period_end", "value", "ci_low", "ci_high", "baseline", "target",
    "holds", "n", "note", "config_hash",
)  # fmt: skip


def evidence_rows(tests: Iterable[Test], period: Window, config_hash: str) -> pd.DataFrame:
    """Rows of ``signal_evidence``, sorted by key."""
    rows = [
        {
            "test": test.name,
            "symbol": finding.symbol,
            "metric": finding.metric,
            "period_start": period.start,
            "period_end": period.end,
            "value": _finite(finding.value),
            "ci_low": _finite(finding.low),
            "ci_high": _finite(finding.high),
            "baseline": _finite(finding.baseline),
            "target": finding.target,
            "holds": finding.holds,
            "n": finding.n,
            "note": finding.note,
            "config_hash": config_hash,
        }
        for test in tests
        for finding in test.findings
    ]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    types: Any = {
        "holds": "boolean",
        "n": "Int64",
        "value": float,
        "ci_low": float,
        "ci_high": float,
        "baseline": float,
    }
    return frame.astype(types).sort_values(["test", "symbol", "metric"], kind="stable").reset_index(drop=True)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan
