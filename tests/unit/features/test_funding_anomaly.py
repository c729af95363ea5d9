"""Funding: the guide's own figures, every statistic against an independent one, venues, gaps, episodes, reversals."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.tsa.ar_model import AutoReg

from regimes_dagster import schemas
from regimes_dagster.features.funding_anomaly import (
    compute_funding_metrics,
    detect_funding_anomalies,
    detect_reversal_signals,
)
from regimes_dagster.features.funding_statistics import statistics
from regimes_dagster.features.result import FeatureResult
from regimes_dagster.parameters import FundingParameters
from regimes_dagster.partitions import Window, utc
from tests.unit.features.derivatives_market import Raw, funding_market, funding_rows, join, simulate, simulate_nothing

PARAMS = FundingParameters()
ANOMALY_KEYS = {
    "funding_rate", "funding_z_score", "anomaly_score", "reasons", "funding_rate_8h", "funding_apr", "interval_h",
    "venue", "change_24h_pp", "half_life_h",
}  # fmt: skip
REVERSAL_KEYS = {
    "kind", "trend_before", "trend_after", "peak_z", "change_24h_pp", "funding_rate", "funding_rate_8h", "venue",
}  # fmt: skip


def run(raw: Raw, predictions: pd.DataFrame | None = None, params: FundingParameters = PARAMS) -> FeatureResult:
    ts = raw.market["ts"]
    result = compute_funding_metrics(
        raw.market,
        params,
        window=Window(ts.min() - pd.Timedelta(hours=1), ts.max()),
        funding_rates=raw.funding_rates,
        funding_predictions=predictions,
    )
    for name, rows in result.rows.items():
        schemas.TABLES[name].validate(rows)
    schemas.EpisodeEvents.validate(result.events)
    return result


def settlements(raw: Raw) -> pd.DataFrame:
    """Rows of the hours in which a value became known."""
    rows = run(raw).rows["funding_features"]
    return rows.loc[rows["settle_ts"] == rows["ts"]].reset_index(drop=True)


def reference(mean: float, sd: float, shape: np.ndarray) -> np.ndarray:
    """Values of the given shape with exactly this mean and sample deviation."""
    return mean + sd * (shape - shape.mean()) / shape.std(ddof=1)


# --- the guide's figures ------------------------------------------------------------------------------------------


def guide() -> Raw:
    """A slow wave of 30 days with the guide's mean and deviation, its crest just before the guide's rate."""
    wave = np.sin(2 * np.pi * (np.arange(90) - 66) / 90)
    return funding_market([*reference(0.000284, 0.00042, wave), 0.00125])


def test_the_guides_anomaly_comes_out_to_the_digit() -> None:
    event = run(guide()).events.query("event_type == 'FUNDING_ANOMALY' and phase != 'CLOSE'").iloc[-1]
    assert event["data"]["funding_rate"] == 0.00125
    assert event["data"]["funding_z_score"] == pytest.approx(2.3, abs=1e-9)
    assert event["data"]["anomaly_score"] == pytest.approx(2.8, abs=1e-9)
    assert event["data"]["reasons"] == ["Z-score anomaly: 2.30σ", "High volatility: 0.00042"]
    assert event["severity"] == "WARNING"
    assert event["source"] == "FUNDING"
    assert set(event["data"]) == ANOMALY_KEYS
    assert set(event["explain"]) == {"inputs", "terms", "thresholds"}


def test_a_rapid_change_is_said_in_percentage_points() -> None:
    rates = np.full(100, 1e-4) + np.random.default_rng(0).normal(0, 1e-6, 100)
    rates[-1] = rates[-4] + 6.2e-4
    row = settlements(funding_market(rates)).iloc[-1]
    assert "Rapid change: +0.062pp/24h" in row["reasons"]
    assert row["change_24h_pp"] == pytest.approx(0.062)
    assert row["anomaly_score"] == pytest.approx(abs(row["funding_z_score"]) + 0.5)


def test_the_standard_score_of_a_short_window_is_bounded_and_ours_is_not() -> None:
    """Three values including the current one can never score above 1.1547 (Shiffler 1988)."""
    rates = np.full(60, 1e-4)
    rates[-1] = 2e-3
    assert settlements(funding_market(rates))["funding_z_score"].iloc[-1] == 20


@pytest.mark.parametrize(("z", "level", "severity"), [(2.5, 2, "WARNING"), (3.5, 2, "WARNING"), (4.0, 3, "CRITICAL")])
def test_critical_needs_both_an_extreme_score_and_thirty_percent_a_year(z: float, level: int, severity: str) -> None:
    mean = 0.0 if z < 4 else 3e-4
    rates = [*reference(mean, 5e-5, np.sin(np.arange(90))), mean + z * 5e-5]
    event = run(funding_market(rates)).events.query("event_type == 'FUNDING_ANOMALY'").iloc[-1]
    assert (event["level"], event["severity"]) == (level, severity)


def test_a_score_on_a_pinned_rate_needs_a_deviation_of_a_basis_point() -> None:
    rates = np.full(100, 1e-4)
    rates[-1] = 1.9e-4
    row = settlements(funding_market(rates)).iloc[-1]
    assert row["funding_z_score"] == pytest.approx(9.0)
    assert not row["is_anomaly"]


# --- statistics -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    rng = np.random.default_rng(11)
    x = np.zeros(700)
    for i in range(1, 700):
        x[i] = 0.8 * x[i - 1] + rng.standard_t(4) * 3e-5
    x = np.round(np.where(rng.random(700) < 0.3, 1e-4, x + 1e-4), 8)
    x[[100, 101, 333, *range(500, 512)]] = np.nan
    return x


def test_scores_use_the_ninety_values_before_and_not_the_current_one(series: np.ndarray) -> None:
    found = statistics(series[None], PARAMS)
    for k in (10, 44, 45, 60, 150, 334, 515, 699):
        before = series[max(k - 90, 0) : k]
        before = before[np.isfinite(before)]
        assert found.n_ref[0, k] == len(before)
        if len(before) < 45 or np.isnan(series[k]):
            assert np.isnan(found.z[0, k])
            continue
        z = (series[k] - before.mean()) / max(before.std(ddof=1), 1e-5)
        assert found.z[0, k] == pytest.approx(np.clip(z, -20, 20), rel=1e-10)


def test_persistence_is_the_autoregression_with_kendalls_correction(series: np.ndarray) -> None:
    found = statistics(series[None], PARAMS)
    for k in (89, 150 + 45, 332, 450, 699):
        window = series[k - 89 : k + 1]
        if np.isnan(window).any():
            continue
        phi = AutoReg(window, lags=1).fit().params[1]
        phi = np.clip(phi + (1 + 3 * phi) / 90, 0.01, 0.99)
        assert found.phi[0, k] == pytest.approx(phi, rel=1e-8)
        assert found.half_life_h[0, k] == pytest.approx(8 * np.log(0.5) / np.log(phi), rel=1e-7)
        mean = series[k - 90 : k].mean() if k >= 90 and np.isfinite(series[k - 90]) else found.mean[0, k]
        assert found.expected_next[0, k] == pytest.approx(mean + phi * (series[k] - mean), rel=1e-8)


def test_the_correction_removes_the_bias_of_short_samples() -> None:
    rng = np.random.default_rng(5)
    x = np.zeros((400, 91))
    shocks = rng.normal(0, 1e-4, x.shape)
    for i in range(1, 91):
        x[:, i] = 0.7 * x[:, i - 1] + shocks[:, i]
    phi = statistics(x, PARAMS).phi[:, -1]
    assert phi.mean() == pytest.approx(0.7, abs=0.02)


def test_the_rank_is_the_average_rank_among_the_last_270(series: np.ndarray) -> None:
    found = statistics(series[None], PARAMS).rank[0]
    expected = pd.Series(series).rolling(270, min_periods=45).rank(pct=True)
    assert found[np.isfinite(series)] == pytest.approx(expected[np.isfinite(series)].to_numpy(), nan_ok=True)


def test_a_constant_rate_has_a_score_of_zero_and_no_persistence() -> None:
    rows = settlements(funding_market(np.full(120, 1e-4)))
    last = rows.iloc[-1]
    assert last["funding_z_score"] == pytest.approx(0, abs=1e-9)
    assert np.isnan(last["phi"])
    assert np.isnan(last["half_life_h"])
    assert not rows["is_anomaly"].any()


@settings(max_examples=8, deadline=None)
@given(st.lists(st.one_of(st.floats(-0.05, 0.05), st.just(np.nan), st.just(1e-4)), min_size=50, max_size=120))
def test_any_rates_give_finite_figures_that_keep_the_contract(rates: list[float]) -> None:
    if np.isnan(rates[-1]):
        rates[-1] = 0.0
    rows = run(funding_market(rates)).rows["funding_features"]
    assert not np.isinf(rows.select_dtypes("number").to_numpy(dtype=float, na_value=np.nan)).any()
    assert (rows["anomaly_score"].isna() == (rows["quality"] == "INSUFFICIENT")).all()


# --- blocks and venues ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("interval", "n"), [(1, 8), (2, 4), (4, 2), (8, 1)])
def test_short_intervals_are_summed_over_the_eight_hour_blocks_of_the_day(interval: int, n: int) -> None:
    rates = np.random.default_rng(1).normal(1e-5, 1e-6, 60 * n)
    venue = run(funding_market(rates, interval)).rows["funding_venue_features"]
    assert venue["funding_rate_8h"].to_numpy() == pytest.approx(rates.reshape(-1, n).sum(axis=1))
    assert set(venue["ts"].dt.hour) == {0, 8, 16}


def test_an_incomplete_block_gives_no_value() -> None:
    rates = np.full(160, 1e-5)
    rates[43] = np.nan
    venue = run(funding_market(rates, 1)).rows["funding_venue_features"]
    assert len(venue) == 19
    assert utc("2024-01-02 16:00") + pd.Timedelta(hours=8) not in set(venue["ts"])


def test_a_value_is_in_force_from_its_settlement_until_it_is_nine_hours_old() -> None:
    rates = np.full(60, 1e-4)
    rates[[50, 51]] = np.nan
    rows = run(funding_market(rates)).rows["funding_features"].set_index("ts")
    last = utc("2024-01-01") + pd.Timedelta(hours=50 * 8)
    assert np.isnan(rows.loc[last - pd.Timedelta(hours=8 * 50 - 7), "funding_rate_8h"])
    assert rows.loc[last + pd.Timedelta(hours=9), "funding_rate_8h"] == 1e-4
    assert np.isnan(rows.loc[last + pd.Timedelta(hours=10), "funding_rate_8h"])
    assert rows.loc[last + pd.Timedelta(hours=10), "quality"] == "INSUFFICIENT"


def test_the_rate_per_year_is_simple() -> None:
    assert settlements(funding_market(np.full(50, 1e-4)))["funding_apr"].iloc[-1] == pytest.approx(1e-4 * 3 * 365)
    assert settlements(funding_market(np.full(50, 1e-5), 1))["funding_apr"].iloc[-1] == pytest.approx(1e-5 * 24 * 365)


def test_the_venue_in_force_gives_the_row_and_the_spread_is_over_all_venues() -> None:
    raw = simulate(24 * 30, seed=2, symbols=("BTC/USDT",))
    rows = run(raw).rows["funding_features"]
    venues = run(raw).rows["funding_venue_features"]
    at = rows.iloc[-1]
    assert at["venue"] == "hyperliquid"
    newest = venues.groupby("venue")["funding_rate_8h"].last()
    assert at["funding_rate_8h"] == newest["hyperliquid"]
    assert at["spread_8h_bp"] == pytest.approx(1e4 * (newest.max() - newest.min()))
    alone = Raw(
        raw.market,
        raw.liquidations,
        raw.liquidation_events,
        raw.funding_rates.query("venue == 'hyperliquid'"),
        raw.perp_volume,
    )
    assert run(alone).rows["funding_features"]["spread_8h_bp"].isna().all()


def test_a_venue_that_takes_over_brings_its_own_history() -> None:
    ts = pd.date_range(utc("2024-01-01 08:00"), periods=120, freq="8h", unit="us")
    cheap = funding_rows("hyperliquid", "BTC/USDT", ts[:100], np.full(100, 1e-4), 8.0)
    dear = funding_rows("krakenfutures", "BTC/USDT", ts, np.full(120, 9e-4), 8.0)
    base = funding_market(np.full(120, 1e-4))
    bars = base.market.assign(venue="binanceus", is_simulated=True)[
        ["venue", "symbol", "ts", "open", "high", "low", "close", "volume", "quote_volume", "is_simulated"]
    ]
    nothing = simulate_nothing()
    raw = join(bars, nothing.liquidations, nothing.liquidation_events, pd.concat([cheap, dear]), nothing.perp_volume)
    rows = run(raw).rows["funding_features"]
    assert rows["venue"].dropna().unique().tolist() == ["hyperliquid", "krakenfutures"]
    assert not rows["is_anomaly"].any()


# --- predictions ------------------------------------------------------------------------------------------------------


def test_a_predicted_rate_has_its_own_score_and_raises_at_most_information() -> None:
    rng = np.random.default_rng(3)
    raw = funding_market(1e-4 + rng.normal(0, 2e-5, 100))
    seen = raw.market["ts"].iloc[-40] + pd.Timedelta(minutes=20)
    prediction = pd.DataFrame(
        {
            "venue": ["krakenfutures"],
            "symbol": ["BTC/USDT"],
            "observed_at": pd.DatetimeIndex([seen]).as_unit("us"),
            "rate": [2e-3],
            "interval_hours": [8.0],
            "next_settlement": [pd.NaT],
        }
    )
    plain, result = run(raw), run(raw, prediction)
    rows = result.rows["funding_features"].set_index("ts")
    known = rows["predicted_rate"].notna()
    assert known.sum() == 2  # from the next full hour, for as long as it is fresh
    assert rows.index[known.to_numpy()][0] == seen.ceil("h")
    at = rows.loc[known].iloc[0]
    assert at["predicted_z"] == pytest.approx(min((2e-3 - at["funding_mean"]) / at["funding_volatility"], 20))
    fresh = result.events[~result.events["episode_id"].isin(plain.events["episode_id"])]
    assert set(fresh["severity"]) == {"INFO"}
    assert not at["is_anomaly"]
    assert at["reasons"] == [f"Predicted z-score: {at['predicted_z']:.2f}σ"]
    assert plain.rows["funding_features"]["predicted_z"].isna().all()


# --- reversals --------------------------------------------------------------------------------------------------------


def kinds(raw: Raw) -> dict[str, int]:
    events = run(raw).events.query("event_type == 'FUNDING_REVERSAL' and phase == 'OPEN'")
    return {kind: n for kind, n in pd.Series([data["kind"] for data in events["data"]]).value_counts().items()}


def calm(n: int = 100) -> np.ndarray:
    return 1e-4 + np.random.default_rng(9).normal(0, 1e-5, n)


def test_a_flip_of_the_sign_is_a_reversal_only_if_it_travels_far_enough() -> None:
    far, near, zero = (np.append(calm(), [1e-4, value, value, value]) for value in (-1.2e-4, -0.5e-4, 0.0))
    assert kinds(funding_market(far)).get("SIGN_FLIP") == 1
    assert "SIGN_FLIP" not in kinds(funding_market(near))
    assert "SIGN_FLIP" not in kinds(funding_market(zero))


def test_a_rapid_change_ends_below_half_of_it() -> None:
    rates = np.append(calm(), [7e-4] * 3 + [7e-4] * 4)
    result = run(funding_market(rates)).events.query("key == 'BTC/USDT|RAPID'")
    assert result["phase"].tolist() == ["OPEN", "CLOSE"]
    assert (result["ts"].iloc[1] - result["ts"].iloc[0]) == pd.Timedelta(hours=24)
    assert result["severity"].iloc[0] == "INFO"
    assert set(result["data"].iloc[0]) == REVERSAL_KEYS


def test_an_extreme_that_loses_half_its_excess_unwinds_once() -> None:
    rates = np.append(calm(), [4e-4, 3.4e-4, 2.6e-4, 2.3e-4, 1.6e-4, 1e-4, 1e-4])
    result = run(funding_market(rates))
    unwinding = result.events.query("key == 'BTC/USDT|UNWIND'")
    assert unwinding["phase"].tolist()[0] == "OPEN"
    data = unwinding["data"].iloc[0]
    assert data["funding_rate"] == 2.3e-4  # 4e-4 was 3e-4 above the mean of then; half of it is lost at 2.3e-4
    assert data["peak_z"] > 3
    assert unwinding["severity"].iloc[0] == "WARNING"
    anomaly = result.events.query("key == 'BTC/USDT' and phase == 'CLOSE'")
    assert anomaly["ts"].iloc[-1] > unwinding["ts"].iloc[0]


def test_an_extreme_that_collapses_within_one_settlement_unwinds_too() -> None:
    rates = np.append(calm(), [4e-4, 1e-4, 1e-4, 1e-4, 1e-4])
    assert kinds(funding_market(rates)).get("UNWIND") == 1


def test_kinds_of_one_symbol_have_cooldowns_of_their_own() -> None:
    rates = np.append(calm(), [9e-4, -4e-4, -4e-4, -4e-4, -4e-4])
    assert kinds(funding_market(rates)) == {"RAPID": 1, "SIGN_FLIP": 1, "UNWIND": 1}


def test_the_reversal_signals_are_the_hours_in_which_a_kind_begins() -> None:
    raw = funding_market(np.append(calm(), [9e-4, -4e-4, -4e-4, -4e-4, -4e-4]))
    signals = detect_reversal_signals(raw.market, raw.funding_rates, PARAMS)
    assert set(signals["kind"]) == {"SIGN_FLIP", "RAPID", "UNWIND"}
    flip = signals.query("kind == 'SIGN_FLIP'").iloc[0]
    assert (flip["trend_before"], flip["trend_after"]) == ("POSITIVE", "NEGATIVE")
    assert len(detect_funding_anomalies(raw.market, raw.funding_rates, PARAMS)) == len(raw.market)


def test_an_anomaly_is_one_open_until_it_is_off() -> None:
    rates = np.append(calm(), [2.5e-4] * 6 + [1e-4] * 3)
    events = run(funding_market(rates)).events.query("event_type == 'FUNDING_ANOMALY'")
    assert events["phase"].tolist().count("OPEN") == 1
    assert events["phase"].iloc[-1] == "CLOSE"


def test_a_symbol_without_funding_has_rows_without_figures() -> None:
    raw = funding_market(np.full(50, np.nan))
    rows = run(raw).rows["funding_features"]
    assert rows["funding_rate"].isna().all()
    assert set(rows["state"]) == {"UNKNOWN"}
    assert set(rows["quality"]) == {"INSUFFICIENT"}
    assert rows["reasons"].tolist() == [[]] * len(rows)
