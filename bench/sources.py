"""Every source through to its table: rows per second, and what an hourly fetch costs in requests and seconds.

What belongs here: files, the archive, the simulated market and each venue against a local server in another process,
fetched, checked and written into PostgreSQL as the raw assets do it; and what a week of faults costs in requests.
What does not: Dagster (``bench/backfill.py``).
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from bench.installation import installation
from bench.report import SMALL, Result
from bench.venue_process import Venues
from regimes_dagster.assets.raw import _batches, _writes
from regimes_dagster.configuration.sections import SourcesSection
from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.platform import Platform
from regimes_dagster.sources.archive import ArchiveSource
from regimes_dagster.sources.archive_store import ArchiveStore
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.files import FilesSource
from regimes_dagster.sources.frames import joined, milliseconds
from regimes_dagster.sources.ingest import stream
from regimes_dagster.sources.protocol import MAIN_TABLE, Kind, Source
from regimes_dagster.sources.registry import COLLECTED, venue_source, venues_of
from regimes_dagster.sources.simulated import SimulatedSource
from regimes_dagster.storage import Warehouse
from tests.servers import archive as archive_wire
from tests.servers import weather
from tests.servers.truth import HOUR_MS
from tests.servers.venues import options

NOW = utc("2025-03-20 10:01")
YEAR = Window(utc("2024-03-01"), utc("2025-03-01"))
OLD_MONTH = Window(utc("2024-01-01"), utc("2024-02-01"))
DAY = timedelta(days=1)

#: How far back venues are asked where they do not go back a year, or are walked trade by trade (decision 28).
_DAYS = {("ohlcv", "kraken"): 29, ("funding", "okx"): 89}
_LIQUIDATION_DAYS = 14

KINDS: tuple[Kind, ...] = ("ohlcv", "funding", "liquidations")


@dataclass(frozen=True)
class Spent:
    """What a fetch cost."""

    rows: int
    seconds: float
    writing: float
    requests: int


def run() -> Iterator[Result]:
    """Three tables: throughput of every source, the hourly fetch for 3 and for 100 symbols, a week of faults."""
    with installation() as settings:
        platform = Platform(settings)
        try:
            for measure in (_throughput, _hourly, _weather):
                yield measure(platform.warehouse)
        finally:
            platform.engine.dispose()


def through(
    warehouse: Warehouse,
    kind: Kind,
    sources: Sequence[Source],
    symbols: Sequence[str],
    window: Window,
    now: pd.Timestamp,
) -> Spent:
    """One fetch as the raw assets do it: what is missing, in batches, into the tables."""
    started, writing, rows, requests = time.perf_counter(), 0.0, 0, 0
    steps = stream(
        kind, window=window, now=now, sources=sources, symbols=symbols,
        coverage=warehouse.read("source_coverage", where={"kind": kind}),
        statuses=warehouse.read("source_status", where={"kind": kind}),
    )  # fmt: skip
    for batch in _batches(kind, steps):
        assert not batch.failures, batch.failures
        before = time.perf_counter()
        warehouse.write(_writes(batch))
        writing += time.perf_counter() - before
        rows += sum(len(frame) for frame in batch.rows.values())
        requests += batch.requests
    return Spent(rows, time.perf_counter() - started, writing, requests)


def _throughput(warehouse: Warehouse) -> Result:
    rows = []
    symbols = _symbols(3)
    for name, kind, make, window in _cases(symbols):
        _empty(warehouse)
        # A short run first imports, connects and warms up; the one that counts has a source of its own.
        through(warehouse, kind, [make()], symbols[:1], Window(window.end - DAY, window.end), NOW)
        _empty(warehouse)
        spent = through(warehouse, kind, [make()], symbols, window, NOW)
        stored = warehouse.row_count(MAIN_TABLE[kind])
        assert stored > 0
        rows.append(
            (f"{name}, {kind}", spent.rows, spent.seconds, spent.writing, spent.rows / spent.seconds, spent.requests)
        )
    return Result(
        "sources_throughput",
        "Sources through to the table",
        "Three symbols: fetch, parse, check and write into the embedded PostgreSQL, in batches as the raw assets do. "
        "Files, simulated market, spot and funding: a year (kraken 29 days, okx 89 days: that is all they give). "
        f"Liquidations: the default {_LIQUIDATION_DAYS} days (archive: a month of daily files). Venues are local "
        "servers in another process, with the client's limiter off; `write s` is the part spent in the database.",
        ("source", "rows", "s", "write s", "rows/s", "requests"),
        rows,
        [
            "Real venues answer as fast as their limits allow (see the hourly table); this is what the platform adds.",
            "krakenfutures and deribit give liquidations among all trades, of which one in eight is one here; rows/s "
            "counts what is stored, not what is read.",
            "krakenfutures gives all the funding of a symbol, a year, in one answer.",
        ],
    )


def _cases(symbols: Sequence[str]) -> Iterator[tuple[str, Kind, Callable[[], Source], Window]]:
    with tempfile.TemporaryDirectory() as folder:
        csv, parquet = _files(Path(folder), symbols)
        yield "files, CSV", "ohlcv", lambda: FilesSource(csv), YEAR
        yield "files, Parquet", "ohlcv", lambda: FilesSource(parquet), YEAR
        mirror = str(_mirror(Path(folder) / "mirror", symbols))
        for kind in KINDS:
            window = OLD_MONTH if kind == "liquidations" else YEAR
            yield "archive, local mirror", kind, lambda: ArchiveSource(ArchiveStore(mirror, Path(folder) / "c")), window
    for kind in KINDS:
        yield "simulated", kind, lambda: SimulatedSource(8), YEAR
    for kind in KINDS:
        for venue in venues_of(kind):
            if kind == "liquidations" and venue in COLLECTED:
                continue
            with Venues([(kind, venue)], symbols, milliseconds(NOW)) as venues:
                asking = partial(_source, kind, venue, venues, {"enableRateLimit": False})
                yield venue, kind, asking, _window(kind, venue)


def _window(kind: Kind, venue: str) -> Window:
    if kind == "liquidations":
        return Window(NOW.floor("h") - _LIQUIDATION_DAYS * DAY, NOW.floor("h"))
    days = _DAYS.get((kind, venue))
    return YEAR if days is None else Window(NOW.floor("h") - days * DAY, NOW.floor("h"))


def _hourly(warehouse: Warehouse) -> Result:
    rows: list[tuple[str | int | float, ...]] = []
    for count in (3,) if SMALL else (3, 100):
        symbols = _symbols(count)
        total, budget = Spent(0, 0.0, 0.0, 0), 0
        for kind in KINDS:
            listed = [name for name in SourcesSection().of(kind) if name in venues_of(kind)]
            pairs: list[tuple[str, str]] = [(kind, name) for name in listed]
            with _limited_venues(pairs, symbols) as (before, after):
                _empty(warehouse)
                day = Window(NOW.floor("h") - DAY, NOW.floor("D") + 2 * DAY)
                sources = [_source(kind, name, before, {"enableRateLimit": False}) for name in listed]
                through(warehouse, kind, sources, symbols, day, NOW)
                after.set_clock(milliseconds(NOW + HOUR))
                with tempfile.TemporaryDirectory() as pace:
                    sources = [_source(kind, name, after, {}, Path(pace)) for name in listed]
                    spent = through(warehouse, kind, sources, symbols, day, NOW + HOUR)
                refused = after.refused()
            least = _least(kind, count)
            rows.append((f"{count} symbols, {kind}", spent.requests, least, spent.seconds, spent.writing, refused))
            budget += spent.requests if kind != "liquidations" else 0
            total = Spent(
                0, total.seconds + spent.seconds, total.writing + spent.writing, total.requests + spent.requests
            )
        rows.append((f"{count} symbols, spot and funding", budget, 2 * count + 1, "", "", ""))
        rows.append((f"{count} symbols, all", total.requests, "", total.seconds, total.writing, ""))
    return Result(
        "sources_hourly",
        "One hourly fetch, through to the table",
        "The default venues as local servers that keep the limits the venues publish and refuse what exceeds them; "
        "the client keeps its own pace, shared through the pace file. A day of history is stored before. `least` is "
        "what no client could do with less: a question per symbol, one more for all predicted rates, and for "
        "liquidations a question per symbol and venue, where krakenfutures needs its control total too and bitfinex "
        "gives all symbols at once but must be asked what it lists. The budget for spot and funding of 3 symbols is "
        "10 an hour.",
        ("what", "requests", "least", "s", "write s", "refused"),
        rows,
        [
            "The wall time at 100 symbols is the venues' limit, not ours: hyperliquid gives 57 such answers a minute, "
            "krakenfutures is asked every 0.63 s, bitfinex' list every 21 s.",
            "Once a day, in the hours after midnight, each liquidation venue is also asked for the day's volume.",
        ],
    )


def _weather(warehouse: Warehouse) -> Result:
    hours = 24 if SMALL else 168
    _empty(warehouse)
    rows: list[tuple[str | int | float, ...]] = []
    with weather.weather(warehouse) as now:
        window = weather.live_through(now, hours)
        wrong = weather.mistakes(warehouse, window)
        for kind, least in now.least().items():
            stored = warehouse.read(MAIN_TABLE[kind], window=window)
            mistaken = sum(text.startswith(kind) for text in wrong)
            asked = now.requests[kind]
            rows.append((kind, asked, least, asked / least, now.in_vain[kind], len(stored), mistaken))
    return Result(
        "sources_weather",
        "A week of faults, hour by hour",
        f"{hours} hourly runs of {len(weather.SYMBOLS)} symbols against local venues that rate-limit, fail in bursts, "
        "give empty pages and doubled rows, block the first spot venue, are dark for six hours at a time, revise fresh "
        "bars and publish liquidations late. `least` is what the runs outside the outages need without a fault; `in "
        "vain` was asked during the outages. `wrong rows` are differences between the tables and the truth at the end.",
        ("kind", "requests", "least", "ratio", "in vain", "rows", "wrong rows"),
        rows,
    )


def _least(kind: Kind, count: int) -> int:
    return {"ohlcv": count, "funding": count + 1, "liquidations": 4 * count + 2}[kind]


@contextmanager
def _limited_venues(pairs: Sequence[tuple[str, str]], symbols: Sequence[str]) -> Iterator[tuple[Venues, Venues]]:
    """The same venues twice: without limits for the history, with them for what is measured."""
    with (
        Venues(pairs, symbols, milliseconds(NOW)) as before,
        Venues(pairs, symbols, milliseconds(NOW), limited=True) as after,
    ):
        yield before, after


def _source(kind: Kind, venue: str, venues: Venues, more: dict[str, object], pace: Path | None = None) -> Source:
    client = Client(venue, options(venue, venues.urls[(kind, venue)]) | more, pace=pace)
    return venue_source(kind, client, backfill_days=_LIQUIDATION_DAYS)


def _symbols(count: int) -> list[str]:
    return ["BTC/USDT", "ETH/USDT", "SOL/USDT", *(f"C{number}/USDT" for number in range(count - 3))][:count]


def _empty(warehouse: Warehouse) -> None:
    tables = (*MAIN_TABLE.values(), "funding_predictions", "liquidation_events", "perp_volume_usd")
    names = ", ".join((*tables, "source_coverage", "source_status"))
    with warehouse.engine.begin() as connection:
        connection.execute(sa.text(f"TRUNCATE {names}"))


def _files(folder: Path, symbols: Sequence[str]) -> tuple[Path, Path]:
    market = SimulatedSource(7, gaps=False)
    frames = [market.fetch("ohlcv", symbol, YEAR, NOW).rows["ohlcv"] for symbol in symbols]
    table = joined("ohlcv", frames).assign(open_time=lambda frame: frame["ts"] - HOUR)
    table = table[["open_time", "symbol", "open", "high", "low", "close", "volume"]]
    csv, parquet = folder / "csv", folder / "parquet"
    csv.mkdir()
    parquet.mkdir()
    table.to_csv(csv / "ohlcv.csv", index=False)
    table.to_parquet(parquet / "ohlcv.parquet")
    return csv, parquet


def _mirror(root: Path, symbols: Sequence[str]) -> Path:
    """A year of spot bars and funding, and a month of liquidation snapshots with the perpetual's bars."""
    for symbol in symbols:
        native = symbol.replace("/", "")
        for month in pd.date_range(YEAR.start, YEAR.end, freq="MS", tz="UTC"):
            end = month + pd.offsets.MonthBegin()
            opens = range(milliseconds(month), milliseconds(end), HOUR_MS)
            spot = f"data/spot/monthly/klines/{native}/1h/{native}-1h-{month:%Y-%m}.zip"
            archive_wire.write_zip(root, spot, archive_wire.kline_lines(symbol, opens))
            rates = f"data/futures/um/monthly/fundingRate/{native}/{native}-fundingRate-{month:%Y-%m}.zip"
            settled = range(milliseconds(month), milliseconds(end), 8 * HOUR_MS)
            archive_wire.write_zip(root, rates, archive_wire.funding_lines(symbol, settled))
        opens = range(milliseconds(OLD_MONTH.start), milliseconds(OLD_MONTH.end), HOUR_MS)
        perp = f"data/futures/um/monthly/klines/{native}/1h/{native}-1h-{OLD_MONTH.start:%Y-%m}.zip"
        archive_wire.write_zip(root, perp, archive_wire.kline_lines(symbol, opens, header=True))
        for day in pd.date_range(OLD_MONTH.start, OLD_MONTH.end, freq="D", inclusive="left"):
            first = milliseconds(day)
            lines = [
                f"{first + 120_000 * n},{'SELL' if n % 3 else 'BUY'},LIMIT,IOC,2,99,{100 + n % 7},FILLED,1,2"
                for n in range(720)
                for _ in range(2)
            ]
            path = f"data/futures/um/daily/liquidationSnapshot/{native}/{native}-liquidationSnapshot-{day:%Y-%m-%d}.zip"
            archive_wire.write_zip(root, path, lines)
    return root
