"""From names in ``[sources]`` to source objects.

What belongs here: which class serves which name for which kind. What does not: settings (``settings.py``) and
anything that asks a venue.
"""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from regimes_dagster.partitions import Window, utc
from regimes_dagster.sources import (
    liquidations_bitfinex,
    liquidations_deribit,
    liquidations_gate,
    liquidations_krakenfutures,
)
from regimes_dagster.sources.archive import ArchiveSource
from regimes_dagster.sources.archive_store import ArchiveStore
from regimes_dagster.sources.ccxt_client import Client, Sleep, client_for
from regimes_dagster.sources.ccxt_funding import FUNDING_VENUES, FundingSource
from regimes_dagster.sources.ccxt_liquidations import LiquidationSource, LiquidationVenue
from regimes_dagster.sources.ccxt_spot import SPOT_VENUES, SpotSource
from regimes_dagster.sources.files import FilesSource
from regimes_dagster.sources.minute_bars import MINUTE_VENUES, MinuteSource
from regimes_dagster.sources.protocol import Batch, Kind, NotAvailable, Source
from regimes_dagster.sources.simulated import SimulatedSource

if TYPE_CHECKING:
    from regimes_dagster.settings import Settings


_LIQUIDATION_VENUES: Mapping[str, Callable[[], LiquidationVenue]] = {
    "krakenfutures": lambda: liquidations_krakenfutures.VENUE,
    "deribit": lambda: liquidations_deribit.VENUE,
    "gate": lambda: liquidations_gate.VENUE,
    "bitfinex": liquidations_bitfinex.venue,
}

#: Venues whose liquidations come over websockets only: ``regimes collect`` writes their rows, coverage and status.
COLLECTED = ("okx", "bybit", "binanceusdm")


class NotServed:
    """Stands for a name that cannot serve a kind: it says so when asked, and never keeps the platform from starting."""

    kinds: frozenset[str] = frozenset()
    always_read = False

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self.why = why

    def fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        """Always raises NotAvailable."""
        raise NotAvailable(self.name, symbol, self.why)


def build_sources(settings: "Settings", kind: Kind, *, sleep: Sleep = time.sleep) -> list[Source]:
    """The sources of ``kind`` in the configured order; venues share one client per process."""
    names = settings.sources.of(kind)
    if kind == "liquidations":
        names = tuple(name for name in names if name not in COLLECTED)
    return [_source(settings, kind, name, sleep) for name in names]


def _source(settings: "Settings", kind: Kind, name: str, sleep: Sleep) -> Source:
    if kind == "minute_bars" and name in ("files", "archive"):
        return NotServed(name, "minute bars come from venues only; take it out of [sources] minute_bars")
    if name == "files":
        if settings.sources.files.path is None:
            return NotServed(name, "no folder is named; set [sources.files] path to the folder with your files")
        return FilesSource(settings.sources.files.path)
    if name == "simulated":
        simulated = settings.sources.simulated
        start = simulated.start if simulated.start is not None else settings.history_start
        return SimulatedSource(simulated.seed, utc(start), gaps=simulated.gaps)
    if name == "archive":
        return ArchiveSource(ArchiveStore(str(settings.sources.archive.base_url), settings.archive_cache, sleep=sleep))
    if name not in venues_of(kind):
        return NotServed(name, f"it does not serve {kind} here; take it out of [sources] {kind} or run `regimes probe`")
    client = client_for(name, settings.sources.ccxt_options(name), sleep=sleep, pace=settings.home / "pace")
    return venue_source(kind, client, backfill_days=settings.sources.liquidation_backfill_days)


def venues_of(kind: Kind) -> tuple[str, ...]:
    """Venues that serve a kind, in the default order; those that only stream are at the end."""
    if kind == "ohlcv":
        return tuple(SPOT_VENUES)
    if kind == "funding":
        return tuple(FUNDING_VENUES)
    if kind == "minute_bars":
        return tuple(MINUTE_VENUES)
    return (*_LIQUIDATION_VENUES, *COLLECTED)


def venue_source(kind: Kind, client: Client, *, backfill_days: int = 14) -> Source:
    """The source that asks ``client``'s venue for ``kind``; the venue must be one of ``venues_of(kind)``."""
    if kind == "ohlcv":
        return SpotSource(client)
    if kind == "funding":
        return FundingSource(client)
    if kind == "minute_bars":
        return MinuteSource(client)
    return LiquidationSource(client, _LIQUIDATION_VENUES[client.venue](), backfill_days=backfill_days)
