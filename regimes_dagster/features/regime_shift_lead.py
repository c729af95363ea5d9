"""Which of two assets changes its regime family first? A sign test.

What belongs here: that test. What does not: the test on minute bars (``leader.py``).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ShiftLead:
    """Who changes family first: ``leader`` is a position (0 or 1), or ``None`` where it cannot be told."""

    leader: int | None
    first: int
    second: int
    p: float


def lead_of_regime_shifts(
    first: npt.ArrayLike, second: npt.ArrayLike, *, within_h: int = 24, minimum: int = 20, alpha: float = 0.05
) -> ShiftLead:
    """Sign test on which of two symbols changes its regime family first.

    Parameters
    ----------
    first, second
        [T] hourly families (-1, 0, 1); NaN where unknown. A change to a family counts where the other symbol
        changes to the same family within ``within_h`` hours; simultaneous changes are left out.

    Returns
    -------
    ShiftLead
        A leader needs ``minimum`` shared changes and a two-sided binomial p below ``alpha``.
    """
    from scipy.stats import binomtest

    changes = [_family_changes(np.asarray(family, dtype=np.float64)) for family in (first, second)]
    wins = [0, 0]
    for family in (-1, 0, 1):
        ours, theirs = (hours[to == family] for hours, to in changes)
        if not len(ours) or not len(theirs):
            continue
        nearest = np.abs(theirs[None, :] - ours[:, None]).argmin(axis=1)
        gap = theirs[nearest] - ours
        # A change is shared once: the nearest one of the other symbol must point back.
        back = np.abs(ours[None, :] - theirs[:, None]).argmin(axis=1)
        mutual = (back[nearest] == np.arange(len(ours))) & (np.abs(gap) <= within_h)
        wins[0] += int((mutual & (gap > 0)).sum())
        wins[1] += int((mutual & (gap < 0)).sum())
    n = sum(wins)
    p = float(binomtest(wins[0], n).pvalue) if n else math.nan
    leader = int(wins[1] > wins[0]) if n >= minimum and p < alpha else None
    return ShiftLead(leader, wins[0], wins[1], p)


def _family_changes(family: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    with np.errstate(invalid="ignore"):
        changed = (family[1:] != family[:-1]) & np.isfinite(family[1:]) & np.isfinite(family[:-1])
    hours = np.flatnonzero(changed) + 1
    return hours, family[hours]
