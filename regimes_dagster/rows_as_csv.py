"""Frames as the CSV that PostgreSQL's COPY reads and writes, exactly and fast.

What belongs here: the translation between a contract's dtypes and COPY's CSV in both directions. What does not:
connections and statements (``storage.py``), rules (``contracts.py``).

Why CSV: Arrow writes and parses it in C++ (876,000 rows x 17 columns: 1.3 s out, 0.3 s in, on 2 cores), while
COPY's binary form is built row by row in Python (8.5 s for the same). Floats keep every bit: both sides write
the shortest text that reads back to the same number.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as csv
from pandera.api.pandas.container import DataFrameSchema

from regimes_dagster import contracts
from regimes_dagster.tables import is_json

#: Rows per piece, so that the text of a large frame is never in memory at once.
PIECE = 50_000


def encode(table: str, rows: pd.DataFrame) -> Iterator[bytes]:
    """Checked rows (``contracts.check``) as pieces of CSV without a header, columns in the frame's order.

    Null is an empty field, an empty text is a quoted one; stamps are written without zone, in UTC.

    Raises
    ------
    InvalidRowsError
        If a structured column holds something that JSON cannot, or a text the character NUL.
    """
    structured = contracts.json_columns(table)
    options = csv.WriteOptions(include_header=False)
    for start in range(0, len(rows), PIECE):
        piece = rows.iloc[start : start + PIECE]
        buffer = pa.BufferOutputStream()
        csv.write_csv(
            pa.table({name: _array(table, piece, name, structured) for name in piece.columns}), buffer, options
        )
        text = buffer.getvalue().to_pybytes()
        if b"\x00" in text:
            raise contracts.bad_text(table, piece)
        yield text


def decode(table: str, columns: list[str], text: bytes | bytearray) -> pd.DataFrame:
    """COPY's CSV as a frame with the contract's dtypes; ``columns`` are those of the text, in its order."""
    schema = contracts.schema_of(table)
    if not text:
        return empty(table, columns)
    parsed = csv.read_csv(
        pa.py_buffer(text),
        read_options=csv.ReadOptions(column_names=columns),
        parse_options=csv.ParseOptions(newlines_in_values=any(_is_text(schema, name) for name in columns)),
        convert_options=csv.ConvertOptions(
            column_types={name: _arrow_type(schema, name) for name in columns},
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
        ),
    )
    return pd.DataFrame({name: _series(schema, name, parsed.column(name)) for name in columns}, columns=columns)


def empty(table: str, columns: list[str]) -> pd.DataFrame:
    """A frame without rows, with the contract's dtypes."""
    schema = contracts.schema_of(table)
    return pd.DataFrame({name: pd.Series([], dtype=_pandas_type(schema, name)) for name in columns}, columns=columns)


def _array(table: str, piece: pd.DataFrame, name: str, structured: tuple[str, ...]) -> pa.Array:
    values = piece[name]
    if name in structured:
        try:
            return pa.array([contracts.to_json(value) for value in values], type=pa.string())
        except (TypeError, ValueError):
            raise contracts.bad_json(table, name, piece) from None
    array = pa.Array.from_pandas(values)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_timestamp(array.type):
        # Without the zone Arrow writes stamps 25 times faster; the session's time zone is UTC.
        return array.cast(pa.timestamp("us"))
    return array


def _series(schema: DataFrameSchema, name: str, column: pa.ChunkedArray) -> "pd.Series[Any]":
    dtype = _pandas_type(schema, name)
    if is_json(schema.columns[name]):
        decoded = np.empty(len(column), dtype=object)
        for position, value in enumerate(column.to_pylist()):
            decoded[position] = None if value is None else json.loads(value)
        return pd.Series(decoded, dtype=object)
    nullable: dict[str, dict[Any, Any]] = {
        "Int64": {pa.int64(): pd.Int64Dtype()},
        "boolean": {pa.bool_(): pd.BooleanDtype()},
    }
    if dtype in nullable:
        series: pd.Series[Any] = column.to_pandas(types_mapper=nullable[dtype].get)
        return series
    return column.to_pandas().astype(pd.api.types.pandas_dtype(dtype))  # type: ignore[no-any-return]


def _pandas_type(schema: DataFrameSchema, name: str) -> str:
    column = schema.columns[name]
    dtype = str(column.dtype)
    if is_json(column):
        return "object"
    return "str" if dtype.startswith("string") else dtype


def _is_text(schema: DataFrameSchema, name: str) -> bool:
    return _pandas_type(schema, name) in ("str", "object")


def _arrow_type(schema: DataFrameSchema, name: str) -> pa.DataType:
    dtype = _pandas_type(schema, name)
    if dtype.startswith("datetime64"):
        return pa.timestamp("us", tz="UTC")
    return {
        "object": pa.string(),
        "str": pa.string(),
        "float64": pa.float64(),
        "Int64": pa.int64(),
        "int64": pa.int64(),
        "bool": pa.bool_(),
        "boolean": pa.bool_(),
    }[dtype]
