"""The evidence as a page for people, and as lines for a terminal.

What belongs here: wording and order of the report. What does not: the figures (the tests), charts and page frame
(``reports/``).
"""

import math
from collections.abc import Iterator

from regimes_dagster.evidence.finding import Finding, Test
from regimes_dagster.evidence.measure import Evidence
from regimes_dagster.reports.axis import short
from regimes_dagster.reports.charts import draw
from regimes_dagster.reports.page import Cell, Section, page, table

HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided"

_HEAD = (
    "", "figure", Cell("value", "number"), Cell("95 % interval", "number"), Cell("baseline", "number"), "asked for",
    "verdict", Cell("n", "number"), "note",
)  # fmt: skip


def html_report(evidence: Evidence) -> str:
    """The report as one HTML document."""
    sections = [Section("verdicts", "What holds and what does not", _verdicts(evidence))]
    sections += [Section(test.name, f"{_number(test)}. {test.title}", _test(test)) for test in evidence.tests]
    period = evidence.period
    warning = "The market is simulated: these figures say nothing about a real one." if evidence.is_simulated else None
    return page(
        "What the signals were worth",
        f"{', '.join(evidence.symbols)}, {period.start:%Y-%m-%d} to {period.end:%Y-%m-%d} UTC. Intervals: 95 %, "
        "block bootstrap with blocks of a week. Baselines of events: random times of the same symbol and hour of the "
        "week. p-values of claims are corrected together over all tests (Holm).",
        sections,
        warning=warning,
    )


def verdict(finding: Finding) -> str:
    """In words; empty for what is only reported."""
    if finding.target is None:
        return ""
    return OPEN if finding.holds is None else HOLDS if finding.holds else FAILS


def lines(evidence: Evidence) -> Iterator[str]:
    """The findings for a terminal."""
    for test in evidence.tests:
        yield ""
        yield f"{_number(test)}. {test.title}"
        for finding in test.findings:
            word = verdict(finding)
            figure = f"{finding.metric:<34} {finding.symbol:<18} {short(finding.value):>9}  {_interval(finding):<20}"
            asked = f"{word}: {finding.target}" if word else (finding.note or "") if math.isnan(finding.value) else ""
            yield f"  {figure} {asked}".rstrip()


def counts(evidence: Evidence) -> dict[str, int]:
    """Verdict -> number of findings."""
    words = [verdict(finding) for test in evidence.tests for finding in test.findings]
    return {word: words.count(word) for word in (HOLDS, FAILS, OPEN)}


def _verdicts(evidence: Evidence) -> str:
    number = counts(evidence)
    said = (
        f"<p>{number[HOLDS]} claims hold, {number[FAILS]} do not, {number[OPEN]} are undecided: too little data to say "
        "either. What does not hold stays on this page; nothing was tuned to make it hold.</p>"
    )
    rows: list[list[Cell | str]] = []
    for test in evidence.tests:
        claims: dict[tuple[str, str], list[Finding]] = {}
        for finding in test.findings:
            if finding.target is not None:
                claims.setdefault((finding.metric, finding.target), []).append(finding)
        for number_in_test, ((metric, target), found) in enumerate(claims.items()):
            title = f"{_number(test)}. {test.title}" if not number_in_test else ""
            by_word = [
                Cell(_listed(found, word), kind) for word, kind in ((HOLDS, "holds"), (FAILS, "fails"), (OPEN, "soft"))
            ]
            rows.append([title, metric.replace("_", " "), target, *by_word])
    return said + table(("test", "figure", "asked for", HOLDS, FAILS, OPEN), rows)


def _listed(found: list[Finding], word: str) -> str:
    """Symbols with a verdict and their values."""
    chosen = [finding for finding in found if verdict(finding) == word]
    return ", ".join(f"{finding.symbol.removesuffix('/USDT')} {short(finding.value)}" for finding in chosen)


def _test(test: Test) -> str:
    from html import escape

    rows: list[list[Cell | str]] = [
        [
            Cell(finding.symbol, "nowrap"),
            finding.metric.replace("_", " "),
            Cell(short(finding.value), "number"),
            Cell(_interval(finding), "number"),
            Cell(short(finding.baseline) if math.isfinite(finding.baseline) else "", "number"),
            finding.target or "",
            _verdict_cell(finding),
            Cell("" if finding.n is None else f"{finding.n:,}", "number"),
            finding.note or "",
        ]
        for finding in test.findings
    ]
    drawn = "".join(draw(chart) for chart in test.charts)
    figures = f"<details><summary>All figures</summary>{table(_HEAD, rows)}</details>"
    return f'<p class="soft">{escape(test.question)}</p>{drawn}{figures}'


def _verdict_cell(finding: Finding) -> Cell:
    word = verdict(finding)
    return Cell(word, {HOLDS: "holds nowrap", FAILS: "fails nowrap"}.get(word, "nowrap"))


def _interval(finding: Finding) -> str:
    if not (math.isfinite(finding.low) and math.isfinite(finding.high)):
        return ""
    return f"[{short(finding.low)}, {short(finding.high)}]"


def _number(test: Test) -> str:
    return test.name.split("_")[0].lstrip("0")
