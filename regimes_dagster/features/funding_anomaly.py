"""Funding anomalies and reversals: the hourly rule, its episodes, and the rows and events that come of it.

What belongs here: from market rows and settlements of all venues to ``funding_features``,
``funding_venue_features``, FUNDING_ANOMALY and FUNDING_REVERSAL events. What does not: the rule of one hour
(``funding_rule.py``), the conditions of a reversal (``funding_reversal.py``), wording (``funding_messages.py``) and
how episodes begin and end (``episodes.py``).

Formulas
    x      = 8-hour-equivalent rate;  apr = rate (24 / interval_h) 365
    z      = clip((x - mean) / max(sd, 1e-5), +-20) over the previous 90 slots, the current one excluded
    z_flag = |z| > 2 and |x - mean| >= 1e-4;  rapid = |change over 24 h| > 0.05 percentage points
    score  = |z| + 0.5 vol_high + 0.5 rapid
    level  = CRITICAL if z_flag, |z| >= 3 and |apr| >= 0.30; else WARNING if z_flag; else INFO if rapid, or if the
             predicted rate alone is anomalous.  Off: |z| < 1 and not rapid.
The values change only when an 8-hour value becomes known, so that machines on the hourly grid see settlements.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from regimes_dagster.features.episodes import EpisodeRule, Episodes
from regimes_dagster.features.funding_blocks import BLOCK_H
from regimes_dagster.features.funding_messages import (
    SOURCE,
    anomaly_message,
    explanation,
    reversal_message,
    trend,
)
from regimes_dagster.features.funding_reversal import KINDS, PeakTrack, Turn, rapid, sign_flip, track_peaks, unwind
from regimes_dagster.features.funding_rule import MARKET_COLUMNS, Funding, feature_rows, funding_of, venue_rows
from regimes_dagster.features.funding_statistics import RANK_SLOTS
from regimes_dagster.features.market_rows import MarketRows, run_machines, text_rows
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

_SEVERITIES = ("", "INFO", "WARNING", "CRITICAL")
_REVERSAL_SEVERITY = {"SIGN_FLIP": "WARNING", "RAPID": "INFO", "UNWIND": "WARNING"}


def lookback(params: FundingParameters) -> timedelta:
    """History before the first hour: the longest window of 8-hour values, and the oldest value in force."""
    slots = max(RANK_SLOTS, params.z_reference_settlements + 1)
    return timedelta(hours=slots * BLOCK_H + 2 * BLOCK_H + params.max_age_h)


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
    return feature_rows(places, market, funding, np.arange(len(market), dtype=np.int64))


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
        FEATURE: pd.concat([feature_rows(places, market, funding, rows), machine], axis=1),
        "funding_venue_features": venue_rows(places, funding, window, config_hash),
    }
    events = _events(places, funding, peaks, anomaly, reversals, params, window)
    states = _states(places, peaks, anomaly, reversals, state)
    return FeatureResult(tables, events, states_frame(FEATURE, config_hash, states))


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
