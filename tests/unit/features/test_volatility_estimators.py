"""The estimators against slow loops written from the papers, and what missing bars do to them."""

from math import log, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes_dagster.features.volatility_estimators import Bars, estimate, flag_suspect_wicks, rolling_sum, wide_bars
from regimes_dagster.features.volatility_hysteresis import REGIME_NAMES, classify, edges_of
from regimes_dagster.features.volatility_regime import compute_volatility_metrics
from regimes_dagster.parameters import VolatilityParameters

PARAMS = VolatilityParameters()


def market(hours: int = 120, seed: int = 3, symbol: str = "BTC/USDT") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    path = 100 * np.exp(np.cumsum(rng.normal(0, 0.004, (hours, 6)).ravel()).reshape(hours, 6))
    # Opens jump off the last close, or the overnight part of Yang-Zhang would have nothing to do.
    return pd.DataFrame(
        {
            "symbol": symbol,
            "ts": pd.date_range("2024-03-01 01:00", periods=hours, freq="h", tz="UTC", unit="us"),
            "open": path[:, 0],
            "high": path.max(axis=1),
            "low": path.min(axis=1),
            "close": path[:, 5],
            "ohlcv_venue": "binanceus",
        }
    )


def slow(frame: pd.DataFrame, t: int) -> dict[str, float]:
    """Each formula as printed, on the 24 bars that end at row t; bars with a missing input are left out."""
    bars = frame.to_dict("records")
    oc, cc, rs, pk, gk, returns = [], [], [], [], [], []
    for i in range(max(t - 23, 0), t + 1):
        bar, before = bars[i], bars[i - 1] if i else None
        o, h, low, c = (bar[name] for name in ("open", "high", "low", "close"))
        joined = before is not None and before["ohlcv_venue"] == bar["ohlcv_venue"] and not np.isnan(before["close"])
        if not np.isnan([o, h, low, c]).any():
            pk.append(log(h / low) ** 2 / (4 * log(2)))
            gk.append(0.5 * log(h / low) ** 2 - (2 * log(2) - 1) * log(c / o) ** 2)
            satchell = log(h / c) * log(h / o) + log(low / c) * log(low / o)
            if joined:
                assert before is not None
                oc.append(log(o / before["close"]))
                cc.append(log(c / o))
                rs.append(satchell)
        if joined and not np.isnan(c):
            assert before is not None
            returns.append(log(c / before["close"]) ** 2)
    satchells = [
        log(b["high"] / b["close"]) * log(b["high"] / b["open"])
        + log(b["low"] / b["close"]) * log(b["low"] / b["open"])
        for b in bars[max(t - 23, 0) : t + 1]
        if not np.isnan([b["open"], b["high"], b["low"], b["close"]]).any()
    ]

    def daily(terms: list[float]) -> float:
        return sqrt(24 * sum(terms) / len(terms)) if len(terms) >= 22 else float("nan")

    def variance(terms: list[float]) -> float:
        mean = sum(terms) / len(terms)
        return sum((x - mean) ** 2 for x in terms) / (len(terms) - 1)

    k = 0.34 / (1.34 + 25 / 23)
    yz = float("nan")
    if len(rs) >= 22:
        yz = sqrt(24 * (variance(oc) + k * variance(cc) + (1 - k) * sum(rs) / len(rs)))
    return {
        "volatility": yz,
        "volatility_close": daily(returns),
        "volatility_parkinson": daily(pk),
        "volatility_gk": daily(gk),
        "volatility_rs": daily(satchells),
    }


@pytest.mark.parametrize("holes", [[], [40], [40, 41], [40, 41, 42], [30, 50, 53, 60]])
def test_every_estimator_equals_its_paper_formula_with_and_without_missing_bars(holes: list[int]) -> None:
    frame = market()
    frame.loc[holes, ["open", "high", "low", "close"]] = np.nan
    frame.loc[holes, "ohlcv_venue"] = None
    frame.loc[80:, "ohlcv_venue"] = "binance"
    result = compute_volatility_metrics(frame, PARAMS)
    columns = ["volatility", "volatility_close", "volatility_parkinson", "volatility_gk", "volatility_rs"]
    expected = pd.DataFrame([slow(frame, t) for t in range(len(frame))])[columns]
    pd.testing.assert_frame_equal(result[columns], expected, rtol=1e-11, atol=0)
    assert result["volatility"].notna().sum() > 50


def test_a_return_across_a_change_of_venue_is_left_out() -> None:
    frame = market()
    frame.loc[60:, ["open", "high", "low", "close"]] *= 1.10
    frame.loc[60:, "ohlcv_venue"] = "binance"
    jumped = compute_volatility_metrics(frame, PARAMS)
    frame["ohlcv_venue"] = "binance"
    counted = compute_volatility_metrics(frame, PARAMS)
    assert jumped.loc[60, "volatility_close"] < 0.05 < counted.loc[60, "volatility_close"]
    assert jumped.loc[60, "volatility_parkinson"] == pytest.approx(counted.loc[60, "volatility_parkinson"])


def test_twenty_two_of_twenty_four_bars_are_enough_and_twenty_one_are_not() -> None:
    frame = market()
    frame.loc[[50, 52], ["open", "high", "low", "close"]] = np.nan
    enough = compute_volatility_metrics(frame, PARAMS)
    assert enough.loc[60, "volatility_parkinson"] > 0
    assert enough.loc[60, "quality"] == "INSUFFICIENT", "two holes break four joined bars, Yang-Zhang has 20"
    frame.loc[54, ["open", "high", "low", "close"]] = np.nan
    assert np.isnan(compute_volatility_metrics(frame, PARAMS).loc[60, "volatility_parkinson"])


