"""When do two assets that usually move together stop doing so? One row per pair and hour, and an event per break.

What belongs here: the order of the steps, rows and memory. What does not: which pairs there are
(``asset_pairs.py``), the break rule (``break_rule.py``), the figures (``pair_statistics.py``,
``rank_correlation.py``, ``spread_reversion.py``), who leads (``leader.py``), what a message says
(``correlation_messages.py``), the episode rules (``episodes.py``).

A break is idiosyncratic news, not a crash alarm: in crashes correlation does not fall. Nor does the spread
reliably come back after one: each message carries the measured share (``break_evidence.py``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.features.asset_pairs import asset_pairs, pair_name
from regimes_dagster.features.break_evidence import Break, BreakRecord
from regimes_dagster.features.break_rule import ABSOLUTE, TRIGGERS, break_rule
from regimes_dagster.features.correlation_messages import EVENT_TYPE, FEATURE, break_message
from regimes_dagster.features.episodes import EpisodeRule, Episodes, run_episodes
from regimes_dagster.features.hourly_grid import (
    HourlyGrid,
    hour_stamps,
    log_returns,
    text_column,
    to_grid,
    whole_numbers,
)
from regimes_dagster.features.leader import DailyLeaders, daily_leaders
from regimes_dagster.features.leader import identify_leading_assets as identify_leading_assets
from regimes_dagster.features.pair_statistics import PairedReturns, PairFigures, history_h, pair_figures
from regimes_dagster.features.rank_correlation import sliding_spearman
from regimes_dagster.features.result import FeatureResult, StoredState, checkpoints_within, events_frame, states_frame
from regimes_dagster.features.spread_reversion import Reversion, spread_reversion
from regimes_dagster.parameters import CorrelationParameters
from regimes_dagster.partitions import HOUR, Window

#: Columns of ``market_metrics`` that are read; ``ohlcv_venue`` marks changes of venue.
MARKET_COLUMNS = ("symbol", "ts", "close", "ohlcv_venue")
#: |spread_z| from which a spread is tested, and half-life and p-value of one that comes back.
PAIR_TRADE_Z, PAIR_TRADE_HALF_LIFE_H, PAIR_TRADE_P = 2.0, 72.0, 0.05
HOLD_H = 3
SIGNALS = ("NONE", "CORRELATION_BREAK", "POTENTIAL_PAIR_TRADE")
_BREAK, _PAIR_TRADE = 1, 2
#: Pairs that are computed at a time: bounds memory, does not change a figure.
_CHUNK = 48

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int8]


def lookback(params: CorrelationParameters) -> timedelta:
    """History before the first hour computed: the baseline of correlations and spreads, and the hedge ratio."""
    return HOUR * (history_h(params) + HOLD_H)


def compute_pairwise_correlations(
    market: pd.DataFrame,
    params: CorrelationParameters,
    *,
    window: Window,
    state: StoredState | None = None,
    checkpoints: Sequence[pd.Timestamp] | None = None,
    symbols: Sequence[str] | None = None,
    minute_bars: pd.DataFrame | None = None,
    recorded: pd.DataFrame | None = None,
) -> FeatureResult:
    """Correlations of all pairs, breaks, spreads and leaders.

    Parameters
    ----------
    market
        ``MARKET_COLUMNS`` of ``market_metrics``, sorted by (symbol, ts), from ``lookback(params)`` before
        ``state.ts`` (without state: from the earliest row) to ``window.end``.
    window
        Hours to return.
    state
        Memory after ``state.ts``; a pair that is absent starts from its earliest row.
    checkpoints
        Moments whose memory is returned; default the month edges inside the window.
    symbols
        Configured symbols, whose order names the pairs and gives the default benchmark; default those of
        ``market``, sorted.
    minute_bars
        For the leader test (``identify_leading_assets``); without them leader is NONE.
    recorded
        Rows of ``correlation_features`` stored earlier for this window. Minute bars are kept for 14 days only:
        a day that was tested then keeps its result (same ``config_hash``, ``lead_p`` known).

    Returns
    -------
    FeatureResult
        ``rows["correlation_features"]``: one row per pair and hour in which both symbols have a row. Figures are
        NaN and ``quality`` INSUFFICIENT where history is too short or hours are missing.

    Raises
    ------
    ValueError
        If the rows are unsorted or not hourly, or a configured pair is unknown.
    """
    present = set(market["symbol"].unique())
    listed = list(symbols) if symbols is not None else sorted(present)
    pairs = sorted((p for p in asset_pairs(listed, params) if present.issuperset(p)), key=pair_name)
    listed = [symbol for symbol in listed if symbol in present]
    resume = None if state is None else state.ts + HOUR
    grid = to_grid(market, ("close",), symbols=listed, first=resume, last=window.end)
    newest = grid.ts[-1] if len(grid.ts) else None
    stops = checkpoints_within(window, newest, checkpoints)
    config_hash = params.config_hash()
    returns = log_returns(grid.values["close"], grid.venue)
    row_of = {symbol: row for row, symbol in enumerate(listed)}
    first, second = (np.array([row_of[pair[side]] for pair in pairs], dtype=np.intp) for side in (0, 1))
    shown = max(grid.column_of(window.start) + 1, 0)
    leaders = daily_leaders(minute_bars, recorded, pairs, params, grid.ts[shown:], config_hash)
    ranks = sliding_spearman(returns, first, second, window=params.window_h, minimum=params.min_window_h, begin=shown)

    frames: list[pd.DataFrame] = []
    events: list[dict[str, Any]] = []
    states: dict[pd.Timestamp, dict[str, dict[str, Any]]] = {stop: {} for stop in stops}
    for chunk, known in _chunks([pair_name(pair) for pair in pairs], state):
        begin = grid.column_of(resume) if known and resume is not None else 0
        if begin >= len(grid.ts):
            continue
        keys = [pair_name(pairs[i]) for i in chunk]
        stored = [state.by_key[key] if known and state is not None else None for key in keys]
        part = _compute_part(
            grid, returns, first[chunk], second[chunk], keys, begin, max(shown, begin), stored, params, stops
        )
        frames.append(part.rows(ranks[chunk][:, part.shown - shown :], leaders.of(keys), config_hash))
        events.extend(part.settle(stored, params, window, states, config_hash))
    table = pd.concat(frames, ignore_index=True) if frames else _empty()
    return FeatureResult({FEATURE: table}, events_frame(events), states_frame(FEATURE, config_hash, states))


def _chunks(keys: Sequence[str], state: StoredState | None) -> Iterator[tuple[list[int], bool]]:
    """Runs of neighbouring pairs that start from the same moment, in order."""
    known = state.by_key if state is not None else {}
    for has_state, run in groupby(range(len(keys)), key=lambda i: keys[i] in known):
        rows = list(run)
        for i in range(0, len(rows), _CHUNK):
            yield rows[i : i + _CHUNK], has_state


def _compute_part(
    grid: HourlyGrid,
    returns: Floats,
    first: npt.NDArray[np.intp],
    second: npt.NDArray[np.intp],
    keys: list[str],
    begin: int,
    shown: int,
    stored: Sequence[Mapping[str, Any] | None],
    params: CorrelationParameters,
    stops: Sequence[pd.Timestamp],
) -> "_Part":
    a, b = returns[first], returns[second]
    paired = PairedReturns(a, b, grid.first_hour)
    full = pair_figures(paired, params)
    rule = break_rule(full, params)
    ts = grid.ts[begin:]
    memory = {key: state["episode"] for key, state in zip(keys, stored, strict=True) if state is not None}
    episode_rule = EpisodeRule(
        EVENT_TYPE, cooldown_h=params.cooldown_h, release_bars=params.release_bars, hold_h=HOLD_H
    )
    episodes = run_episodes(
        ts,
        keys,
        rule.level[:, begin:].T,
        rule.release[:, begin:].T,
        rule.valid[:, begin:].T,
        episode_rule,
        memory,
        [stop for stop in stops if stop >= ts[0]],
    )
    figures, trigger = full.sliced(shown), rule.trigger[:, shown:]
    with np.errstate(invalid="ignore"):
        wide = np.abs(figures.spread_z) >= PAIR_TRADE_Z
    pair, column = np.nonzero((trigger > 0) | wide)
    tested = spread_reversion(paired, full.beta, pair, column + shown)
    half_life, adf_p = np.full(trigger.shape, np.nan), np.full(trigger.shape, np.nan)
    half_life[pair, column], adf_p[pair, column] = tested.half_life_h, tested.adf_p
    with np.errstate(invalid="ignore"):
        comes_back = wide & (half_life <= PAIR_TRADE_HALF_LIFE_H) & (adf_p < PAIR_TRADE_P)
    signal = np.where(
        (trigger == ABSOLUTE) | comes_back, np.int8(_PAIR_TRADE), np.where(trigger > 0, np.int8(_BREAK), np.int8(0))
    )
    present = grid.present[first] & grid.present[second]
    return _Part(
        grid, keys, a, b, present, begin, shown, full, figures, trigger, signal, Reversion(adf_p, half_life), episodes
    )


@dataclass(frozen=True)
class _Part:
    """Everything computed for some pairs: memory from column ``begin`` on, rows from column ``shown`` on."""

    grid: HourlyGrid
    keys: list[str]
    a: Floats
    b: Floats
    present: npt.NDArray[np.bool_]
    begin: int
    shown: int
    full: PairFigures
    figures: PairFigures
    trigger: Codes
    signal: Codes
    reversion: Reversion
    episodes: Episodes

    def rows(self, ranks: Floats, leaders: DailyLeaders, config_hash: str) -> pd.DataFrame:
        """Rows of ``correlation_features``; ``ranks`` float[P, T - shown]."""
        wanted = self.present[:, self.shown :]
        pair, column = np.nonzero(wanted)
        hours = self.grid.first_hour + self.shown + np.arange(wanted.shape[1])
        figures = self.figures
        ok = np.isfinite(figures.rho) & np.isfinite(figures.baseline)
        behind = self.shown - self.begin
        leader = leaders.rows(pair, hours[column])
        divergence = np.where(self.trigger == ABSOLUTE, -figures.rho, figures.break_strength)
        data: dict[str, Any] = {
            "asset_pair": text_column(pair, self.keys),
            "ts": hour_stamps(hours[column]),
            "return_correlation": figures.rho[wanted],
            "corr_24h": figures.corr_24h[wanted],
            "corr_168h": figures.corr_168h[wanted],
            "corr_720h": figures.corr_720h[wanted],
            "spearman_72h": ranks[wanted],
            "baseline_correlation": figures.baseline[wanted],
            "band_low": figures.band_low[wanted],
            "band_high": figures.band_high[wanted],
            "break_z": figures.break_z[wanted],
            "break_strength": figures.break_strength[wanted],
            "divergence_strength": divergence[wanted],
            "trigger": text_column(self.trigger[wanted], TRIGGERS),
            "beta": figures.beta[wanted],
            "spread_z": figures.spread_z[wanted],
            "spread_half_life_h": self.reversion.half_life_h[wanted],
            "signal": text_column(self.signal[wanted], SIGNALS),
            **leader,
            "n_obs": whole_numbers(figures.n_obs[wanted]),
            "quality": text_column(ok[wanted].astype(np.int8), ("INSUFFICIENT", "OK")),
            "state": self.episodes.state.T[:, behind:][wanted],
            "episode_id": self.episodes.episode_id.T[:, behind:][wanted],
            "config_hash": text_column(np.zeros(len(pair), dtype=np.int8), (config_hash,)),
        }
        return pd.DataFrame(data).astype({"episode_id": "str", "leader_reason": "str"})

    def settle(
        self,
        stored: Sequence[Mapping[str, Any] | None],
        params: CorrelationParameters,
        window: Window,
        states: dict[pd.Timestamp, dict[str, dict[str, Any]]],
        config_hash: str,
    ) -> Iterator[dict[str, Any]]:
        """Walk through each pair's events in time: keep its record of breaks, give messages, fill ``states``."""
        by_key = {key: list(group) for key, group in groupby(self._in_time(), key=lambda event: event["key"])}
        for i, key in enumerate(self.keys):
            record = BreakRecord.load(None if stored[i] is None else stored[i]["evidence"])  # type: ignore[index]
            stops = sorted(self.episodes.states)
            for event in by_key.get(key, []):
                while stops and stops[0] < event["ts"]:
                    self._keep(record, i, stops.pop(0), states)
                t = self.grid.column_of(event["ts"])
                record.settle(self.grid.first_hour + t, self.a[i], self.b[i], self.grid.first_hour)
                if event["ts"] > window.start:
                    yield self._message(event, i, t, record, params, config_hash)
                if event["phase"] == "OPEN" and event["suppressed_reason"] is None:
                    hour = self.grid.first_hour + t
                    record.add(Break(hour, float(self.full.beta[i, t]), float(self.full.spread[i, t])))
            for stop in stops:
                self._keep(record, i, stop, states)

    def _in_time(self) -> list[dict[Any, Any]]:
        order = {key: i for i, key in enumerate(self.keys)}
        return sorted(self.episodes.events.to_dict("records"), key=lambda event: (order[event["key"]], event["ts"]))

    def _keep(
        self, record: BreakRecord, i: int, stop: pd.Timestamp, states: dict[pd.Timestamp, dict[str, dict[str, Any]]]
    ) -> None:
        t = self.grid.column_of(stop)
        if not self.present[i, : t + 1].any():
            return  # not listed yet: it starts from its own first row
        record.settle(self.grid.first_hour + t, self.a[i], self.b[i], self.grid.first_hour)
        key = self.keys[i]
        states[stop][key] = {"episode": self.episodes.states[stop][key], "evidence": record.dump()}

    def _message(
        self,
        event: Mapping[Any, Any],
        i: int,
        t: int,
        record: BreakRecord,
        params: CorrelationParameters,
        config_hash: str,
    ) -> dict[str, Any]:
        column = t - self.shown
        return break_message(
            event,
            {name: float(values[i, column]) for name, values in vars(self.figures).items()},
            trigger=TRIGGERS[self.trigger[i, column]],
            signal=SIGNALS[self.signal[i, column]],
            half_life_h=float(self.reversion.half_life_h[i, column]),
            adf_p=float(self.reversion.adf_p[i, column]),
            evidence=record.summary(),
            params=params,
            config_hash=config_hash,
        )


def _empty() -> pd.DataFrame:
    from regimes_dagster.features.result import UTC_US
    from regimes_dagster.schemas import CorrelationFeatures

    frame = pd.DataFrame({column: pd.Series(dtype=object) for column in CorrelationFeatures.to_schema().columns})
    return frame.astype({"ts": UTC_US})
