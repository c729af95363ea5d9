"""The ``simulated`` source: the market of the demo, marked as simulated on every row.

What belongs here: windows and rows. What does not: the random processes (``simulated_market.py``).
"""

from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.sources import simulated_market as market
from regimes_dagster.sources.coverage import final_edge, intersect, subtract
from regimes_dagster.sources.frames import joined, table_frame
from regimes_dagster.sources.minute_bars_simulated import minute_ends, minute_paths
from regimes_dagster.sources.protocol import Batch, Kind

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

VENUE = "simulated"
EPOCH = utc("2020-01-01")
_BLOCK = timedelta(hours=market.BLOCK_HOURS)


class SimulatedSource:
    """A market that exists from ``start`` (default and earliest: 2020-01-01) for every symbol asked.

    Parameters
    ----------
    seed
        Another seed is another market.
    start
        First moment of the market; a later listing is simulated by a later start.
    gaps
        Whether hours are missing now and then, as they are on real venues.
    """

    name = VENUE
    kinds = frozenset({"ohlcv", "funding", "liquidations", "minute_bars"})
    always_read = False
    step_months = 12

    def __init__(self, seed: int = 7, start: pd.Timestamp | None = None, *, gaps: bool = True) -> None:
        self.seed = seed
        self.start = max(EPOCH, start) if start is not None else EPOCH
        self.gaps = gaps

    def fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        """Rows of one symbol; never fails."""
        wanted = window.until(final_edge(now))
        exists = Window(self.start, max(self.start, wanted.end))
        covered = intersect([wanted], [exists])
        rows: dict[str, pd.DataFrame] = {}
        for part in covered or [Window(wanted.start, wanted.start)]:
            of_kind = {
                "ohlcv": self._ohlcv,
                "funding": self._funding,
                "liquidations": self._liquidations,
                "minute_bars": self._minute_bars,
            }
            rows = of_kind[kind](symbol, part)
        return Batch(rows, tuple(covered), tuple(subtract([wanted], [exists])))

    def _blocks(self, window: Window) -> range:
        if window.end <= window.start:
            return range(0)
        return range((window.start - EPOCH) // _BLOCK, -((EPOCH - window.end) // _BLOCK))

    def _ohlcv(self, symbol: str, window: Window) -> dict[str, pd.DataFrame]:
        frames = []
        for block in self._blocks(window):
            bars, ends = market.prices(self.seed, symbol, block), _ends(block)
            kept = _inside(ends, window) & ~(bars.missing & self.gaps)
            opened, high, low, close = (
                _tick(np.exp(values[kept])) for values in (bars.log_open, bars.log_high, bars.log_low, bars.log_close)
            )
            typical = (high + low + close) / 3.0
            volume = np.round(bars.usd_volume[kept] / typical, 6)
            columns = {
                "venue": VENUE, "symbol": symbol, "ts": ends[kept], "open": opened, "high": high, "low": low,
                "close": close, "volume": volume, "quote_volume": volume * typical, "is_simulated": True,
            }  # fmt: skip
            frames.append(table_frame("ohlcv", columns))
        return {"ohlcv": joined("ohlcv", frames)}

    def _funding(self, symbol: str, window: Window) -> dict[str, pd.DataFrame]:
        frames = []
        step = market.SETTLEMENT_HOURS
        for block in self._blocks(window):
            stamps = _ends(block)[step - 1 :: step]
            kept = _inside(stamps, window)
            columns = {
                "venue": VENUE, "symbol": symbol, "ts": stamps[kept],
                "rate": market.funding(self.seed, symbol, block)[kept],
                "interval_hours": float(step), "settled_at_raw": stamps[kept], "is_simulated": True,
            }  # fmt: skip
            frames.append(table_frame("funding_rates", columns))
        return {"funding_rates": joined("funding_rates", frames)}

    def _liquidations(self, symbol: str, window: Window) -> dict[str, pd.DataFrame]:
        sums, events, days = [], [], []
        base = {"venue": VENUE, "symbol": symbol}
        for block in self._blocks(window):
            burst, ends = market.bursts(self.seed, symbol, block), _ends(block)
            kept: Flags = _inside(ends, window) & ~(burst.unobserved & self.gaps)
            counts = np.bincount(burst.hour, minlength=market.BLOCK_HOURS).astype("int64")
            columns = base | {
                "ts": ends[kept], "long_usd": burst.long_usd[kept], "short_usd": burst.short_usd[kept],
                "n_events": counts[kept],
                "coverage": 1.0, "is_lower_bound": False, "is_simulated": True,
            }  # fmt: skip
            sums.append(table_frame("liquidations", columns))
            events.append(self._events(base, block, burst, kept))
            days.append(self._perp_volume(base, block, window))
        return {
            "liquidations": joined("liquidations", sums),
            "liquidation_events": joined("liquidation_events", events),
            "perp_volume_usd": joined("perp_volume_usd", days),
        }

    def _minute_bars(self, symbol: str, window: Window) -> dict[str, pd.DataFrame]:
        """Closes inside the hourly bars of ``ohlcv``, which end on the hour's close; no minute of a missing hour."""
        frames = []
        for block in self._blocks(window):
            bars, ends = market.prices(self.seed, symbol, block), _ends(block)
            hours = np.flatnonzero(_overlap(ends, window) & ~(bars.missing & self.gaps))
            paths = minute_paths(self.seed, symbol, block)
            stamps = minute_ends(int((EPOCH + block * _BLOCK).value // 1000), hours)
            kept = _inside(stamps, window)
            close = _tick(np.exp(paths.log_close[hours].ravel()[kept]))
            columns = {
                "venue": VENUE, "symbol": symbol, "ts": stamps[kept], "close": close,
                "volume": np.round(paths.usd_volume[hours].ravel()[kept] / close, 6), "is_simulated": True,
            }  # fmt: skip
            frames.append(table_frame("minute_bars", columns))
        return {"minute_bars": joined("minute_bars", frames)}

    def _events(self, base: dict[str, str], block: int, burst: market.Bursts, kept: Flags) -> pd.DataFrame:
        chosen = np.flatnonzero(kept[burst.hour])
        hour = burst.hour[chosen]
        first = int(EPOCH.value // 1000) + block * market.BLOCK_HOURS * 3_600_000_000
        micro = first + hour * 3_600_000_000 + np.round(burst.second[chosen] * 1e6).astype("int64")
        price = _tick(np.exp(burst.log_price[chosen]))
        is_long, usd = burst.is_long[chosen], burst.usd[chosen]
        columns = base | {
            "event_id": [f"sim-{block}-{index}" for index in chosen.tolist()],
            "ts": pd.DatetimeIndex(micro.astype("datetime64[us]")).tz_localize("UTC"),
            "liquidated_side": np.where(is_long, "LONG", "SHORT"), "price": price, "amount": usd / price, "usd": usd,
            "is_simulated": True,
        }  # fmt: skip
        return table_frame("liquidation_events", columns)

    def _perp_volume(self, base: dict[str, str], block: int, window: Window) -> pd.DataFrame:
        daily = market.prices(self.seed, base["symbol"], block).usd_volume.reshape(-1, 24).sum(axis=1) * 3.0
        stamps = _ends(block)[23::24]
        kept = _inside(stamps, window)
        return table_frame("perp_volume_usd", base | {"ts": stamps[kept], "volume_usd": daily[kept]})


def _ends(block: int) -> pd.DatetimeIndex:
    return pd.date_range(EPOCH + block * _BLOCK + HOUR, periods=market.BLOCK_HOURS, freq="h", unit="us")


def _overlap(ends: pd.DatetimeIndex, window: Window) -> Flags:
    """True for hours that share a minute with the window."""
    return np.asarray((ends > window.start) & (ends - HOUR < window.end), dtype=bool)


def _inside(stamps: pd.DatetimeIndex, window: Window) -> Flags:
    return np.asarray((stamps > window.start) & (stamps <= window.end), dtype=bool)


def _tick(values: Floats) -> Floats:
    """Six significant digits, as venues quote; rounding keeps the order of low, open, close and high."""
    if not len(values):
        return values
    scale = 10.0 ** (5 - np.floor(np.log10(values)))
    return np.asarray(np.round(values * scale) / scale, dtype="float64")
