"""Spearman's rank correlation over a sliding window, for many pairs at once.

What belongs here: the sliding ranks. What does not: any other figure of a pair (``pair_statistics.py``).

When the window moves by an hour, the rank of each value changes by whether it lies above the value that left and
the one that came: counts are updated, not sorted anew. They are whole numbers, so nothing drifts and the start of
the data does not show. Ties share their mean rank.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


def sliding_spearman(
    returns: Floats, first: npt.ArrayLike, second: npt.ArrayLike, *, window: int, minimum: int, begin: int
) -> Floats:
    """Rank correlation of pairs of series.

    Parameters
    ----------
    returns
        float[K, T], NaN where unknown.
    first, second
        [P] rows of the two series of each pair.
    window, minimum
        Hours of the window, and hours in which both must be known.
    begin
        First column wanted.

    Returns
    -------
    ndarray
        float[P, T - begin]; NaN with too few hours or where all values of a series are equal.
    """
    n_series, length = returns.shape
    a, b = np.asarray(first, dtype=np.intp), np.asarray(second, dtype=np.intp)
    out = np.full((len(a), max(length - begin, 0)), np.nan)
    if not len(a) or begin >= length:
        return out
    values = np.ascontiguousarray(returns.T)
    held = np.full((window, n_series), np.nan)
    below = np.zeros((window, n_series), dtype=np.int32)
    ties = np.zeros((window, n_series), dtype=np.int32)
    for t in range(max(begin - window + 1, 0), length):
        slot = t % window
        old, new = held[slot].copy(), values[t]
        below -= old < held
        ties -= held == old
        held[slot] = new
        equal = held == new
        below += new < held
        ties += equal
        below[slot] = (held < new).sum(axis=0)
        ties[slot] = equal.sum(axis=0)
        if t >= begin:
            out[:, t - begin] = _correlate(held, below, ties, a, b, minimum)
    return out


def _correlate(
    held: Floats, below: npt.NDArray[np.int32], ties: npt.NDArray[np.int32], a: Indices, b: Indices, minimum: int
) -> Floats:
    """Correlation of the ranks of one window; twice the mean rank is count + 1, so all terms are whole numbers."""
    known = ~np.isnan(held)
    count = known.sum(axis=0)
    centred = np.where(known, 2 * below + ties - count, 0).astype(np.float64)
    squares = np.einsum("ij,ij->j", centred, centred)
    products = np.einsum("ij,ij->j", centred[:, a], centred[:, b])
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = products / np.sqrt(squares[a] * squares[b])
    rho[(count[a] < minimum) | (count[b] < minimum)] = np.nan
    full = count == len(held)
    partial = np.flatnonzero(~np.isnan(rho) & ~(full[a] & full[b]))
    for p in partial[(known[:, a[partial]] != known[:, b[partial]]).any(axis=0)]:
        both = known[:, a[p]] & known[:, b[p]]
        rho[p] = _direct(held[both, a[p]], held[both, b[p]], minimum)
    return np.asarray(np.clip(rho, -1, 1), dtype=np.float64)


def _direct(x: Floats, y: Floats, minimum: int) -> float:
    """The same from scratch, for a window in which the two series miss different hours."""
    if len(x) < minimum:
        return float("nan")

    def centred(values: Floats) -> Floats:
        low = (values[None, :] < values[:, None]).sum(axis=1)
        tied = (values[None, :] == values[:, None]).sum(axis=1)
        return np.asarray(2 * low + tied - len(values), dtype=np.float64)

    cx, cy = centred(x), centred(y)
    scale = float(np.sqrt((cx @ cx) * (cy @ cy)))
    return float(cx @ cy / scale) if scale > 0 else float("nan")
