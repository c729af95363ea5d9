"""Do the timeframes agree on the regime? One row per symbol and hour, and an event when they come to agree.

What belongs here: the order of the steps, the memory between hours, rows, states and events. What does not: bars
and scores (``timeframe_bars.py``), heat (``market_heat.py``), labels (``regime_labels.py``), the dead-band
(``regime_deadband.py``), votes (``regime_votes.py``), what a message says (``regime_messages.py``), the episode rules
(``episodes.py``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.features.episodes import EpisodeRule, Episodes, run_episodes
from regimes_dagster.features.hourly_grid import (
    HOUR_US,
    HourlyGrid,
    hour_number,
    hour_stamps,
    on_grid,
    text_column,
    to_grid,
    whole_numbers,
)
from regimes_dagster.features.market_heat import HEAT_H, market_heat, volume_ratio
from regimes_dagster.features.regime_deadband import DeadBand, apply_deadband, latches_from, unlatched
from regimes_dagster.features.regime_labels import ALARMING, Taxonomy, taxonomy
from regimes_dagster.features.regime_labels import classify_regime as classify_regime
from regimes_dagster.features.regime_labels import classify_regime_simple as classify_regime_simple
from regimes_dagster.features.regime_messages import EVENT_TYPE, FEATURE, WARNING_LEVEL, Snapshot, confirmation_message
from regimes_dagster.features.regime_votes import MIN_TIMEFRAMES, Votes, count_votes
from regimes_dagster.features.result import (
    UTC_US,
    FeatureResult,
    StoredState,
    checkpoints_within,
    events_frame,
    states_frame,
)
from regimes_dagster.features.timeframe_bars import (
    BAR_HOURS,
    HOLD_H,
    HourlyScores,
    as_of_hours,
    bars_needed,
    resample,
    score_bars,
)
from regimes_dagster.parameters import MultiTimeframeParameters
from regimes_dagster.partitions import HOUR, Window

#: Columns of ``market_metrics`` that are read; ``ohlcv_venue`` marks changes of venue.
MARKET_COLUMNS = ("symbol", "ts", "close", "quote_volume", "ohlcv_venue")
#: Column of ``funding_features`` that enters heat.
FUNDING_COLUMNS = ("symbol", "ts", "funding_z_score")
#: Families that can be confirmed; the machine key is ``SYMBOL:FAMILY``.
CONFIRMABLE = (-1, 1)
#: Symbols that are computed at a time: bounds memory, does not change a figure.
_CHUNK = 48

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int8]


def lookback(params: MultiTimeframeParameters) -> timedelta:
    """History before the first hour computed: the longest score window, the heat ranks, and the hold."""
    bars = max(bars_needed(tf) * BAR_HOURS[name] for name, tf in params.timeframes.items())
    return HOUR * (max(bars, HEAT_H) + HOLD_H + 1)


def compute_multi_timeframe_regimes(
    market: pd.DataFrame,
    params: MultiTimeframeParameters,
    *,
    window: Window,
    state: StoredState | None = None,
    checkpoints: Sequence[pd.Timestamp] | None = None,
    funding_features: pd.DataFrame | None = None,
) -> FeatureResult:
    """Regime per timeframe, their agreement, and confirmations.

    Parameters
    ----------
    market
        ``MARKET_COLUMNS`` of ``market_metrics``, sorted by (symbol, ts), from ``lookback(params)`` before
        ``state.ts`` (without state: from the earliest row) to ``window.end``.
    window
        Hours to return.
    state
        Memory after ``state.ts``; a symbol that is absent starts from its earliest row.
    checkpoints
        Moments whose memory is returned; default the month edges inside the window.
    funding_features
        ``FUNDING_COLUMNS`` over the same hours as ``market``; ``None`` where funding is not computed, which
        leaves heat at 0.5.

    Returns
    -------
    FeatureResult
        ``rows["regimes"]``: one row per row of ``market`` in the window. Scores are NaN, labels UNKNOWN and
        ``quality`` INSUFFICIENT where history is too short or bars are missing; a missing bar keeps the last one
        for three hours.

    Raises
    ------
    ValueError
        If the rows are unsorted or not hourly, or the configured classifier is wrong.
    """
    labels = taxonomy(params)
    symbols = sorted(market["symbol"].unique())
    resume = None if state is None else state.ts + HOUR
    grid = to_grid(market, ("close", "quote_volume"), symbols=symbols, first=resume, last=window.end)
    newest = grid.ts[-1] if len(grid.ts) else None
    stops = checkpoints_within(window, newest, checkpoints)
    funding = None if funding_features is None else on_grid(funding_features, "funding_z_score", grid)
    config_hash = params.config_hash()

    frames: list[pd.DataFrame] = []
    events: list[dict[str, Any]] = []
    states: dict[pd.Timestamp, dict[str, dict[str, Any]]] = {stop: {} for stop in stops}
    for rows, known in _chunks(grid, state):
        stored = [state.by_key[grid.symbols[k]] for k in rows] if known and state is not None else [None] * len(rows)
        begin = grid.column_of(resume) if known and resume is not None else 0
        if begin >= len(grid.ts):
            continue
        part = _compute_part(grid, funding, rows, begin, stored, params, labels, stops)
        frames.append(part.rows(window, config_hash))
        events.extend(part.events(window, params, config_hash))
        part.add_states(states)
    table = pd.concat(frames, ignore_index=True) if frames else _empty()
    return FeatureResult({FEATURE: table}, events_frame(events), states_frame(FEATURE, config_hash, states))


def _chunks(grid: HourlyGrid, state: StoredState | None) -> Iterator[tuple[list[int], bool]]:
    """Runs of neighbouring symbols that start from the same moment, in order."""
    known = state.by_key if state is not None else {}
    for has_state, run in groupby(range(len(grid.symbols)), key=lambda k: grid.symbols[k] in known):
        rows = list(run)
        for i in range(0, len(rows), _CHUNK):
            yield rows[i : i + _CHUNK], has_state


def _compute_part(
    grid: HourlyGrid,
    funding: Floats | None,
    rows: list[int],
    begin: int,
    stored: Sequence[Mapping[str, Any] | None],
    params: MultiTimeframeParameters,
    labels: Taxonomy,
    stops: Sequence[pd.Timestamp],
) -> "_Part":
    names = [name for name in BAR_HOURS if name in params.timeframes]
    close, venue = grid.values["close"][rows], grid.venue[rows]
    n_hours = len(grid.ts)
    heat_inputs = [volume_ratio(grid.values["quote_volume"][rows], grid.first_hour)]
    if funding is not None:
        heat_inputs.append(funding[rows])
    heat = market_heat(*heat_inputs)[:, begin:]

    scores: dict[str, HourlyScores] = {}
    raw: dict[str, Codes] = {}
    seen: dict[str, Codes] = {}
    bands: dict[str, DeadBand] = {}
    for name in names:
        bars = resample(close, venue, grid.first_hour, name)
        price_z, vol_z = score_bars(bars, params.timeframes[name])
        full = as_of_hours(bars, price_z, vol_z, grid.first_hour, n_hours)
        score = HourlyScores(full.price_z[:, begin:], full.vol_z[:, begin:], full.bar_close[:, begin:])
        before = latches_from(stored, name) if params.deadband else unlatched(len(rows))
        raw[name] = labels.codes(score.price_z, score.vol_z, heat)
        bands[name] = apply_deadband(score.price_z, score.vol_z, before)
        seen[name] = labels.codes(bands[name].price_z, bands[name].vol_z, heat) if params.deadband else raw[name]
        scores[name] = score

    votes = count_votes(
        [seen[name] for name in names],
        [scores[name].price_z for name in names],
        [params.timeframes[name].weight for name in names],
        labels,
    )
    since = _since(votes.primary, grid.first_hour + begin, stored, labels)
    keys = [f"{grid.symbols[k]}:{family}" for k in rows for family in CONFIRMABLE]
    episodes = _confirmations(grid.ts[begin:], keys, votes, params, labels, stored, rows, grid, stops)
    return _Part(grid, rows, begin, names, heat, scores, raw, seen, bands, votes, since, keys, episodes, labels)


def _since(
    primary: Codes, first_hour: int, stored: Sequence[Mapping[str, Any] | None], labels: Taxonomy
) -> npt.NDArray[np.int64]:
    """int[K, T], hours since 1970 at which the primary regime of each hour was entered."""
    codes = {name: code for code, name in enumerate(labels.names)}
    column = np.arange(primary.shape[1])
    changed = np.ones(primary.shape, dtype=bool)
    changed[:, 1:] = primary[:, 1:] != primary[:, :-1]
    origin = np.full(len(primary), first_hour, dtype=np.int64)
    for k, memory in enumerate(stored):
        if memory is not None and codes.get(memory["primary"], -1) == primary[k, 0]:
            changed[k, 0] = False
            origin[k] = hour_number(pd.Timestamp(memory["since"]))
    entered = np.maximum.accumulate(np.where(changed, column, -1), axis=1)
    return np.where(entered >= 0, first_hour + entered, origin[:, None])


def _confirmations(
    ts: pd.DatetimeIndex,
    keys: Sequence[str],
    votes: Votes,
    params: MultiTimeframeParameters,
    labels: Taxonomy,
    stored: Sequence[Mapping[str, Any] | None],
    rows: Sequence[int],
    grid: HourlyGrid,
    stops: Sequence[pd.Timestamp],
) -> Episodes:
    """The two machines of every symbol, bear and bull; columns 2k and 2k + 1 belong to series k."""
    shape = (len(ts), len(keys))
    level = np.zeros(shape, dtype=np.int8)
    release = np.zeros(shape, dtype=bool)
    valid = np.repeat((votes.n_timeframes >= MIN_TIMEFRAMES).T, len(CONFIRMABLE), axis=1)
    alarming = np.array([name in ALARMING for name in labels.names])[votes.primary]
    with np.errstate(invalid="ignore"):
        agreed = (votes.confidence > params.confirm_threshold) & (votes.share > params.confirm_threshold)
        faded = ~(votes.share >= params.release)
    for i, family in enumerate(CONFIRMABLE):
        on = agreed & (votes.family == family)
        level[:, i :: len(CONFIRMABLE)] = np.where(on, np.where(alarming, WARNING_LEVEL, 1), 0).T
        release[:, i :: len(CONFIRMABLE)] = (faded | (votes.family != family)).T
    memory = {
        f"{grid.symbols[k]}:{family}": state["episodes"][str(family)]
        for k, state in zip(rows, stored, strict=True)
        if state is not None
        for family in CONFIRMABLE
    }
    rule = EpisodeRule(EVENT_TYPE, cooldown_h=params.cooldown_h, hold_h=HOLD_H)
    return run_episodes(ts, keys, level, release, valid, rule, memory, [stop for stop in stops if stop >= ts[0]])


@dataclass(frozen=True)
class _Part:
    """Everything computed for some symbols from column ``begin`` of the grid on."""

    grid: HourlyGrid
    symbols: list[int]
    begin: int
    names: Sequence[str]
    heat: Floats
    scores: dict[str, HourlyScores]
    raw: dict[str, Codes]
    seen: dict[str, Codes]
    bands: dict[str, DeadBand]
    votes: Votes
    since: npt.NDArray[np.int64]
    keys: list[str]
    episodes: Episodes
    labels: Taxonomy

    def rows(self, window: Window, config_hash: str) -> pd.DataFrame:
        first = max(self.grid.column_of(window.start) + 1 - self.begin, 0)
        hours = np.arange(self.grid.first_hour + self.begin + first, self.grid.first_hour + len(self.grid.ts))
        wanted = self.grid.present[self.symbols][:, self.begin + first :]
        series, column = np.nonzero(wanted)
        names, votes = self.labels.names, self.votes

        def pick(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.asarray(array[:, first:][wanted])

        data: dict[str, Any] = {
            "symbol": text_column(np.asarray(self.symbols, dtype=np.intp)[series], self.grid.symbols),
            "ts": hour_stamps(hours[column]),
        }
        absent = np.full(len(series), np.nan)
        for column_name in ("price_z", "vol_z"):
            for name in BAR_HOURS:
                present = name in self.scores
                data[f"{column_name}_{name}"] = pick(getattr(self.scores[name], column_name)) if present else absent
        primary = pick(votes.primary)
        for prefix, codes in (("regime", self.seen), ("regime_raw", self.raw)):
            for name in BAR_HOURS:
                code = pick(codes[name]) if name in codes else np.zeros(len(series), dtype=np.int8)
                data[f"{prefix}_{name}"] = text_column(code, names)
        for name in BAR_HOURS:
            close = pick(self.scores[name].bar_close) if name in self.scores else np.full(len(series), -1)
            data[f"bar_close_{name}"] = hour_stamps(close)
        state, episode = self._published()
        data |= {
            "heat": pick(self.heat),
            "primary_regime": text_column(primary, names),
            "family": whole_numbers(pick(votes.family)),
            "confidence": pick(votes.confidence),
            "confidence_weighted": pick(votes.confidence_weighted),
            "n_timeframes": whole_numbers(pick(votes.n_timeframes)),
            "long_bias": pick(votes.long_bias),
            "risk_multiplier": pick(votes.risk_multiplier),
            "emoji": text_column(primary, [label.emoji for label in self.labels.labels]),
            "hours_in_regime": whole_numbers(hours[column] - pick(self.since), missing=primary == 0),
            "quality": text_column(
                (pick(votes.n_timeframes) >= MIN_TIMEFRAMES).astype(np.int8), ("INSUFFICIENT", "OK")
            ),
            "state": pick(state),
            "episode_id": pick(episode),
            "config_hash": text_column(np.zeros(len(series), dtype=np.int8), (config_hash,)),
        }
        return pd.DataFrame(data).astype({"episode_id": "str"})

    def _published(self) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.object_]]:
        """State and episode of the machine that says most: ACTIVE before COOLING before IDLE before UNKNOWN."""
        state, episode = self.episodes.state[:, 0::2].copy(), self.episodes.episode_id[:, 0::2].copy()
        other, other_id = self.episodes.state[:, 1::2], self.episodes.episode_id[:, 1::2]
        onset, other_onset = self.episodes.onset[:, 0::2], self.episodes.onset[:, 1::2]
        rank, other_rank = _rank(state), _rank(other)
        later = (other_rank > rank) | ((other_rank == rank) & (rank >= 2) & (other_onset > onset))
        state[later], episode[later] = other[later], other_id[later]
        return state.T, episode.T

    def add_states(self, states: dict[pd.Timestamp, dict[str, dict[str, Any]]]) -> None:
        first = self.grid.first_column()[self.symbols] - self.begin
        for stop, by_key in self.episodes.states.items():
            column = self.grid.column_of(stop) - self.begin
            for i, k in enumerate(self.symbols):
                if first[i] > column:
                    continue  # not listed yet: it starts from its own first row
                symbol = self.grid.symbols[k]
                states[stop][symbol] = {
                    "deadband": {
                        name: [bool(b) for b in self.bands[name].latches[:, i, column]] for name in self.names
                    },
                    "primary": self.labels.names[self.votes.primary[i, column]],
                    "since": pd.Timestamp(int(self.since[i, column]) * HOUR_US, unit="us", tz="UTC").isoformat(),
                    "episodes": {str(family): by_key[f"{symbol}:{family}"] for family in CONFIRMABLE},
                }

    def events(self, window: Window, params: MultiTimeframeParameters, config_hash: str) -> Iterator[dict[str, Any]]:
        found = self.episodes.events
        index = {key: i for i, key in enumerate(self.keys)}
        for event in found[window.mask(found["ts"])].to_dict("records"):
            i = index[event["key"]] // len(CONFIRMABLE)
            column = self.grid.column_of(event["ts"]) - self.begin
            yield confirmation_message(event, self._snapshot(i, column), params, config_hash)

    def _snapshot(self, i: int, t: int) -> Snapshot:
        votes, names = self.votes, self.labels.names
        return Snapshot(
            symbol=self.grid.symbols[self.symbols[i]],
            primary=names[votes.primary[i, t]],
            regimes={name: names[self.seen[name][i, t]] for name in self.names},
            raw={name: names[self.raw[name][i, t]] for name in self.names},
            price_z={name: float(self.scores[name].price_z[i, t]) for name in self.names},
            vol_z={name: float(self.scores[name].vol_z[i, t]) for name in self.names},
            family=int(votes.family[i, t]),
            n_timeframes=int(votes.n_timeframes[i, t]),
            confidence=float(votes.confidence[i, t]),
            confidence_weighted=float(votes.confidence_weighted[i, t]),
            share=float(votes.share[i, t]),
            long_bias=float(votes.long_bias[i, t]),
            risk_multiplier=float(votes.risk_multiplier[i, t]),
            heat=float(self.heat[i, t]),
        )


def _rank(state: npt.NDArray[np.object_]) -> npt.NDArray[np.int8]:
    order = {"UNKNOWN": 0, "IDLE": 1, "COOLING": 2, "ACTIVE": 3}
    rank = np.zeros(state.shape, dtype=np.int8)
    for name, value in order.items():
        rank[state == name] = value
    return rank


def _empty() -> pd.DataFrame:
    from regimes_dagster.schemas import Regimes

    frame = pd.DataFrame({column: pd.Series(dtype=object) for column in Regimes.to_schema().columns})
    return frame.astype({c: UTC_US for c in frame.columns if c == "ts" or c.startswith("bar_close")})
