"""`/api/history/{table}`: rows out as JSON pages, or streamed as CSV or Parquet.

What belongs here: parameters, formats, and streaming without holding the answer in memory. What does not: the
select (``queries/export.py``).
"""

import csv
import io
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from dash_app.api import contracts, problems
from dash_app.api.caching import encode, send
from dash_app.api.present import ERRORS, moment
from dash_app.queries import export
from dash_app.reader import Reader, TooSlow
from dash_app.snapshot import SnapshotKeeper
from regimes_dagster import tables
from regimes_dagster.schemas import DERIVED_TABLES, RAW_TABLES
from regimes_dagster.settings import Settings

#: What may be read: raw and derived rows, forecast models, alerts, evidence. Nothing about endpoints or requests.
NAMES = (
    *(str(model.to_schema().name) for model in (*DERIVED_TABLES, *RAW_TABLES)),
    "volatility_models",
    "alerts",
    "signal_evidence",
)
TableName = StrEnum("TableName", {name: name for name in NAMES})  # type: ignore[misc]

DEFAULT_SPAN = timedelta(days=30)
BATCH = 2_000
ROW_GROUP = 20_000
#: Exports that may run at once in a process; each holds a connection for its whole length.
AT_ONCE = 2


def router(settings: Settings, keeper: SnapshotKeeper, reader: Reader) -> APIRouter:
    """The route ``/api/history/{table}``."""
    routes = APIRouter(prefix="/api", tags=["history"], responses=ERRORS)
    slots = threading.BoundedSemaphore(AT_ONCE)
    example = {
        "text/csv": {"schema": {"type": "string"}},
        "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
    }

    @routes.get(
        "/history/{table}",
        response_model=None,
        responses={200: {"model": contracts.History, "content": example}},
        summary="Rows of a table: JSON pages, or CSV and Parquet as a stream",
    )
    async def history(
        request: Request,
        table: Annotated[TableName, Path(description="Table")],
        symbol: Annotated[str | None, Query(description="Only this symbol", max_length=40)] = None,
        asset_pair: Annotated[
            str | None, Query(description="Only this pair (correlation_features)", max_length=80)
        ] = None,
        from_: Annotated[
            str | None,
            Query(alias="from", description="Rows after this moment; default 30 days before `to`", max_length=40),
        ] = None,
        to: Annotated[str | None, Query(description="Rows up to this moment; default now", max_length=40)] = None,
        columns: Annotated[
            str | None, Query(description="Comma-separated; default every column", max_length=2000)
        ] = None,
        format: Annotated[Literal["json", "csv", "parquet"], Query(description="Form of the answer")] = "json",
        limit: Annotated[int, Query(ge=1, le=10_000, description="Rows of a JSON page")] = 1_000,
        offset: Annotated[int, Query(ge=0, le=10_000_000, description="Rows to skip (JSON)")] = 0,
    ) -> Response:
        name = str(table.value)
        chosen = _columns(name, columns)
        key = _key(name, symbol, asset_pair, settings, keeper)
        end = moment("to", to) or keeper.current.moment()
        start = moment("from", from_) or end - DEFAULT_SPAN
        if start >= end:
            raise problems.wrong("from", from_ or start.isoformat(), f"must lie before to ({end.isoformat()})")
        if format == "json":
            statement = export.select(name, chosen, key=key, start=start, end=end, limit=limit + 1, offset=offset)
            return await run_in_threadpool(lambda: _page(request, reader, statement, name, chosen, limit, offset))
        statement = export.select(name, chosen, key=key, start=start, end=end)
        return await run_in_threadpool(lambda: _stream(reader, statement, name, chosen, format, slots))

    return routes


def _columns(table: str, text: str | None) -> list[str]:
    known = [column.name for column in tables.table(table).columns]
    if text is None:
        return known
    chosen = [one.strip() for one in text.split(",") if one.strip()]
    unknown = [one for one in chosen if one not in known]
    if unknown or not chosen:
        raise problems.wrong(
            "columns", text, f"{unknown[0][:40]!r} is no column of {table}" if unknown else "names no column", known
        )
    return list(dict.fromkeys(chosen))


