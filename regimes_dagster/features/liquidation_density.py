"""Peaks of a weighted price density, for many hours at once.

What belongs here: the weighted kernel density on a grid, its peaks by prominence and the edges around them. What
does not: where the weights come from (``liquidation_entries.py``) and what a zone means
(``liquidation_zones.py``).

Distances are in units of the hour's own 24 h volatility from the hour's price. Every row (one symbol and hour) is
computed from its own entries by the same operations in the same order, so that an hour comes out the same alone and
in a batch.
"""

from dataclasses import dataclass

import numpy as np

from regimes_dagster.features.market_rows import Bools, Floats, Ints

#: Grid step, bandwidth range and reach of the grid, all in 24 h volatilities. Beyond the reach nothing is placed.
STEP = 0.05
BANDWIDTH_RANGE = (0.10, 0.50)
REACH = 40.0

#: The Gaussian kernel is cut off here, in bandwidths (4e-6 of its height).
KERNEL_REACH = 5.0

#: Rows smoothed at once, of like bandwidths: their grids stay in the processor's cache, and none is smoothed further
#: than it needs (less than half the time of all rows of a batch together).
SMOOTHED_AT_ONCE = 64

#: A peak must stand out by this share of the highest one (topographic prominence).
MIN_PROMINENCE = 0.20


@dataclass(frozen=True)
class Peaks:
    """Peaks of all rows, sorted by row and position: row number, lower edge, centre, upper edge (volatilities)."""

    row: Ints
    low: Floats
    centre: Floats
    high: Floats


def silverman_bandwidth(row: Ints, n_rows: int, x: Floats, weight: Floats, squares: Floats) -> Floats:
    """Weighted Silverman bandwidth per row, clipped to 0.10 .. 0.50.

    ``sd (3 n_eff / 4)^(-1/5)`` with ``n_eff = (sum w)^2 / sum w^2`` and the weighted unbiased sd (Silverman 1986).

    Parameters
    ----------
    row, x, weight
        Row number, position and weight of each entry.
    squares
        Sum of the squared weights of the single liquidations in each entry.
    """
    total = np.bincount(row, weight, n_rows)
    n_eff = total * total / np.bincount(row, squares, n_rows)
    mean = np.bincount(row, weight * x, n_rows) / total
    spread = np.bincount(row, weight * (x - mean[row]) ** 2, n_rows) / total
    with np.errstate(invalid="ignore", divide="ignore"):
        sd = np.sqrt(spread / (1 - 1 / n_eff))
        bandwidth = sd * (0.75 * n_eff) ** -0.2
    return np.clip(np.where(np.isfinite(bandwidth), bandwidth, 0.0), *BANDWIDTH_RANGE)


def density(row: Ints, n_rows: int, x: Floats, weight: Floats, bandwidth: Floats) -> tuple[Floats, int]:
    """Weighted Gaussian density on the grid, up to a constant per row.

    Entries are split between their two neighbouring grid points (linear binning, Wand 1994), which widens them by
    ``STEP^2 / 6`` on average; the kernel is that much narrower.

    Returns
    -------
    density
        float[n_rows, G].
    origin
        Grid number of the first column: column g lies at ``(origin + g) STEP``.
    """
    near = np.abs(x) <= REACH
    row, x, weight = row[near], x[near], weight[near]
    if not len(x):
        return np.zeros((n_rows, 3)), 0
    position = x / STEP
    left = np.floor(position)
    share = position - left
    reach = int(np.ceil(KERNEL_REACH * bandwidth.max() / STEP))
    number = left.astype(np.int64)
    origin = int(number.min()) - reach - 2
    width = int(number.max()) - origin + reach + 4
    cell = row * width + (number - origin)
    size = n_rows * width
    binned = np.bincount(cell, weight * (1 - share), size) + np.bincount(cell + 1, weight * share, size)
    mass = np.asarray(binned, dtype=np.float64).reshape(n_rows, width)
    out = np.empty_like(mass)
    order = np.argsort(-bandwidth, kind="stable")
    for start in range(0, n_rows, SMOOTHED_AT_ONCE):
        some = order[start : start + SMOOTHED_AT_ONCE]
        out[some] = _smoothed(mass[some], bandwidth[some])
    return out, origin


