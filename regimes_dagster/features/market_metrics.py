"""The one joined row per symbol and hour that every feature reads.

What belongs here: which venue's bar, which funding settlement and which liquidation sums hold at an hour, and
how much of the market the sums cover. What does not: fetching, storage, and any statistic of a feature.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import numpy as np
import pandas as pd

from regimes_dagster.partitions import HOUR, Window

#: Venues that served liquidations within this time are expected to serve them now.
VENUE_SET = timedelta(days=30)

#: A settlement stays in force for its interval and this much more, because venues settle late.
SETTLEMENT_GRACE = timedelta(hours=1)

#: Longest interval between settlements of any venue.
LONGEST_INTERVAL = timedelta(hours=24)

BAR_COLUMNS = ["open", "high", "low", "close", "volume", "quote_volume"]


def lookback() -> timedelta:
    """How much raw history before the first hour the join needs."""
    return max(VENUE_SET, LONGEST_INTERVAL + SETTLEMENT_GRACE)


def join_market_metrics(
    ohlcv: pd.DataFrame,
    funding_rates: pd.DataFrame,
    liquidations: pd.DataFrame,
    *,
    window: Window,
    first_hours: Mapping[str, pd.Timestamp],
    venues: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """Join the raw tables to one row per symbol and hour.

    Parameters
    ----------
    ohlcv, funding_rates, liquidations
        Raw rows as their models in ``schemas.py``, from ``window.start - lookback()`` to ``window.end``.
    window
        Hours to return; it ends at the newest final hour.
    first_hours
        Per symbol the first hour that was ever stored. A symbol has a row for every hour from there on; hours
        without a bar keep a row whose bar is null, so that gaps are marked and never filled.
    venues
        The configured order per kind (``ohlcv``, ``funding``, ``liquidations``).

    Returns
    -------
    DataFrame
        Rows of ``market_metrics`` sorted by (symbol, ts). The bar and the funding rate come from the first
        listed venue that has one; liquidations are summed over the listed venues. ``liq_coverage`` is the
        covered share of the venues that had rows within the last 30 days, null before there were any; the sums
        are null where it is zero or null, never zero by default.
    """
    grid = _grid(window, first_hours)
    bars = _first_venue(ohlcv, venues["ohlcv"], grid, [*BAR_COLUMNS, "is_simulated"])
    bars = bars.rename(columns={"venue": "ohlcv_venue"})
    rate = _funding_in_force(funding_rates, venues["funding"], grid)
    liq = _liquidations(liquidations, venues["liquidations"], grid, window)
    frame = pd.concat([grid, bars, rate, liq], axis=1)
    simulated = frame[["is_simulated", "funding_is_simulated", "liq_is_simulated"]]
    frame["is_simulated"] = simulated.fillna(False).astype(bool).any(axis=1)
    return frame.drop(columns=["funding_is_simulated", "liq_is_simulated"])


def _grid(window: Window, first_hours: Mapping[str, pd.Timestamp]) -> pd.DataFrame:
    hours = window.hours()
    parts = [
        pd.DataFrame({"symbol": symbol, "ts": hours[hours >= first]}) for symbol, first in sorted(first_hours.items())
    ]
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame({"symbol": pd.Series(dtype="str"), "ts": hours[:0]})
    return pd.concat(parts, ignore_index=True)


def _ranked(raw: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Rows of the listed venues with their place in the list."""
    rank = raw["venue"].map({venue: place for place, venue in enumerate(order)})
    return raw.loc[rank.notna()].assign(rank=rank.dropna().astype("int64"))


