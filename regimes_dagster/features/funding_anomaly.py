"""Funding anomalies and reversals: the hourly rule, its episodes, and the rows and events that come of it.

What belongs here: from market rows and settlements of all venues to ``funding_features``,
``funding_venue_features``, FUNDING_ANOMALY and FUNDING_REVERSAL events. What does not: 8-hour values
(``funding_blocks.py``), their statistics (``funding_statistics.py``), the conditions of a reversal
(``funding_reversal.py``), wording (``funding_messages.py``) and how episodes begin and end (``episodes.py``).

Formulas (features.md section 2, decisions.md 16)
    x      = 8-hour-equivalent rate;  apr = rate (24 / interval_h) 365
    z      = clip((x - mean) / max(sd, 1e-5), +-20) over the previous 90 slots, the current one excluded
    z_flag = |z| > 2 and |x - mean| >= 1e-4;  rapid = |change over 24 h| > 0.05 percentage points
    score  = |z| + 0.5 vol_high + 0.5 rapid
    level  = CRITICAL if z_flag, |z| >= 3 and |apr| >= 0.30; else WARNING if z_flag; else INFO if rapid, or if the
             predicted rate alone is anomalous.  Off: |z| < 1 and not rapid.
The values change only when an 8-hour value becomes known, so that machines on the hourly grid see settlements.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from regimes_dagster.features.episodes import EpisodeRule, Episodes
from regimes_dagster.features.funding_blocks import BLOCK_H, Blocks, to_blocks
from regimes_dagster.features.funding_messages import (
    SOURCE,
    anomaly_message,
    explanation,
    reasons,
    reversal_message,
    trend,
)
from regimes_dagster.features.funding_reversal import KINDS, PeakTrack, Turn, rapid, sign_flip, track_peaks, unwind
from regimes_dagster.features.funding_statistics import RANK_SLOTS, Z_RANGE, Statistics, statistics
from regimes_dagster.features.market_rows import (
    HOUR_US,
    Bools,
    Floats,
    Ints,
    MarketRows,
    micros,
    run_machines,
    text_rows,
)
from regimes_dagster.features.result import (
    FeatureResult,
    StoredState,
    checkpoints_within,
    events_frame,
    states_frame,
)
from regimes_dagster.parameters import FundingParameters
from regimes_dagster.partitions import Window

FEATURE = "funding_features"
ANOMALY = "FUNDING_ANOMALY"
REVERSAL = "FUNDING_REVERSAL"

#: Columns of ``market_metrics`` that are read.
MARKET_COLUMNS = ("funding_rate", "funding_interval_hours", "funding_venue", "funding_settled_ts")

#: A predicted rate is observed every hour; an older one says nothing of the next settlement.
PREDICTION_MAX_AGE_H = 2

#: Published ranges: beyond them a figure only says "absurd", and the contract must still hold.
APR_RANGE = 50.0
CHANGE_RANGE_PP = 60.0

_SEVERITIES = ("", "INFO", "WARNING", "CRITICAL")
_REVERSAL_SEVERITY = {"SIGN_FLIP": "WARNING", "RAPID": "INFO", "UNWIND": "WARNING"}
_QUALITIES = ("OK", "INSUFFICIENT")


def lookback(params: FundingParameters) -> timedelta:
    """History before the first hour: the longest window of 8-hour values, and the oldest value in force."""
    slots = max(RANK_SLOTS, params.z_reference_settlements + 1)
    return timedelta(hours=slots * BLOCK_H + 2 * BLOCK_H + params.max_age_h)


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


def detect_funding_anomalies(
    market: pd.DataFrame,
    funding_rates: pd.DataFrame,
    params: FundingParameters,
    *,
    funding_predictions: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Funding scores and the anomaly rule, hour by hour, without episodes.

    Parameters
    ----------
    market
        Rows of ``market_metrics`` sorted by (symbol, ts); they name the venue in force.
    funding_rates
        Settlements of every venue.
    funding_predictions
        Observed predictions, if there are any.

    Returns
    -------
    DataFrame
        One row per market row: the columns of ``funding_features`` except state, episode_id and config_hash. NaN
        where no 8-hour value is in force (older than ``max_age_h``) or too few precede it; ``is_anomaly`` is false
        there.
    """
    places = MarketRows.of(market, MARKET_COLUMNS)
    funding = funding_of(places, market, funding_rates, funding_predictions, params)
    return _feature_rows(places, market, funding, np.arange(len(market), dtype=np.int64))


