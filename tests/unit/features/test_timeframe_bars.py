"""Bars against pandas' own resampling, scores against slow loops, and that a forming bar never enters."""

import math

import numpy as np
import pandas as pd
import pytest

from regimes_dagster.features.hourly_grid import hour_number, log_returns, to_grid
from regimes_dagster.features.timeframe_bars import (
    BAR_HOURS,
    MONDAY,
    Bars,
    as_of_hours,
    ewma_bars,
    held,
    resample,
    score_bars,
)
from regimes_dagster.parameters import MultiTimeframeParameters, TimeframeParameters
from regimes_dagster.partitions import utc
from tests.unit.features.hourly_market import market


def one_series(close: np.ndarray, first: str = "2024-01-03 05:00") -> tuple[np.ndarray, np.ndarray, int]:
    return close[None, :], np.zeros((1, len(close)), dtype=np.int64), hour_number(utc(first))


def closes_of(bars: Bars) -> pd.DatetimeIndex:
    hours = (bars.first_bar + np.arange(bars.close.shape[1])) * bars.hours + MONDAY
    return pd.DatetimeIndex(pd.to_datetime(hours * 3600, unit="s", utc=True))


@pytest.mark.parametrize("timeframe", list(BAR_HOURS))
def test_bars_are_those_of_pandas_closed_and_labelled_right(timeframe: str) -> None:
    rng = np.random.default_rng(2)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 1500)))
    close[rng.random(1500) < 0.02] = np.nan
    prices, venue, first = one_series(close)
    bars = resample(prices, venue, first, timeframe)
    ts = pd.date_range("2024-01-03 05:00", periods=1500, freq="h", tz="UTC")
    monday = pd.Timestamp("2024-01-01", tz="UTC")
    rule = f"{BAR_HOURS[timeframe]}h"
    grouped = pd.Series(close, index=ts).resample(rule, closed="right", label="right", origin=monday)
    expected = grouped.last().where(grouped.count() >= math.ceil(0.9 * BAR_HOURS[timeframe]))
    expected = expected[expected.index <= ts[-1]]
    assert list(closes_of(bars)) == list(expected.index)
    np.testing.assert_array_equal(bars.close[0], expected.to_numpy())


def test_weeks_end_on_monday_at_midnight_and_days_at_midnight() -> None:
    prices, venue, first = one_series(np.arange(1.0, 1001.0))
    assert {(t.day_name(), t.hour) for t in closes_of(resample(prices, venue, first, "1w"))} == {("Monday", 0)}
    assert {t.hour for t in closes_of(resample(prices, venue, first, "1d"))} == {0}
    assert {t.hour for t in closes_of(resample(prices, venue, first, "4h"))} == {0, 4, 8, 12, 16, 20}


@pytest.mark.parametrize(("missing", "complete"), [(2, True), (3, False)])
def test_a_day_counts_with_at_least_ninety_per_cent_of_its_hours(missing: int, complete: bool) -> None:
    close = np.arange(1.0, 49.0)
    close[5 : 5 + missing] = np.nan
    prices, venue, _ = one_series(close)
    bars = resample(prices, venue, hour_number(utc("2024-01-03 01:00")), "1d")
    assert np.isfinite(bars.close[0]).tolist() == [complete, True]


def slow_scores(close: list[float], venue: list[int], params: TimeframeParameters) -> tuple[list[float], list[float]]:
    """Both scores as their docstring says, bar by bar."""
    n, m, big = params.trend_bars, params.vol_bars, params.history_bars
    r = [math.nan] + [
        math.log(close[i] / close[i - 1]) if venue[i] == venue[i - 1] else math.nan for i in range(1, len(close))
    ]
    alpha = 2 / (2 * n + 1)

    def window(t: int, length: int) -> list[float]:
        return [r[i] for i in range(max(t - length + 1, 0), t + 1) if not math.isnan(r[i])]

    def enough(t: int, length: int) -> bool:
        there = sum(not math.isnan(close[i]) for i in range(max(t - length + 1, 0), t + 1))
        return not math.isnan(close[t]) and there >= math.ceil(0.9 * length)

    price_z, log_vol, vol_z = [], [], []
    for t in range(len(close)):
        squares = [
            ((1 - alpha) ** i * r[t - i] ** 2, (1 - alpha) ** i)
            for i in range(min(ewma_bars(n), t + 1))
            if not math.isnan(r[t - i])
        ]
        trend = window(t, n)
        if enough(t, n) and trend:
            sigma = math.sqrt(max(sum(s for s, _ in squares) / sum(w for _, w in squares), 1e-12))
            price_z.append(min(max(sum(trend) / (sigma * math.sqrt(len(trend))), -10), 10))
        else:
            price_z.append(math.nan)
        recent = window(t, m)
        known = enough(t, m) and bool(recent)
        log_vol.append(0.5 * math.log(max(sum(x * x for x in recent) / len(recent), 1e-12)) if known else math.nan)
        past = [x for x in log_vol[max(t - big, 0) : t] if not math.isnan(x)]
        if len(past) >= params.history_min and not math.isnan(log_vol[t]):
            mean = sum(past) / len(past)
            sd = math.sqrt(sum((x - mean) ** 2 for x in past) / (len(past) - 1))
            vol_z.append(min(max((log_vol[t] - mean) / max(sd, 0.01), -10), 20))
        else:
            vol_z.append(math.nan)
    return price_z, vol_z


