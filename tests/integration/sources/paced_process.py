"""A fetch in a process of its own at the venue's shared pace: server, pace folder, first and last day, symbols."""

import sys
from pathlib import Path

from regimes_dagster.partitions import Window, utc
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.ccxt_spot import SpotSource


def main() -> None:
    server, folder, first, last, *symbols = sys.argv[1:]
    options = {"urls": {"api": {"public": f"{server}/api/v3"}}}
    source = SpotSource(Client("binanceus", options, pace=Path(folder), tries=1))
    for symbol in symbols:
        source.fetch("ohlcv", symbol, Window(utc(first), utc(last)), utc("2025-03-20 10:01:30"))


if __name__ == "__main__":
    main()
