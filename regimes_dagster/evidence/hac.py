"""Means and slopes of dependent observations: Newey-West errors and the Diebold-Mariano test.

What belongs here: heteroskedasticity- and autocorrelation-consistent inference. What does not: the losses and returns
it is applied to.

Sources: Newey & West, Econometrica 55 (1987); Diebold & Mariano, J. Business & Economic Statistics 13 (1995).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Slopes:
    """Least-squares coefficients with HAC standard errors and t statistics; float[P] each."""

    coefficients: Floats
    errors: Floats
    t: Floats
    n: int


def default_lags(n: int) -> int:
    """Newey and West's rule of thumb, 4 (n / 100)^(2/9)."""
    return int(4 * (n / 100) ** (2 / 9)) if n else 0


def newey_west_covariance(scores: Floats, lags: int) -> Floats:
    """Long-run covariance sum of float[n, P] scores with Bartlett weights, float[P, P] (not divided by n)."""
    total = scores.T @ scores
    for lag in range(1, min(lags, len(scores) - 1) + 1):
        part = scores[lag:].T @ scores[:-lag]
        total = total + (1 - lag / (lags + 1)) * (part + part.T)
    return np.asarray(total, dtype=np.float64)


def regression(y: Floats, x: Floats, lags: int) -> Slopes:
    """Least squares of y[n] on x[n, P] with HAC errors; rows with a missing value are left out.

    The errors carry no small-sample factor. Coefficients are NaN where the columns of x are dependent.
    """
    known = np.isfinite(y) & np.isfinite(x).all(axis=1)
    y, x = y[known], x[known]
    n, terms = x.shape
    if n <= terms or np.linalg.matrix_rank(x) < terms:
        nothing = np.full(terms, np.nan)
        return Slopes(nothing, nothing, nothing, n)
    bread = np.linalg.inv(x.T @ x)
    coefficients = bread @ (x.T @ y)
    meat = newey_west_covariance(x * (y - x @ coefficients)[:, None], lags)
    errors = np.sqrt(np.maximum(np.diag(bread @ meat @ bread), 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return Slopes(coefficients, errors, coefficients / errors, n)


def mean_t(values: Floats, lags: int | None = None) -> float:
    """t statistic of the mean of float[n] with HAC error; NaN below two values or without variation."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return float("nan")
    return float(regression(known, np.ones((len(known), 1)), default_lags(len(known)) if lags is None else lags).t[0])


def diebold_mariano(loss_of_rival: Floats, loss: Floats, lags: int | None = None) -> float:
    """t statistic of the mean loss difference, float[n] each: positive where the rival loses more."""
    return mean_t(loss_of_rival - loss, lags)


def two_sided_p(t: float) -> float:
    """p-value of a t statistic under the normal distribution."""
    return math.erfc(abs(t) / math.sqrt(2)) if math.isfinite(t) else float("nan")