def detect_reversal_signals(
    market: pd.DataFrame, funding_rates: pd.DataFrame, params: FundingParameters
) -> pd.DataFrame:
    """Hours in which a reversal begins to hold, replayed from the first row, without cooldowns.

    Returns
    -------
    DataFrame
        Columns symbol, ts, kind, trend_before, trend_after, change_24h_pp (percentage points), peak_z (z-score at the
        peak of the anomaly that is in force, NaN without one); sorted by (symbol, ts, kind).
    """
    places = MarketRows.of(market, MARKET_COLUMNS)
    funding = funding_of(places, market, funding_rates, None, params)
    anomaly = _run_anomaly(places, funding, params, None, [])
    peaks = _peaks(places, funding, anomaly, params, None)
    found = []
    for kind, turn in _turns(funding, peaks, params).items():
        on = turn.on & turn.valid
        begins = on & ~np.pad(on, ((0, 0), (1, 0)))[:, :-1]
        for k, t in zip(*(index.tolist() for index in np.nonzero(begins)), strict=True):
            found.append(
                {
                    "symbol": places.symbols[k],
                    "ts": places.ts[t],
                    "kind": kind,
                    "trend_before": trend(funding.before[k, t]),
                    "trend_after": trend(funding.x[k, t]),
                    "change_24h_pp": funding.change_pp[k, t],
                    "peak_z": peaks.z[k, t],
                }
            )
    columns = ["symbol", "ts", "kind", "trend_before", "trend_after", "change_24h_pp", "peak_z"]
    frame = pd.DataFrame(found, columns=columns)
    frame["ts"] = pd.to_datetime(frame["ts"], utc=True).astype("datetime64[us, UTC]")
    return frame.sort_values(["symbol", "ts", "kind"]).reset_index(drop=True)


def compute_funding_metrics(
    market: pd.DataFrame,
    params: FundingParameters,
    *,
    window: Window,
    funding_rates: pd.DataFrame,
    state: StoredState | None = None,
    checkpoints: Sequence[pd.Timestamp] | None = None,
    funding_predictions: pd.DataFrame | None = None,
) -> FeatureResult:
    """Funding features of one window, per symbol and per venue, with anomaly and reversal events.

    Parameters
    ----------
    market
        Rows of ``market_metrics`` with ``ts`` after ``state.ts - lookback(params)`` (without state: all that is
        stored) up to ``window.end``.
    window
        Rows and events to return.
    funding_rates
        Settlements of every venue over the same span.
    state
        Stored machine states; ``None`` replays from the first row.
    checkpoints
        Hours after which states are returned; default the month edges of the window.
    funding_predictions
        Observed predictions; without them predicted_rate and predicted_z are null.

    Returns
    -------
    FeatureResult
        Tables ``funding_features`` and ``funding_venue_features``.

    Raises
    ------
    ValueError
        If the market rows are unsorted or lack columns, or do not reach back to the stored state.
    """
    places = MarketRows.of(market, MARKET_COLUMNS)
    funding = funding_of(places, market, funding_rates, funding_predictions, params)
    wanted = checkpoints_within(window, places.newest, checkpoints)
    anomaly = _run_anomaly(places, funding, params, state, wanted)
    peaks = _peaks(places, funding, anomaly, params, state)
    turns = _turns(funding, peaks, params)
    reversals = {kind: _run_reversal(places, kind, turn, params, state, wanted) for kind, turn in turns.items()}

    rows = places.rows_within(window)
    k, hour = places.row_symbol[rows], places.row_hour[rows]
    config_hash = params.config_hash()
    machine = pd.DataFrame(
        {
            "state": pd.Series(anomaly.state[hour, k], dtype="str"),
            "episode_id": pd.Series(anomaly.episode_id[hour, k], dtype="str"),
            "config_hash": text_rows(np.zeros(len(rows), dtype=np.int8), [config_hash]),
        }
    )
    tables = {
        FEATURE: pd.concat([_feature_rows(places, market, funding, rows), machine], axis=1),
        "funding_venue_features": _venue_rows(places, funding, window, config_hash),
    }
    events = _events(places, funding, peaks, anomaly, reversals, params, window)
    states = _states(places, peaks, anomaly, reversals, state)
    return FeatureResult(tables, events, states_frame(FEATURE, config_hash, states))


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


def _run_anomaly(
    places: MarketRows,
    funding: Funding,
    params: FundingParameters,
    state: StoredState | None,
    checkpoints: Sequence[pd.Timestamp],
) -> Episodes:
    with np.errstate(invalid="ignore"):
        size = np.abs(funding.z)
        critical = funding.z_flag & (size >= params.critical_z) & (np.abs(funding.apr) >= params.critical_apr)
        informed = funding.rapid | funding.predicted_flag
        level = np.where(critical, 3, np.where(funding.z_flag, 2, np.where(informed, 1, 0)))
        off = (size < params.off_z) & ~funding.rapid & (level == 0)
    stored = {key: value["machine"] for key, value in (state.by_key if state else {}).items() if "machine" in value}
    rule = EpisodeRule(ANOMALY, cooldown_h=params.cooldown_h)
    valid = np.isfinite(funding.z)
    return run_machines(places.ts, places.symbols, level, off, valid, rule, state, stored, checkpoints)


