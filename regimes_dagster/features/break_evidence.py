"""What became of earlier breaks of a pair: did the spread come back within a week?

What belongs here: the running count that every break message carries. What does not: the statistics of the
evidence report, and when a break is called (``correlation_engine.py``).

A break has come back if the hedged spread return of the ``OUTCOME_H`` hours after its onset has the opposite sign
of the spread at the onset. Only breaks whose week is over by the hour of the message are counted.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.features.hourly_grid import HOUR_NS, hour_number

Floats = npt.NDArray[np.float64]

OUTCOME_H = 168
MIN_SHARE = 0.9


@dataclass(frozen=True)
class Break:
    """A break that was announced: hour of onset (hours since 1970), hedge ratio and spread at that hour."""

    hour: int
    beta: float
    spread: float


@dataclass
class BreakRecord:
    """Breaks of one pair so far: how many are decided, how many came back, and those still undecided."""

    n: int = 0
    reversed: int = 0
    pending: list[Break] = field(default_factory=list)

    @classmethod
    def load(cls, stored: Mapping[str, Any] | None) -> "BreakRecord":
        """From the stored state; an empty record without one."""
        if stored is None:
            return cls()
        pending = [Break(hour_number(pd.Timestamp(at)), float(b), float(s)) for at, b, s in stored["pending"]]
        return cls(int(stored["n"]), int(stored["reversed"]), pending)

    def dump(self) -> dict[str, Any]:
        """JSON-able."""
        pending = [
            [pd.Timestamp(one.hour * HOUR_NS, tz="UTC").isoformat(), one.beta, one.spread] for one in self.pending
        ]
        return {"n": self.n, "reversed": self.reversed, "pending": pending}

    def add(self, opened: Break) -> None:
        """Note an announced break; one without a hedge ratio or spread can never be decided and is left out."""
        if math.isfinite(opened.beta) and math.isfinite(opened.spread) and opened.spread != 0:
            self.pending.append(opened)

    def settle(self, hour: int, a: Floats, b: Floats, first_hour: int) -> None:
        """Decide every break whose week is over at ``hour``.

        Parameters
        ----------
        a, b
            [T] hourly log returns of the pair, NaN where unknown; ``first_hour`` is their first column. A week
            with less than 90 % known hours decides nothing and is dropped.
        """
        still = []
        for one in self.pending:
            if one.hour + OUTCOME_H > hour:
                still.append(one)
                continue
            begin = one.hour + 1 - first_hour
            if begin < 0:
                continue
            later = b[begin : begin + OUTCOME_H] - one.beta * a[begin : begin + OUTCOME_H]
            known = np.isfinite(later)
            if known.sum() >= MIN_SHARE * OUTCOME_H:
                self.n += 1
                self.reversed += bool(later[known].sum() * one.spread < 0)
        self.pending = still

    def summary(self) -> dict[str, Any]:
        """``n`` decided breaks and the share that came back (null without any)."""
        return {"n": self.n, "reversal_rate": self.reversed / self.n if self.n else None}
