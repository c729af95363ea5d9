"""Holding a frame against its table's contract, with messages that name the first bad rows.

What belongs here: validation (``check``) and its error. What does not: the contracts (``schemas.py``), storage.
"""

import functools
import json
import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from pandera.api.pandas.container import DataFrameSchema
from pandera.errors import SchemaErrors

from regimes_dagster.schemas import TABLES, primary_key
from regimes_dagster.tables import is_json

#: An escaped NUL in JSON text: an odd number of backslashes before u0000.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

#: Bad rows that a message shows per broken rule.
SHOWN = 5


class StorageError(RuntimeError):
    """Rows cannot be stored as they are; the message says why."""


class InvalidRowsError(StorageError, ValueError):
    """Rows break their table's contract; nothing was written.

    Attributes
    ----------
    table : str
        Table the rows were for.
    problems : list of str
        One entry per broken rule: column, rule, number of rows, and the first of them with their keys.
    """

    def __init__(self, table: str, problems: Sequence[str]) -> None:
        self.table = table
        self.problems = list(problems)
        listed = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{table}: the rows break the table's contract, so nothing was written:\n{listed}")


@functools.cache
def schema_of(table: str) -> DataFrameSchema:
    """The pandera schema of a table.

    Raises
    ------
    KeyError
        If there is no such table.
    """
    if table not in TABLES:
        raise KeyError(f"there is no table {table!r}; the tables are {', '.join(sorted(TABLES))}")
    return TABLES[table].to_schema()


def keys_of(table: str) -> tuple[str, ...]:
    """Columns of the table's primary key."""
    schema_of(table)
    return primary_key(TABLES[table])


def json_columns(table: str) -> tuple[str, ...]:
    """The table's structured columns."""
    return tuple(name for name, column in schema_of(table).columns.items() if is_json(column))


def check(table: str, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the contract's dtypes and column order, a fresh index, and its structured columns as given.

    Parameters
    ----------
    table : str
        SQL name of the table.
    frame : pd.DataFrame
        Every column of the contract and no other, in any order; missing values as NaN, NaT, None or NA.

    Raises
    ------
    InvalidRowsError
        If a column is missing or unknown, a value cannot be converted, is infinite or out of range, a key is
        missing or occurs twice, or a whole-row rule of the contract does not hold.
    """
    schema = schema_of(table)
    columns = list(schema.columns)
    missing = [name for name in columns if name not in frame.columns]
    unknown = [str(name) for name in frame.columns if name not in schema.columns]
    if missing or unknown:
        problems = [f"columns missing: {', '.join(missing)}"] if missing else []
        problems += [f"columns that the contract does not have: {', '.join(unknown)}"] if unknown else []
        raise InvalidRowsError(table, problems)
    rows = frame[columns].reset_index(drop=True)
    problems = _infinities(table, rows)
    try:
        checked = schema.validate(rows, lazy=True)
    except SchemaErrors as error:
        problems += _explain(table, rows, error.failure_cases)
        raise InvalidRowsError(table, problems) from None
    if problems:
        raise InvalidRowsError(table, problems)
    return checked


def to_json(value: Any) -> str | None:
    """JSON text of a structured value, None for a missing one.

    PostgreSQL writes numbers out in full, so a float from 1e16 on reads back as the integer of the same digits.

    Raises
    ------
    ValueError, TypeError
        For a value that JSON cannot hold (NaN, infinities, objects).
    """
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    text = json.dumps(value, allow_nan=False, default=_plain, ensure_ascii=False)
    text.encode()
    if "u0000" in text and _NUL.search(text):
        raise ValueError("the character NUL cannot be stored")
    return text


def bad_json(table: str, column: str, rows: pd.DataFrame) -> InvalidRowsError:
    """The error for a structured column with values that JSON cannot hold."""
    bad = []
    for position, value in enumerate(rows[column]):
        try:
            to_json(value)
        except (TypeError, ValueError) as error:
            bad.append((position, str(error)))
    shown = [f"{_key(table, rows, position)} ({reason})" for position, reason in bad[:SHOWN]]
    return InvalidRowsError(table, [f"column {column}: {len(bad)} row(s) hold no JSON: " + "; ".join(shown)])


def bad_text(table: str, rows: pd.DataFrame) -> InvalidRowsError:
    """The error for text columns that hold the character NUL, which PostgreSQL cannot store."""
    problems = []
    for name in rows.columns:
        if rows[name].dtype == "str":
            where = np.flatnonzero(rows[name].str.contains("\x00", regex=False, na=False).to_numpy())
            if len(where):
                problems.append(_problem(table, rows, str(name), "no character NUL", where.tolist()))
    return InvalidRowsError(table, problems)


def _plain(value: Any) -> Any:
    """numpy scalars and arrays, and stamps, as JSON knows them."""
    if isinstance(value, np.generic):
        plain = value.item()
        if isinstance(plain, float) and not math.isfinite(plain):
            raise ValueError("Out of range float values are not JSON compliant")
        return plain
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _infinities(table: str, rows: pd.DataFrame) -> list[str]:
    problems = []
    for name, column in schema_of(table).columns.items():
        if str(column.dtype) == "float64":
            # Also in columns of objects, which the contract would convert.
            values = pd.to_numeric(rows[name], errors="coerce").to_numpy(dtype="float64", na_value=np.nan)
            where = np.flatnonzero(np.isinf(values))
            if len(where):
                problems.append(_problem(table, rows, name, "finite", where.tolist()))
    return problems


def _explain(table: str, rows: pd.DataFrame, cases: pd.DataFrame) -> list[str]:
    problems = []
    for (column, rule), group in cases.groupby(["column", "check"], sort=False, dropna=False):
        positions = sorted({int(index) for index in group["index"].dropna()})
        name = str(column) if column in rows.columns else None
        if positions:
            problems.append(_problem(table, rows, name, str(rule), positions))
        else:
            found = ", ".join(map(str, group["failure_case"].head(SHOWN)))
            problems.append(f"{f'column {name}' if name else 'table'}: {rule} does not hold ({found})")
    return problems


def _problem(table: str, rows: pd.DataFrame, column: str | None, rule: str, positions: Sequence[int]) -> str:
    shown = "; ".join(
        _key(table, rows, position) + (f" {column}={rows[column].iloc[position]!r}" if column else "")
        for position in positions[:SHOWN]
    )
    more = f" and {len(positions) - SHOWN} more" if len(positions) > SHOWN else ""
    return f"{f'column {column}' if column else 'rows'}: {rule} does not hold in {len(positions)} row(s): {shown}{more}"


def _key(table: str, rows: pd.DataFrame, position: int) -> str:
    return "(" + ", ".join(f"{name}={rows[name].iloc[position]}" for name in keys_of(table)) + ")"
