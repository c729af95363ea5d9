"""Does a figure rise over ordered groups? The Jonckheere-Terpstra test.

What belongs here: the statistic and its normal approximation with ties. What does not: which groups are compared.

Source: Jonckheere, Biometrika 41 (1954); variance with ties from Hollander & Wolfe, Nonparametric Statistical Methods,
eq. 6.19.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trend:
    """Jonckheere's J (pairs in rising order, ties half), its z score and the one-sided p-value of a rise."""

    statistic: float
    z: float
    p: float


def jonckheere(groups: Sequence[Floats]) -> Trend:
    """Test whether values rise from group to group.

    Parameters
    ----------
    groups
        Known values of each group, in the order of the hypothesis; empty groups are left out.

    Returns
    -------
    Trend
        NaN where fewer than two groups have values, or all values are equal.
    """
    groups = [np.asarray(group, dtype=np.float64) for group in groups if len(group)]
    if len(groups) < 2:
        return Trend(float("nan"), float("nan"), float("nan"))
    statistic = 0.0
    for i, low in enumerate(groups):
        ordered = np.sort(low)
        for high in groups[i + 1 :]:
            below = np.searchsorted(ordered, high, side="left")
            equal = np.searchsorted(ordered, high, side="right") - below
            statistic += float(below.sum() + 0.5 * equal.sum())
    sizes = np.array([len(group) for group in groups], dtype=np.float64)
    _, counts = np.unique(np.concatenate(groups), return_counts=True)
    ties = counts.astype(np.float64)
    n = sizes.sum()
    variance = (
        (n * (n - 1) * (2 * n + 5) - _five(sizes) - _five(ties)) / 72
        + _three(sizes) * _three(ties) / (36 * n * (n - 1) * max(n - 2, 1))
        + _two(sizes) * _two(ties) / (8 * n * (n - 1))
    )
    if variance <= 1e-9 * n**3:  # all values equal, but for rounding
        return Trend(statistic, float("nan"), float("nan"))
    z = float((statistic - (n**2 - (sizes**2).sum()) / 4) / math.sqrt(variance))
    return Trend(statistic, z, 0.5 * math.erfc(z / math.sqrt(2)))


def explained_share(groups: Sequence[Floats]) -> float:
    """Share of the variance that lies between the groups (eta squared); NaN without variation."""
    known = [np.asarray(group, dtype=np.float64) for group in groups if len(group)]
    values = np.concatenate(known) if known else np.empty(0)
    total = float(((values - values.mean()) ** 2).sum()) if len(values) else 0.0
    if total == 0:
        return float("nan")
    return float(sum(len(group) * (group.mean() - values.mean()) ** 2 for group in known)) / total


def _five(t: Floats) -> float:
    return float((t * (t - 1) * (2 * t + 5)).sum())


def _three(t: Floats) -> float:
    return float((t * (t - 1) * (t - 2)).sum())


def _two(t: Floats) -> float:
    return float((t * (t - 1)).sum())
