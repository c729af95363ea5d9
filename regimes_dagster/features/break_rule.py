"""When is a correlation broken, and when is it whole again?

What belongs here: the two rules and their levels, hour by hour. What does not: the figures
(``pair_statistics.py``) and episodes (``episodes.py``).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from regimes_dagster.features.pair_statistics import PairFigures
from regimes_dagster.parameters import CorrelationParameters

TRIGGERS = ("NONE", "RELATIVE", "ABSOLUTE")
RELATIVE, ABSOLUTE = 1, 2
WARNING_LEVEL, CRITICAL_LEVEL, OPPOSITION_LEVEL = 1, 2, 3
#: The absolute rule ends this far above its threshold.
ABSOLUTE_MARGIN = 0.2

Codes = npt.NDArray[np.int8]


@dataclass(frozen=True)
class BreakRule:
    """Which rule holds at each hour; arrays [P, T].

    Attributes
    ----------
    trigger
        Code into ``TRIGGERS``; the absolute rule comes first where both hold.
    level
        0 none, 1 WARNING, 2 CRITICAL by score, 3 CRITICAL by opposition: a correlation on its way down to opposition
        passes level 2 first, and the guide's signal of opposition must still be told.
    release
        Neither rule holds any more, each with its own margin.
    valid
        The correlation is known.
    """

    trigger: Codes
    level: Codes
    release: npt.NDArray[np.bool_]
    valid: npt.NDArray[np.bool_]


def break_rule(figures: PairFigures, params: CorrelationParameters) -> BreakRule:
    """RELATIVE: far below its own baseline (in its own deviations, and by ``min_drop``). ABSOLUTE: opposition.

    While the baseline is unknown only the absolute rule can hold.
    """
    with np.errstate(invalid="ignore"):
        relative = (figures.break_z <= params.break_z) & (figures.baseline - figures.rho >= params.min_drop)
        absolute = figures.rho < params.absolute_threshold
        critical = relative & (figures.break_z <= params.critical_z)
        back = np.isnan(figures.break_z) | (figures.break_z > params.off_z)
        release = back & (figures.rho > params.absolute_threshold + ABSOLUTE_MARGIN)
    trigger = np.where(absolute, np.int8(ABSOLUTE), np.where(relative, np.int8(RELATIVE), np.int8(0)))
    tiers = (np.int8(OPPOSITION_LEVEL), np.int8(CRITICAL_LEVEL), np.int8(WARNING_LEVEL))
    level = np.select([absolute, critical, relative], tiers, np.int8(0))
    return BreakRule(trigger, level, release, np.isfinite(figures.rho))
