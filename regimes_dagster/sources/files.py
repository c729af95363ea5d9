"""The ``files`` source: the user's own history from a folder of CSV and Parquet files.

What belongs here: finding the files of a kind, remembering what was parsed as long as the files do not change,
and cutting windows out of it. What does not: cells (``file_reading.py``) and layouts (``file_layouts.py``).

A kind is one file (``ohlcv.parquet``, ``ohlcv.csv``, ``ohlcv.csv.gz``) or a folder of such files (``ohlcv/``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from regimes_dagster.partitions import HOUR, Window
from regimes_dagster.sources import file_layouts as layouts
from regimes_dagster.sources.coverage import final_edge, intersect, subtract
from regimes_dagster.sources.file_reading import SUFFIXES, VENUE, Cells, bad_file, read_cells
from regimes_dagster.sources.frames import table_frame
from regimes_dagster.sources.liquidation_sums import hourly_sums
from regimes_dagster.sources.protocol import BadFile, Batch, Kind, NotAvailable, UnknownSymbol


@dataclass(frozen=True)
class _Series:
    """Rows of one symbol, in order of ``ts``, and the span the files cover."""

    rows: pd.DataFrame
    span: Window
    layout: str = ""


_Signature = tuple[tuple[str, int, int], ...]

#: Parsed files per process: parsing two years of hours takes longer than every other step of an hourly run.
_PARSED: dict[tuple[str, str], tuple[_Signature, dict[str, _Series]]] = {}


class FilesSource:
    """Serves windows from a folder of files.

    Parameters
    ----------
    path
        The folder, or one file when only one kind is to be served (``regimes import``).
    name
        Venue stored on the rows.
    only
        Path of a single file per kind that is used instead of looking into the folder.
    """

    kinds = frozenset({"ohlcv", "funding", "liquidations"})
    always_read = True
    step_months = 12

    def __init__(self, path: Path | str, *, name: str = VENUE, only: Path | None = None) -> None:
        self.path = Path(path)
        self.name = name
        self.only = only

    def fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        """Rows of the files in the window.

        Raises
        ------
        NotAvailable
            If there is no file of the kind.
        UnknownSymbol
            If no file names the symbol.
        BadFile
            If a file cannot be used; the message names file, line, column, value and what is allowed.
        """
        parsed = self._parsed(kind, symbol)
        series = parsed.get(symbol)
        if series is None:
            raise UnknownSymbol(
                self.name,
                symbol,
                f"no {kind} file in {self.path} has rows of it; found: {', '.join(sorted(parsed)) or 'none'}",
            )
        wanted = window.until(final_edge(now))
        covered = tuple(intersect([wanted], [series.span]))
        return Batch(self._rows(kind, symbol, series, wanted), covered, tuple(subtract([wanted], [series.span])))

    def span(self, kind: Kind) -> dict[str, Window]:
        """Symbol -> what the files of the kind cover."""
        return {symbol: series.span for symbol, series in self._parsed(kind, "*").items()}

    def _rows(self, kind: Kind, symbol: str, series: _Series, window: Window) -> dict[str, pd.DataFrame]:
        stamps = series.rows["ts"]
        first, last = stamps.searchsorted(window.start, side="right"), stamps.searchsorted(window.end, side="right")
        rows = series.rows.iloc[first:last].reset_index(drop=True)
        base = {"venue": self.name, "symbol": symbol, "is_simulated": False}
        if kind == "ohlcv":
            values = {
                column: rows[column] for column in ("ts", "open", "high", "low", "close", "volume", "quote_volume")
            }
            return {"ohlcv": table_frame("ohlcv", base | values)}
        if kind == "funding":
            values = {column: rows[column] for column in ("ts", "settled_at_raw", "rate", "interval_hours")}
            return {"funding_rates": table_frame("funding_rates", base | values)}
        if series.layout == "sums":
            values = {column: rows[column] for column in ("ts", "long_usd", "short_usd")}
            fixed = {
                "n_events": [pd.NA] * len(rows),
                "coverage": [1.0] * len(rows),
                "is_lower_bound": [False] * len(rows),
            }
            return {"liquidations": table_frame("liquidations", base | values | fixed)}
        return self._events(symbol, series, rows, window)

    def _events(self, symbol: str, series: _Series, rows: pd.DataFrame, window: Window) -> dict[str, pd.DataFrame]:
        base = {"venue": self.name, "symbol": symbol, "is_simulated": False}
        ids = [
            f"{stamp.value // 1000}-{side}-{price!r}-{amount!r}-{repeat}"
            for stamp, side, price, amount, repeat in zip(
                rows["ts"],
                rows["liquidated_side"],
                rows["price"].tolist(),
                rows["amount"].tolist(),
                rows["repeat"],
                strict=True,
            )
        ]
        values = {column: rows[column] for column in ("ts", "liquidated_side", "price", "amount", "usd")}
        events = table_frame("liquidation_events", base | values | {"event_id": ids})
        gaps = self._gaps(symbol)
        hours = window.hours()
        share = layouts.observed_share(hours, series.rows["ts"].iloc[0], series.rows["ts"].iloc[-1], gaps)
        hours, share = hours[share > 0], share[share > 0]
        sums = hourly_sums(events, hours)
        columns = base | sums | {"ts": hours, "coverage": share, "is_lower_bound": [False] * len(hours)}
        return {"liquidations": table_frame("liquidations", columns), "liquidation_events": events}

    def _gaps(self, symbol: str) -> pd.DataFrame:
        for suffix in (".csv", ".csv.gz", ".parquet"):
            path = self.path / f"coverage{suffix}"
            if path.exists():
                gaps = layouts.gap_rows(read_cells(path))
                return gaps[gaps["symbol"].isin(["", symbol])]
        return pd.DataFrame({"gap_start": [], "gap_end": []})

    def _files(self, kind: Kind, symbol: str) -> list[Path]:
        if self.only is not None:
            return [self.only]
        if not self.path.is_dir():
            raise NotAvailable(
                self.name,
                symbol,
                f"the folder {self.path} does not exist; set [sources.files] path to your folder",
            )
        single = [path for suffix in SUFFIXES if (path := self.path / f"{kind}{suffix}").is_file()]
        folder = self.path / kind
        inside = (
            sorted(p for p in folder.rglob("*") if p.is_file() and p.name.endswith(SUFFIXES)) if folder.is_dir() else []
        )
        if len(single) > 1 or (single and inside):
            twice = ", ".join(map(str, [*single, *([folder] if inside else [])]))
            raise BadFile(self.name, symbol, f"{kind} is there twice: {twice}; keep one of them")
        if not single and not inside:
            names = ", ".join(f"{kind}{suffix}" for suffix in SUFFIXES)
            raise NotAvailable(
                self.name, symbol, f"{self.path} has no {kind}; put one of {names} or a folder {kind}/ there"
            )
        return single or inside

    def _parsed(self, kind: Kind, symbol: str) -> dict[str, _Series]:
        files = self._files(kind, symbol)
        signature = tuple((str(path), stat.st_mtime_ns, stat.st_size) for path in files for stat in [path.stat()])
        key = (str((self.only or self.path).resolve()), kind)
        remembered = _PARSED.get(key)
        if remembered is None or remembered[0] != signature:
            remembered = (signature, _parse(kind, files))
            _PARSED[key] = remembered
        return remembered[1]


def _parse(kind: Kind, files: Sequence[Path]) -> dict[str, _Series]:
    read: dict[str, Callable[[Cells], pd.DataFrame]] = {
        "ohlcv": layouts.ohlcv_rows, "funding": layouts.funding_rows,
        "sums": layouts.hourly_sum_rows, "events": layouts.event_rows,
    }  # fmt: skip
    frames, layout = [], ""
    for path in files:
        cells = read_cells(path)
        own = layouts.liquidations_layout(cells) if kind == "liquidations" else kind
        if layout and own != layout:
            raise bad_file(path, f"line 1: holds {own}, the files before it hold {layout}; keep one layout per folder")
        layout = own
        frames.append(read[own](cells).assign(file=str(path)))
    rows = pd.concat(frames, ignore_index=True)
    key = ["symbol", "ts"] + (["liquidated_side", "price", "amount", "repeat"] if layout == "events" else [])
    rows = _once(rows, key, files[0]).sort_values(key, kind="stable", ignore_index=True)
    result = {}
    for symbol, own_rows in rows.groupby("symbol"):
        own_rows = own_rows.reset_index(drop=True)
        start = own_rows["ts"].iloc[0]
        first = start.ceil("h") - HOUR
        result[str(symbol)] = _Series(own_rows, Window(first, own_rows["ts"].iloc[-1].ceil("h")), layout)
    return result


def _once(rows: pd.DataFrame, key: list[str], path: Path) -> pd.DataFrame:
    """Rows that several files of a folder share, once; different values for one key are refused."""
    values = [column for column in rows.columns if column not in [*key, "file"]]
    rows = rows.drop_duplicates([*key, *values])
    clash = rows.duplicated(key, keep=False)
    if clash.any():
        two = rows[clash].sort_values(key).head(2)
        what = f"{two['symbol'].iloc[0]} at {two['ts'].iloc[0]}"
        raise bad_file(path.parent, f"{' and '.join(two['file'])} disagree about {what}; keep one of them")
    return rows.drop(columns="file")
