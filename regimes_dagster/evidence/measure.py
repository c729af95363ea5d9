"""All validity tests of a period: read, measure, correct for many tests, store.

What belongs here: the order of the tests and what they share. What does not: any test, the report (``report.py``), and
when it runs (``assets/evidence.py``, ``commands/evidence.py``).
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd

from regimes_dagster.evidence.alert_budget import alert_budget
from regimes_dagster.evidence.cascades import cascade_tests
from regimes_dagster.evidence.confirmations import confirmation
from regimes_dagster.evidence.finding import Test, correct, evidence_rows
from regimes_dagster.evidence.forecast_quality import forecast_tests
from regimes_dagster.evidence.funding import funding_tests
from regimes_dagster.evidence.inputs import Inputs, known_period, read_inputs
from regimes_dagster.evidence.pair_breaks import pair_breaks
from regimes_dagster.evidence.regime_volatility import regime_forward_volatility
from regimes_dagster.evidence.zones import zone_turns
from regimes_dagster.partitions import Window
from regimes_dagster.settings import Settings
from regimes_dagster.storage import Warehouse, Write

#: Days below which measuring makes no sense at all.
MIN_DAYS = 14

Progress = Callable[[str], None]


class TooLittleHistoryError(ValueError):
    """The period holds less joined history than any test can use."""


@dataclass(frozen=True)
class Evidence:
    """Everything measured over a period.

    Attributes
    ----------
    period
        Hours that were judged: the part of the wanted period for which there are rows.
    symbols
        Symbols that were judged.
    tests
        Tests in order, p-values corrected together.
    rows
        Rows of ``signal_evidence``.
    is_simulated
        Whether the rows come from the simulated market: then the figures say nothing about a real one.
    """

    period: Window
    symbols: tuple[str, ...]
    tests: tuple[Test, ...]
    rows: pd.DataFrame
    is_simulated: bool


def measure(warehouse: Warehouse, settings: Settings, period: Window, *, progress: Progress | None = None) -> Evidence:
    """Run every validity test that the stored rows of a period allow.

    Parameters
    ----------
    period
        Wanted hours; narrowed to those with joined rows.
    progress
        Called with the name of each test that ended.

    Raises
    ------
    TooLittleHistoryError
        If fewer than ``MIN_DAYS`` of the period have joined rows.
    """
    period = known_period(warehouse, settings, period)
    days = (period.end - period.start).total_seconds() / 86_400
    if days < MIN_DAYS:
        raise TooLittleHistoryError(
            f"{days:.0f} days of joined history lie in the period; {MIN_DAYS} are needed. "
            "Fetch more with `regimes backfill --from DATE`, or choose another period."
        )
    inputs = read_inputs(warehouse, settings, period)
    found = []
    for test in run_tests(inputs, settings):
        found.append(test)
        if progress is not None:
            progress(test.name)
    tests = tuple(correct(sorted(found, key=lambda test: test.name)))
    return Evidence(
        period, inputs.symbols, tests, evidence_rows(tests, period, config_hash(settings)), settings.is_simulated
    )


def run_tests(inputs: Inputs, settings: Settings) -> Iterator[Test]:
    """Every test, not yet corrected for many tests."""
    yield regime_forward_volatility(inputs)
    yield from forecast_tests(inputs, settings.volatility)
    yield from cascade_tests(inputs)
    yield zone_turns(inputs)
    yield from funding_tests(inputs, settings.funding)
    yield pair_breaks(inputs)
    yield confirmation(inputs)
    yield alert_budget(inputs)


def store(warehouse: Warehouse, evidence: Evidence) -> int:
    """Write the rows to ``signal_evidence`` and return how many are new or changed."""
    return warehouse.write([Write("signal_evidence", evidence.rows)])["signal_evidence"].changed


def config_hash(settings: Settings) -> str:
    """Hash of the parameters of all five features."""
    sections = (
        settings.volatility,
        settings.liquidation,
        settings.funding,
        settings.multi_timeframe,
        settings.correlation,
    )
    joined = "|".join(section.config_hash() for section in sections)
    return hashlib.sha256(joined.encode()).hexdigest()[:16]