def _first_venue(raw: pd.DataFrame, order: Sequence[str], grid: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    ranked = _ranked(raw, order).sort_values("rank", kind="stable").drop_duplicates(["symbol", "ts"])
    joined = grid.merge(ranked[["symbol", "ts", "venue", *columns]], on=["symbol", "ts"], how="left")
    return joined[["venue", *columns]]


def _funding_in_force(raw: pd.DataFrame, order: Sequence[str], grid: pd.DataFrame) -> pd.DataFrame:
    """As-of join per venue: the newest settlement not older than its interval plus the grace."""
    names = {
        "rate": "funding_rate",
        "interval_hours": "funding_interval_hours",
        "venue": "funding_venue",
        "ts": "funding_settled_ts",
        "is_simulated": "funding_is_simulated",
    }
    best = pd.DataFrame(
        {
            "funding_rate": np.nan,
            "funding_interval_hours": np.nan,
            "funding_venue": pd.Series(pd.NA, index=grid.index, dtype="str"),
            "funding_settled_ts": pd.Series(pd.NaT, index=grid.index, dtype="datetime64[us, UTC]"),
            "funding_is_simulated": pd.Series(False, index=grid.index),
        },
        index=grid.index,
    )
    hours = grid.reset_index(names="row").sort_values("ts", kind="stable")
    for venue in reversed(order):  # the first listed is written last and wins
        rows = raw.loc[raw["venue"] == venue, ["symbol", *names]].sort_values("ts", kind="stable")
        if rows.empty:
            continue
        settled = rows.rename(columns=names)
        joined = pd.merge_asof(hours, settled, left_on="ts", right_on="funding_settled_ts", by="symbol")
        age = joined["ts"] - joined["funding_settled_ts"]
        limit = pd.to_timedelta(joined["funding_interval_hours"], unit="h") + SETTLEMENT_GRACE
        holds = joined.loc[age <= limit].set_index("row")
        best.loc[holds.index, list(names.values())] = holds[list(names.values())]
    return best


def _liquidations(raw: pd.DataFrame, order: Sequence[str], grid: pd.DataFrame, window: Window) -> pd.DataFrame:
    rows = _ranked(raw, order)
    sums = (
        rows.loc[rows["coverage"] > 0]
        .groupby(["symbol", "ts"], as_index=False)
        .agg(
            long_liq_usd=("long_usd", "sum"),
            short_liq_usd=("short_usd", "sum"),
            liq_is_simulated=("is_simulated", "any"),
        )
    )
    joined = grid.merge(sums, on=["symbol", "ts"], how="left")
    joined["liq_coverage"] = _coverage(rows, grid, window)
    unknown = ~(joined["liq_coverage"] > 0)
    joined.loc[unknown, ["long_liq_usd", "short_liq_usd"]] = np.nan
    return joined[["long_liq_usd", "short_liq_usd", "liq_coverage", "liq_is_simulated"]]


def _coverage(rows: pd.DataFrame, grid: pd.DataFrame, window: Window) -> pd.Series:
    """Sum of the venues' coverage over the number of venues with a row in the trailing 30 days."""
    result = pd.Series(np.nan, index=grid.index)
    if rows.empty or grid.empty:
        return result
    hours = pd.date_range(window.start - VENUE_SET + HOUR, window.end, freq="h", unit="us")
    span = int(VENUE_SET / HOUR)
    for symbol, part in rows.groupby("symbol"):
        covered = part.pivot_table(index="ts", columns="venue", values="coverage", aggfunc="max").reindex(hours)
        seen = covered.notna().to_numpy()
        # Counts are whole numbers, so a running sum gives the same answer whatever hour it starts from.
        running = np.vstack([np.zeros((1, seen.shape[1]), dtype=np.int64), np.cumsum(seen, axis=0)])
        lower = np.maximum(np.arange(1, len(hours) + 1) - span, 0)
        expected = ((running[1:] - running[lower]) > 0).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(expected > 0, covered.fillna(0.0).to_numpy().sum(axis=1) / expected, np.nan)
        mine = grid["symbol"] == symbol
        result.loc[mine] = pd.Series(share, index=hours).reindex(grid.loc[mine, "ts"]).to_numpy()
    return result
