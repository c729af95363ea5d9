"""What one process works with: settings, clock, database and sources, each opened on first use.

What belongs here: putting the parts together once, for Dagster, the commands and the tests alike. What does
not: Dagster itself, and any work.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import pandas as pd
import sqlalchemy as sa

from regimes_dagster.clock import Clock
from regimes_dagster.partitions import HOUR, month_start
from regimes_dagster.settings import Settings
from regimes_dagster.sources.coverage import oldest_unfinished
from regimes_dagster.sources.protocol import Kind, Source
from regimes_dagster.stale import HOURLY
from regimes_dagster.storage import Warehouse

SourceFactory = Callable[[Settings, Kind], Sequence[Source]]


class Platform:
    """Settings and everything that follows from them.

    Parameters
    ----------
    settings
        The validated settings.
    schema
        Database schema of the tables; a replay works in a scratch schema.
    sources
        Builds the sources of a kind; the registry of ``sources/`` unless a test or a replay gives another.
    clock
        The platform's clock unless a replay gives its own.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        schema: str = "public",
        sources: SourceFactory | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings
        self.schema = schema
        self._sources = sources
        self._clock = clock

    @cached_property
    def engine(self) -> sa.Engine:
        """The database, brought to this release's schema."""
        from regimes_dagster.instance import open_engine

        return open_engine(self.settings)

    @cached_property
    def warehouse(self) -> Warehouse:
        """Frames in and out of the database."""
        return Warehouse(self.engine, self.schema)

    @property
    def tables_engine(self) -> sa.Engine:
        """The database for statements on ``tables.py``, in this platform's schema."""
        return self.engine.execution_options(schema_translate_map={None: self.schema})

    @property
    def posts_alerts(self) -> bool:
        """False in a scratch schema: a replay records alerts and plans no deliveries."""
        return self.schema == "public"

    @cached_property
    def clock(self) -> Clock:
        """The platform's clock."""
        return self._clock or Clock(self.engine)

    def newest_hour(self) -> pd.Timestamp:
        """The newest hour whose bar can be final."""
        return self.clock.now().floor("h")

    def newest_joined_hour(self) -> pd.Timestamp | None:
        """Newest joined hour of the configured symbol that is furthest behind; None before the first run."""
        return self._furthest_behind("market_metrics")

    def _furthest_behind(self, table: str) -> pd.Timestamp | None:
        newest = self.warehouse.newest(table, by="symbol", where={"symbol": self.settings.symbols})
        return newest["ts"].min() if len(newest) else None

    def open_since(self) -> pd.Timestamp | None:
        """The earliest hour that the hourly run has to do (again); None before the first run.

        That is the newest hour of the table that is furthest behind, or an earlier hour that no venue could give
        yet: joined hours go on during an outage, so their newest says nothing about it. Never before the first month.
        """
        newest = [self.newest_joined_hour(), *(self._furthest_behind(name) for name in HOURLY)]
        coverage = self.warehouse.read("source_coverage", where={"symbol": self.settings.symbols})
        found = [hour for hour in (*newest, oldest_unfinished(coverage, self.clock.now())) if hour is not None]
        return max(min(found), month_start(self.settings.history_start) + HOUR) if found else None

    def first_hours(self, table: str) -> dict[str, pd.Timestamp]:
        """Per configured symbol the oldest stamp of a table; symbols without rows are left out."""
        oldest = self.warehouse.oldest(table, by="symbol", where={"symbol": self.settings.symbols})
        return dict(zip(oldest["symbol"], oldest["ts"], strict=True))

    def sources(self, kind: Kind) -> Sequence[Source]:
        """The configured sources of a kind, in order."""
        if self._sources is not None:
            return self._sources(self.settings, kind)
        from regimes_dagster.sources.registry import build_sources

        return build_sources(self.settings, kind)
