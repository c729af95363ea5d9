"""Sums over the last n bars that are the same floats wherever the data begin.

What belongs here: the trailing sum and the moments built on it. What does not: what is summed, and how many
valid bars a window needs.

Why not a running sum: it carries the rounding of everything before the window, so that the same hour computed
from another start differs in the last digits, and a threshold may then be crossed in one run and not in the
other. Here every window is the tail of one calendar block plus the head of the next (van Herk 1992; Gil and
Werman 1993), blocks being anchored at absolute bar numbers: each sum touches only its own n terms, always in
the same order, at a cost that does not depend on n.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def trailing_sum(x: Floats, n: int, first_bar: int) -> Floats:
    """Sum of the last ``n`` bars including the current one.

    Parameters
    ----------
    x
        float[..., T], finite: put zero where a bar is missing and sum the validity beside it.
    n
        Bars of the window.
    first_bar
        Absolute number of the first bar (for example hours since 1970), which anchors the blocks.

    Returns
    -------
    ndarray
        float[..., T]; bars before the first count as zero.
    """
    length = x.shape[-1]
    front = first_bar % n
    blocks = -(-(front + length) // n)
    padded = np.zeros((*x.shape[:-1], blocks * n))
    padded[..., front : front + length] = x
    cut = padded.reshape(*x.shape[:-1], blocks, n)
    head = np.cumsum(cut, axis=-1)
    tail = np.cumsum(cut[..., ::-1], axis=-1)[..., ::-1]
    head[..., 1:, :-1] += tail[..., :-1, 1:]
    total: Floats = head.reshape(padded.shape)[..., front : front + length]
    return total


def trailing_moments(x: Floats, n: int, first_bar: int, *, centre: float = 0.0) -> tuple[Floats, Floats, Floats]:
    """Count, mean and standard deviation (ddof 1) of the valid values among the last ``n`` bars.

    Parameters
    ----------
    x
        float[..., T]; NaN marks a missing bar.
    centre
        A fixed number near the values: squares are taken about it, which keeps the digits of the variance.

    Returns
    -------
    count, mean, sd
        float[..., T]; the mean is NaN where nothing is valid, the deviation where fewer than two values are.
    """
    ok = np.isfinite(x)
    shifted = np.where(ok, x - centre, 0.0)
    count = trailing_sum(ok.astype(np.float64), n, first_bar)
    total = trailing_sum(shifted, n, first_bar)
    squares = trailing_sum(shifted * shifted, n, first_bar)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / count
        variance = (squares - total * mean) / (count - 1)
        sd = np.where(count > 1, np.sqrt(np.maximum(variance, 0.0)), np.nan)
    return count, np.where(count > 0, mean + centre, np.nan), sd


def lagged(x: Floats, n: int) -> Floats:
    """The values ``n`` bars ago; NaN for the first ``n``."""
    out = np.full(x.shape, np.nan)
    if n < x.shape[-1]:
        out[..., n:] = x[..., : x.shape[-1] - n]
    return out