@pytest.mark.parametrize("timeframe", list(BAR_HOURS))
def test_scores_are_those_of_a_slow_loop_with_gaps_and_a_change_of_venue(timeframe: str) -> None:
    params = MultiTimeframeParameters().timeframes[timeframe]  # type: ignore[index]
    rng = np.random.default_rng(4)
    n = 800 if timeframe in ("1h", "4h") else 250
    close = 100 * np.exp(np.cumsum(rng.standard_t(4, n) * 0.01))
    close[[60, 61, 150]] = np.nan
    venue = np.where(np.arange(n) < 120, 0, 1)
    venue[np.isnan(close)] = -1
    price_z, vol_z = score_bars(Bars(1, 1000, close[None], venue[None]), params)
    expected_price, expected_vol = slow_scores(close.tolist(), venue.tolist(), params)
    np.testing.assert_allclose(price_z[0], expected_price, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(vol_z[0], expected_vol, rtol=1e-9, atol=1e-9)
    assert np.isfinite(vol_z).sum() > 20


def test_without_gaps_the_trend_score_is_the_log_price_change_over_sigma() -> None:
    rng = np.random.default_rng(5)
    params = MultiTimeframeParameters().timeframes["1d"]
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, 400)))
    price_z, _ = score_bars(Bars(24, 7, close[None], np.zeros((1, 400), dtype=np.int64)), params)
    r2 = pd.Series(np.log(close)).diff() ** 2
    sigma = np.sqrt(r2.ewm(span=2 * params.trend_bars, ignore_na=True).mean())
    change = np.log(close[20:] / close[:-20])
    expected = change / (sigma.to_numpy()[20:] * math.sqrt(20))
    # Six half-lives leave 1.6 % of the weight out of an infinite EWMA.
    np.testing.assert_allclose(price_z[0, 150:], expected[130:], rtol=0.05)


def test_under_a_random_walk_the_trend_score_is_about_standard_normal() -> None:
    rng = np.random.default_rng(6)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (200, 400)), axis=1))
    for params in MultiTimeframeParameters().timeframes.values():
        price_z, _ = score_bars(Bars(1, 0, close, np.zeros(close.shape, dtype=np.int64)), params)
        assert 0.88 < np.std(price_z[:, -1]) < 1.12


def test_a_constant_price_scores_zero() -> None:
    params = MultiTimeframeParameters().timeframes["1h"]
    price_z, vol_z = score_bars(Bars(1, 0, np.full((1, 900), 5.0), np.zeros((1, 900), dtype=np.int64)), params)
    assert price_z[0, -1] == 0
    assert vol_z[0, -1] == pytest.approx(0, abs=1e-6)


def test_an_hour_sees_the_newest_closed_bar_and_never_the_forming_one() -> None:
    values = np.array([[1.0, 2.0, 3.0]])
    bars = Bars(4, (hour_number(utc("2024-01-01 04:00")) - MONDAY) // 4, values, np.zeros((1, 3), dtype=np.int64))
    first = hour_number(utc("2024-01-01 02:00"))
    scores = as_of_hours(bars, values, values, first, 14)
    assert np.isnan(scores.price_z[0, :2]).all()
    assert scores.price_z[0, 2:].tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    assert scores.bar_close[0, 5] == hour_number(utc("2024-01-01 04:00"))


def test_a_missing_value_is_held_for_three_hours() -> None:
    x = np.array([[1.0, np.nan, np.nan, np.nan, np.nan, 2.0]])
    np.testing.assert_array_equal(held(x), [[1.0, 1.0, 1.0, 1.0, np.nan, 2.0]])


def test_a_return_across_a_change_of_venue_is_unknown() -> None:
    frame = market(hours=48, symbols=("BTC/USDT",))
    frame.loc[20:, "ohlcv_venue"] = "coinbaseexchange"
    grid = to_grid(frame, ("close",), symbols=("BTC/USDT",), last=frame["ts"].iloc[-1])
    returns = log_returns(grid.values["close"], grid.venue)
    assert np.flatnonzero(np.isnan(returns[0])).tolist() == [0, 20]


def test_the_ewma_is_cut_after_six_half_lives() -> None:
    half_life = math.log(0.5) / math.log(1 - 2 / 17)
    assert ewma_bars(8) == math.ceil(6 * half_life) == 34
    assert (1 - 2 / 17) ** 34 < 0.5**6
