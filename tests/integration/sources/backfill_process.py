"""A backfill in a process of its own, for the test that kills it: database, server, first and last day, symbols."""

import sys

from regimes_dagster import database
from regimes_dagster.partitions import Window, utc
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.ccxt_spot import SpotSource
from regimes_dagster.sources.ingest import stream, writes
from regimes_dagster.storage import Warehouse


def main() -> None:
    url, server, first, last, *symbols = sys.argv[1:]
    warehouse = Warehouse(database.make_engine(url))
    options = {"urls": {"api": {"public": f"{server}/api/v3"}}, "enableRateLimit": False}
    steps = stream(
        "ohlcv", window=Window(utc(first), utc(last)), now=utc("2024-06-01"),
        sources=[SpotSource(Client("binanceus", options))], symbols=symbols,
        coverage=warehouse.read("source_coverage", where={"kind": "ohlcv"}),
    )  # fmt: skip
    for step in steps:
        warehouse.write(writes(step))


if __name__ == "__main__":
    main()
