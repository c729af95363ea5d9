"""Price zones where leverage was flushed in the last week.

What belongs here: which hours have enough liquidations, zones per side of the price, and their rows in
``liquidation_zones``. What does not: the entries (``liquidation_entries.py``) and the density
(``liquidation_density.py``). A zone describes what happened; it is no forecast that a level will hold.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from regimes_dagster.features.liquidation_clusters import Cluster, dbscan_peaks
from regimes_dagster.features.liquidation_density import Peaks, density, find_peaks, silverman_bandwidth
from regimes_dagster.features.liquidation_entries import Entries, gather
from regimes_dagster.features.liquidation_venues import SCALE_RANGE, floor_scale
from regimes_dagster.features.market_rows import Bools, Floats, Ints, MarketRows, text_rows
from regimes_dagster.features.price_yardstick import MARKET_COLUMNS, sigma_24h
from regimes_dagster.parameters import LiquidationParameters
from regimes_dagster.partitions import Window

#: What a week needs for zones: single liquidations, or else busy hours; and USD at scale 1.
MIN_EVENTS = 50
MIN_BUSY_HOURS = 24
MIN_USD = 250_000.0

ZONES_PER_SIDE = 5

#: A volatility below this (0.1 basis points a day) is a frozen price: distances in it mean nothing.
MIN_SIGMA = 1e-5

#: Hours and entries that are worked on at once: small enough to stay in the processor's cache.
_BATCH_HOURS = 256
_BATCH_ENTRIES = 1 << 19

_SIDES = ("ABOVE", "BELOW")
_METHODS = ("KDE", "DBSCAN", "HOURLY")
_REASONS = (
    "",
    "no price in this hour",
    "no 24 h volatility yet",
    f"fewer than {MIN_EVENTS} single liquidations and fewer than {MIN_BUSY_HOURS} busy hours in the window",
    "less liquidated in the window than the minimum",
    "no peak stands out",
)


@dataclass(frozen=True)
class SupportZones:
    """Zones, and why there are none.

    Attributes
    ----------
    rows
        Rows of ``liquidation_zones``.
    empty_because
        Symbol -> reason, for symbols without zones in the newest hour of the window.
    """

    rows: pd.DataFrame
    empty_because: dict[str, str]


def identify_liquidation_support_zones(
    market: pd.DataFrame,
    params: LiquidationParameters,
    *,
    window: Window,
    liquidations: pd.DataFrame,
    liquidation_events: pd.DataFrame | None = None,
    perp_volume: pd.DataFrame | None = None,
) -> SupportZones:
    """Zones of realised liquidations for every symbol and hour of a window.

    Each liquidation of the last ``zone_lookback_h`` hours weighs ``usd 0.5^(age / zone_half_life_h)`` at ln price.
    A weighted Gaussian density on a grid of 0.05 sigma (sigma: 24 h Yang-Zhang), bandwidth Silverman clipped to
    0.10 .. 0.50 sigma; peaks with a prominence of at least 20 % of the highest; edges at half the peak or at the
    saddle; the five largest per side of the price.

    Parameters
    ----------
    market
        Rows of ``market_metrics`` sorted by (symbol, ts), from ``zone_lookback_h + 25`` hours before the window.
    liquidations
        Hourly sums per venue; they enter at (H+L+C)/3 in hours for which the venue has no single liquidations.
    liquidation_events
        Single liquidations, if there are any.
    perp_volume
        Rows of ``perp_volume_usd``, which scale the minimum of 250,000 USD; without a scale it is 5,000 USD.

    Returns
    -------
    SupportZones
        Prices in quote units, ``liq_usd`` in decayed USD. Hours without a bar, without a volatility or with too few
        liquidations have no rows.

    Raises
    ------
    ImportError
        If ``zone_method`` is dbscan and scikit-learn is not installed.
    """
    places = MarketRows.of(market, MARKET_COLUMNS)
    return find_zones(
        market,
        params,
        window=window,
        liquidations=liquidations,
        liquidation_events=liquidation_events,
        sigma=sigma_24h(places, market),
        scale=floor_scale(places, perp_volume, params),
    )


def find_zones(
    market: pd.DataFrame,
    params: LiquidationParameters,
    *,
    window: Window,
    liquidations: pd.DataFrame,
    liquidation_events: pd.DataFrame | None,
    sigma: Floats,
    scale: Floats,
) -> SupportZones:
    """``identify_liquidation_support_zones`` with the volatility and the scale already known, [K, T]."""
    cluster = dbscan_peaks() if params.zone_method == "dbscan" else None
    places = MarketRows.of(market, MARKET_COLUMNS)
    entries = gather(places, market, liquidations, liquidation_events, params.zone_half_life_h)
    rows = places.rows_within(window)
    k, hour = places.row_symbol[rows], places.row_hour[rows]
    close, low, high = (places.wide(market[column]) for column in ("close", "low", "high"))

    span = params.zone_lookback_h
    enough_events = _trailing_count(entries.n_events, span) >= MIN_EVENTS
    enough_hours = _trailing_count(entries.busy.astype(np.int64), span) >= MIN_BUSY_HOURS
    reason = np.zeros(places.shape, dtype=np.int8)
    reason[~(enough_events | enough_hours)] = 3
    reason[~(sigma >= MIN_SIGMA)] = 2
    reason[np.isnan(close)] = 1
    minimum = MIN_USD * np.where(np.isfinite(scale), scale, SCALE_RANGE[0])

    n_hours = places.shape[1]
    begin = np.searchsorted(entries.at, k * n_hours + np.maximum(hour - span + 1, 0))
    end = np.searchsorted(entries.at, k * n_hours + hour, side="right")
    parts: list[pd.DataFrame] = []
    todo = np.flatnonzero(reason[k, hour] == 0)
    for batch in _batches(todo, end - begin):
        bk, bt = k[batch], hour[batch]
        found = _Batch(entries, begin[batch], end[batch], bt, np.log(close[bk, bt]), sigma[bk, bt], params)
        poor = found.plain_usd < minimum[bk, bt]
        reason[bk[poor], bt[poor]] = 4
        peaks = found.peaks(~poor, cluster)
        zones = found.zones(peaks)
        method = np.where(enough_events[bk, bt], 1 if cluster else 0, 2)
        reason[bk, bt] = np.where(
            (reason[bk, bt] == 0) & (np.bincount(zones["row"], minlength=len(batch)) == 0), 5, reason[bk, bt]
        )
        parts.append(_priced(zones, bk, bt, close, sigma, low, high, method, span))
    empty: dict[str, str] = {}
    for symbol_number, symbol in enumerate(places.symbols):
        mine = hour[k == symbol_number]
        if len(mine) and (code := int(reason[symbol_number, mine[-1]])):
            empty[symbol] = _REASONS[code]
    return SupportZones(_rows(parts, places, params.config_hash()), empty)


def _trailing_count(counts: Ints, span: int) -> Ints:
    """Sum of whole numbers over the last ``span`` hours, [K, T] (exact, whatever the first hour)."""
    running = np.zeros((counts.shape[0], counts.shape[1] + 1), dtype=np.int64)
    np.cumsum(counts, axis=1, out=running[:, 1:])
    begin = np.maximum(np.arange(1, counts.shape[1] + 1) - span, 0)
    return running[:, 1:] - running[:, begin]


def _batches(todo: Ints, size: Ints) -> list[Ints]:
    """Consecutive rows, so many that neither hours nor entries exceed their limits (one row at least)."""
    batches, first, entries = [], 0, 0
    for i, n in enumerate(size[todo].tolist()):
        if i > first and (i - first >= _BATCH_HOURS or entries + n > _BATCH_ENTRIES):
            batches.append(todo[first:i])
            first, entries = i, 0
        entries += n
    if first < len(todo):
        batches.append(todo[first:])
    return batches


class _Batch:
    """The entries of some hours (rows), laid out one after the other."""

    def __init__(
        self,
        entries: Entries,
        begin: Ints,
        end: Ints,
        hour: Ints,
        log_price: Floats,
        sigma: Floats,
        params: LiquidationParameters,
    ) -> None:
        n = end - begin
        self.n_rows = len(n)
        self.row = np.repeat(np.arange(self.n_rows), n)
        chosen = np.arange(int(n.sum())) + np.repeat(begin - (np.cumsum(n) - n), n)
        decay = 0.5 ** (np.arange(params.zone_lookback_h + 1) / params.zone_half_life_h)
        weight = decay[hour[self.row] - entries.hour[chosen]]
        self.long_usd = entries.long_usd[chosen] * weight
        self.usd = self.long_usd + entries.short_usd[chosen] * weight
        self.squares = entries.squares[chosen] * weight * weight
        self.x = (entries.log_price[chosen] - log_price[self.row]) / sigma[self.row]
        self.plain_usd = np.bincount(self.row, entries.plain_usd[chosen], self.n_rows)

    def peaks(self, wanted: Bools, cluster: Cluster | None) -> Peaks:
        """Peaks of the wanted rows."""
        use = wanted[self.row]
        row, x, usd = self.row[use], self.x[use], self.usd[use]
        if not len(row):
            none = np.zeros(0)
            return Peaks(np.zeros(0, dtype=np.int64), none, none, none)
        if cluster is not None:
            return cluster(row, self.n_rows, x, usd)
        numbers = np.cumsum(wanted) - 1
        packed, n_rows = numbers[row], int(wanted.sum())
        bandwidth = silverman_bandwidth(packed, n_rows, x, usd, self.squares[use])
        found = find_peaks(*density(packed, n_rows, x, usd, bandwidth))
        return Peaks(np.flatnonzero(wanted)[found.row], found.low, found.centre, found.high)

    def zones(self, peaks: Peaks) -> dict[str, np.ndarray]:
        """Value inside each peak's edges; the largest of each side with their rank."""
        n = len(peaks.row)
        total = np.bincount(self.row, self.usd, self.n_rows)
        first = np.searchsorted(peaks.row, np.arange(self.n_rows))
        place = np.arange(n) - first[peaks.row]
        usd, longs = np.zeros(n), np.zeros(n)
        for p in range(int(place.max()) + 1 if n else 0):
            at = np.flatnonzero(place == p)
            low, high = np.full(self.n_rows, np.inf), np.full(self.n_rows, -np.inf)
            low[peaks.row[at]], high[peaks.row[at]] = peaks.low[at], peaks.high[at]
            inside = (self.x >= low[self.row]) & (self.x <= high[self.row])
            usd[at] = np.bincount(self.row, np.where(inside, self.usd, 0.0), self.n_rows)[peaks.row[at]]
            longs[at] = np.bincount(self.row, np.where(inside, self.long_usd, 0.0), self.n_rows)[peaks.row[at]]
        below = (peaks.centre < 0).astype(np.int8)
        order = np.lexsort((np.abs(peaks.centre), -usd, below, peaks.row))
        group = peaks.row[order] * 2 + below[order]
        rank = np.arange(n) - np.searchsorted(group, group) + 1
        kept = order[rank <= ZONES_PER_SIDE]
        return {
            "row": peaks.row[kept],
            "side": below[kept],
            "zone_rank": rank[rank <= ZONES_PER_SIDE],
            "low": peaks.low[kept],
            "centre": peaks.centre[kept],
            "high": peaks.high[kept],
            "liq_usd": usd[kept],
            "usd_share": np.minimum(usd[kept] / total[peaks.row[kept]], 1.0),
            "long_share": np.divide(longs, usd, out=np.full(n, np.nan), where=usd > 0).clip(0, 1)[kept],
        }


