"""Which of two assets moves first? A test on minute bars, once a day, with NONE as the usual answer.

What belongs here: the lagged cross-correlation test and the look-up of its results. What does not: hourly
correlation (``pair_statistics.py``), who changes regime first (``regime_shift_lead.py``). On hourly or half-hourly
bars no asset leads (measured: every lagged correlation below 0.02), so nothing is ever claimed from them.

The test of one day looks at the minute returns of the last seven days. The statistic is the largest lagged
correlation in absolute value, lag 0 left out; its p-value comes from circular shifts of one series by a day or
more, which keep each series as it is and destroy what ties them. All shifts come from one Fourier transform:
the circular cross-correlation at shift s + l is the lagged correlation l of the series shifted by s.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.features.asset_pairs import pair_name
from regimes_dagster.features.hourly_grid import text_column
from regimes_dagster.parameters import CorrelationParameters
from regimes_dagster.partitions import utc

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NONE = "NONE"
NO_BARS = "no minute bars"
MINUTE_US = 60_000_000
DAY_MIN = 1440
SAMPLE_DAYS = 7
#: The leader of a day must have been called on this many of the last ``CALL_DAYS`` days.
CALL_DAYS, CALLS_NEEDED = 7, 5
MIN_COVERAGE = 0.9
#: Lead-lag ratio: squared correlations on the leader's side over those on the other side.
MIN_RATIO = 1.5
LEADER_COLUMNS = ("asset_pair", "ts", "leader", "leader_reason", "lead_lag_s", "lead_p")


@dataclass(frozen=True)
class _Call:
    """Outcome of one pair and day: ``side`` +1 the first leads, -1 the second, 0 neither."""

    side: int
    reason: str | None
    lag_bars: int
    p: float


def identify_leading_assets(
    minute_bars: pd.DataFrame | None,
    pairs: Sequence[tuple[str, str]],
    params: CorrelationParameters,
    days: Iterable[pd.Timestamp],
) -> pd.DataFrame:
    """Leader of each pair on each day.

    Parameters
    ----------
    minute_bars
        Columns symbol, ts (END of the minute, UTC), close and optionally venue; 14 days before each day are
        looked at. ``None`` or empty: nothing leads, and the reason says so.
    pairs
        Pairs of symbols; the p-values are corrected over them (Holm 1979).
    days
        Midnights, UTC. Only bars with ts <= the day are used; the result holds for the 24 h after it.

    Returns
    -------
    DataFrame
        Columns ``LEADER_COLUMNS``, one row per pair and day: leader a symbol or NONE, then with the reason;
        ``lead_p`` the corrected p-value (null without a test), ``lead_lag_s`` the lag of the strongest
        correlation in seconds (null without a leader).
    """
    moments = sorted({utc(day) for day in days})
    names = [pair_name(pair) for pair in pairs]
    none = [_Call(0, NO_BARS, 0, math.nan)] * len(pairs)
    if minute_bars is None or minute_bars.empty or not pairs:
        return _frame([(day, names, pairs, none, [NONE] * len(pairs)) for day in moments])
    bars = _MinuteReturns(minute_bars, sorted({symbol for pair in pairs for symbol in pair}))
    calls: dict[pd.Timestamp, list[_Call]] = {}
    out = []
    for day in moments:
        recent = [day - pd.Timedelta(days=i) for i in range(CALL_DAYS)]
        for moment in recent:
            if moment not in calls:
                calls[moment] = _call_day(bars, pairs, params, moment)
        leaders = []
        today = []
        for i, (first, second) in enumerate(pairs):
            call = calls[day][i]
            same = sum(calls[moment][i].side == call.side for moment in recent)
            if call.side and same < CALLS_NEEDED:
                call = _Call(0, f"called on {same} of the last {CALL_DAYS} days, {CALLS_NEEDED} are needed", 0, call.p)
            leaders.append(NONE if call.side == 0 else first if call.side > 0 else second)
            today.append(call)
        out.append((day, names, pairs, today, leaders))
    return _frame(out)


def _frame(
    days: Sequence[tuple[pd.Timestamp, list[str], Sequence[tuple[str, str]], list[_Call], list[str]]],
) -> pd.DataFrame:
    rows = [
        (name, day, leader, call.reason, float(abs(call.lag_bars) * 60) if leader != NONE else math.nan, call.p)
        for day, names, _, calls, leaders in days
        for name, call, leader in zip(names, calls, leaders, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=list(LEADER_COLUMNS))
    frame["ts"] = pd.to_datetime(frame["ts"], utc=True).astype(pd.DatetimeTZDtype("us", "UTC"))
    return frame.sort_values(["asset_pair", "ts"]).reset_index(drop=True)


class _MinuteReturns:
    """Minute log returns of several symbols on a complete grid of minutes."""

    def __init__(self, bars: pd.DataFrame, symbols: Sequence[str]) -> None:
        minutes = bars["ts"].to_numpy(dtype="datetime64[us]").astype(np.int64) // MINUTE_US
        self.symbols = {symbol: i for i, symbol in enumerate(symbols)}
        venues = (
            bars["venue"].to_numpy(dtype=object) if "venue" in bars.columns else np.full(len(bars), "", dtype=object)
        )
        names = bars["symbol"].to_numpy(dtype=object)
        closes = bars["close"].to_numpy(dtype=np.float64)
        self.series: dict[int, list[tuple[str, npt.NDArray[np.int64], Floats]]] = {}
        for symbol, row in self.symbols.items():
            mine = names == symbol
            self.series[row] = [
                (str(venue), minutes[mine & (venues == venue)], closes[mine & (venues == venue)])
                for venue in sorted(set(venues[mine]))
            ]

    def sample(self, row: int, last_minute: int, length: int) -> tuple[Floats, float]:
        """Standardised returns of the last ``length`` minutes (unknown ones 0), and the share that is known.

        One venue: the one with most bars in the sample, the first by name if equal.
        """
        best = np.full(length + 1, np.nan)
        most = 0
        for _, minutes, closes in self.series[row]:
            inside = (minutes > last_minute - length - 1) & (minutes <= last_minute)
            if inside.sum() > most:
                most = int(inside.sum())
                best = np.full(length + 1, np.nan)
                best[minutes[inside] - (last_minute - length)] = closes[inside]
        step = np.diff(np.log(best))
        known = np.isfinite(step)
        if not known.any():
            return np.zeros(length), 0.0
        centred = np.where(known, step - step[known].mean(), 0.0)
        scale = float(np.sqrt((centred * centred).sum()))
        if scale < 1e-12:
            return np.zeros(length), 0.0
        return centred / scale, float(known.mean())


def _call_day(
    bars: _MinuteReturns, pairs: Sequence[tuple[str, str]], params: CorrelationParameters, day: pd.Timestamp
) -> list[_Call]:
    from scipy.fft import irfft, rfft

    length = SAMPLE_DAYS * DAY_MIN
    last = int(day.value // (MINUTE_US * 1000))
    samples = {name: bars.sample(row, last, length) for name, row in bars.symbols.items()}
    spectra = {name: rfft(sample) for name, (sample, _) in samples.items()}
    p_values = np.full(len(pairs), np.nan)
    lags: list[tuple[int, float]] = []
    for i, (first, second) in enumerate(pairs):
        if min(samples[first][1], samples[second][1]) < MIN_COVERAGE:
            lags.append((0, math.nan))
            continue
        circular = irfft(np.conj(spectra[first]) * spectra[second], n=length)
        p_values[i], lag, ratio = shift_test(circular, params, len(pairs), f"{first}|{second}|{day.isoformat()}")
        lags.append((lag, ratio))
    corrected = holm(p_values)
    return [_judge(p, lag, ratio, params) for p, (lag, ratio) in zip(corrected, lags, strict=True)]


def _judge(p: float, lag: int, ratio: float, params: CorrelationParameters) -> _Call:
    if math.isnan(p):
        return _Call(0, "too few minute bars in the last seven days", 0, p)
    if p >= params.lead_alpha:
        return _Call(0, "no lagged correlation beyond chance", lag, p)
    if not (ratio >= MIN_RATIO if lag > 0 else ratio <= 1 / MIN_RATIO):
        return _Call(0, "both lags alike", lag, p)
    return _Call(1 if lag > 0 else -1, None, lag, p)


def shift_test(
    circular: Floats, params: CorrelationParameters, n_pairs: int, seed_key: str
) -> tuple[float, int, float]:
    """p-value of the largest lagged correlation against circular shifts of a day or more.

    Parameters
    ----------
    circular
        float[N]: ``circular[k] = sum_t a[t] b[t + k]`` of two standardised series, indices modulo N.
    n_pairs
        Pairs tested together. With 499 shifts no p-value falls below 1/500, which Holm's correction over more
        than five pairs can never accept: more shifts are drawn then, as many as the sample has.
    seed_key
        Names the data; the shifts drawn depend on nothing else.

    Returns
    -------
    p, lag, ratio
        ``lag`` > 0 where the first series leads; ``ratio`` = squared correlations at positive lags over those
        at negative lags.
    """
    n, span = len(circular), params.lead_max_lag
    forward = np.arange(1, span + 1)
    offsets = np.concatenate([-forward[::-1], forward])
    observed = circular[offsets % n]
    strongest = int(np.abs(observed).argmax())
    candidates = np.arange(DAY_MIN, n - DAY_MIN + 1)
    wanted = min(max(params.lead_shifts, math.ceil(n_pairs / params.lead_alpha)), len(candidates))
    seed = int.from_bytes(hashlib.sha256(seed_key.encode()).digest()[:8], "big")
    shifts = np.random.default_rng(seed).choice(candidates, size=wanted, replace=False)
    null = np.abs(circular[(shifts[:, None] + offsets) % n]).max(axis=1)
    p = (1 + int((null >= abs(observed[strongest])).sum())) / (1 + wanted)
    behind = float((observed[:span] ** 2).sum())
    ratio = float((observed[span:] ** 2).sum()) / behind if behind > 0 else math.inf
    return p, int(offsets[strongest]), ratio


def holm(p_values: Floats) -> Floats:
    """Holm's step-down correction; NaN stays NaN and is not counted.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979).
    """
    out = np.full(p_values.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    m = len(order)
    if m:
        out[order] = np.minimum(np.maximum.accumulate(p_values[order] * (m - np.arange(m))), 1.0)
    return out


@dataclass(frozen=True)
class DailyLeaders:
    """Leader of each pair on each day, looked up by hour.

    Attributes
    ----------
    by_pair_day
        (pair, day number) -> (leader, reason, lag in seconds, p); the day number counts midnights since 1970.
    pairs
        Pairs that the rows are asked for by position.
    """

    by_pair_day: dict[tuple[str, int], tuple[str, str | None, float, float]]
    pairs: tuple[str, ...] = ()

    def of(self, pairs: Sequence[str]) -> "DailyLeaders":
        """The same for these pairs, in this order."""
        return DailyLeaders(self.by_pair_day, tuple(pairs))

    def rows(self, pair: npt.NDArray[np.intp], hour: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Leader columns of rows, given the position of their pair and their hour since 1970."""
        day = (hour - 1) // 24
        if not self.by_pair_day or not len(day):
            n = len(day)
            return {
                "leader": text_column(np.zeros(n, dtype=np.int8), (NONE,)),
                "leader_reason": text_column(np.zeros(n, dtype=np.int8), (NO_BARS,)),
                "lead_lag_s": np.full(n, np.nan),
                "lead_p": np.full(n, np.nan),
            }
        first, days = int(day.min()), int(day.max() - day.min()) + 1
        absent = (NONE, NO_BARS, math.nan, math.nan)
        table = [self.by_pair_day.get((name, first + i), absent) for name in self.pairs for i in range(days)]
        at = pair * days + (day - first)
        kinds: tuple[tuple[str, type], ...] = (
            ("leader", object), ("leader_reason", object), ("lead_lag_s", float), ("lead_p", float),
        )  # fmt: skip
        return {name: np.array([row[i] for row in table], dtype=kind)[at] for i, (name, kind) in enumerate(kinds)}


