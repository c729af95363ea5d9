"""Daily perpetual volume of the venues whose liquidations come over live streams.

What belongs here: asking the daily candles over REST once a day and storing their USD volume, because the cascade rule
scales its floors by the volume of the venues that its liquidations come from. What does not: the streams
(``collector_stream.py``); venues asked over REST bring their volume with their liquidations.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pandas as pd

from regimes_dagster.database import DatabaseUnavailable
from regimes_dagster.partitions import Window
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.ccxt_liquidations import read
from regimes_dagster.sources.frames import from_milliseconds, joined, milliseconds, table_frame
from regimes_dagster.sources.instruments import Instrument, perpetual
from regimes_dagster.sources.protocol import Batch, SourceError
from regimes_dagster.sources.validate import validate_batch
from regimes_dagster.storage import Warehouse, Write

log = logging.getLogger("regimes_dagster.collect")

#: The rule looks at the median of thirty days.
_DAYS = timedelta(days=31)
_DAY_MS = 86_400_000

#: Seconds after midnight at which a day is asked for, and between tries.
SETTLED_SECONDS = 600.0
RETRY_SECONDS = 1800.0


def _okx(client: Client, instrument: Instrument, window: Window, now: pd.Timestamp) -> list[tuple[int, float]]:
    # Newest first, older than `after` and newer than `before`; cell 7 is the volume in the quote currency.
    params = {
        "instId": instrument.native, "bar": "1Dutc", "limit": 100,
        "after": milliseconds(window.end), "before": milliseconds(window.start) - 1,
    }  # fmt: skip
    answer = client.ask(instrument.symbol, "publicGetMarketCandles", params, now)
    rows = answer.get("data") if isinstance(answer, dict) else None
    return _volumes(client, instrument, rows, 7)


def _bybit(client: Client, instrument: Instrument, window: Window, now: pd.Timestamp) -> list[tuple[int, float]]:
    # Cell 6 is the turnover in the quote currency.
    params = {
        "category": "linear", "symbol": instrument.native, "interval": "D", "limit": 200,
        "start": milliseconds(window.start), "end": milliseconds(window.end) - 1,
    }  # fmt: skip
    answer = client.ask(instrument.symbol, "publicGetV5MarketKline", params, now)
    result = answer.get("result") if isinstance(answer, dict) else None
    rows = result.get("list") if isinstance(result, dict) else None
    return _volumes(client, instrument, rows, 6)


def _binanceusdm(client: Client, instrument: Instrument, window: Window, now: pd.Timestamp) -> list[tuple[int, float]]:
    # Cell 7 is the quote volume.
    params = {
        "symbol": instrument.native, "interval": "1d", "limit": 99,
        "startTime": milliseconds(window.start), "endTime": milliseconds(window.end) - 1,
    }  # fmt: skip
    rows = client.ask(instrument.symbol, "fapiPublicGetKlines", params, now)
    return _volumes(client, instrument, rows, 7)


def _volumes(client: Client, instrument: Instrument, rows: Any, cell: int) -> list[tuple[int, float]]:
    """End of each day and its volume, of candles that begin with their opening in milliseconds."""
    return read(client, instrument.symbol, "daily candles", rows, lambda row: (int(row[0]) + _DAY_MS, float(row[cell])))


VOLUMES: Mapping[str, Callable[[Client, Instrument, Window, pd.Timestamp], list[tuple[int, float]]]] = {
    "okx": _okx, "bybit": _bybit, "binanceusdm": _binanceusdm,
}  # fmt: skip


class DailyVolume:
    """Keeps ``perp_volume_usd`` of one streamed venue up to date.

    Parameters
    ----------
    client
        Of the venue; stored on the rows.
    symbols
        Canonical symbols.
    warehouse, now
        Where rows go, and the clock.
    """

    def __init__(
        self, client: Client, symbols: Sequence[str], warehouse: Warehouse, now: Callable[[], pd.Timestamp]
    ) -> None:
        self.client, self.symbols, self.warehouse, self.now = client, tuple(symbols), warehouse, now

    async def run(self, stop: asyncio.Event) -> None:
        """Take the days that are over, now and after every midnight, until ``stop`` is set."""
        while not stop.is_set():
            now = self.now()
            pause = (now.floor("D") + timedelta(days=1) - now).total_seconds() + SETTLED_SECONDS
            try:
                await asyncio.to_thread(self.take)
            except (SourceError, DatabaseUnavailable) as problem:
                log.warning("[MKT] no perpetual volume of the last day: %s", problem)
                if not isinstance(problem, SourceError) or problem.retryable:
                    pause = min(pause, RETRY_SECONDS)
            try:
                await asyncio.wait_for(stop.wait(), pause)
            except TimeoutError:
                continue

    def take(self) -> int:
        """Store the last 31 days of every symbol; the number of rows.

        Raises
        ------
        SourceError
            The first symbol's that failed; the others are stored.
        """
        now = self.now()
        midnight = now.floor("D")
        window = Window(midnight - _DAYS, midnight)
        frames, failure = [], None
        for symbol in self.symbols:
            try:
                frames.append(self._days(symbol, window, now))
            except SourceError as problem:
                failure = failure or problem
                if problem.venue_wide:
                    break
        days = joined("perp_volume_usd", frames)
        if len(days):
            self.warehouse.write([Write("perp_volume_usd", days)])
        if failure is not None:
            raise failure
        return len(days)

    def _days(self, symbol: str, window: Window, now: pd.Timestamp) -> pd.DataFrame:
        venue = self.client.venue
        days: dict[int, float] = dict(VOLUMES[venue](self.client, perpetual(venue, symbol), window, now))
        start, end = milliseconds(window.start), milliseconds(window.end)
        ends = sorted(ms for ms in days if start < ms <= end)
        columns: dict[str, Any] = {
            "venue": venue, "symbol": symbol, "ts": from_milliseconds(ends), "volume_usd": [days[ms] for ms in ends],
        }  # fmt: skip
        rows = table_frame("perp_volume_usd", columns)
        validate_batch(venue, symbol, Batch({"perp_volume_usd": rows}), window)
        return rows
