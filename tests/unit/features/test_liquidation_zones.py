"""Zones: the density against scipy's, peaks and edges against a slow reading of the rule, minimums and gaps."""

import builtins
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import signal, stats

from regimes_dagster import schemas
from regimes_dagster.features.liquidation_density import density, find_peaks, silverman_bandwidth
from regimes_dagster.features.liquidation_zones import SupportZones, identify_liquidation_support_zones
from regimes_dagster.parameters import LiquidationParameters
from regimes_dagster.partitions import Window, utc
from tests.unit.features.derivatives_market import Raw, liquidation_market, simulate

PARAMS = LiquidationParameters()


def zones(raw: Raw, params: LiquidationParameters = PARAMS, *, last: int = 1, singles: bool = True) -> SupportZones:
    end = raw.market["ts"].max()
    found = identify_liquidation_support_zones(
        raw.market,
        params,
        window=Window(end - pd.Timedelta(hours=last), end),
        liquidations=raw.liquidations,
        liquidation_events=raw.liquidation_events if singles else None,
    )
    schemas.LiquidationZones.validate(found.rows)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_density_is_the_weighted_gaussian_kernel_density(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal(-3, 0.4, 120), rng.normal(1, 0.8, 120)])
    weight = rng.lognormal(0, 1, len(x))
    row = np.zeros(len(x), dtype=np.int64)
    bandwidth = silverman_bandwidth(row, 1, x, weight, weight**2)
    reference = stats.gaussian_kde(x, bw_method="silverman", weights=weight)
    expected = float(np.sqrt(reference.covariance[0, 0]))
    assert bandwidth[0] == pytest.approx(np.clip(expected, 0.1, 0.5), rel=1e-12)
    f, origin = density(row, 1, x, weight, bandwidth)
    grid = (origin + np.arange(f.shape[1])) * 0.05
    spread = np.sqrt(np.cov(x, aweights=weight))
    exact = stats.gaussian_kde(x, bw_method=bandwidth[0] / spread, weights=weight)(grid)
    assert f[0] / f[0].max() == pytest.approx(exact / exact.max(), abs=2e-3)


def test_silverman_of_few_and_equal_points_is_the_smallest_bandwidth() -> None:
    row = np.array([0, 1, 1])
    assert silverman_bandwidth(row, 2, np.array([0.0, 2.0, 2.0]), np.ones(3), np.ones(3)).tolist() == [0.1, 0.1]


@pytest.mark.parametrize("seed", range(20))
def test_peaks_and_edges_follow_prominence_half_height_and_saddles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centres, heights = rng.uniform(-6, 6, 5), rng.uniform(0.2, 1, 5)
    grid = np.arange(-200, 201)
    f = (heights * np.exp(-0.5 * ((grid[:, None] * 0.05 - centres) / 0.35) ** 2)).sum(axis=1)
    rows = np.stack([np.zeros_like(f), f, f[::-1]])
    peaks = find_peaks(rows, -200)
    places, _ = signal.find_peaks(f, prominence=0.2 * f.max())
    mine = peaks.row == 1
    assert mine.sum() == len(places)
    assert not (peaks.row == 0).any()
    assert (peaks.row == 2).sum() == len(places)
    assert peaks.centre[mine] == pytest.approx(grid[places] * 0.05, abs=0.025)
    for n, place in enumerate(places):
        right = place + np.argmax(f[place:] <= f[place] / 2)
        left = place - np.argmax(f[place::-1] <= f[place] / 2)
        if n + 1 < len(places):
            right = min(right, place + np.argmin(f[place : places[n + 1]]))
        if n:
            left = max(left, places[n - 1] + np.argmin(f[places[n - 1] : place]))
        assert peaks.high[mine][n] == pytest.approx(grid[right] * 0.05, abs=0.0501)
        assert peaks.low[mine][n] == pytest.approx(grid[left] * 0.05, abs=0.0501)


def two_levels() -> Raw:
    """Liquidations at 95 and 104, the price then back at 100."""
    close = np.full(260, 100.0)
    close[100:130], close[150:170] = 95.0, 104.0
    close *= np.exp(np.random.default_rng(0).normal(0, 0.001, 260))
    usd, shorts = np.zeros(260), np.zeros(260)
    usd[101:130], shorts[151:170] = 1e6, 3e5
    return liquidation_market(usd, shorts, close=close)


def test_a_flush_below_and_one_above_are_found_on_their_sides() -> None:
    rows = zones(two_levels()).rows.set_index("side")
    assert rows.loc["BELOW", "price_low"] < 95 < rows.loc["BELOW", "price_high"]
    assert rows.loc["ABOVE", "price_low"] < 104 < rows.loc["ABOVE", "price_high"]
    assert (rows.loc["BELOW", "long_share"], rows.loc["ABOVE", "long_share"]) == (1.0, 0.0)
    assert set(rows["method"]) == {"HOURLY"}
    assert rows["usd_share"].sum() == pytest.approx(1.0, abs=0.02)
    assert rows.loc["BELOW", "dist_pct"] == pytest.approx(-5, abs=0.3)


def test_weights_halve_every_two_days() -> None:
    raw = two_levels()
    later = raw.market["ts"].iloc[-1]
    usd = zones(raw).rows.set_index("side")["liq_usd"]
    hours = (later - raw.market["ts"].iloc[101:130]) / pd.Timedelta(hours=1)
    assert usd["BELOW"] == pytest.approx((1e6 * 0.5 ** (hours / 48)).sum(), rel=1e-9)


