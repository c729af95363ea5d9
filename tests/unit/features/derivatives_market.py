"""Simulated perpetual markets for the tests of the liquidation and funding features.

What belongs here: raw tables (bars, liquidations, single liquidations, funding), their join to market rows, cutting
them at a moment, and running a feature in pieces. What does not: any expectation about a feature.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from regimes_dagster.features.market_metrics import join_market_metrics
from regimes_dagster.features.result import FeatureResult, StoredState
from regimes_dagster.partitions import Window, utc

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
LIQUIDATION_VENUES = ("gate", "krakenfutures")
FUNDING_VENUES = ("hyperliquid", "krakenfutures")
HOUR = pd.Timedelta(hours=1)


@dataclass(frozen=True)
class Raw:
    """Raw tables and the market rows joined from them."""

    market: pd.DataFrame
    liquidations: pd.DataFrame
    liquidation_events: pd.DataFrame
    funding_rates: pd.DataFrame
    perp_volume: pd.DataFrame

    def between(self, start: pd.Timestamp | None, end: pd.Timestamp) -> "Raw":
        """Every table with start < ts <= end."""

        def cut(table: pd.DataFrame) -> pd.DataFrame:
            keep = table["ts"] <= end
            if start is not None:
                keep &= table["ts"] > start
            return table.loc[keep].reset_index(drop=True)

        return Raw(*(cut(getattr(self, name)) for name in self.__dataclass_fields__))


def simulate(hours: int, seed: int = 1, symbols: Sequence[str] = SYMBOLS, start: str = "2024-01-01") -> Raw:
    """Random prices, bursts of liquidations at two venues, persistent funding at an hourly and an 8-hourly venue."""
    rng = np.random.default_rng(seed)
    ts = pd.date_range(utc(start) + HOUR, periods=hours, freq="h", unit="us")
    bars, liquidations, singles, funding, volume = [], [], [], [], []
    for symbol in symbols:
        close = 100 * np.exp(np.cumsum(rng.standard_t(4, hours) * 0.004))
        opens = np.append(100.0, close[:-1])
        high = np.maximum(opens, close) * np.exp(np.abs(rng.normal(0, 0.002, hours)))
        low = np.minimum(opens, close) * np.exp(-np.abs(rng.normal(0, 0.002, hours)))
        bars.append(_bars(symbol, ts, opens, high, low, close))
        burst = np.repeat(np.where(rng.random(hours // 3 + 1) < 0.01, rng.uniform(10, 60), 1.0), 3)[:hours]
        for venue in LIQUIDATION_VENUES:
            sides = [np.round(rng.lognormal(11, 1.2, hours) * burst * (rng.random(hours) < 0.9), 2) for _ in range(2)]
            liquidations.append(_liquidations(venue, symbol, ts, *sides))
        singles.append(_singles("gate", symbol, ts[-hours // 3 :], close[-hours // 3 :], rng))
        funding.append(_funding(symbol, ts, rng))
        days = pd.date_range(ts[0].normalize(), ts[-1].normalize(), freq="D", unit="us")
        volume.append(
            pd.DataFrame(
                {"venue": "gate", "symbol": symbol, "ts": days, "volume_usd": rng.uniform(4e9, 8e9, len(days))}
            )
        )
    tables = [pd.concat(parts, ignore_index=True) for parts in (bars, liquidations, singles, funding, volume)]
    return join(*tables)


def join(
    bars: pd.DataFrame,
    liquidations: pd.DataFrame,
    singles: pd.DataFrame,
    funding: pd.DataFrame,
    volume: pd.DataFrame,
) -> Raw:
    """Market rows from raw tables, over the hours of the bars."""
    window = Window(bars["ts"].min() - HOUR, bars["ts"].max())
    venues = {"ohlcv": ["binanceus"], "funding": FUNDING_VENUES, "liquidations": LIQUIDATION_VENUES}
    first = bars.groupby("symbol")["ts"].min().to_dict()
    market = join_market_metrics(bars, funding, liquidations, window=window, first_hours=first, venues=venues)
    return Raw(market, liquidations, singles, funding, volume)


def _bars(symbol: str, ts: pd.DatetimeIndex, opens: Any, high: Any, low: Any, close: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "venue": "binanceus",
            "symbol": symbol,
            "ts": ts,
            "open": opens,
            "high": high,
            "low": low,
            "close": close,
            "volume": 10.0,
            "quote_volume": 10.0 * close,
            "is_simulated": True,
        }
    )


def _liquidations(venue: str, symbol: str, ts: pd.DatetimeIndex, long_usd: Any, short_usd: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "venue": venue,
            "symbol": symbol,
            "ts": ts,
            "long_usd": long_usd,
            "short_usd": short_usd,
            "n_events": pd.array([3] * len(ts), dtype="Int64"),
            "coverage": 1.0,
            "is_lower_bound": venue == "gate",
            "is_simulated": True,
        }
    )


def _singles(venue: str, symbol: str, ts: pd.DatetimeIndex, close: Any, rng: np.random.Generator) -> pd.DataFrame:
    hour = rng.integers(0, len(ts), 2 * len(ts))
    price = close[hour] * np.exp(rng.normal(0, 0.003, len(hour)))
    amount = rng.lognormal(4, 1, len(hour))
    return pd.DataFrame(
        {
            "venue": venue,
            "symbol": symbol,
            "event_id": [f"{venue}-{symbol}-{n}" for n in range(len(hour))],
            "ts": ts[hour] - pd.to_timedelta(rng.integers(0, 3_600_000_000, len(hour)), unit="us"),
            "liquidated_side": np.where(rng.random(len(hour)) < 0.6, "LONG", "SHORT"),
            "price": price,
            "amount": amount,
            "usd": price * amount,
            "is_simulated": True,
        }
    )


def _funding(symbol: str, ts: pd.DatetimeIndex, rng: np.random.Generator) -> pd.DataFrame:
    x = np.zeros(len(ts))
    shocks = rng.standard_t(3, len(ts)) * 2e-6
    for i in range(1, len(ts)):
        x[i] = 0.985 * x[i - 1] + shocks[i]
    hourly = funding_rows("hyperliquid", symbol, ts, np.round(x + 1.25e-5, 9), 1.0)
    eighth = (ts.hour % 8 == 0).nonzero()[0]
    return pd.concat(
        [hourly, funding_rows("krakenfutures", symbol, ts[eighth], np.round(8 * x[eighth] + 1e-4, 8), 8.0)]
    )


def funding_rows(venue: str, symbol: str, ts: pd.DatetimeIndex, rate: Any, interval_hours: float) -> pd.DataFrame:
    """Rows of ``funding_rates``."""
    return pd.DataFrame(
        {
            "venue": venue,
            "symbol": symbol,
            "ts": ts,
            "rate": rate,
            "interval_hours": interval_hours,
            "settled_at_raw": ts,
            "is_simulated": True,
        }
    )


def liquidation_market(
    long_usd: Any,
    short_usd: Any = 0.0,
    symbol: str = "BTC/USDT",
    start: str = "2024-01-01",
    coverage: Any = 1.0,
    close: Any = 100.0,
) -> Raw:
    """One symbol at one venue with the given sums; NaN is an hour without a row."""
    hours = len(long_usd)
    ts = pd.date_range(utc(start) + HOUR, periods=hours, freq="h", unit="us")
    market = pd.DataFrame({"symbol": symbol, "ts": ts, "close": np.broadcast_to(close, hours).astype(float)})
    market["open"] = market["close"].shift(1, fill_value=market["close"].iloc[0])
    market["high"], market["low"] = market[["open", "close"]].max(axis=1), market[["open", "close"]].min(axis=1)
    market["ohlcv_venue"] = "binanceus"
    market["long_liq_usd"] = np.asarray(long_usd, dtype=float)
    market["short_liq_usd"] = np.broadcast_to(short_usd, hours).astype(float)
    market["liq_coverage"] = np.where(market["long_liq_usd"].isna(), np.nan, coverage)
    rows = _liquidations("gate", symbol, ts, market["long_liq_usd"], market["short_liq_usd"])
    rows = rows.loc[rows["long_usd"].notna()].reset_index(drop=True)
    nothing = simulate_nothing()
    return replace(nothing, market=market, liquidations=rows)


def simulate_nothing() -> Raw:
    """Empty raw tables with their columns."""
    stamps = pd.DatetimeIndex([], tz="UTC").as_unit("us")
    empty = np.zeros(0)
    return Raw(
        market=pd.DataFrame(),
        liquidations=_liquidations("gate", "BTC/USDT", stamps, empty, empty),
        liquidation_events=_singles(
            "gate",
            "BTC/USDT",
            pd.date_range("2024", periods=1, tz="UTC", unit="us"),
            np.ones(1),
            np.random.default_rng(0),
        ).iloc[:0],
        funding_rates=funding_rows("hyperliquid", "BTC/USDT", stamps, empty, 1.0),
        perp_volume=pd.DataFrame(
            {"venue": pd.Series(dtype="str"), "symbol": pd.Series(dtype="str"), "ts": stamps, "volume_usd": empty}
        ),
    )


def funding_market(
    rates: Any, interval_hours: float = 8.0, symbol: str = "BTC/USDT", venue: str = "krakenfutures"
) -> Raw:
    """One symbol whose settlements are the given rates, NaN for a settlement that is missing."""
    rates = np.asarray(rates, dtype=float)
    ts = pd.date_range(
        utc("2024-01-01") + interval_hours * HOUR, periods=len(rates), freq=interval_hours * HOUR, unit="us"
    )
    rows = funding_rows(venue, symbol, ts, rates, interval_hours)
    rows = rows.loc[rows["rate"].notna()].reset_index(drop=True)
    hours = pd.date_range(utc("2024-01-01") + HOUR, ts[-1] + timedelta(hours=30), freq="h", unit="us")
    flat = np.full(len(hours), 100.0)
    nothing = simulate_nothing()
    return join(
        _bars(symbol, hours, flat, flat, flat, flat),
        nothing.liquidations,
        nothing.liquidation_events,
        rows,
        nothing.perp_volume,
    )


Compute = Callable[[Raw, Window, StoredState | None, Sequence[pd.Timestamp] | None], FeatureResult]


def in_pieces(raw: Raw, edges: Sequence[pd.Timestamp], compute: Compute, lookback: timedelta) -> FeatureResult:
    """One run per window between the edges, each from the stored state of the one before and its own lookback."""
    results, state = [], None
    for start, end in pairwise(edges):
        reach = None if state is None else state.ts - lookback
        results.append(compute(raw.between(reach, end), Window(start, end), state, [end]))
        state = stored(results[-1].states)
    return joined(results)


def stored(states: pd.DataFrame) -> StoredState:
    """The newest stored state, through JSON."""
    newest = states.loc[states["ts"] == states["ts"].max()]
    return StoredState(
        newest["ts"].iloc[0], {row.key: json.loads(json.dumps(row.state)) for row in newest.itertuples()}
    )


def joined(results: Sequence[FeatureResult]) -> FeatureResult:
    """Several results one after the other."""
    tables = {name: pd.concat([result.rows[name] for result in results], ignore_index=True) for name in results[0].rows}
    return FeatureResult(
        tables,
        pd.concat([result.events for result in results], ignore_index=True),
        pd.concat([result.states for result in results], ignore_index=True),
    )


def assert_same(
    left: FeatureResult, right: FeatureResult, *, until: pd.Timestamp | None = None, states: bool = False
) -> None:
    """Equal tables and events, to the last digit (``1e-12`` for floats); optionally only up to a moment."""
    for name, table in left.rows.items():
        assert_same_rows(table, right.rows[name], until)
    assert_same_rows(left.events, right.events, until)
    if states:
        assert_same_rows(left.states, right.states, until)


def assert_same_rows(left: pd.DataFrame, right: pd.DataFrame, until: pd.Timestamp | None = None) -> None:
    """Equal rows whatever their order."""
    frames = []
    for frame in (left, right):
        kept = frame if until is None else frame.loc[frame["ts"] <= until]
        keys = [
            c for c in ("venue", "symbol", "key", "ts", "side", "zone_rank", "phase", "level") if c in frame.columns
        ]
        kept = kept.sort_values(keys, kind="stable").reset_index(drop=True)
        words = [c for c in ("data", "explain", "state", "reasons") if c in frame.columns]
        frames.append(kept.assign(**{c: [_rounded(value) for value in kept[c]] for c in words}))
    pd.testing.assert_frame_equal(*frames, rtol=1e-12, atol=0)


def _rounded(value: Any) -> str:
    """JSON text with figures to 11 digits."""

    def walk(node: Any) -> Any:
        if isinstance(node, float):
            return float(f"{node:.11g}")
        if isinstance(node, dict):
            return {key: walk(inner) for key, inner in node.items()}
        return node

    return json.dumps(walk(value), sort_keys=True)
