"""Round numbers for the axes of a chart.

What belongs here: ticks and their labels. What does not: where they are drawn (``charts.py``).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

#: Figures smaller than this are shown as 0.
_NOTHING = 1e-100


@dataclass(frozen=True)
class Axis:
    """A linear scale from ``low`` to ``high`` with ticks at round values."""

    low: float
    high: float
    ticks: tuple[float, ...]
    step: float

    def place(self, value: float, start: float, end: float) -> float:
        """Where a value lies between two coordinates; values outside are kept at the edge."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return start + share * (end - start)

    def label(self, tick: float) -> str:
        """The tick as text, with as many decimals as the step needs."""
        decimals = next((d for d in range(9) if abs(round(self.step, d) - self.step) < 1e-9 * self.step), None)
        if decimals is None:
            return f"{tick:.6g}"
        return f"{tick:,.{decimals}f}" if abs(tick) > self.step / 2 else "0"


def axis_of(values: Iterable[float], ticks: int = 6) -> Axis:
    """An axis that shows all finite values, with about ``ticks`` ticks; without values from 0 to 1."""
    known = [value for value in values if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    size = max(abs(low), abs(high))
    if size < _NOTHING:
        low, high = 0.0, 1.0
    elif high - low < 1e-9 * size:
        low, high = min(low, 0.0), max(high, 0.0)
    step = _round_step((high - low) / max(ticks - 1, 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Axis(first * step, last * step, tuple(i * step for i in range(first, last + 1)), step)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9)) * power


def short(value: float) -> str:
    """A number for people: three to four digits, thousands and millions with a letter."""
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / {'G': 1e9, 'M': 1e6, 'k': 1e3}[letter]:.3g} {letter}"
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 or size == 0 else f"{value:.3g}"