def test_the_last_touch_is_the_last_hour_whose_range_reached_the_zone() -> None:
    raw = two_levels()
    touched = zones(raw).rows.set_index("side")["last_touch_ts"]
    assert touched["BELOW"] == raw.market["ts"].iloc[130]  # the hour that left 95
    assert touched["ABOVE"] == raw.market["ts"].iloc[170]


def test_at_most_five_zones_per_side_the_largest_first() -> None:
    raw = simulate(900, seed=2)
    rows = zones(raw, last=300).rows
    groups = rows.groupby(["symbol", "ts", "side"])
    assert groups.size().max() <= 5
    assert groups["liq_usd"].apply(lambda usd: usd.is_monotonic_decreasing).all()
    assert groups["zone_rank"].apply(lambda rank: rank.tolist() == list(range(1, len(rank) + 1))).all()
    close = rows.merge(raw.market[["symbol", "ts", "close"]], on=["symbol", "ts"])
    assert ((close["price_center"] < close["close"]) == (close["side"] == "BELOW")).all()
    assert (rows["price_low"] < rows["price_center"]).all()
    assert (rows["price_center"] < rows["price_high"]).all()


def test_single_liquidations_replace_the_hourly_sums_of_their_venue() -> None:
    raw = simulate(900, seed=4, symbols=("BTC/USDT",))
    raw.liquidations["long_usd"] *= 1e-9
    raw.liquidations["short_usd"] *= 1e-9
    rows = zones(raw).rows
    assert set(rows["method"]) == {"KDE"}
    near = raw.liquidation_events
    near = near[near["ts"] > raw.market["ts"].iloc[-1] - pd.Timedelta(hours=168)]
    age = (raw.market["ts"].iloc[-1] - near["ts"]) / pd.Timedelta(hours=1)
    total = (near["usd"] * 0.5 ** (age / 48)).sum()
    assert (rows["liq_usd"] / rows["usd_share"]).to_numpy() == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize(
    ("busy", "usd", "reason"),
    [(23, 1e6, "fewer than"), (24, 1e6, None), (24, 200.0, "less liquidated"), (0, 0.0, "fewer than")],
)
def test_too_few_liquidations_give_no_zones_and_the_reason(busy: int, usd: float, reason: str | None) -> None:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.003, 200)))
    sums = np.zeros(200)
    sums[150 : 150 + busy] = usd
    found = zones(liquidation_market(sums, close=close))
    assert found.rows.empty == (reason is not None)
    assert (reason is None) == (found.empty_because == {})
    if reason:
        assert reason in found.empty_because["BTC/USDT"]


def test_an_hour_without_a_bar_and_a_frozen_price_have_no_zones() -> None:
    raw = liquidation_market(np.full(200, 1e6), close=100.0)
    assert "volatility" in zones(raw).empty_because["BTC/USDT"]
    raw = two_levels()
    raw.market.loc[raw.market.index[-1], ["open", "high", "low", "close"]] = np.nan
    assert "no price" in zones(raw).empty_because["BTC/USDT"]


def test_liquidations_before_there_is_any_bar_give_no_zones_and_no_error() -> None:
    """History: a broken file of bars left a platform with liquidations and without market rows; the run failed."""
    raw = simulate(200, seed=4)
    found = identify_liquidation_support_zones(
        raw.market.iloc[:0],
        PARAMS,
        window=Window(utc("2024-01-01"), utc("2024-02-01")),
        liquidations=raw.liquidations,
        liquidation_events=raw.liquidation_events,
    )
    assert len(raw.liquidation_events)
    schemas.LiquidationZones.validate(found.rows)
    assert found.rows.empty


def test_dbscan_finds_the_clusters_that_scikit_learn_finds() -> None:
    raw = two_levels()
    rows = zones(raw, LiquidationParameters(zone_method="dbscan")).rows
    below = rows[rows["side"] == "BELOW"]
    assert below["price_low"].min() < 95 < below["price_high"].max()
    above = rows[rows["side"] == "ABOVE"]
    assert len(above)
    assert above["price_low"].between(103, 105).all()
    assert above["price_high"].between(103, 105).all()
    assert (rows["price_low"] <= rows["price_center"]).all()
    assert (rows["price_center"] <= rows["price_high"]).all()


def test_dbscan_without_scikit_learn_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        zones(two_levels(), LiquidationParameters(zone_method="dbscan"))


def test_an_hour_comes_out_the_same_alone_and_in_a_batch() -> None:
    raw = simulate(800, seed=6, symbols=("BTC/USDT", "ETH/USDT"))
    many = zones(raw, last=200).rows
    end = utc(raw.market["ts"].max())
    for back in (0, 1, 57, 199):
        moment = end - pd.Timedelta(hours=back)
        alone = identify_liquidation_support_zones(
            raw.market,
            PARAMS,
            window=Window(moment - pd.Timedelta(hours=1), moment),
            liquidations=raw.liquidations,
            liquidation_events=raw.liquidation_events,
        ).rows
        pd.testing.assert_frame_equal(alone, many.loc[many["ts"] == moment].reset_index(drop=True), check_exact=True)
