"""The whole calibration of a period: quantiles of every figure and alert rates of every knob.

What belongs here: the order of the work and its result. What does not: counting (``rates.py``) and showing
(``report.py``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from regimes_dagster.calibration.knobs import Knob, knobs_of
from regimes_dagster.calibration.rates import Rate, alert_rates, figure_quantiles
from regimes_dagster.calibration.recompute import TABLES, History
from regimes_dagster.parameters import Parameters
from regimes_dagster.partitions import Window
from regimes_dagster.settings import Settings
from regimes_dagster.storage import Warehouse

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Tried:
    """Alert rates of each value of a knob.

    Attributes
    ----------
    current
        Value in force.
    lowest
        Severity from which alerts were counted.
    rates
        Value -> symbol or pair -> rate, values ascending.
    """

    knob: Knob
    current: Any
    lowest: str
    rates: dict[Any, dict[str, Rate]]

    @property
    def keys(self) -> list[str]:
        """Symbols or pairs, sorted."""
        return sorted({key for by_key in self.rates.values() for key in by_key})

    @property
    def matters(self) -> bool:
        """Whether any value gives another number of alerts than another."""
        return len({tuple(rate.n for rate in by_key.values()) for by_key in self.rates.values()}) > 1


@dataclass(frozen=True)
class Calibration:
    """Quantiles per table and rates per knob.

    Attributes
    ----------
    quantiles
        Table -> frame of ``figure_quantiles``.
    tried
        One entry per knob, in order.
    """

    period: Window
    symbols: tuple[str, ...]
    quantiles: dict[str, pd.DataFrame]
    tried: tuple[Tried, ...]
    is_simulated: bool


def calibrate(
    warehouse: Warehouse,
    settings: Settings,
    period: Window,
    *,
    symbols: Sequence[str] = (),
    sections: Sequence[str] = (),
    progress: Progress | None = None,
) -> Calibration:
    """Recompute the features of a period with every value of every knob.

    Parameters
    ----------
    symbols
        Only these; all configured ones by default.
    sections
        Only knobs of these sections, e.g. ``liquidation``.
    progress
        Called before each computation with its number, how many there are, and its name.
    """
    chosen = tuple(symbol for symbol in settings.symbols if not symbols or symbol in symbols)
    history = History(warehouse, settings, period, chosen)
    knobs = knobs_of(sections)
    wanted = list(dict.fromkeys(knob.section for knob in knobs))
    plan = [(knob, *tried) for knob in knobs for tried in knob.grid(_section(settings, knob.section))]
    total = len(wanted) + sum(params is not _section(settings, knob.section) for knob, _, params in plan)
    done = 0
    results = {}
    for section in wanted:
        done += 1
        if progress is not None:
            progress(done, total, f"[{section}] as configured")
        results[section] = history.compute(section, _section(settings, section))
    rates: dict[str, dict[Any, dict[str, Rate]]] = {knob.name: {} for knob in knobs}
    for knob, value, params in plan:
        result = results[knob.section]
        if params is not _section(settings, knob.section):
            done += 1
            if progress is not None:
                progress(done, total, f"{knob.name} = {value}")
            result = history.compute(knob.section, params)
        table = TABLES[knob.section]
        rates[knob.name][value] = alert_rates(result, table, knob.event_type, _lowest(settings, knob.event_type))
    return Calibration(
        period=period,
        symbols=chosen,
        quantiles={
            TABLES[section]: figure_quantiles(result.rows[TABLES[section]], TABLES[section])
            for section, result in results.items()
        },
        tried=tuple(
            Tried(
                knob,
                getattr(_section(settings, knob.section), knob.key),
                _lowest(settings, knob.event_type),
                rates[knob.name],
            )
            for knob in knobs
        ),
        is_simulated=settings.is_simulated,
    )


def _section(settings: Settings, name: str) -> Parameters:
    section: Parameters = getattr(settings, name)
    return section


def _lowest(settings: Settings, event_type: str) -> Any:
    return dict(settings.alerts.min_severity).get(event_type, "INFO")  # type: ignore[call-overload]
