"""Liquidations over REST: what all venues share.

What belongs here: the value type of a single liquidation, and the source that turns what a venue saw into hourly
rows with explicit zeros, single events, and the daily perpetual volume. What does not: any venue's wire format
(``liquidations_krakenfutures.py`` and its neighbours).

The client library's unified ``fetch_liquidations`` is never used: one venue's has no times, one returns settlements,
one doubles rows and calls a match flag "side", one is wrong by the contract size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import pandas as pd

from regimes_dagster.partitions import HOUR, Window
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.coverage import final_edge, merge, settled_edge, subtract
from regimes_dagster.sources.frames import empty, from_milliseconds, table_frame
from regimes_dagster.sources.instruments import Instrument, perpetual
from regimes_dagster.sources.liquidation_sums import hourly_sums
from regimes_dagster.sources.protocol import BadResponse, Batch, Kind, NotAvailable, SourceError, charged

Side = Literal["LONG", "SHORT"]
DAY = timedelta(days=1)
Value = TypeVar("Value")


@dataclass(frozen=True)
class Liquidation:
    """One liquidation: side is the position that was liquidated, amount is in base units."""

    event_id: str
    ms: int
    side: Side
    price: float
    amount: float
    usd: float


@dataclass(frozen=True)
class HourlyStat:
    """What a venue itself sums up for the hour that ends at ``end_ms``."""

    end_ms: int
    long_usd: float
    short_usd: float


@dataclass(frozen=True)
class Seen:
    """What a venue gave for a window: single events (then every hour is known but ``unknown``), or its hourly sums."""

    events: Sequence[Liquidation] = ()
    stats: Sequence[HourlyStat] | None = None
    unknown: Sequence[pd.Timestamp] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LiquidationVenue:
    """What is particular about a venue.

    Attributes
    ----------
    see
        Everything of a window.
    volume
        (end of day in milliseconds, USD) of the days whose end lies in a window.
    trade_by_trade
        Whether history has to be walked through all trades, so that decision 28's limit of days holds.
    """

    see: Callable[[Client, Instrument, Window, pd.Timestamp], Seen]
    volume: Callable[[Client, Instrument, Window, pd.Timestamp], list[tuple[int, float]]]
    trade_by_trade: bool = True


class LiquidationSource:
    """The liquidations of one venue."""

    kinds = frozenset({"liquidations"})
    always_read = False

    def __init__(
        self, client: Client, venue: LiquidationVenue, *, backfill_days: int = 14, name: str | None = None
    ) -> None:
        self.client = client
        self.venue = venue
        self.backfill_days = backfill_days
        self.name = name or client.venue

    def fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        """Hourly sums and single events of the window; older windows than the limit are unavailable."""
        with charged(self.client):
            return self._fetch(kind, symbol, window, now)

    def _fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        if kind != "liquidations":
            raise NotAvailable(
                self.name, symbol, f"it is listed for liquidations only; take it out of [sources] {kind}"
            )
        spent = self.client.requests
        wanted = window.until(final_edge(now))
        beyond = self._beyond(wanted, now)
        sums, events, days = [empty("liquidations")], [empty("liquidation_events")], [empty("perp_volume_usd")]
        covered: list[Window] = []
        unavailable = list(beyond)
        notes: list[str] = []
        instrument = perpetual(self.client.venue, symbol)
        for part in subtract([wanted], beyond):
            seen = self.venue.see(self.client, instrument, part, now)
            notes += seen.notes
            known = part.hours().difference(pd.DatetimeIndex(list(seen.unknown))) if seen.unknown else part.hours()
            if seen.stats is not None:
                known = from_milliseconds([stat.end_ms for stat in seen.stats])
            # Hours that are not known are asked again: the newest in the next run, older ones after a day.
            here = merge(Window(hour - HOUR, hour) for hour in known)
            covered += here
            unavailable += subtract([part.until(settled_edge(now))], here)
            if not here:
                continue
            own = self._events(symbol, seen.events)
            events.append(own)
            sums.append(self._sums(symbol, own, seen, known))
            daily, note = self._volume(instrument, part, now)
            days.append(daily)
            notes += note
        tables = {"liquidations": _stacked(sums), "perp_volume_usd": _stacked(days)}
        if any(len(frame) for frame in events) or self.venue.trade_by_trade:
            tables["liquidation_events"] = _stacked(events)
        return Batch(
            tables, tuple(merge(covered)), tuple(merge(unavailable)), self.client.requests - spent, tuple(notes)
        )

    def _beyond(self, wanted: Window, now: pd.Timestamp) -> list[Window]:
        if not self.venue.trade_by_trade:
            return []
        edge = min(now.floor("h") - timedelta(days=self.backfill_days), wanted.end)
        return [Window(wanted.start, edge)] if edge > wanted.start else []

    def _events(self, symbol: str, seen: Sequence[Liquidation]) -> pd.DataFrame:
        if not seen:
            return empty("liquidation_events")
        rows = sorted({row.event_id: row for row in seen}.values(), key=lambda row: (row.ms, row.event_id))
        return table_frame(
            "liquidation_events",
            {
                "venue": self.name,
                "symbol": symbol,
                "event_id": [row.event_id for row in rows],
                "ts": from_milliseconds([row.ms for row in rows]),
                "liquidated_side": [row.side for row in rows],
                "price": [row.price for row in rows],
                "amount": [row.amount for row in rows],
                "usd": [row.usd for row in rows],
                "is_simulated": False,
            },
        )

    def _sums(self, symbol: str, events: pd.DataFrame, seen: Seen, hours: pd.DatetimeIndex) -> pd.DataFrame:
        values: Mapping[str, Any]
        if seen.stats is None:
            values = hourly_sums(events, hours)
        else:
            values = {
                "long_usd": [stat.long_usd for stat in seen.stats],
                "short_usd": [stat.short_usd for stat in seen.stats],
                "n_events": [pd.NA] * len(seen.stats),
            }
        fixed = {"venue": self.name, "symbol": symbol, "ts": hours, "coverage": 1.0, "is_lower_bound": False}
        return table_frame("liquidations", fixed | values | {"is_simulated": False})

    def _volume(self, instrument: Instrument, part: Window, now: pd.Timestamp) -> tuple[pd.DataFrame, list[str]]:
        first = (part.start + DAY).floor("D")
        if first > part.end:
            return empty("perp_volume_usd"), []
        try:
            rows = self.venue.volume(self.client, instrument, Window(first - DAY, part.end.floor("D")), now)
        except SourceError as problem:
            # The daily volume only scales the cascade rule's floors; the liquidations themselves are stored.
            return empty("perp_volume_usd"), [f"no perpetual volume: {problem}"]
        known = _inside(rows, part)
        return table_frame(
            "perp_volume_usd",
            {
                "venue": self.name,
                "symbol": instrument.symbol,
                "ts": from_milliseconds([ms for ms, _ in known]),
                "volume_usd": [usd for _, usd in known],
            },
        ), []


def read(client: Client, symbol: str, what: str, rows: Any, parse: Callable[[Any], Value]) -> list[Value]:
    """Rows of an answer, parsed; anything else than a list of readable rows is a bad response."""
    if not isinstance(rows, list):
        raise BadResponse(client.venue, symbol, f"the answer has no list of {what} (it starts with {str(rows)[:80]!r})")
    try:
        return [parse(row) for row in rows]
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError) as problem:
        raise BadResponse(
            client.venue, symbol, f"one of the {what} cannot be read ({type(problem).__name__}: {problem})"
        ) from problem


def _inside(rows: Sequence[tuple[int, float]], part: Window) -> list[tuple[int, float]]:
    start, end = part.start.value // 1_000_000, part.end.value // 1_000_000
    return sorted({ms: usd for ms, usd in rows if start < ms <= end}.items())


def _stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if len(filled) > 1 else (filled[0] if filled else frames[0])


#: Longest stretch of trades that is asked as one page.
TRADES_PAGE = 6 * HOUR