def _key(table: str, symbol: str | None, pair: str | None, settings: Settings, keeper: SnapshotKeeper) -> str | None:
    if table == "correlation_features":
        if symbol is not None:
            raise problems.wrong(
                "symbol", symbol, "correlation_features is read by asset_pair", list(keeper.current.pairs)
            )
        if pair is not None and pair not in keeper.current.pairs:
            raise problems.unknown_symbol(pair, keeper.current.pairs)
        return pair
    if pair is not None:
        raise problems.wrong("asset_pair", pair, f"{table} is read by symbol", list(settings.symbols))
    if symbol is not None and symbol not in settings.symbols:
        raise problems.unknown_symbol(symbol, settings.symbols)
    return symbol


def _page(
    request: Request,
    reader: Reader,
    statement: sa.Select[Any],
    table: str,
    columns: Sequence[str],
    limit: int,
    offset: int,
) -> Response:
    rows = [list(row.values()) for row in reader.rows(statement)]
    more = len(rows) > limit
    page = rows[:limit]
    return send(
        request,
        encode(
            {
                "table": table,
                "columns": list(columns),
                "rows": page,
                "count": len(page),
                "next_offset": offset + limit if more else None,
            }
        ),
    )


def _stream(
    reader: Reader,
    statement: sa.Select[Any],
    table: str,
    columns: Sequence[str],
    form: str,
    slots: threading.BoundedSemaphore,
) -> Response:
    if not slots.acquire(timeout=2):
        raise TooSlow("two exports are running; try again when one has ended")
    batches = reader.stream(statement, BATCH)
    try:
        first = next(batches, [])  # errors show before the first byte is sent
    except BaseException:
        slots.release()
        raise
    whole = chain([first], batches)
    body = _csv(columns, whole) if form == "csv" else _parquet(table, columns, whole)
    kind = "text/csv; charset=utf-8" if form == "csv" else "application/vnd.apache.parquet"
    headers = {"Content-Disposition": f'attachment; filename="{table}.{form}"', "Cache-Control": "no-store"}
    return StreamingResponse(_released(body, batches, slots), media_type=kind, headers=headers)


def _released(body: Iterator[bytes], batches: Iterator[Any], slots: threading.BoundedSemaphore) -> Iterator[bytes]:
    try:
        yield from body
    finally:
        batches.close()  # type: ignore[attr-defined]
        slots.release()


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _csv(columns: Sequence[str], batches: Iterable[list[tuple[Any, ...]]]) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for batch in batches:
        writer.writerows([_cell(value) for value in row] for row in batch)
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


class _Pipe(io.RawIOBase):
    """What a Parquet writer has written since it was last emptied."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any) -> int:
        """Keep the bytes until ``emptied``."""
        part = bytes(data)
        self._parts.append(part)
        return len(part)

    def emptied(self) -> bytes:
        """The bytes kept so far."""
        joined = b"".join(self._parts)
        self._parts.clear()
        return joined


def _arrow_type(column: sa.Column[Any]) -> Any:
    import pyarrow as pa

    if isinstance(column.type, sa.JSON):
        return pa.string()
    if isinstance(column.type, sa.DateTime):
        return pa.timestamp("us", tz="UTC")
    if isinstance(column.type, sa.Float):
        return pa.float64()
    if isinstance(column.type, sa.Boolean):
        return pa.bool_()
    return pa.int64() if isinstance(column.type, sa.Integer) else pa.string()


def _parquet(table: str, columns: Sequence[str], batches: Iterable[list[tuple[Any, ...]]]) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = tables.table(table)
    schema = pa.schema([pa.field(name, _arrow_type(source.c[name])) for name in columns])
    as_text = [isinstance(source.c[name].type, sa.JSON) for name in columns]
    pipe = _Pipe()

    def group(rows: list[tuple[Any, ...]]) -> Any:
        arrays = []
        for position, field in enumerate(schema):
            values = [row[position] for row in rows]
            if as_text[position]:
                values = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
            arrays.append(pa.array(values, field.type))
        return pa.Table.from_arrays(arrays, schema=schema)

    waiting: list[tuple[Any, ...]] = []
    with pq.ParquetWriter(pipe, schema, compression="zstd") as writer:
        for batch in batches:
            waiting.extend(batch)
            if len(waiting) >= ROW_GROUP:
                writer.write_table(group(waiting))
                waiting = []
                yield pipe.emptied()
        if waiting:
            writer.write_table(group(waiting))
    yield pipe.emptied()