def daily_leaders(
    minute_bars: pd.DataFrame | None,
    recorded: pd.DataFrame | None,
    pairs: Sequence[tuple[str, str]],
    params: CorrelationParameters,
    ts: pd.DatetimeIndex,
    config_hash: str,
) -> DailyLeaders:
    """Leaders for the hours ``ts``: what was recorded with the same configuration, else what the bars say.

    Minute bars are kept for two weeks, rows for ever: a result that was tested while its bars were there stands,
    and its day is not tested again. A day that had too few bars then is tested if it has enough now; if not, it
    keeps its reason, although its last bars may be gone.
    """
    found: dict[tuple[str, int], tuple[str, str | None, float, float]] = {}
    known: dict[tuple[str, int], tuple[str, str | None, float, float]] = {}
    if recorded is not None and not recorded.empty:
        mine = recorded[recorded["config_hash"] == config_hash]
        day = (mine["ts"] - pd.Timedelta(hours=1)).dt.floor("D")
        tested = mine["lead_p"].notna()
        untested = ~tested & (mine["leader_reason"] != NO_BARS)
        found.update(_by_pair_day(mine[untested], day[untested]))
        known.update(_by_pair_day(mine[tested], day[tested]))
    if minute_bars is not None and not minute_bars.empty and len(ts):
        days = (ts - pd.Timedelta(hours=1)).floor("D").unique()
        oldest = minute_bars["ts"].min()
        names = [pair_name(pair) for pair in pairs]
        open_days = [day for day in days if day > oldest and any((name, _number(day)) not in known for name in names)]
        fresh = identify_leading_assets(minute_bars, pairs, params, open_days)
        for key, result in _by_pair_day(fresh, fresh["ts"]):
            if not math.isnan(result[3]) or key not in found:
                found[key] = result
    found.update(known)
    return DailyLeaders(found)


def _number(day: pd.Timestamp) -> int:
    """Midnights since 1970."""
    return int(day.value // (DAY_MIN * MINUTE_US * 1000))


def _by_pair_day(
    rows: pd.DataFrame, day: "pd.Series[pd.Timestamp]"
) -> Iterable[tuple[tuple[str, int], tuple[str, str | None, float, float]]]:
    numbers = day.to_numpy(dtype="datetime64[us]").astype(np.int64) // (DAY_MIN * MINUTE_US)
    columns = (
        rows[name].to_numpy(dtype=object) for name in ("asset_pair", "leader", "leader_reason", "lead_lag_s", "lead_p")
    )
    for number, pair, leader, reason, lag, p in zip(numbers, *columns, strict=True):
        yield (pair, int(number)), (leader, None if pd.isna(reason) else reason, float(lag), float(p))
