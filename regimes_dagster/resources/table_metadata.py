"""What Dagster shows of a table: its columns, its rows, its gaps, a look at the newest.

What belongs here: turning contracts and stored rows into Dagster metadata. What does not: storing
(``resources/warehouse.py``) and any judgement (``checks.py``).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa
from dagster import MetadataValue, TableColumn, TableColumnConstraints, TableSchema
from dagster._core.definitions.metadata import RawMetadataValue

from regimes_dagster import contracts, tables
from regimes_dagster.partitions import Window, partition_of, utc
from regimes_dagster.schemas import TABLES
from regimes_dagster.storage import Warehouse

#: Tables with one row per symbol and hour (and venue), in which a hole is a missing hour.
HOURLY = frozenset(
    {"ohlcv", "market_metrics", "volatility_features", "liquidation_features", "funding_features", "regimes"}
)

PREVIEW_ROWS, PREVIEW_COLUMNS = 5, 8


def column_schema(table: str) -> TableSchema:
    """The table's contract as Dagster's catalogue shows it: type, description, unit and rules of every column."""
    columns = [
        TableColumn(
            name,
            type=str(tables.table(table).c[name].type).lower(),
            description=f"{column.description} [{tables.unit(column)}]" if tables.unit(column) else column.description,
            constraints=TableColumnConstraints(
                nullable=bool(column.nullable),
                unique=contracts.keys_of(table) == (name,),
                other=[str(check.error or check.name) for check in column.checks],
            ),
        )
        for name, column in contracts.schema_of(table).columns.items()
    ]
    return TableSchema(columns)


def definition_metadata(table: str) -> dict[str, RawMetadataValue]:
    """What is true of the table whatever is stored; belongs on the asset's definition."""
    return {"dagster/column_schema": column_schema(table), "dagster/table_name": f"public.{table}"}


def describe(table: str) -> str:
    """The table's description, as its contract gives it."""
    return (TABLES[table].__doc__ or "").strip()


@dataclass(frozen=True)
class MonthFigures:
    """What is stored of one month."""

    rows: int
    symbols: int
    first: pd.Timestamp
    last: pd.Timestamp
    missing_hours: int | None

    def metadata(self) -> dict[str, RawMetadataValue]:
        """The figures as Dagster shows them on one partition."""
        shown: dict[str, RawMetadataValue] = {
            "dagster/partition_row_count": self.rows,
            "symbols": self.symbols,
            "first_ts": MetadataValue.timestamp(self.first.to_pydatetime()),
            "last_ts": MetadataValue.timestamp(self.last.to_pydatetime()),
        }
        if self.missing_hours is not None:
            shown["missing_hours"] = self.missing_hours
        return shown


def month_figures(warehouse: Warehouse, table: str, window: Window) -> dict[str, MonthFigures]:
    """Figures of every month of the window that has rows, by partition key.

    Missing hours are those between a symbol's first and last row of the month that have no row, and, in
    ``market_metrics``, those whose bar is null.
    """
    t = tables.table(table)
    stamp = tables.time_column(table)
    if stamp is None:
        return {}
    ts = t.c[stamp]
    who = next((t.c[name] for name in ("symbol", "asset_pair") if name in t.c), sa.literal("all"))
    month = sa.func.date_trunc("month", ts - timedelta(microseconds=1))
    hours: sa.ColumnElement[int] = (
        sa.func.count(ts.distinct()) if "venue" in contracts.keys_of(table) else sa.func.count()
    )
    if "close" in t.c and t.c.close.nullable:
        hours = sa.func.count().filter(t.c.close.is_not(None))
    query = (
        sa.select(month, who, sa.func.count(), hours, sa.func.min(ts), sa.func.max(ts))
        .where(ts > window.start.to_pydatetime(), ts <= window.end.to_pydatetime())
        .group_by(month, who)
    )
    found: dict[str, list[Any]] = defaultdict(list)
    with warehouse.connect() as connection:
        for row in connection.execute(query):
            found[partition_of(utc(row[4]))].append(row)
    figures = {}
    for key, rows in found.items():
        expected = sum((row[5] - row[4]) // timedelta(hours=1) + 1 for row in rows)
        figures[key] = MonthFigures(
            rows=sum(row[2] for row in rows),
            symbols=len(rows),
            first=utc(min(row[4] for row in rows)),
            last=utc(max(row[5] for row in rows)),
            missing_hours=expected - sum(row[3] for row in rows) if table in HOURLY else None,
        )
    return figures


def preview(warehouse: Warehouse, table: str, newest: pd.Timestamp) -> str:
    """The newest rows as a Markdown table."""
    columns = list(contracts.schema_of(table).columns)[:PREVIEW_COLUMNS]
    window = Window(newest - timedelta(hours=1), newest)
    return markdown(warehouse.read(table, window=window, columns=columns).tail(PREVIEW_ROWS))


def markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table, numbers short."""
    lines = [_line(list(frame.columns)), _line(["---"] * len(frame.columns))]
    lines += [_line([_shown(value) for value in row]) for row in frame.itertuples(index=False, name=None)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _shown(value: Any) -> str:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:.6g}" if isinstance(value, float) else str(value).replace("|", "/")
