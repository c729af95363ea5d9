"""What an alert is about, as far as filters and silences care.

What belongs here: event type, symbols, severity, and how a filter names them. What does not: the filters
(``planning.py``) and silences (``silences.py``).
"""

from dataclasses import dataclass

from regimes_dagster.vocabulary import SEVERITIES

#: Symbol of an alert about the platform itself: every symbol filter lets it through.
PLATFORM = "ALL"


@dataclass(frozen=True)
class Subject:
    """The judged part of an alert."""

    event_type: str
    symbol: str
    severity: str
    asset_pair: str | None = None
    is_simulated: bool = False

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols it concerns: both of a pair, and the pair itself."""
        names = {self.symbol}
        for text in filter(None, (self.symbol, self.asset_pair)):
            parts = text.split("/")
            if len(parts) == 4:
                names |= {text, "/".join(parts[:2]), "/".join(parts[2:])}
        return frozenset(names)

    def is_about(self, symbol: str) -> bool:
        """Whether a filter or silence that names ``symbol`` means this alert."""
        return self.symbol == PLATFORM or symbol in self.symbols


def rank(severity: str) -> int:
    """0 INFO, 1 WARNING, 2 CRITICAL."""
    return [str(known) for known in SEVERITIES].index(severity)
