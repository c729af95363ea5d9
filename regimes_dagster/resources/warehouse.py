"""The IO manager: where Dagster's assets meet the tables.

What belongs here: what an asset may return and what it gets as input, the window of a run, and the metadata of a
materialisation. What does not: statements (``storage.py``), what a feature's result replaces
(``feature_results.py``), what is shown of a table (``table_metadata.py``).

An asset is stored in the table of its name. It may return

- a DataFrame: rows of that table; the window of the configured symbols is replaced (derived tables), or rows are
  added and updated and none is deleted (``alerts`` and the other ledgers);
- a ``FeatureResult``: rows, events, states and models, in one transaction;
- a ``RawResult``: writes with scopes of their own, in one transaction;
- ``Written()``: everything is stored already, only the metadata is wanted.

An input annotated ``StoredTable`` is a handle on the upstream table, bound to the run's window; annotated
``pd.DataFrame`` it is the rows of that window.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum
from typing import Any, Protocol

import dagster as dg
import pandas as pd
import sqlalchemy as sa
from dagster._core.definitions.metadata import RawMetadataValue
from dagster._core.errors import DagsterInvariantViolationError

from regimes_dagster import feature_results
from regimes_dagster.feature_results import resume_from
from regimes_dagster.features.result import FeatureResult
from regimes_dagster.partitions import Window, keys_window
from regimes_dagster.resources.table_metadata import column_schema, definition_metadata, month_figures, preview
from regimes_dagster.schemas import DERIVED_TABLES, LEDGER_TABLES
from regimes_dagster.storage import Values, Warehouse, Write, WriteCounts

__all__ = [
    "RawResult", "StoredTable", "WarehouseIOManager", "Written", "column_schema", "definition_metadata", "resume_from",
]  # fmt: skip

_DERIVED = frozenset(str(model.to_schema().name) for model in DERIVED_TABLES)
_LEDGERS = frozenset(str(model.to_schema().name) for model in LEDGER_TABLES)

MARKET = "market_metrics"

_FIRST = pd.Timestamp("1970-01-01", tz="UTC")
_LAST = pd.Timestamp("2200-01-01", tz="UTC")


class _Default(Enum):
    WINDOW = "from the start of the run's window"


class _Settings(Protocol):
    @property
    def symbols(self) -> Sequence[str]: ...


class _Clock(Protocol):
    def now(self) -> pd.Timestamp: ...


class PlatformLike(Protocol):
    """What the IO manager needs of the platform (``platform.Platform``)."""

    @property
    def settings(self) -> _Settings: ...

    @property
    def warehouse(self) -> Warehouse: ...

    @property
    def clock(self) -> _Clock: ...


@dataclass(frozen=True)
class RawResult:
    """Writes with scopes of their own; all are made in one transaction."""

    writes: Sequence[Write]


@dataclass(frozen=True)
class Written:
    """The asset has stored its rows itself."""

    counts: Mapping[str, WriteCounts] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredTable:
    """A table, bound to a run's window and the configured symbols; nothing is read until it is asked for.

    Attributes
    ----------
    table : str
        Name of the table.
    window : Window or None
        Window of the run; None outside a partitioned run.
    symbols : tuple of str
        Configured symbols; tables without a column ``symbol`` are read whole.
    """

    warehouse: Warehouse
    table: str
    window: Window | None
    symbols: tuple[str, ...]

    def read(
        self,
        columns: Sequence[str] | None = None,
        *,
        back: timedelta | None = None,
        since: pd.Timestamp | _Default | None = _Default.WINDOW,
        where: Mapping[str, Values] | None = None,
    ) -> pd.DataFrame:
        """Rows of the window, sorted by key, with the dtypes of the contract.

        Parameters
        ----------
        columns : sequence of str, optional
            Only these.
        back : timedelta, optional
            Also the rows of so long before the window.
        since : pd.Timestamp or None, optional
            Rows after this moment instead of those after the window's start; None: from the first row.
        where : mapping, optional
            Column -> value or values.
        """
        from regimes_dagster import contracts

        window = self.window
        if window is not None:
            if isinstance(since, _Default):
                window = replace(window, start=window.start - (back or timedelta()))
            else:
                window = replace(window, start=_FIRST if since is None else min(since, window.end))
        elif not isinstance(since, _Default) and since is not None:
            window = Window(since, _LAST)
        symbols = self.symbols if "symbol" in contracts.schema_of(self.table).columns else None
        return self.warehouse.read(self.table, window=window, symbols=symbols, columns=columns, where=where)


class WarehouseIOManager(dg.IOManager):
    """Stores what assets return and gives them their inputs.

    Parameters
    ----------
    platform : PlatformLike
        Settings, warehouse and clock; nothing is opened before the first use.
    """

    def __init__(self, platform: PlatformLike) -> None:
        self._platform = platform

    def load_input(self, context: dg.InputContext) -> StoredTable | pd.DataFrame:
        """A handle on the upstream table, or its rows where the input is annotated ``pd.DataFrame``."""
        keys = list(context.asset_partition_keys) if context.has_asset_partitions else []
        stored = StoredTable(
            self._platform.warehouse,
            _table(context),
            keys_window(keys) if keys else None,
            tuple(self._platform.settings.symbols),
        )
        return stored.read() if context.dagster_type.typing_type is pd.DataFrame else stored

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store what the asset returned, and describe what is stored now.

        Raises
        ------
        InvalidRowsError
            If a row breaks its contract; nothing is written.
        TypeError
            For anything but what the module's docstring lists.
        """
        started = time.monotonic()
        table = _table(context)
        keys = sorted(context.asset_partition_keys) if context.has_asset_partitions else []
        window = keys_window(keys) if keys else None
        counts, shown = self._store(table, obj, window, keys)
        shown["seconds_writing"] = round(time.monotonic() - started, 3)
        if counts:
            shown["written"] = dg.MetadataValue.json({name: _counts(done) for name, done in counts.items()})
        self._describe(context, table, window, keys, shown)

    def _store(
        self, table: str, obj: Any, window: Window | None, keys: Sequence[str]
    ) -> tuple[Mapping[str, WriteCounts], dict[str, RawMetadataValue]]:
        warehouse, symbols = self._platform.warehouse, tuple(self._platform.settings.symbols)
        match obj:
            case Written():
                return obj.counts, {}
            case RawResult():
                return warehouse.write(obj.writes), {}
            case FeatureResult():
                if window is None:
                    raise TypeError(f"{table} returned a FeatureResult in a run without partitions; give it partitions")
                stored = feature_results.store(
                    warehouse,
                    obj,
                    feature=table,
                    window=window,
                    partition_keys=keys,
                    symbols=symbols,
                    now=self._platform.clock.now(),
                )
                return stored.counts, {"stale_months": ", ".join(stored.stale)} if stored.stale else {}
            case pd.DataFrame() if table in _DERIVED and window is not None:
                scopes = feature_results.derived_scopes(warehouse, table, obj, window, symbols)
                stale: list[str] = []

                def follow_up(connection: sa.Connection, counts: Mapping[str, WriteCounts]) -> None:
                    feature_results.clear_marks(connection, table, keys)
                    since = counts[table].since
                    if table == MARKET and since is not None:
                        now = self._platform.clock.now()
                        stale.extend(feature_results.market_changed(connection, since, window, now))

                done = warehouse.write([Write(table, obj, scopes)], then=follow_up)
                return done, {"stale_months": ", ".join(stale)} if stale else {}
            case pd.DataFrame() if table in _LEDGERS:
                return warehouse.write([Write(table, obj)]), {}
        raise TypeError(
            f"{table} returned {type(obj).__name__}; an asset returns a DataFrame (derived tables and ledgers), a "
            "FeatureResult, a RawResult or Written()"
        )

    def _describe(
        self,
        context: dg.OutputContext,
        table: str,
        window: Window | None,
        keys: Sequence[str],
        shown: dict[str, RawMetadataValue],
    ) -> None:
        warehouse = self._platform.warehouse
        shown["dagster/row_count"] = warehouse.row_count(table)
        if window is not None:
            shown["window"] = str(window)
        context.add_output_metadata(shown)
        figures = month_figures(warehouse, table, window) if window is not None else {}
        step = _step(context)
        for key in keys:
            month = figures.get(key)
            about: dict[str, RawMetadataValue] = (
                month.metadata() if month is not None else {"dagster/partition_row_count": 0}
            )
            if month is not None and key == max(figures):
                about["preview"] = dg.MetadataValue.md(preview(warehouse, table, month.last))
            if step is not None:
                step.add_asset_metadata(about, asset_key=context.asset_key, partition_key=key)


def _table(context: dg.InputContext | dg.OutputContext) -> str:
    return context.asset_key.path[-1]


def _step(context: dg.OutputContext) -> Any:
    """The step, by which metadata reaches a single partition; None outside a run (tests)."""
    try:
        return context.step_context
    except DagsterInvariantViolationError:
        return None


def _counts(done: WriteCounts) -> dict[str, int]:
    return {
        name: getattr(done, name)
        for name in ("inserted", "updated", "deleted", "unchanged", "outside")
        if getattr(done, name)
    }