def _priced(
    zones: dict[str, np.ndarray],
    k: Ints,
    hour: Ints,
    close: Floats,
    sigma: Floats,
    low: Floats,
    high: Floats,
    method: Ints,
    span: int,
) -> pd.DataFrame:
    """Zones in prices, with the last hour whose range reached them."""
    row = zones["row"]
    zk, zt = k[row], hour[row]
    price, scale = close[zk, zt], sigma[zk, zt]
    edges = {name: price * np.exp(scale * zones[name]) for name in ("low", "centre", "high")}
    ago = np.arange(span)
    back = np.maximum(zt[:, None] - ago, 0)
    with np.errstate(invalid="ignore"):
        reached = (high[zk[:, None], back] >= edges["low"][:, None]) & (
            low[zk[:, None], back] <= edges["high"][:, None]
        )
    reached &= zt[:, None] >= ago
    touched = np.where(reached.any(axis=1), zt - reached.argmax(axis=1), -1)
    return pd.DataFrame(
        {
            "k": zk,
            "hour": zt,
            "side": zones["side"],
            "zone_rank": zones["zone_rank"],
            "price_low": edges["low"],
            "price_center": edges["centre"],
            "price_high": edges["high"],
            "liq_usd": zones["liq_usd"],
            "usd_share": zones["usd_share"],
            "long_share": zones["long_share"],
            "dist_pct": 100 * np.expm1(scale * zones["centre"]),
            "dist_sigma": zones["centre"],
            "touched": touched,
            "method": method[row],
        }
    )


