"""Venues that misbehave on a schedule, hour by hour, and what must be stored in the end.

What belongs here: the venues of a small installation, the faults and their hours, the hourly runs, and the comparison
of the stored rows with the truth. What does not: assertions (``test_hard_weather.py``) and figures (``bench``).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pandas as pd

from regimes_dagster.assets.raw import _batches
from regimes_dagster.partitions import HOUR, REVISABLE, Window, keys_touched, keys_window, utc
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.coverage import oldest_unfinished
from regimes_dagster.sources.frames import milliseconds
from regimes_dagster.sources.ingest import stream, writes
from regimes_dagster.sources.protocol import MAIN_TABLE, Kind, Source
from regimes_dagster.sources.registry import venue_source
from regimes_dagster.storage import Warehouse
from tests.servers.funding import FundingMarket
from tests.servers.http import DOUBLED, EMPTY, GEO_BLOCK, SERVER_ERROR, VenueServer, too_many
from tests.servers.liquidations import LiquidationMarket, trades
from tests.servers.memory import MemoryWarehouse
from tests.servers.spot import SpotMarket
from tests.servers.truth import HOUR_MS, bar, rate
from tests.servers.venues import options, speak

#: The first outage of the schedule lies over the edge of the month.
START = utc("2025-02-28 08:00")
SYMBOLS = ("BTC/USDT", "ETH/USDT")
MINUTE = pd.Timedelta(minutes=1)

VENUES: Mapping[Kind, tuple[str, ...]] = {
    "ohlcv": ("binanceus", "coinbaseexchange"),
    "funding": ("hyperliquid", "krakenfutures"),
    "liquidations": ("deribit", "krakenfutures"),
}

#: Paths that give rows, by venue; the others give lists of markets, totals or predictions.
ROWS = {
    "binanceus": "klines", "coinbaseexchange": "candles", "hyperliquid": "info", "deribit": "last_trades",
    "krakenfutures": "executions|historicalfundingrates",
}  # fmt: skip

Store = Warehouse | MemoryWarehouse


class Weather:
    """The venues, one clock, and what the hourly runs cost."""

    def __init__(self, servers: Mapping[str, VenueServer], store: Store) -> None:
        self.servers, self.store = servers, store
        #: Requests of the runs in which somebody answered, and of those in an outage.
        self.requests: dict[Kind, int] = dict.fromkeys(VENUES, 0)
        self.in_vain: dict[Kind, int] = dict.fromkeys(VENUES, 0)
        self.runs = 0
        self.failed_hours: set[pd.Timestamp] = set()
        self._markets: list[SpotMarket | FundingMarket | LiquidationMarket] = []
        self._sources: dict[Kind, list[Source]] = {kind: [] for kind in VENUES}
        for kind, venues in VENUES.items():
            for venue in venues:
                market = speak(servers[venue], kind, venue, SYMBOLS, milliseconds(START))
                if isinstance(market, SpotMarket):
                    market.revised_for_ms = 2 * HOUR_MS
                self._markets.append(market)
                asked = options(venue, servers[venue].url) | {"enableRateLimit": False, "timeout": 5000}
                self._sources[kind].append(venue_source(kind, Client(venue, asked, sleep=lambda _: None)))

    def delay_liquidations(self, hours: int) -> None:
        """Every seventh liquidation is published two hours late."""
        every = [t for t in trades(milliseconds(START), milliseconds(START + hours * HOUR)) if t.liquidated]
        for market in self._markets:
            if isinstance(market, LiquidationMarket):
                market.late_ms = {trade.ms: trade.ms + 2 * HOUR_MS for trade in every[::7]}

    def run(self, now: pd.Timestamp, *, dark: bool = False) -> None:
        """One hourly run over the months that the last hours touch; ``dark`` in an outage."""
        self.runs += not dark
        count = self.in_vain if dark else self.requests
        for market in self._markets:
            market.now_ms = milliseconds(now)
        open_since = oldest_unfinished(self.store.read("source_coverage"), now)
        back = REVISABLE if open_since is None else max(REVISABLE, now.floor("h") - open_since + HOUR)
        window = keys_window(keys_touched(now, back=back))
        window = Window(max(window.start, START), window.end)
        for kind, sources in self._sources.items():
            steps = stream(
                kind, window=window, now=now, sources=sources, symbols=SYMBOLS,
                coverage=self.store.read("source_coverage", where={"kind": kind}),
                statuses=self.store.read("source_status", where={"kind": kind}),
            )  # fmt: skip
            for batch in _batches(kind, steps):
                self.store.write(writes(batch))
                count[kind] += batch.requests
                if batch.failures:
                    self.failed_hours.add(now.floor("h"))

    def least(self) -> dict[Kind, int]:
        """Requests of the same runs without any fault: one per symbol, one more for all predicted rates; liquidations
        are asked of both venues, krakenfutures for its control total too, and once a day for the volume.
        """
        symbols = len(SYMBOLS)
        days = 2 * symbols * (self.runs // 24)
        return {
            "ohlcv": symbols * self.runs,
            "funding": (symbols + 1) * self.runs,
            "liquidations": 3 * symbols * self.runs + days,
        }


@contextmanager
def weather(store: Store) -> Iterator[Weather]:
    """The venues up and running."""
    names = sorted({venue for venues in VENUES.values() for venue in venues})
    servers = {name: VenueServer() for name in names}
    for server in servers.values():
        server.__enter__()
    try:
        yield Weather(servers, store)
    finally:
        for server in servers.values():
            server.__exit__(None, None, None)


def rate_limit(now: Weather) -> None:
    """One answer of each venue that asks to wait."""
    for server in now.servers.values():
        server.fail_next(too_many("5"))


def burst_of_errors(now: Weather) -> None:
    """Two server errors of each venue."""
    for server in now.servers.values():
        server.fail_next(SERVER_ERROR, SERVER_ERROR)


def empty_page(now: Weather) -> None:
    """One page of each venue without rows."""
    for venue, server in now.servers.items():
        server.fail_next(EMPTY, path=ROWS[venue])


def doubled_rows(now: Weather) -> None:
    """One page of each venue in which every row comes twice."""
    for venue, server in now.servers.items():
        server.fail_next(DOUBLED, path=ROWS[venue])


def geo_block(now: Weather) -> None:
    """The first spot venue refuses this address."""
    now.servers["binanceus"].fail_while(lambda _: True, GEO_BLOCK)


def outage(now: Weather) -> None:
    """Nobody answers."""
    for server in now.servers.values():
        server.fail_while(lambda _: True, SERVER_ERROR)


Strike = Callable[[Weather], None]


def schedule(hour: int) -> list[Strike]:
    """What goes wrong in which hour of the run; bars are revised and liquidations come late all the time."""
    if 14 <= hour % 48 < 20:
        return [outage]
    plan: dict[Strike, bool] = {
        rate_limit: hour % 10 == 3,
        burst_of_errors: hour % 12 == 5,
        empty_page: hour % 9 == 4,
        doubled_rows: hour % 8 == 6,
        geo_block: hour % 30 in (7, 8, 9),
    }
    return [strike for strike, now in plan.items() if now]


def live_through(now: Weather, hours: int) -> Window:
    """Hourly runs through the schedule and a quiet one at the end; the window of which everything must be stored."""
    now.delay_liquidations(hours)
    for hour in range(1, hours + 1):
        for server in now.servers.values():
            server.heal()
        for strike in schedule(hour):
            strike(now)
        now.run(START + hour * HOUR + MINUTE, dark=outage in schedule(hour))
    for server in now.servers.values():
        server.heal()
    # The last bars may still be revised; a run three hours later settles them.
    now.run(START + (hours + 3) * HOUR + MINUTE)
    return Window(START, START + hours * HOUR)


def expected(kind: Kind, venue: str, window: Window) -> dict[tuple[str, pd.Timestamp], tuple[float, ...]]:
    """What the truth says of a table's rows: (symbol, ts) -> values, as they are stored."""
    rows: dict[tuple[str, pd.Timestamp], tuple[float, ...]] = {}
    for symbol in SYMBOLS:
        for ts in window.hours():
            if kind == "ohlcv":
                opened, high, low, close, volume, quote = bar(symbol, milliseconds(ts) - HOUR_MS)
                typical = volume * (high + low + close) / 3.0
                rows[symbol, ts] = (opened, high, low, close, volume, typical if venue == "coinbaseexchange" else quote)
            elif kind == "funding":
                rows[symbol, ts] = (rate(symbol, milliseconds(ts)), 1.0)
            else:
                rows[symbol, ts] = _liquidated(venue, ts)
    return rows


