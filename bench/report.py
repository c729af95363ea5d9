"""What a benchmark gives back, and the report that bench/README.md is made of.

What belongs here: the result type, the machine's description, the Markdown. What does not: measuring.
"""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"

#: ``BENCH_SMALL=1 make bench`` leaves out the cases with a hundred symbols and more.
SMALL = os.environ.get("BENCH_SMALL") == "1"

PACKAGES = ("dagster", "pandas", "numpy", "pandera", "sqlalchemy", "psycopg", "ccxt", "dash", "fastapi")


@dataclass
class Result:
    """One benchmark's figures.

    Attributes
    ----------
    name
        File name of the stored result.
    title
        Heading in the report.
    how
        What was measured, in one or two sentences.
    columns, rows
        The table; the first column names the row.
    notes
        Remarks below the table.
    """

    name: str
    title: str
    how: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | int]]
    notes: list[str] = field(default_factory=list)

    def save(self) -> None:
        """Store the figures, so that the report can be put together from the last run of each benchmark."""
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{self.name}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")


def write_report() -> Path:
    """Put bench/README.md together from the stored results."""
    parts = [
        "# Benchmarks",
        "",
        "Made by `make bench`; figures of one machine, to be read as ratios. " + _machine(),
        "",
    ]
    for path in sorted(RESULTS.glob("*.json")):
        result = Result(**json.loads(path.read_text()))
        parts += [f"## {result.title}", "", result.how, ""]
        parts.append("| " + " | ".join(result.columns) + " |")
        parts.append("|" + "---|" * len(result.columns))
        parts += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in result.rows]
        parts += ["", *[f"- {note}" for note in result.notes], ""]
    report = HERE / "README.md"
    report.write_text("\n".join(parts).rstrip() + "\n")
    return report


def _cell(value: str | float | int) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"Python {platform.python_version()}; {versions}."
    )