def _rows(parts: list[pd.DataFrame], places: MarketRows, config_hash: str) -> pd.DataFrame:
    columns = (
        "k", "hour", "side", "zone_rank", "price_low", "price_center", "price_high", "liq_usd", "usd_share",
        "long_share", "dist_pct", "dist_sigma", "touched", "method",
    )  # fmt: skip
    raw = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({column: np.zeros(0) for column in columns})
    codes = {name: raw[name].to_numpy(dtype=np.int64) for name in ("k", "hour", "side", "touched", "method")}
    touched = places.ts.take(np.maximum(codes["touched"], 0)).to_series(index=raw.index).where(codes["touched"] >= 0)
    return pd.DataFrame(
        {
            "symbol": text_rows(codes["k"], places.symbols),
            "ts": places.ts.take(codes["hour"]),
            "side": text_rows(codes["side"], _SIDES),
            "zone_rank": raw["zone_rank"].astype("int64").astype("Int64"),
            "kind": text_rows(np.zeros(len(raw), dtype=np.int8), ["REALISED"]),
            **{name: raw[name] for name in columns[4:12]},
            "last_touch_ts": touched.astype("datetime64[us, UTC]"),
            "method": text_rows(codes["method"], _METHODS),
            "config_hash": text_rows(np.zeros(len(raw), dtype=np.int8), [config_hash]),
        }
    )
