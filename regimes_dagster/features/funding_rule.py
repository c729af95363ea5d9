"""The funding rule of every hour, from the venue in force, without episodes.

What belongs here: 8-hour values and their statistics as of each hour, the anomaly rule on them, and the columns of
``funding_features`` and ``funding_venue_features``. What does not: 8-hour values (``funding_blocks.py``), statistics
(``funding_statistics.py``) and episodes (``funding_anomaly.py``).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from regimes_dagster.features.funding_blocks import BLOCK_H, Blocks, to_blocks
from regimes_dagster.features.funding_messages import reasons
from regimes_dagster.features.funding_statistics import Z_RANGE, Statistics, statistics
from regimes_dagster.features.market_rows import HOUR_US, Bools, Floats, Ints, MarketRows, micros, text_rows
from regimes_dagster.parameters import FundingParameters
from regimes_dagster.partitions import Window

#: Columns of ``market_metrics`` that are read.
MARKET_COLUMNS = ("funding_rate", "funding_interval_hours", "funding_venue", "funding_settled_ts")

#: A predicted rate is observed every hour; an older one says nothing of the next settlement.
PREDICTION_MAX_AGE_H = 2

#: Published ranges: beyond them a figure only says "absurd", and the contract must still hold.
APR_RANGE = 50.0
CHANGE_RANGE_PP = 60.0

_QUALITIES = ("OK", "INSUFFICIENT")


@dataclass(frozen=True)
class Funding:
    """Everything known of funding at each hour, [K, T], from the venue in force; NaN where nothing is."""

    rate: Floats
    interval_h: Floats
    settled_us: Floats
    venue: Ints
    venue_names: list[str]
    x: Floats
    before: Floats
    apr: Floats
    z: Floats
    mean: Floats
    sd: Floats
    change_pp: Floats
    score: Floats
    z_flag: Bools
    vol_high: Bools
    rapid: Bools
    is_anomaly: Bools
    predicted_rate: Floats
    predicted_z: Floats
    predicted_flag: Bools
    phi: Floats
    half_life_h: Floats
    expected_next: Floats
    rank: Floats
    spread_bp: Floats
    n_ref: Ints
    blocks: Blocks
    per_slot: Statistics

    def at(self, k: int, t: int) -> dict[str, Any]:
        """Column name -> value of one hour, for messages."""
        settled = self.settled_us[k, t]
        return {
            "funding_rate": self.rate[k, t],
            "interval_h": self.interval_h[k, t],
            "funding_rate_8h": self.x[k, t],
            "before_24h": self.before[k, t],
            "funding_apr": self.apr[k, t],
            "funding_z_score": self.z[k, t],
            "funding_mean": self.mean[k, t],
            "funding_volatility": self.sd[k, t],
            "change_24h_pp": self.change_pp[k, t],
            "anomaly_score": self.score[k, t],
            "half_life_h": self.half_life_h[k, t],
            "predicted_rate": self.predicted_rate[k, t],
            "predicted_z": self.predicted_z[k, t],
            "n_ref": self.n_ref[k, t],
            "venue": self.venue_names[self.venue[k, t]] if self.venue[k, t] >= 0 else None,
            "settle_ts": pd.Timestamp(settled, unit="us", tz="UTC").isoformat() if np.isfinite(settled) else None,
            "reasons": self.reasons_at(k, t),
        }

    def reasons_at(self, k: int, t: int) -> list[str]:
        """Reasons in words; none where nothing is unusual."""
        only_predicted = bool(self.predicted_flag[k, t] and not self.is_anomaly[k, t])
        if not (self.is_anomaly[k, t] or only_predicted):
            return []
        flags = (bool(self.z_flag[k, t]), bool(self.rapid[k, t]), bool(self.vol_high[k, t]), only_predicted)
        figures = (self.z[k, t], self.change_pp[k, t], self.sd[k, t], self.predicted_z[k, t])
        return reasons(*(float(figure) for figure in figures), flags=flags)


def funding_of(
    places: MarketRows,
    market: pd.DataFrame,
    funding_rates: pd.DataFrame,
    predictions: pd.DataFrame | None,
    params: FundingParameters,
) -> Funding:
    """Evaluate the rule on the whole grid (shapes and units as ``detect_funding_anomalies``)."""
    blocks = to_blocks(places, funding_rates)
    per_slot = statistics(blocks.x, params)
    venue, names = places.wide_codes(market["funding_venue"])
    in_force, slot, spread = _in_force(places, blocks, venue, names, params)
    known = slot >= 0

    def pick(values: Floats) -> Floats:
        if not values.size:
            return np.full(places.shape, np.nan)
        return np.where(known, values[np.maximum(in_force, 0), np.maximum(slot, 0)], np.nan)

    x, before, z, mean, sd = (pick(v) for v in (blocks.x, per_slot.before_24h, per_slot.z, per_slot.mean, per_slot.sd))
    rate, interval = places.wide(market["funding_rate"]), places.wide(market["funding_interval_hours"])
    settled = np.full(places.shape, np.nan)
    stamps = market["funding_settled_ts"]
    settled[places.row_symbol, places.row_hour] = np.where(stamps.isna(), np.nan, micros(stamps).astype(np.float64))
    predicted, predicted_x = _predicted(places, predictions, venue, names)
    with np.errstate(invalid="ignore", divide="ignore"):
        change = np.clip(100 * (x - before), -CHANGE_RANGE_PP, CHANGE_RANGE_PP)
        predicted_z = np.clip((predicted_x - mean) / np.maximum(sd, params.sd_floor), -Z_RANGE, Z_RANGE)
        flags = [
            (np.abs(score) > params.anomaly_z_threshold) & (np.abs(value - mean) >= params.min_deviation)
            for score, value in ((z, x), (predicted_z, predicted_x))
        ]
        vol_high = sd >= params.volatility_threshold
        is_rapid = np.abs(change) > params.reversal_threshold
        apr = np.clip(rate * (24 / interval) * 365, -APR_RANGE, APR_RANGE)
    return Funding(
        rate=rate,
        interval_h=interval,
        settled_us=settled,
        venue=venue,
        venue_names=names,
        x=x,
        before=before,
        apr=apr,
        z=z,
        mean=mean,
        sd=sd,
        change_pp=change,
        score=np.abs(z) + 0.5 * vol_high + 0.5 * is_rapid,
        z_flag=flags[0],
        vol_high=vol_high,
        rapid=is_rapid,
        is_anomaly=(flags[0] | is_rapid) & np.isfinite(z),
        predicted_rate=predicted,
        predicted_z=predicted_z,
        predicted_flag=flags[1] & np.isfinite(z),
        phi=pick(per_slot.phi),
        half_life_h=pick(per_slot.half_life_h),
        expected_next=pick(per_slot.expected_next),
        rank=pick(per_slot.rank),
        spread_bp=spread,
        n_ref=np.nan_to_num(pick(per_slot.n_ref.astype(np.float64))).astype(np.int64),
        blocks=blocks,
        per_slot=per_slot,
    )


def _in_force(
    places: MarketRows, blocks: Blocks, venue: Ints, names: list[str], params: FundingParameters
) -> tuple[Ints, Ints, Floats]:
    """Series and slot of the venue in force (-1 where none), and highest less lowest venue in basis points, [K, T]."""
    series = np.full(places.shape, -1, dtype=np.int64)
    slot = np.full(places.shape, -1, dtype=np.int64)
    lowest, highest = np.full(places.shape, np.inf), np.full(places.shape, -np.inf)
    venues = np.zeros(places.shape, dtype=np.int16)
    hours_us = places.ts.asi8
    number = {symbol: k for k, symbol in enumerate(places.symbols)}
    for m, (name, symbol) in enumerate(blocks.series):
        k = number[symbol]
        mine = blocks.slot_in_force(m, hours_us, params.max_age_h)
        value = np.where(mine >= 0, blocks.x[m, np.maximum(mine, 0)], np.nan)
        lowest[k], highest[k] = np.fmin(lowest[k], value), np.fmax(highest[k], value)
        venues[k] += mine >= 0
        if name in names:
            chosen = (venue[k] == names.index(name)) & (mine >= 0)
            series[k, chosen], slot[k, chosen] = m, mine[chosen]
    with np.errstate(invalid="ignore"):
        spread = np.where(venues >= 2, 1e4 * (highest - lowest), np.nan)
    return series, slot, spread


def _predicted(
    places: MarketRows, predictions: pd.DataFrame | None, venue: Ints, names: list[str]
) -> tuple[Floats, Floats]:
    """Predicted rate of the venue in force, raw and per 8 hours, [K, T]; NaN where none was observed lately."""
    raw, per_8h = np.full(places.shape, np.nan), np.full(places.shape, np.nan)
    if predictions is None or predictions.empty:
        return raw, per_8h
    number = {symbol: k for k, symbol in enumerate(places.symbols)}
    hours_us = places.ts.asi8
    ordered = predictions.sort_values("observed_at", kind="stable")
    for (name, symbol), rows in ordered.groupby(["venue", "symbol"], sort=True):
        if symbol not in number or name not in names:
            continue
        k, seen = number[symbol], micros(rows["observed_at"])
        place = np.searchsorted(seen, hours_us, side="right") - 1
        fresh = (place >= 0) & (hours_us - seen[np.maximum(place, 0)] <= PREDICTION_MAX_AGE_H * HOUR_US)
        fresh &= venue[k] == names.index(str(name))
        rate = rows["rate"].to_numpy(dtype=np.float64)[np.maximum(place, 0)]
        interval = rows["interval_hours"].to_numpy(dtype=np.float64)[np.maximum(place, 0)]
        raw[k, fresh], per_8h[k, fresh] = rate[fresh], (rate * BLOCK_H / interval)[fresh]
    return raw, per_8h


def feature_rows(places: MarketRows, market: pd.DataFrame, funding: Funding, rows: Ints) -> pd.DataFrame:
    """The rule's columns of ``funding_features`` for the numbered market rows."""
    at = (places.row_symbol[rows], places.row_hour[rows])
    source = market.iloc[rows]
    words = np.empty(len(rows), dtype=object)
    words.fill([])  # one empty list for all calm hours: millions of them would cost more than the figures
    flagged = np.flatnonzero((funding.is_anomaly | funding.predicted_flag)[at])
    for n in flagged.tolist():
        words[n] = funding.reasons_at(int(at[0][n]), int(at[1][n]))
    return pd.DataFrame(
        {
            "symbol": source["symbol"].to_numpy(),
            "ts": source["ts"].array,
            "venue": text_rows(funding.venue[at], funding.venue_names),
            "settle_ts": source["funding_settled_ts"].array,
            "funding_rate": funding.rate[at],
            "interval_h": funding.interval_h[at],
            "funding_rate_8h": funding.x[at],
            "funding_apr": funding.apr[at],
            "funding_z_score": funding.z[at],
            "funding_mean": funding.mean[at],
            "funding_volatility": funding.sd[at],
            "change_24h_pp": funding.change_pp[at],
            "anomaly_score": funding.score[at],
            "is_anomaly": funding.is_anomaly[at],
            "vol_high": funding.vol_high[at],
            "rapid": funding.rapid[at],
            "reasons": words,
            "predicted_rate": funding.predicted_rate[at],
            "predicted_z": funding.predicted_z[at],
            "phi": funding.phi[at],
            "half_life_h": funding.half_life_h[at],
            "expected_next": funding.expected_next[at],
            "pctl_90d": funding.rank[at],
            "spread_8h_bp": funding.spread_bp[at],
            "n_ref": pd.array(funding.n_ref[at], dtype="Int64"),
            "quality": text_rows(np.isnan(funding.z[at]).astype(np.int8), _QUALITIES),
        }
    )


