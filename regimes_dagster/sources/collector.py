"""What the collector of live liquidations keeps: events, the stretches it was connected, and hours from both.

What belongs here: the buffer, its way into the database in one transaction per batch, and the rule that an hour is
known as far as heartbeats cover it. What does not: connections (``collector_stream.py``) and raw messages
(``collector_venues.py``).

No heartbeat means unknown, not zero: an hour in which the collector was connected for 45 minutes has coverage 0.75,
one in which it was not connected has no row. A stretch is stored together with the events received in it, so that
nothing is claimed that a crash could have lost.
"""

import logging
import math
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd

from regimes_dagster.partitions import HOUR, Window
from regimes_dagster.sources.ccxt_liquidations import Liquidation
from regimes_dagster.sources.collector_venues import Item, liquidation
from regimes_dagster.sources.coverage import COMPLETE
from regimes_dagster.sources.frames import from_milliseconds, table_frame
from regimes_dagster.sources.instruments import Instrument
from regimes_dagster.sources.liquidation_sums import hourly_sums
from regimes_dagster.storage import Warehouse, Write

log = logging.getLogger("regimes_dagster.collect")

#: Hours that are summed again with each batch, for events that arrive late.
_LATE = timedelta(hours=3)

_KIND = "liquidations"


@dataclass(frozen=True)
class Stored:
    """What a flush wrote."""

    events: int = 0
    hours: int = 0


@dataclass
class _Stretch:
    start: pd.Timestamp
    end: pd.Timestamp


