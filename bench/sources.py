"""The sources alone: rows per second, and what an hourly fetch costs in requests and seconds.

What belongs here: files, the simulated market and one venue per kind against a local server that keeps the venue's
own pace (the client's limiter is on). What does not: storage and Dagster (``bench/backfill.py``).
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.report import Result
from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.ccxt_funding import FundingSource
from regimes_dagster.sources.ccxt_spot import SpotSource
from regimes_dagster.sources.files import FilesSource
from regimes_dagster.sources.frames import empty, joined, milliseconds
from regimes_dagster.sources.ingest import Ingested, ingest
from regimes_dagster.sources.protocol import Kind, Source
from regimes_dagster.sources.simulated import SimulatedSource
from tests.servers import funding as funding_wire
from tests.servers import spot as spot_wire
from tests.servers.http import VenueServer

NOW = utc("2025-03-20 10:01")
YEAR = Window(utc("2024-03-01"), utc("2025-03-01"))
MONTH = Window(utc("2025-03-01"), utc("2025-04-01"))


def run() -> list[Result]:
    """Two tables: throughput of a year, and the hourly fetch for 3 and for 100 symbols."""
    return [_throughput(), _hourly()]


def _symbols(count: int) -> list[str]:
    return ["BTC/USDT", "ETH/USDT", "SOL/USDT", *(f"C{number}/USDT" for number in range(count - 3))][:count]


def _fetch(
    kind: Kind,
    sources: Sequence[Source],
    symbols: Sequence[str],
    window: Window,
    now: pd.Timestamp,
    known: pd.DataFrame,
) -> tuple[Ingested, float]:
    started = time.perf_counter()
    result = ingest(kind, window=window, now=now, sources=sources, symbols=symbols, coverage=known)
    return result, time.perf_counter() - started


def _throughput() -> Result:
    rows = []
    with tempfile.TemporaryDirectory() as folder, VenueServer() as server:
        symbols = _symbols(3)
        bars = SimulatedSource(7, gaps=False)
        frames = [bars.fetch("ohlcv", symbol, YEAR, NOW).rows["ohlcv"] for symbol in symbols]
        table = joined("ohlcv", frames).assign(open_time=lambda frame: frame["ts"] - HOUR)
        table = table[["open_time", "symbol", "open", "high", "low", "close", "volume"]]
        table.to_csv(Path(folder) / "ohlcv.csv", index=False)
        parquet = Path(folder) / "parquet"
        parquet.mkdir()
        table.to_parquet(parquet / "ohlcv.parquet")
        market = spot_wire.SpotMarket({symbol.replace("/", ""): symbol for symbol in symbols}, milliseconds(NOW))
        spot_wire.binance(server, market)
        cases: list[tuple[str, Kind, Source]] = [
            ("files, CSV", "ohlcv", FilesSource(folder)),
            ("files, Parquet", "ohlcv", FilesSource(parquet)),
            ("simulated bars", "ohlcv", SimulatedSource(8)),
            ("simulated funding", "funding", SimulatedSource(8)),
            ("simulated liquidations", "liquidations", SimulatedSource(8)),
            ("binanceus, limiter off", "ohlcv", SpotSource(_client("binanceus", server, limited=False))),
        ]
        for name, kind, source in cases:
            result, seconds = _fetch(kind, [source], symbols, YEAR, NOW, empty("source_coverage"))
            count = sum(len(frame) for frame in result.rows.values())
            rows.append((name, count, seconds, count / seconds, result.requests))
    return Result(
        "sources_throughput",
        "Sources alone: a year of three symbols",
        "Fetch, parse, validate and book-keeping, without storage; the venue is a local server in the same process.",
        ("source", "rows", "s", "rows/s", "requests"),
        rows,
    )


def _hourly() -> Result:
    rows = []
    for count in (3, 100):
        symbols = _symbols(count)
        with VenueServer() as server:
            _speak(server, symbols)
            sources: dict[Kind, Source] = {
                "ohlcv": SpotSource(_client("binanceus", server)),
                "funding": FundingSource(_client("hyperliquid", server)),
            }
            requests, seconds = 0, 0.0
            for kind, source in sources.items():
                first, _ = _fetch(kind, [source], symbols, MONTH, NOW, empty("source_coverage"))
                result, spent = _fetch(kind, [source], symbols, MONTH, NOW + HOUR, first.coverage)
                requests, seconds = requests + result.requests, seconds + spent
                rows.append((f"{count} symbols, {kind}", result.requests, spent, result.requests / spent))
        rows.append((f"{count} symbols, both", requests, seconds, requests / seconds))
    return Result(
        "sources_hourly",
        "Sources alone: one hourly fetch",
        "Spot bars of binanceus and funding of hyperliquid against a local server, at the pace the client's limiter "
        "keeps for the venue. Liquidations are counted apart: they depend on how much was traded.",
        ("what", "requests", "s", "requests/s"),
        rows,
        ["The wall time at 100 symbols is the venues' limit, not ours: see requests/s."],
    )


def _speak(server: VenueServer, symbols: Sequence[str]) -> None:
    later = milliseconds(NOW + 2 * HOUR)
    spot_wire.binance(server, spot_wire.SpotMarket({symbol.replace("/", ""): symbol for symbol in symbols}, later))
    funding_wire.hyperliquid(server, funding_wire.FundingMarket({s.split("/")[0]: s for s in symbols}, later, 1))


def _client(venue: str, server: VenueServer, *, limited: bool = True) -> Client:
    path: Callable[[str], str] = {"binanceus": lambda url: f"{url}/api/v3"}.get(venue, lambda url: url)
    options: dict[str, Any] = {"urls": {"api": {"public": path(server.url)}}, "enableRateLimit": limited}
    return Client(venue, options)