def _run_reversal(
    places: MarketRows,
    kind: str,
    turn: Turn,
    params: FundingParameters,
    state: StoredState | None,
    checkpoints: Sequence[pd.Timestamp],
) -> Episodes:
    keys = [f"{symbol}|{kind}" for symbol in places.symbols]
    stored = state.by_key if state is not None else {}
    rule = EpisodeRule(REVERSAL, cooldown_h=params.cooldown_h)
    return run_machines(
        places.ts, keys, turn.on.astype(np.int8), turn.off, turn.valid, rule, state, stored, checkpoints
    )


def _peaks(
    places: MarketRows, funding: Funding, anomaly: Episodes, params: FundingParameters, state: StoredState | None
) -> PeakTrack:
    stored = state.by_key if state is not None else {}
    start = int(places.ts.searchsorted(state.ts, side="right")) if state is not None else 0
    return track_peaks(
        np.ascontiguousarray(anomaly.episode_id.T),
        np.ascontiguousarray((anomaly.state == "ACTIVE").T),
        funding.z,
        funding.x,
        funding.mean,
        params,
        places.symbols,
        dict.fromkeys(places.symbols, start),
        stored,
    )


def _turns(funding: Funding, peaks: PeakTrack, params: FundingParameters) -> dict[str, Turn]:
    conditions = (
        sign_flip(funding.x, funding.before, params),
        rapid(funding.change_pp, params),
        unwind(peaks, funding.z),
    )
    return dict(zip(KINDS, conditions, strict=True))


def _states(
    places: MarketRows,
    peaks: PeakTrack,
    anomaly: Episodes,
    reversals: dict[str, Episodes],
    state: StoredState | None,
) -> dict[pd.Timestamp, dict[str, dict[str, Any]]]:
    """Checkpoint -> key -> state: the anomaly machine with its peak under the symbol, reversals under symbol|kind."""
    first = places.first_hours()
    stored = state.by_key if state is not None else {}
    out: dict[pd.Timestamp, dict[str, dict[str, Any]]] = {}
    for moment, by_key in anomaly.states.items():
        out[moment] = {}
        t = int(places.ts.searchsorted(moment, side="right")) - 1
        for k, symbol in enumerate(places.symbols):
            if symbol not in by_key or first[symbol] > moment:
                continue
            peak = peaks.state(k, t) or stored.get(symbol, {}).get("peak")
            out[moment][symbol] = {"machine": by_key[symbol], "peak": peak}
            for kind, episodes in reversals.items():
                out[moment][f"{symbol}|{kind}"] = episodes.states[moment][f"{symbol}|{kind}"]
    return out


def _feature_rows(places: MarketRows, market: pd.DataFrame, funding: Funding, rows: Ints) -> pd.DataFrame:
    at = (places.row_symbol[rows], places.row_hour[rows])
    source = market.iloc[rows]
    words = np.empty(len(rows), dtype=object)
    words.fill([])
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


def _venue_rows(places: MarketRows, funding: Funding, window: Window, config_hash: str) -> pd.DataFrame:
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


def _events(
    places: MarketRows,
    funding: Funding,
    peaks: PeakTrack,
    anomaly: Episodes,
    reversals: dict[str, Episodes],
    params: FundingParameters,
    window: Window,
) -> pd.DataFrame:
    """Rows of ``episode_events``: the machines' phases with the message that each carries."""
    out = []
    config_hash = params.config_hash()
    number = {symbol: k for k, symbol in enumerate(places.symbols)}
    machines: list[tuple[str | None, Episodes]] = [(None, anomaly), *reversals.items()]
    for kind, episodes in machines:
        inside = episodes.events.loc[window.mask(episodes.events["ts"])]
        for event in inside.to_dict("records"):
            symbol = event["key"].split("|")[0]
            k, t = number[symbol], int(places.ts.searchsorted(event["ts"]))
            hour = funding.at(k, t) | {
                "peak_z": peaks.z[k, t],
                "peak_rate_8h": peaks.x[k, t],
                "peak_mean": peaks.mean[k, t],
            }
            if kind is None:
                severity = _SEVERITIES[event["peak"]]
                title, description, data = anomaly_message(symbol, hour)
            else:
                severity = _REVERSAL_SEVERITY[kind]
                title, description, data = reversal_message(symbol, kind, hour)
            out.append(
                {
                    "feature": FEATURE,
                    "episode_id": event["episode_id"],
                    "phase": event["phase"],
                    "level": event["level"],
                    "event_type": ANOMALY if kind is None else REVERSAL,
                    "key": event["key"],
                    "symbol": symbol,
                    "asset_pair": None,
                    "ts": event["ts"],
                    "onset_ts": event["onset_ts"],
                    "severity": severity,
                    "title": title,
                    "description": description,
                    "source": SOURCE,
                    "data": data,
                    "explain": explanation(hour, params),
                    "suppressed_reason": event["suppressed_reason"],
                    "config_hash": config_hash,
                }
            )
    return events_frame(out)