class Recorder:
    """Takes what one venue's stream gives and stores it.

    Parameters
    ----------
    venue
        Stored on the rows.
    instruments
        Native name -> instrument, for the symbols that are followed; others are ignored.
    warehouse
        Where rows go.
    sampled
        Whether the sums are lower bounds.
    """

    def __init__(
        self, venue: str, instruments: Mapping[str, Instrument], warehouse: Warehouse, *, sampled: bool
    ) -> None:
        self.venue = venue
        self.instruments = dict(instruments)
        self.warehouse = warehouse
        self.sampled = sampled
        self.received = 0
        self._lock = threading.Lock()
        self._pending: list[tuple[str, Liquidation]] = []
        self._repeats: Counter[Item] = Counter()
        self._stretches: list[_Stretch] = []
        self._connected = False

    def heard(self, at: pd.Timestamp) -> None:
        """A sign of life from the venue; the first one after a break begins a new stretch."""
        with self._lock:
            if not self._connected:
                self._connected = True
                self._repeats.clear()
                self._stretches.append(_Stretch(at, at))
            current = self._stretches[-1]
            current.end = max(current.end, at)

    def lost(self) -> None:
        """The connection broke; what is known ends at the last sign of life."""
        with self._lock:
            self._connected = False

    def add(self, items: Iterable[Item]) -> None:
        """Take liquidations of a message."""
        with self._lock:
            for item in items:
                instrument = self.instruments.get(item.native)
                if instrument is None:
                    continue
                if not (0.0 < item.price < math.inf and 0.0 < item.quantity < math.inf):
                    # One such row would keep the whole batch out of the database, now and at every later try.
                    log.warning("[MKT] %s: a liquidation without price or quantity is left out: %s", self.venue, item)
                    continue
                self.received += 1
                self._pending.append((instrument.symbol, liquidation(item, instrument, self._repeats[item])))
                self._repeats[item] += 1

    def flush(self, now: pd.Timestamp) -> Stored:
        """Store what came since the last flush, and the hours that are over.

        Raises
        ------
        DatabaseUnavailable
            Nothing is lost: the batch is kept and goes with the next flush.
        """
        with self._lock:
            pending, self._pending = self._pending, []
            stretches = [_Stretch(stretch.start, stretch.end) for stretch in self._stretches]
        try:
            return self._store(pending, stretches, now)
        except BaseException:
            with self._lock:
                self._pending = pending + self._pending
            raise
        finally:
            with self._lock:
                # Closed stretches are stored with every batch until an hour has passed, then they are history.
                floor = now.floor("h") - _LATE
                self._stretches = [s for s in self._stretches if s.end >= floor or s is self._stretches[-1]]

    def _store(
        self, pending: Sequence[tuple[str, Liquidation]], stretches: Sequence[_Stretch], now: pd.Timestamp
    ) -> Stored:
        events = self._events(pending)
        coverage = self._coverage(stretches, now)
        hours = self._hours(events, stretches, now)
        writes = [Write("liquidation_events", events), Write("source_coverage", coverage), Write("liquidations", hours)]
        writes.append(Write("source_status", self._status(now)))
        counts = self.warehouse.write([write for write in writes if len(write.frame)])
        stored = counts.get("liquidation_events")
        return Stored(stored.changed if stored is not None else 0, len(hours))

    def _events(self, pending: Sequence[tuple[str, Liquidation]]) -> pd.DataFrame:
        rows = list({(symbol, event.event_id): (symbol, event) for symbol, event in pending}.values())
        return table_frame(
            "liquidation_events",
            {
                "venue": self.venue,
                "symbol": [symbol for symbol, _ in rows],
                "event_id": [event.event_id for _, event in rows],
                "ts": from_milliseconds([event.ms for _, event in rows]),
                "liquidated_side": [event.side for _, event in rows],
                "price": [event.price for _, event in rows],
                "amount": [event.amount for _, event in rows],
                "usd": [event.usd for _, event in rows],
                "is_simulated": False,
            },
        )

    def _coverage(self, stretches: Sequence[_Stretch], now: pd.Timestamp) -> pd.DataFrame:
        known = [
            (stretch, symbol) for stretch in stretches if stretch.end > stretch.start for symbol in self._symbols()
        ]
        return table_frame(
            "source_coverage",
            {
                "kind": _KIND,
                "venue": self.venue,
                "symbol": [symbol for _, symbol in known],
                "start_ts": [stretch.start for stretch, _ in known],
                "end_ts": [stretch.end for stretch, _ in known],
                "state": COMPLETE,
                "checked_at": [now] * len(known),
            },
        )

    def _hours(self, events: pd.DataFrame, stretches: Sequence[_Stretch], now: pd.Timestamp) -> pd.DataFrame:
        """Rows of the hours that are over and were observed at least in part."""
        last = now.floor("h")
        window = Window(last - _LATE, last)
        stored = self.warehouse.read("liquidation_events", window=window, where={"venue": self.venue}, order=False)
        every = pd.concat([stored, events], ignore_index=True).drop_duplicates(["symbol", "event_id"], keep="last")
        before = self.warehouse.read("source_coverage", where={"kind": _KIND, "venue": self.venue})
        ends = window.hours()
        frames = []
        for symbol in self._symbols():
            own = before[before["symbol"] == symbol]
            spans = {start: end for start, end in zip(own["start_ts"], own["end_ts"], strict=True)}
            spans |= {stretch.start: stretch.end for stretch in stretches}
            share = observed(ends, list(spans.items()))
            seen = share > 0
            if not seen.any():
                continue
            hours = ends[seen]
            fixed = {
                "venue": self.venue, "symbol": symbol, "ts": hours, "coverage": share[seen],
                "is_lower_bound": self.sampled, "is_simulated": False,
            }  # fmt: skip
            frames.append(table_frame("liquidations", fixed | hourly_sums(every[every["symbol"] == symbol], hours)))
        return pd.concat(frames, ignore_index=True) if frames else table_frame("liquidations", _nothing())

    def _status(self, now: pd.Timestamp) -> pd.DataFrame:
        symbols = self._symbols()
        with self._lock:
            connected = self._connected
            last = self._stretches[-1].end if self._stretches else None
        return table_frame(
            "source_status",
            {
                "kind": _KIND,
                "venue": self.venue,
                "symbol": symbols,
                "state": "OK" if connected else "OUTAGE",
                "last_ok_at": [last] * len(symbols),
                "last_error_class": [None if connected else "Outage"] * len(symbols),
                "message": [None if connected else "not connected; `regimes collect` tries again"] * len(symbols),
                "in_use": connected,
            },
        )

    def _symbols(self) -> list[str]:
        return sorted({instrument.symbol for instrument in self.instruments.values()})


def observed(
    ends: pd.DatetimeIndex, spans: Sequence[tuple[pd.Timestamp, pd.Timestamp]]
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Share of each hour, given by its end, that the spans cover; overlaps count once."""
    stops = ends.as_unit("us").asi8.astype("float64")
    starts = stops - HOUR / timedelta(microseconds=1)
    seen = np.zeros(len(ends))
    edge = -np.inf
    for start, end in sorted(spans):
        left, right = max(start.value / 1000.0, edge), end.value / 1000.0
        if right > left:
            seen += np.clip(np.minimum(stops, right) - np.maximum(starts, left), 0.0, None)
            edge = right
    return np.asarray(np.clip(seen / (stops - starts), 0.0, 1.0), dtype="float64")


def _nothing() -> dict[str, list[object]]:
    names = (
        "venue", "symbol", "ts", "long_usd", "short_usd", "n_events", "coverage", "is_lower_bound", "is_simulated",
    )  # fmt: skip
    return {name: [] for name in names}
