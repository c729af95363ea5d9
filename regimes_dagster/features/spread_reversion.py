"""Does a spread come back? Unit-root test and half-life of the cumulated residual of a pair.

What belongs here: the augmented Dickey-Fuller test with one lag, MacKinnon's p-value, and the AR(1) half-life,
for many windows at once. What does not: which hours are tested and what follows (``correlation_engine.py``).

Sources: Dickey and Fuller 1979; Said and Dickey 1984; response surface of the p-value from J. G. MacKinnon,
"Approximate asymptotic distribution functions for unit-root and cointegration tests", Journal of Business and
Economic Statistics 12 (1994), table 3 (constant, one variable).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from regimes_dagster.features.pair_statistics import MONTH_H, PairedReturns
from regimes_dagster.features.regime_labels import normal_cdf

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

MIN_SHARE = 0.9
#: MacKinnon 1994, constant, N = 1: below TAU_STAR the first polynomial in tau holds, above it the second.
TAU_STAR, TAU_MIN, TAU_MAX = -1.61, -18.83, 2.74
SMALL_P = (2.1659, 1.4412, 0.038269)
LARGE_P = (1.7339, 0.93202, -0.12745, -0.010368)
#: A slope at or below this is no decay that a half-life describes.
MIN_PHI = 1e-6
_BATCH = 2048


@dataclass(frozen=True)
class Reversion:
    """Per tested hour: p-value of the unit root (small: the spread comes back) and half-life in hours.

    Both are NaN where too few hours are known or the residual does not move; the half-life also where the AR(1)
    slope is not inside (0, 1), which means that nothing pulls the spread back.
    """

    adf_p: Floats
    half_life_h: Floats


def mackinnon_p(tau: Floats) -> Floats:
    """Approximate asymptotic p-value of a Dickey-Fuller statistic with a constant."""
    small = np.polynomial.polynomial.polyval(tau, SMALL_P)
    large = np.polynomial.polynomial.polyval(tau, LARGE_P)
    p = normal_cdf(np.where(tau <= TAU_STAR, small, large))
    p = np.where(tau < TAU_MIN, 0.0, np.where(tau > TAU_MAX, 1.0, p))
    return np.where(np.isnan(tau), np.nan, p)


def spread_reversion(
    pairs: PairedReturns, beta: Floats, pair: Indices, column: Indices, hours: int = MONTH_H
) -> Reversion:
    """Test the cumulated residual ``sum(b - beta a)`` of the last ``hours`` hours.

    Parameters
    ----------
    pairs
        Returns of the pairs.
    beta
        float[P, T] hedge ratio in force at each hour; it is held over the whole window.
    pair, column
        [N] rows and columns to test.
    """
    adf_p = np.full(len(pair), np.nan)
    half_life = np.full(len(pair), np.nan)
    ready = np.flatnonzero((column >= hours - 1) & np.isfinite(beta[pair, column]))
    back = np.arange(1 - hours, 1)
    for i in range(0, len(ready), _BATCH):
        rows = ready[i : i + _BATCH]
        p = pair[rows][:, None]
        at = column[rows][:, None] + back
        known = pairs.known[p, at]
        residual = pairs.b[p, at] - beta[pair[rows], column[rows]][:, None] * pairs.a[p, at]
        enough = known.sum(axis=1) >= math.ceil(MIN_SHARE * hours)
        level = np.cumsum(residual, axis=1)
        adf_p[rows] = np.where(enough, mackinnon_p(dickey_fuller(residual, level, known)), np.nan)
        half_life[rows] = np.where(enough, ar1_half_life(residual, level, known), np.nan)
    return Reversion(adf_p, half_life)


def dickey_fuller(step: Floats, level: Floats, known: Bools) -> Floats:
    """t-statistic of ``level[t-1]`` in ``step[t] = c + g level[t-1] + d step[t-1] + e``, row by row.

    Parameters
    ----------
    step, level
        float[N, n] differences, and their cumulated sum.
    known
        bool[N, n]; an hour enters where its step and the step before are known.
    """
    use = (known[:, 2:] & known[:, 1:-1]).astype(np.float64)
    n = use.sum(axis=1)
    y, x, z = (_centred(v, use, n) for v in (step[:, 2:], level[:, 1:-1], step[:, 1:-1]))
    with np.errstate(divide="ignore", invalid="ignore"):
        szz, sxz, syz = _dot(z, z), _dot(x, z), _dot(y, z)
        sxx = _dot(x, x) - sxz * sxz / szz
        sxy = _dot(x, y) - sxz * syz / szz
        syy = _dot(y, y) - syz * syz / szz
        slope = sxy / sxx
        error = np.sqrt((syy - slope * sxy) / (n - 3) / sxx)
        tau = np.where((szz > 0) & (sxx > 0) & (error > 0), slope / error, np.nan)
    return np.asarray(tau, dtype=np.float64)


def ar1_half_life(step: Floats, level: Floats, known: Bools) -> Floats:
    """``ln 0.5 / ln phi`` with phi the least-squares slope of ``level[t]`` on ``level[t-1]`` and a constant."""
    use = known[:, 1:].astype(np.float64)
    n = use.sum(axis=1)
    y, x = _centred(step[:, 1:], use, n), _centred(level[:, :-1], use, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        phi = 1 + _dot(x, y) / _dot(x, x)
        half_life = math.log(0.5) / np.log(phi)
    return np.where((phi > MIN_PHI) & (phi < 1), half_life, np.nan)


def _centred(values: Floats, use: Floats, n: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = _dot(values, use) / n
    return np.where(use > 0, values - mean[:, None], 0.0)


def _dot(x: Floats, y: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", x, y), dtype=np.float64)