def venue_rows(places: MarketRows, funding: Funding, window: Window, config_hash: str) -> pd.DataFrame:
    """Rows of ``funding_venue_features``: every 8-hour value of every venue, from the symbol's first market row on."""
    blocks = funding.blocks
    listed = {symbol: ts.value // 1000 for symbol, ts in places.first_hours().items()}
    since = np.array([listed[symbol] for _, symbol in blocks.series], dtype=np.int64).reshape(-1, 1)
    lower, upper = window.start.value // 1000, window.end.value // 1000
    m, slot = np.nonzero(
        np.isfinite(blocks.x) & (blocks.settled > lower) & (blocks.settled <= upper) & (blocks.settled >= since)
    )
    venues = sorted({venue for venue, _ in blocks.series})
    symbols = sorted({symbol for _, symbol in blocks.series})
    venue_code = np.array([venues.index(venue) for venue, _ in blocks.series], dtype=np.int64)
    symbol_code = np.array([symbols.index(symbol) for _, symbol in blocks.series], dtype=np.int64)
    settled = pd.Series(blocks.settled[m, slot].view("datetime64[us]")).dt.tz_localize("UTC")
    return pd.DataFrame(
        {
            "venue": text_rows(venue_code[m], venues),
            "symbol": text_rows(symbol_code[m], symbols),
            "ts": settled,
            "funding_rate_8h": blocks.x[m, slot],
            "funding_z_score": funding.per_slot.z[m, slot],
            "config_hash": text_rows(np.zeros(len(m), dtype=np.int8), [config_hash]),
        }
    )
