"""The simulated market: the same rows whatever window is asked, and a market worth looking at."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.schemas import TABLES
from regimes_dagster.sources.protocol import Kind
from regimes_dagster.sources.simulated import SimulatedSource
from regimes_dagster.sources.validate import validate_batch

NOW = utc("2026-11-22 13:30")
YEAR = Window(utc("2025-01-01"), utc("2026-01-01"))
BTC = "BTC/USDT"
KINDS: tuple[Kind, ...] = ("ohlcv", "funding", "liquidations", "minute_bars")


@pytest.fixture(scope="module")
def year() -> dict[str, pd.DataFrame]:
    source = SimulatedSource(7)
    tables: dict[str, pd.DataFrame] = {}
    for kind in KINDS:
        tables |= source.fetch(kind, BTC, YEAR, NOW).rows
    return tables


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, 8000), hours=st.integers(1, 760), kind=st.sampled_from(KINDS))
def test_any_window_gives_the_rows_that_a_year_gives(
    year: dict[str, pd.DataFrame], start: int, hours: int, kind: Kind
) -> None:
    window = Window(YEAR.start + start * HOUR, YEAR.start + (start + hours) * HOUR)
    batch = SimulatedSource(7).fetch(kind, BTC, window, NOW)
    for table, rows in batch.rows.items():
        inside = year[table][window.mask(year[table]["ts"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, inside, check_exact=True)


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_satisfies_its_table_and_is_marked_as_simulated(year: dict[str, pd.DataFrame], kind: Kind) -> None:
    batch = SimulatedSource(7).fetch(kind, BTC, YEAR, NOW)
    validate_batch("simulated", BTC, batch, YEAR)
    for table, rows in batch.rows.items():
        TABLES[table].validate(rows)
        assert (rows["venue"] == "simulated").all()
        assert "is_simulated" not in rows or rows["is_simulated"].all()


def test_another_seed_or_symbol_is_another_market() -> None:
    month = Window(utc("2025-03-01"), utc("2025-04-01"))

    def returns(seed: int, symbol: str) -> "pd.Series[float]":
        bars = SimulatedSource(seed, gaps=False).fetch("ohlcv", symbol, month, NOW).rows["ohlcv"]
        return np.log(bars["close"]).diff().dropna()

    assert abs(returns(7, BTC).corr(returns(8, BTC))) < 0.25
    assert 0.3 < returns(7, BTC).corr(returns(7, "ETH/USDT")) < 0.97


def test_the_price_is_continuous_over_every_edge(year: dict[str, pd.DataFrame]) -> None:
    bars = SimulatedSource(7, gaps=False).fetch("ohlcv", BTC, YEAR, NOW).rows["ohlcv"]
    assert len(bars) == len(YEAR.hours())
    assert (bars["open"].to_numpy()[1:] == bars["close"].to_numpy()[:-1]).all()


def test_volatility_visits_every_regime_and_changes_often(year: dict[str, pd.DataFrame]) -> None:
    bars = year["ohlcv"].set_index("ts")
    variance = (
        0.5 * np.log(bars["high"] / bars["low"]) ** 2 - (2 * np.log(2) - 1) * np.log(bars["close"] / bars["open"]) ** 2
    )
    daily = np.sqrt(24 * variance.rolling(24).mean()).dropna()
    share = pd.cut(
        daily, [0, 0.01, 0.05, 0.10, 9.0], labels=["STABLE", "HIGH_VOL", "EXPLOSIVE", "EXTREME"]
    ).value_counts(normalize=True)
    assert (share > 0.0005).all()
    assert share["HIGH_VOL"] > 0.5
    assert 0.01 < daily.median() < 0.04
    returns = np.log(bars["close"]).diff().dropna()
    assert returns.kurt() > 5
    assert (returns**2).autocorr(1) > 0.05


def test_liquidations_hit_longs_when_the_price_falls(year: dict[str, pd.DataFrame]) -> None:
    bars, hours = year["ohlcv"].set_index("ts"), year["liquidations"].set_index("ts")
    move = (bars["close"] / bars["open"] - 1).reindex(hours.index)
    worst, best = move.nsmallest(20).index, move.nlargest(20).index
    assert hours.loc[worst, "long_usd"].sum() > 20 * hours.loc[worst, "short_usd"].sum()
    assert hours.loc[best, "short_usd"].sum() > 20 * hours.loc[best, "long_usd"].sum()


def test_events_add_up_to_the_hourly_sums_at_prices_inside_the_bar(year: dict[str, pd.DataFrame]) -> None:
    events, hours = year["liquidation_events"], year["liquidations"].set_index("ts")
    by_hour = (
        events.assign(hour=events["ts"].dt.ceil("h"))
        .groupby(["hour", "liquidated_side"])["usd"]
        .sum()
        .unstack(fill_value=0.0)
    )
    assert by_hour["LONG"].to_numpy() == pytest.approx(hours.loc[by_hour.index, "long_usd"].to_numpy())
    assert by_hour["SHORT"].to_numpy() == pytest.approx(hours.loc[by_hour.index, "short_usd"].to_numpy())
    bars = SimulatedSource(7, gaps=False).fetch("ohlcv", BTC, YEAR, NOW).rows["ohlcv"].set_index("ts")
    own = bars.loc[events["ts"].dt.ceil("h")]
    assert (events["price"].to_numpy() >= own["low"].to_numpy() * (1 - 1e-9)).all()
    assert (events["price"].to_numpy() <= own["high"].to_numpy() * (1 + 1e-9)).all()


def test_funding_follows_the_trend_and_runs_to_extremes_now_and_then(year: dict[str, pd.DataFrame]) -> None:
    rates = year["funding_rates"].set_index("ts")["rate"]
    assert len(rates) == 365 * 3
    close = year["ohlcv"].set_index("ts")["close"]
    trend = np.log(close).diff(72).reindex(rates.index)
    assert trend.corr(rates, method="spearman") > 0.3
    z = (rates - rates.rolling(90).mean()) / rates.rolling(90).std()
    assert 3 <= (z.abs() > 3).sum() <= 60


def test_gaps_can_be_switched_off(year: dict[str, pd.DataFrame]) -> None:
    assert 0 < len(YEAR.hours()) - len(year["ohlcv"]) < 200
    quiet = SimulatedSource(7, gaps=False).fetch("liquidations", BTC, YEAR, NOW).rows["liquidations"]
    assert len(quiet) == len(YEAR.hours())


def test_before_its_start_there_is_no_market_and_nothing_after_now() -> None:
    source = SimulatedSource(7, utc("2025-02-10"))
    batch = source.fetch("ohlcv", BTC, Window(utc("2025-02-01"), utc("2025-03-01")), utc("2025-02-20 05:59"))
    assert batch.rows["ohlcv"]["ts"].min() > utc("2025-02-10")
    assert batch.rows["ohlcv"]["ts"].max() <= utc("2025-02-20 05:00")
    assert batch.unavailable == (Window(utc("2025-02-01"), utc("2025-02-10")),)
    assert batch.covered == (Window(utc("2025-02-10"), utc("2025-02-20 05:00")),)