def _smoothed(mass: Floats, bandwidth: Floats) -> Floats:
    """Rows of ``mass`` under the kernels of their bandwidths; the ends of each row are empty as far as these reach."""
    reach = int(np.ceil(KERNEL_REACH * bandwidth.max() / STEP))
    offsets = np.arange(reach + 1) * STEP
    variance = bandwidth * bandwidth - STEP * STEP / 6
    kernel: Floats = np.exp(-0.5 * offsets**2 / variance[:, None])
    kernel[offsets > KERNEL_REACH * bandwidth[:, None]] = 0.0
    width = mass.shape[1]
    padded = np.pad(mass, ((0, 0), (reach, reach)))
    out: Floats = mass * kernel[:, :1]
    both = np.empty_like(mass)
    for j in range(1, reach + 1):
        np.add(padded[:, reach - j : reach - j + width], padded[:, reach + j : reach + j + width], out=both)
        both *= kernel[:, j : j + 1]
        out += both
    return out


def find_peaks(f: Floats, origin: int) -> Peaks:
    """Peaks with a prominence of at least 20 % of the row's maximum, and their edges.

    An edge is where the density falls to half the peak, or the saddle to the next such peak if that comes first.
    """
    n_rows, width = f.shape
    inner = f[:, 1:-1]
    high = f.max(axis=1, keepdims=True)
    rises = (inner > f[:, :-2]) & (inner >= f[:, 2:]) & (inner >= MIN_PROMINENCE * high) & (inner > 0)
    row, col = np.nonzero(rises)
    col = col + 1
    if not len(row):
        none = np.zeros(0)
        return Peaks(row.astype(np.int64), none, none, none)
    keep = _prominence(f, row, col, n_rows) >= MIN_PROMINENCE * high[row, 0]
    row, col = row[keep], col[keep]

    lines = f[row]
    peak = lines[np.arange(len(row)), col]
    below = lines <= peak[:, None] / 2
    columns = np.arange(width)
    right = np.argmax(below & (columns > col[:, None]), axis=1)
    left = width - 1 - np.argmax((below & (columns < col[:, None]))[:, ::-1], axis=1)
    at = np.arange(len(row))
    # Whole grid numbers are added first: a position must not depend on where the batch's grid begins.
    upper = (origin + right - 1) + _fraction(lines[at, right - 1], lines[at, right], peak / 2)
    lower = (origin + left + 1) - _fraction(lines[at, left + 1], lines[at, left], peak / 2)
    next_same = np.flatnonzero(row[1:] == row[:-1])
    between = (columns > col[next_same, None]) & (columns < col[next_same + 1, None])
    saddle = origin + np.where(between, lines[next_same], np.inf).argmin(axis=1)
    upper[next_same] = np.minimum(upper[next_same], saddle)
    lower[next_same + 1] = np.maximum(lower[next_same + 1], saddle)

    before, after = lines[at, col - 1], lines[at, col + 1]
    centre = (origin + col) + 0.5 * (before - after) / (before - 2 * peak + after)
    return Peaks(row.astype(np.int64), lower * STEP, centre * STEP, upper * STEP)


def _fraction(inside: Floats, outside: Floats, level: Floats) -> Floats:
    """How far from the inner grid point towards the outer one the line crosses the level, 0..1."""
    return np.asarray((inside - level) / (inside - outside), dtype=np.float64)


def _prominence(f: Floats, row: Ints, col: Ints, n_rows: int) -> Floats:
    """Height of each peak above the higher of the two lowest points on the way to higher ground (0 at the ends)."""
    first = np.searchsorted(row, np.arange(n_rows))
    place = np.arange(len(row)) - first[row]
    most = int(place.max()) + 1
    heights = np.zeros((n_rows, most))
    heights[row, place] = f[row, col]
    # valleys[r, p]: lowest point between peaks p and p+1
    valleys = np.zeros((n_rows, most))
    lowest = np.minimum.reduceat(f.reshape(-1), row * f.shape[1] + col)
    has_next: Bools = np.append(row[1:] == row[:-1], False)
    valleys[row[has_next], place[has_next]] = lowest[has_next]
    base = np.zeros((n_rows, most))
    for p in range(most):
        own = heights[:, p]
        for path in (range(p - 1, -1, -1), range(p + 1, most)):
            low = np.full(n_rows, np.inf)
            found = np.zeros(n_rows, dtype=bool)
            for q in path:
                low = np.where(found, low, np.minimum(low, valleys[:, q if q < p else q - 1]))
                found |= heights[:, q] > own
            base[:, p] = np.maximum(base[:, p], np.where(found, low, 0.0))
    return np.asarray(heights[row, place] - base[row, place], dtype=np.float64)
