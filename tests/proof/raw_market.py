"""The raw tables that the long proofs start from, and what can be done to them: cut them off, poison their future.

What belongs here: raw rows of the recorded or the simulated market in memory, through the real sources, and the real
join. What does not: features (``five_features.py``) and any expectation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from regimes_dagster.features.market_metrics import join_market_metrics, lookback
from regimes_dagster.partitions import Window, utc
from regimes_dagster.sources.files import FilesSource
from regimes_dagster.sources.frames import joined
from regimes_dagster.sources.protocol import Kind, NotAvailable, Source, UnknownSymbol
from regimes_dagster.sources.simulated import SimulatedSource

HISTORY = Window(utc("2023-01-01"), utc("2025-01-01"))
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
KINDS: tuple[Kind, ...] = ("ohlcv", "funding", "liquidations")

#: Columns of a poisoned row that keep their value: it stays well formed, only its figures are absurd.
KEPT = frozenset({"interval_hours", "coverage"})


@dataclass(frozen=True)
class RawMarket:
    """Raw rows of one venue, tables as their models."""

    ohlcv: pd.DataFrame
    funding_rates: pd.DataFrame
    liquidations: pd.DataFrame
    liquidation_events: pd.DataFrame
    perp_volume_usd: pd.DataFrame

    @property
    def venue(self) -> str:
        return str(self.ohlcv["venue"].iloc[0])

    def tables(self) -> dict[str, pd.DataFrame]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def until(self, moment: pd.Timestamp) -> "RawMarket":
        """What was known at ``moment``."""
        return RawMarket(**{name: table.loc[table["ts"] <= moment] for name, table in self.tables().items()})

    def within(self, window: Window) -> "RawMarket":
        return RawMarket(**{name: table.loc[window.mask(table["ts"])] for name, table in self.tables().items()})

    def poisoned(self, moment: pd.Timestamp) -> "RawMarket":
        """Every figure after ``moment`` replaced by garbage that still keeps the contracts (low <= open <= high)."""
        spoiled = {}
        for name, table in self.tables().items():
            table = table.copy()
            later = table["ts"] > moment
            for column in table.select_dtypes("float64").columns.difference(list(KEPT)):
                table.loc[later, column] = (
                    table.loc[later, column] * -3.7 if column == "rate" else (table.loc[later, column] * 7.3 + 0.01)
                )
            spoiled[name] = table
        return RawMarket(**spoiled)

    def joined(self, window: Window, first_hours: Mapping[str, pd.Timestamp] | None = None) -> pd.DataFrame:
        """Rows of ``market_metrics``: the real join over the raw rows a run would read for this window."""
        near = self.within(Window(window.start - lookback(), window.end))
        return join_market_metrics(
            near.ohlcv,
            near.funding_rates,
            near.liquidations,
            window=window,
            first_hours=first_hours or self.first_hours(),
            venues={kind: [self.venue] for kind in KINDS},
        )

    def first_hours(self) -> dict[str, pd.Timestamp]:
        return dict(self.ohlcv.groupby("symbol")["ts"].min())


def recorded_market(folder: Path, window: Window = HISTORY, symbols: Sequence[str] = SYMBOLS) -> RawMarket:
    """The recorded history, as the ``files`` source gives it."""
    return _fetched(FilesSource(folder), window, symbols)


def simulated_market(window: Window, symbols: Sequence[str] = SYMBOLS) -> RawMarket:
    """The simulated market, which has single liquidations and gaps."""
    return _fetched(SimulatedSource(start=window.start), window, symbols)


def _fetched(source: Source, window: Window, symbols: Sequence[str]) -> RawMarket:
    parts: dict[str, list[pd.DataFrame]] = {field.name: [] for field in fields(RawMarket)}
    for kind in KINDS:
        for symbol in symbols:
            try:
                batch = source.fetch(kind, symbol, window, utc("2100-01-01"))
            except (NotAvailable, UnknownSymbol):
                continue
            for name, rows in batch.rows.items():
                parts[name].append(rows)
    return RawMarket(**{name: joined(name, found) for name, found in parts.items()})