def test_missing_bars_do_not_read_as_calm() -> None:
    frame = market()
    frame[["open", "low"]] = 100.0
    frame[["high", "close"]] = 101.0
    whole = compute_volatility_metrics(frame, PARAMS).loc[60, "volatility_parkinson"]
    frame.loc[[50, 51], ["open", "high", "low", "close"]] = np.nan
    assert compute_volatility_metrics(frame, PARAMS).loc[60, "volatility_parkinson"] == pytest.approx(whole)


def test_constant_prices_are_stable_with_a_volatility_of_zero_and_no_wick_ratio() -> None:
    frame = market()
    frame[["open", "high", "low", "close"]] = 100.0
    last = compute_volatility_metrics(frame, PARAMS).iloc[-1]
    assert last["volatility"] == 0
    assert last["regime_raw"] == "STABLE"
    assert np.isnan(last["wick_ratio"])
    assert not last["flash_wick"]


def test_a_flash_wick_shows_in_yang_zhang_and_not_in_closes() -> None:
    # 2025-10-10 21:00 UTC, BTC: 115,076 -> 101,517 -> 113,254 within one bar.
    frame = market()
    frame.loc[100, "low"] = frame.loc[100, "close"] * 101_517 / 113_254
    result = compute_volatility_metrics(frame, PARAMS)
    assert result.loc[100, "wick_ratio"] > 2 > result.loc[99, "wick_ratio"]
    assert result.loc[100, "flash_wick"]
    assert not result.loc[99, "flash_wick"]


@pytest.mark.parametrize(
    ("volatility", "regime", "multiplier"),
    [
        (0.01, "STABLE", 0.7),
        (0.0100001, "HIGH_VOL", 1.2),
        (0.05, "HIGH_VOL", 1.2),
        (0.10, "EXPLOSIVE", 1.8),
        (0.1000001, "EXTREME", 2.5),
    ],
)
def test_the_guides_edges_and_multipliers_hold(volatility: float, regime: str, multiplier: float) -> None:
    level = classify(np.array([volatility]), edges_of("BTC/USDT", PARAMS))[0]
    assert REGIME_NAMES[level] == regime
    assert PARAMS.risk_multipliers[REGIME_NAMES[level]] == multiplier  # type: ignore[index]


def test_the_edges_scale_per_symbol() -> None:
    params = VolatilityParameters(threshold_scale={"SOL/USDT": 2.0})
    assert classify(np.array([0.06]), edges_of("SOL/USDT", params))[0] == 1
    assert classify(np.array([0.06]), edges_of("BTC/USDT", params))[0] == 2


def test_the_chosen_estimator_is_published() -> None:
    result = compute_volatility_metrics(market(), VolatilityParameters(estimator="parkinson"))
    assert (result["volatility"] - result["volatility_parkinson"]).abs().max() == 0


def test_a_price_that_is_not_positive_is_no_price() -> None:
    frame = market()
    frame.loc[40, "low"] = 0.0
    assert np.isfinite(compute_volatility_metrics(frame, PARAMS)["volatility"].dropna()).all()


@given(n=st.integers(1, 60), cut=st.integers(0, 100), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_rolling_sum_is_right_and_has_the_same_digits_wherever_it_starts(n: int, cut: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(160, 2)) * 1e3
    whole = rolling_sum(values, n)
    naive = [values[max(t - n + 1, 0) : t + 1].sum(axis=0) for t in range(160)]
    np.testing.assert_allclose(whole, naive, rtol=1e-9, atol=1e-9)
    assert (rolling_sum(values[cut:], n)[n - 1 :] == whole[cut + n - 1 :]).all()


def test_a_volatility_far_above_three_venues_is_replaced_by_their_median() -> None:
    own = np.array([[0.10], [0.10], [0.04]])
    venues = np.array([[[0.10], [0.10], [0.04]], [[0.03], [0.03], [0.03]], [[0.02], [np.nan], [0.20]]])
    published, suspect = flag_suspect_wicks(own, venues, 2.5)
    assert published[:, 0].tolist() == [0.03, 0.10, 0.04], "two venues cannot outvote one; another's wick is not ours"
    assert suspect[:, 0].tolist() == [True, False, True]


def test_venue_bars_feed_the_bad_tick_guard() -> None:
    frame = market()
    ticked = frame.copy()
    ticked.loc[100, "low"] *= 0.6
    others = pd.concat([f.assign(venue=v) for v, f in (("a", ticked), ("b", frame), ("c", frame))])
    result = compute_volatility_metrics(ticked, PARAMS, venue_bars=others)
    assert result["suspect_wick"].sum() == 20
    clean = compute_volatility_metrics(frame, PARAMS)
    pd.testing.assert_series_equal(result["volatility"], clean["volatility"])
    assert not compute_volatility_metrics(ticked, PARAMS)["suspect_wick"].any()


def test_bars_of_unknown_symbols_and_hours_are_ignored() -> None:
    frame = market()
    hours = frame["ts"].to_numpy(dtype="datetime64[h]").astype(np.int64)
    bars: Bars = wide_bars(frame, ["ETH/USDT", "BTC/USDT"], int(hours[0]) + 10, int(hours[-1]))
    assert bars.present.sum(axis=0).tolist() == [0, 110]
    assert np.isnan(estimate(bars, PARAMS)["yang_zhang"][:, 0]).all()