def _liquidated(venue: str, ts: pd.Timestamp) -> tuple[float, float, float]:
    sums, count = {"LONG": 0.0, "SHORT": 0.0}, 0
    for trade in trades(milliseconds(ts) - HOUR_MS + 1, milliseconds(ts)):
        flags = [flag for flag in "TM" if flag in trade.liquidated]
        for flag, side in zip(flags, trade.sides, strict=True):
            if flag == "T" or venue != "krakenfutures":
                sums[side] += trade.amount * trade.price
                count += 1
    return sums["LONG"], sums["SHORT"], float(count)


_COLUMNS: Mapping[Kind, tuple[str, ...]] = {
    "ohlcv": ("open", "high", "low", "close", "volume", "quote_volume"),
    "funding": ("rate", "interval_hours"),
    "liquidations": ("long_usd", "short_usd", "n_events"),
}


def mistakes(store: Store, window: Window) -> list[str]:
    """Every difference between what is stored and the truth; prices and rates must agree to the last bit, sums of
    liquidations to a billionth.

    The first spot venue and both venues of liquidations must have every hour. The venues that stood in must have
    what they are on record as having completed.
    """
    found = []
    for kind, venues in VENUES.items():
        stored = store.read(MAIN_TABLE[kind], window=window)
        coverage = store.read("source_coverage", where={"kind": kind})
        for number, venue in enumerate(venues):
            want = expected(kind, venue, window)
            have = {
                (row["symbol"], row["ts"]): tuple(float(row[name]) for name in _COLUMNS[kind])
                for row in stored[stored["venue"] == venue].to_dict("records")
            }
            complete = coverage[(coverage["venue"] == venue) & (coverage["state"] == "COMPLETE")]
            if number > 0 and kind != "liquidations":
                keys = {
                    (row["symbol"], hour)
                    for row in complete.to_dict("records")
                    for hour in Window(row["start_ts"], row["end_ts"]).hours()
                } & set(want)
            else:
                keys = set(want)
            found += [f"{kind} {venue} {key} is not there" for key in sorted(keys - set(have))]
            found += [f"{kind} {venue} {key} never was" for key in sorted(set(have) - set(want))]
            for key in sorted(keys & set(have)):
                if not _same(have[key], want[key], 1e-9 if kind == "liquidations" else 0.0):
                    found.append(f"{kind} {venue} {key} is {have[key]}, not {want[key]}")
    return found


def _same(have: tuple[float, ...], want: tuple[float, ...], share: float) -> bool:
    return all(abs(one - other) <= share * abs(other) for one, other in zip(have, want, strict=True))
