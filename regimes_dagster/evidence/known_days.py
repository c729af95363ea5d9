"""Days on which the market is known to have been liquidated, for the recall of the cascade rule.

What belongs here: dates and whom they hit. What does not: whether an alert was raised (``cascades.py``).

Chosen from prices (1 h low against open) and press, not from the feed that is judged.
"""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class KnownEvent:
    """First and last day (UTC), and base assets hit; none named: all."""

    first: date
    last: date
    bases: tuple[str, ...] = ()

    def hit(self, symbol: str) -> bool:
        """Whether a symbol such as BTC/USDT is meant."""
        return not self.bases or symbol.split("/")[0] in self.bases

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first}..{self.last:%m-%d}"


def _days(first: str, last: str | None = None, bases: tuple[str, ...] = ()) -> KnownEvent:
    begin = date.fromisoformat(first)
    return KnownEvent(begin, date.fromisoformat(last) if last else begin, bases)


KNOWN_EVENTS: tuple[KnownEvent, ...] = (
    _days("2020-03-12"),
    _days("2021-05-19"),
    _days("2021-09-07"),
    _days("2021-12-04"),
    _days("2022-05-09", "2022-05-12"),
    _days("2022-06-13"),
    _days("2022-11-08", "2022-11-09"),
    _days("2023-03-03"),
    _days("2023-06-10"),
    _days("2023-08-17"),
    _days("2023-12-11"),
    _days("2024-01-03"),
    _days("2024-03-05"),
    _days("2024-04-12", "2024-04-13"),
    _days("2024-06-28", bases=("BTC", "ETH")),
    _days("2024-07-04", "2024-07-05"),
    _days("2024-08-05"),
    _days("2024-12-05"),
    _days("2024-12-09"),
    _days("2025-02-03"),
    _days("2025-04-07"),
    _days("2025-10-10"),
    _days("2026-01-31"),
    _days("2026-02-05", "2026-02-06"),
)
