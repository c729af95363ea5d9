"""The ``archive`` source: years of history from the bulk files in the data.binance.vision layout.

What belongs here: which file holds which hours, and the rows they become. What does not: downloading
(``archive_store.py``) and the inside of the files (``archive_formats.py``).

Monthly files come first, daily ones where the month's is not there yet; what neither has is unavailable here, so
that the next source in the list is asked. Only the span of the rows in a file counts as covered: a month that is
there in part is never taken for complete.

Old liquidations bring the perpetual's volume of their days with them, from the perpetual klines: the cascade rule
scales its floors by the volume of the venues that its liquidations come from.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import pandas as pd

from regimes_dagster.partitions import HOUR, Window
from regimes_dagster.sources import archive_formats as formats
from regimes_dagster.sources.archive_store import VENUE, ArchiveStore
from regimes_dagster.sources.coverage import by_month, final_edge, intersect, merge, subtract
from regimes_dagster.sources.frames import empty, from_milliseconds, joined, table_frame
from regimes_dagster.sources.instruments import Instrument
from regimes_dagster.sources.liquidation_sums import hourly_sums
from regimes_dagster.sources.protocol import Batch, Kind, SourceError, charged

DAY = timedelta(days=1)
_HOUR_MS = 3_600_000

Parse = Callable[[str, str, bytes], pd.DataFrame]


class ArchiveSource:
    """History from bulk files."""

    kinds = frozenset({"ohlcv", "funding", "liquidations"})
    always_read = False
    name = VENUE

    def __init__(self, store: ArchiveStore) -> None:
        self.store = store

    def fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        """Rows of the window from the files that are there."""
        with charged(self.store):
            return self._fetch(kind, symbol, window, now)

    def _fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        spent = self.store.requests
        wanted = window.until(final_edge(now))
        native = symbol.replace("/", "")
        notes: tuple[str, ...] = ()
        if kind == "liquidations":
            rows, covered, notes = self._liquidations(symbol, wanted, now)
        else:
            serve = {"ohlcv": self._ohlcv, "funding": self._funding}[kind]
            rows, covered = serve(symbol, native, wanted, now)
        return Batch(rows, tuple(covered), tuple(subtract([wanted], covered)), self.store.requests - spent, notes)

    def premium_index(self, symbol: str, window: Window, now: pd.Timestamp) -> pd.DataFrame:
        """Hourly premium index of the perpetual: ts and open, high, low, close as fractions. It has no table; the
        ``calibrate`` command and notebooks read it from here.
        """
        native = symbol.replace("/", "")
        path = f"data/futures/um/{{span}}/premiumIndexKlines/{native}/1h/{native}-1h-{{date}}.zip"
        rows = _stack([rows for rows, _ in self._files(symbol, path, window, now, formats.klines)])
        rows.insert(0, "ts", from_milliseconds((rows["open_ms"] + _HOUR_MS).to_numpy()))
        return rows[window.mask(rows["ts"])][["ts", "open", "high", "low", "close"]].reset_index(drop=True)

    def _ohlcv(
        self, symbol: str, native: str, wanted: Window, now: pd.Timestamp
    ) -> tuple[dict[str, pd.DataFrame], list[Window]]:
        path = f"data/spot/{{span}}/klines/{native}/1h/{native}-1h-{{date}}.zip"
        frames, covered = [], []
        for rows, _ in self._files(symbol, path, wanted, now, formats.klines):
            if len(rows):
                first, last = from_milliseconds(rows["open_ms"].to_numpy())[[0, -1]]
                covered.append(Window(first, last + HOUR))
            frames.append(rows)
        rows = _stack(frames)
        ends = from_milliseconds((rows["open_ms"] + _HOUR_MS).to_numpy())
        values = {column: rows[column] for column in ("open", "high", "low", "close", "volume", "quote_volume")}
        table = table_frame("ohlcv", {"venue": VENUE, "symbol": symbol, "ts": ends, "is_simulated": False} | values)
        return {"ohlcv": _cut(table, wanted)}, intersect([wanted], merge(covered))

    def _funding(
        self, symbol: str, native: str, wanted: Window, now: pd.Timestamp
    ) -> tuple[dict[str, pd.DataFrame], list[Window]]:
        path = f"data/futures/um/{{span}}/fundingRate/{native}/{native}-fundingRate-{{date}}.zip"
        frames, covered = [], []
        # Funding comes by the month only, and the settlement at the last midnight of a month is the first row of the
        # next month's file: the hour before it belongs to that file.
        reach = Window(wanted.start, wanted.end + timedelta(minutes=1))
        for rows, _ in self._files(symbol, path, reach, now, formats.funding, daily=False):
            if len(rows):
                step = timedelta(hours=float(rows["interval_hours"].iloc[-1]))
                first, last = from_milliseconds(rows["ms"].to_numpy())[[0, -1]].round("min")
                covered.append(Window(first - HOUR, last + step - HOUR))
            frames.append(rows)
        rows = _stack(frames, ("ms", "rate", "interval_hours"))
        raw = from_milliseconds(rows["ms"].to_numpy())
        table = table_frame(
            "funding_rates",
            {
                "venue": VENUE, "symbol": symbol, "ts": raw.round("min"), "rate": rows["rate"],
                "interval_hours": rows["interval_hours"], "settled_at_raw": raw, "is_simulated": False,
            },
        )  # fmt: skip
        table = _cut(table.drop_duplicates("ts"), wanted)
        return {"funding_rates": table}, intersect([wanted], merge(covered))

    def _liquidations(
        self, symbol: str, wanted: Window, now: pd.Timestamp
    ) -> tuple[dict[str, pd.DataFrame], list[Window], tuple[str, ...]]:
        files: list[tuple[Instrument, list[Window]]] = []
        frames = []
        for contract in _contracts(symbol):
            market = "um" if contract.kind == "linear" else "cm"
            folder = f"data/futures/{market}/{{span}}/liquidationSnapshot/{contract.native}"
            path = f"{folder}/{contract.native}-liquidationSnapshot-{{date}}.zip"
            days = []
            for rows, day in self._files(symbol, path, wanted, now, formats.snapshots, monthly=False):
                days.append(day)
                frames.append(self._events(symbol, contract, rows))
            files.append((contract, merge(days)))
        events = _cut(joined("liquidation_events", frames).sort_values(["ts", "event_id"]), wanted)
        known = intersect([wanted], merge(day for _, days in files for day in days))
        hours = pd.DatetimeIndex([hour for part in known for hour in part.hours()], dtype="datetime64[us, UTC]")
        fixed = {
            "venue": VENUE, "symbol": symbol, "ts": hours, "coverage": 1.0, "is_lower_bound": True,
            "is_simulated": False,
        }  # fmt: skip
        sums = table_frame("liquidations", fixed | hourly_sums(events, hours))
        volume, notes = self._volume(symbol, files, wanted, now)
        return {"liquidations": sums, "liquidation_events": events, "perp_volume_usd": volume}, known, notes

    def _volume(
        self, symbol: str, files: Sequence[tuple[Instrument, list[Window]]], wanted: Window, now: pd.Timestamp
    ) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """Perpetual volume of the days whose liquidations are known, summed over the contracts they came from."""
        days: dict[pd.Timestamp, float] = {}
        try:
            for contract, known in files:
                for end, usd in self._daily_usd(symbol, contract, known, now).items():
                    if wanted.start < end <= wanted.end:
                        days[end] = days.get(end, 0.0) + usd
        except SourceError as problem:
            # The volume only scales the cascade rule's floors; the liquidations themselves are stored.
            return empty("perp_volume_usd"), (f"no perpetual volume: {problem}",)
        ends = sorted(days)
        columns = {"venue": VENUE, "symbol": symbol, "ts": ends, "volume_usd": [days[end] for end in ends]}
        return table_frame("perp_volume_usd", columns), ()

    def _daily_usd(
        self, symbol: str, contract: Instrument, known: list[Window], now: pd.Timestamp
    ) -> dict[pd.Timestamp, float]:
        """End of day -> USD traded in one contract, of the known days of which all 24 hours are there."""
        if not known:
            return {}
        market = "um" if contract.kind == "linear" else "cm"
        path = f"data/futures/{market}/{{span}}/klines/{contract.native}/1h/{contract.native}-1h-{{date}}.zip"
        span = Window(known[0].start, known[-1].end)
        rows = _stack([rows for rows, _ in self._files(symbol, path, span, now, formats.klines)])
        # Coin-margined klines count contracts of a fixed USD size; their quote volume is in the coin.
        usd = rows["quote_volume"] if contract.kind == "linear" else rows["volume"] * contract.size
        midnights = from_milliseconds((rows["open_ms"] + _HOUR_MS).to_numpy()).ceil("D")
        daily = usd.groupby(midnights).agg(["sum", "count"])
        full = daily.loc[daily["count"] == 24, "sum"]
        asked = {day.end for part in known for day in _days(part)}
        return {end: float(value) for end, value in zip(full.index, full, strict=True) if end in asked}

    def _events(self, symbol: str, contract: Instrument, rows: pd.DataFrame) -> pd.DataFrame:
        price, quantity = rows["price"].to_numpy(), rows["quantity"].to_numpy()
        usd = quantity * contract.size if contract.kind == "inverse" else quantity * contract.size * price
        repeat = rows.groupby(["ms", "side", "price", "quantity"]).cumcount()
        ids = [
            f"{contract.native}-{ms}-{side}-{p!r}-{q!r}-{n}"
            for ms, side, p, q, n in zip(
                rows["ms"], rows["side"], price.tolist(), quantity.tolist(), repeat, strict=True
            )
        ]
        return table_frame(
            "liquidation_events",
            {
                "venue": VENUE, "symbol": symbol, "event_id": ids, "ts": from_milliseconds(rows["ms"].to_numpy()),
                "liquidated_side": rows["side"], "price": price, "amount": usd / price, "usd": usd,
                "is_simulated": False,
            },
        )  # fmt: skip

    def _files(
        self,
        symbol: str,
        path: str,
        wanted: Window,
        now: pd.Timestamp,
        parse: Parse,
        *,
        monthly: bool = True,
        daily: bool = True,
    ) -> Iterator[tuple[pd.DataFrame, Window]]:
        """(rows, span of the file) of every file that holds a part of the window."""
        for part in by_month(wanted):
            month = _month(part)
            if monthly and month.end <= now:
                file = path.format(span="monthly", date=f"{month.start:%Y-%m}")
                data = self.store.get(symbol, file, now)
                if data is not None:
                    yield parse(symbol, file, data), month
                    continue
            if not daily:
                continue
            start = part.start.floor("D")
            while start < part.end and start + DAY <= now:
                file = path.format(span="daily", date=f"{start:%Y-%m-%d}")
                data = self.store.get(symbol, file, now)
                if data is not None:
                    yield parse(symbol, file, data), Window(start, start + DAY)
                start += DAY


def _contracts(symbol: str) -> list[Instrument]:
    """USD-margined perpetual in base units; coin-margined in contracts of 100 USD (Bitcoin) or 10 USD (others)."""
    base = symbol.split("/")[0]
    return [
        Instrument(symbol, symbol.replace("/", "")),
        Instrument(symbol, f"{base}USD_PERP", "inverse", 100.0 if base == "BTC" else 10.0),
    ]


def _days(part: Window) -> list[Window]:
    """Whole days inside a stretch that starts and ends at midnight."""
    return [Window(end - DAY, end) for end in pd.date_range(part.start + DAY, part.end, freq="D", unit="us")]


def _month(part: Window) -> Window:
    start = part.start.replace(day=1).floor("D")
    return Window(start, (start + timedelta(days=32)).replace(day=1).floor("D"))


def _cut(table: pd.DataFrame, window: Window) -> pd.DataFrame:
    return table[window.mask(table["ts"])].reset_index(drop=True)


def _stack(
    frames: list[pd.DataFrame],
    columns: tuple[str, ...] = ("open_ms", "open", "high", "low", "close", "volume", "quote_volume"),
) -> pd.DataFrame:
    """Rows of several files below each other, in order, each stamp once."""
    filled = [frame for frame in frames if len(frame)]
    if not filled:
        return pd.DataFrame({name: pd.Series(dtype="int64" if name.endswith("ms") else "float64") for name in columns})
    key = columns[0]
    return pd.concat(filled, ignore_index=True).drop_duplicates(key, keep="last").sort_values(key, ignore_index=True)
