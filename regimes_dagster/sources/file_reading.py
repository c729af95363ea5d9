"""Reading one CSV or Parquet file of the user's own, with errors that point at the cell.

What belongs here: opening files (plain, gzip, Parquet), finding the columns, turning cells into stamps, numbers
and symbols, and saying exactly where a cell is wrong: file, line, column, value, what is allowed. What does not:
which columns a kind of data needs (``file_layouts.py``) and how rows are served (``files.py``).

Line numbers count from 1 with the header as line 1, as an editor shows them; for Parquet they are row numbers.
"""

import difflib
import gzip
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.sources.protocol import BadFile

VENUE = "files"
SUFFIXES = (".parquet", ".csv", ".csv.gz")
_SYMBOL = r"^[A-Z0-9]+/[A-Z0-9]+$"

#: A stamp given as a number is seconds, milliseconds, microseconds or nanoseconds, by its size.
_EPOCH_UNITS: tuple[tuple[float, Literal["ns", "us", "ms", "s"]], ...] = (
    (1e17, "ns"),
    (1e14, "us"),
    (1e11, "ms"),
    (0.0, "s"),
)

Numbers = npt.NDArray[Any]


class Cells:
    """The columns of one file, with the line each row came from."""

    def __init__(self, path: Path, table: pd.DataFrame, lines: Numbers) -> None:
        self.path, self.table, self.lines = path, table, lines

    def __len__(self) -> int:
        return len(self.table)

    def has(self, column: str) -> bool:
        """Whether the file has the column."""
        return column in self.table.columns

    def need(self, columns: Sequence[str], what: str) -> None:
        """Refuse a file that lacks one of ``columns``."""
        for column in columns:
            if not self.has(column):
                found = ", ".join(map(str, self.table.columns))
                near = difflib.get_close_matches(column, [str(c) for c in self.table.columns], n=1, cutoff=0.6)
                hint = f" (is {near[0]!r} meant?)" if near else ""
                self._refuse_file(
                    f"line 1: column {column!r} is missing{hint}; {what} needs {', '.join(columns)}; found {found}"
                )

    def symbols(self, column: str = "symbol") -> pd.Series:
        """Canonical symbols."""
        values = self._text(column)
        self.check(column, values.str.fullmatch(_SYMBOL).to_numpy(dtype=bool), "a symbol such as BTC/USDT, in capitals")
        return values

    def choice(self, column: str, allowed: Sequence[str]) -> pd.Series:
        """One of a few words, in any case."""
        values = self._text(column).str.upper()
        self.check(column, values.isin(allowed).to_numpy(dtype=bool), " or ".join(allowed))
        return values

    def numbers(self, column: str, allowed: str, holds: Callable[[Numbers], Numbers]) -> Numbers:
        """Finite numbers for which ``holds`` is true."""
        raw = self.table[column]
        numbers = raw if pd.api.types.is_numeric_dtype(raw) else pd.to_numeric(raw.astype("object"), errors="coerce")
        values = numbers.to_numpy(dtype="float64", na_value=np.nan)
        with np.errstate(invalid="ignore"):
            self.check(column, np.isfinite(values) & holds(values), allowed)
        return values

    def stamps(self, column: str, *, on_the_hour: bool = False) -> pd.Series:
        """UTC stamps from ISO text (no offset means UTC), dates or epoch numbers."""
        raw = self.table[column]
        if pd.api.types.is_datetime64_any_dtype(raw):
            stamps = pd.to_datetime(raw, utc=True)
        elif pd.api.types.is_numeric_dtype(raw):
            stamps = _from_epoch(raw)
        else:
            text = raw.astype("str").str.strip()
            digits = text.str.fullmatch(r"\d{9,19}")
            if len(text) and bool(digits.all()):
                stamps = _from_epoch(pd.to_numeric(text))
            else:
                stamps = pd.to_datetime(text, utc=True, format="ISO8601", errors="coerce")
        self.check(
            column,
            stamps.notna().to_numpy(),
            "a UTC time such as 2024-01-31T13:00:00Z, or seconds since 1970",
        )
        micro = stamps.astype("datetime64[us, UTC]").reset_index(drop=True)
        if on_the_hour:
            whole = (micro == micro.dt.floor("h")).to_numpy()
            self.check(column, whole, "the start of a whole hour")
        return micro

    def check(self, column: str, good: Numbers, allowed: str) -> None:
        """Refuse the file at the first cell of ``column`` that is not ``good``."""
        if not good.all():
            row = int(np.argmin(good))
            value = self.table[column].iloc[row]
            shown = "empty" if value is None or value is pd.NA or str(value) in ("", "nan", "NaT") else repr(str(value))
            others = int((~good).sum()) - 1
            more = f" ({others} more like it)" if others else ""
            self._refuse_file(f"line {self.lines[row]}, column {column!r}: {shown}{more}; allowed is {allowed}")

    def refuse(self, row: int, message: str) -> None:
        """Refuse the file because of one row."""
        self._refuse_file(f"line {self.lines[row]}: {message}")

    def _text(self, column: str) -> pd.Series:
        return self.table[column].astype("str").str.strip().reset_index(drop=True)

    def _refuse_file(self, message: str) -> None:
        raise bad_file(self.path, message)


def bad_file(path: Path, message: str) -> BadFile:
    """The error for a file that cannot be used."""
    return BadFile(VENUE, path.name, f"{path}: {message}. Nothing of the file was used; correct it and run again")


def read_cells(path: Path) -> Cells:
    """All cells of a file.

    Raises
    ------
    BadFile
        If the file cannot be read at all, or a line has too many cells.
    """
    if path.name.endswith(".parquet"):
        return _read_parquet(path)
    return _read_csv(path)


def _read_parquet(path: Path) -> Cells:
    import pyarrow.lib

    try:
        table = pd.read_parquet(path)
    except (pyarrow.lib.ArrowException, OSError, ValueError) as problem:
        raise bad_file(path, f"is no readable Parquet file ({_first_line(problem)})") from problem
    if not isinstance(table.index, pd.RangeIndex):
        table = table.reset_index()
    return Cells(path, table.reset_index(drop=True), np.arange(1, len(table) + 1))


def _read_csv(path: Path) -> Cells:
    try:
        table = pd.read_csv(
            path, dtype="str", keep_default_na=False, skip_blank_lines=False, encoding="utf-8-sig", index_col=False
        )
    except pd.errors.EmptyDataError as problem:
        raise bad_file(path, "is empty; the first line must name the columns") from problem
    except pd.errors.ParserError as problem:
        found = re.search(r"line (\d+), saw (\d+)", str(problem))
        where = f"line {found[1]}: has {found[2]} cells, more than the header" if found else _first_line(problem)
        raise bad_file(path, where) from problem
    except UnicodeDecodeError as problem:
        raise bad_file(path, f"is no UTF-8 text (byte {problem.start}: {problem.reason})") from problem
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise bad_file(path, f"cannot be read ({_first_line(problem)})") from problem
    table.columns = [str(name).strip() for name in table.columns]
    table = table.fillna("")
    filled = (table != "").any(axis=1).to_numpy(dtype=bool)
    return Cells(path, table[filled].reset_index(drop=True), np.flatnonzero(filled) + 2)


def _from_epoch(values: pd.Series) -> pd.Series:
    largest = float(values.astype("float64").abs().max()) if len(values) else 0.0
    unit = next(unit for least, unit in _EPOCH_UNITS if largest >= least)
    return pd.Series(pd.to_datetime(values.to_numpy(), unit=unit, utc=True, errors="coerce"))


def _first_line(problem: BaseException) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0]
