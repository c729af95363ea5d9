"""The cascade rule: the guide's own figures, every formula against a slow loop, gaps, venue changes and episodes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from regimes_dagster import schemas
from regimes_dagster.features.liquidation_cascade import compute_liquidation_metrics, detect_cascade_events
from regimes_dagster.features.liquidation_venues import floor_scale, venue_record
from regimes_dagster.features.market_rows import MarketRows
from regimes_dagster.features.result import FeatureResult
from regimes_dagster.parameters import LiquidationParameters
from regimes_dagster.partitions import Window, utc
from tests.unit.features.derivatives_market import Raw, liquidation_market, simulate

FIXED = LiquidationParameters(adaptive=False)
FOUR_HOURS = LiquidationParameters(adaptive=False, windows_h=(4,))
PAYLOAD = {
    "total_liquidated_usd", "velocity_usd_per_hour", "side_bias", "severity", "window_hours", "long_usd", "short_usd",
    "critical_velocity_usd_per_hour", "intensity_z", "liq_to_oi_pct", "coverage", "is_lower_bound", "market_wide",
    "price_change_pct",
}  # fmt: skip


def rule(raw: Raw, params: LiquidationParameters = FIXED, volume: pd.DataFrame | None = None) -> pd.DataFrame:
    return detect_cascade_events(raw.market, raw.liquidations, params, perp_volume=volume)


def run(raw: Raw, params: LiquidationParameters = FIXED, volume: pd.DataFrame | None = None) -> FeatureResult:
    ts = raw.market["ts"]
    window = Window(ts.min() - pd.Timedelta(hours=1), ts.max())
    result = compute_liquidation_metrics(
        raw.market, params, window=window, liquidations=raw.liquidations, perp_volume=volume, zones=False
    )
    schemas.LiquidationFeatures.validate(result.rows["liquidation_features"])
    schemas.EpisodeEvents.validate(result.events)
    return result


# --- the guide's figures ------------------------------------------------------------------------------------------


def test_one_and_a_half_million_over_four_hours_is_the_guides_example() -> None:
    rows = rule(liquidation_market([0, 0, 0, 0, 375_000, 375_000, 375_000, 375_000]))
    last = rows.iloc[-1]
    assert (last["window_hours"], last["velocity_4h"], last["total_4h"]) == (4.0, 375_000.0, 1_500_000.0)
    assert (last["severity"], last["side_bias"], last["threshold_mode"]) == (1.875, "LONG", "FLOOR")


@pytest.mark.parametrize("profile", [[1_500_000], [700_000, 0, 0, 800_000], [375_000] * 4])
def test_the_guides_event_comes_out_whatever_the_profile_when_only_four_hours_count(profile: list[float]) -> None:
    events = run(liquidation_market([0.0] * 6 + profile), FOUR_HOURS).events
    event = events.iloc[-1]
    assert event["data"]["velocity_usd_per_hour"] == 375_000
    assert event["data"]["total_liquidated_usd"] == 1_500_000
    assert event["data"]["severity"] == 1.875
    assert event["severity"] == "CRITICAL"
    assert event["title"] == "Liquidation Cascade Detected - BTC/USDT"
    assert event["description"] == "Large liquidation event with velocity 375000 USD/h"
    assert event["source"] == "CASCADE"


def test_half_a_million_within_one_hour_is_a_cascade_of_one_hour() -> None:
    event = run(liquidation_market([0.0, 0.0, 500_000.0])).events.iloc[0]
    assert event["data"]["window_hours"] == 1
    assert event["data"]["velocity_usd_per_hour"] == 500_000
    assert event["data"]["severity"] == 2.5


def test_a_payload_has_the_listed_keys_and_plain_json_numbers() -> None:
    event = run(liquidation_market([0.0, 0.0, 500_000.0])).events.iloc[0]
    assert set(event["data"]) == PAYLOAD
    assert event["data"]["intensity_z"] is None
    assert event["data"]["liq_to_oi_pct"] is None
    assert set(event["explain"]) == {"inputs", "terms", "thresholds"}


@pytest.mark.parametrize(
    ("usd", "tier", "severity"),
    [(500_000, 2, "CRITICAL"), (600_000, 3, "CRITICAL"), (1_200_000, 4, "CRITICAL")],
)
def test_tiers_begin_at_one_and_a_half_three_and_six(usd: float, tier: int, severity: str) -> None:
    event = run(liquidation_market([0.0, 0.0, usd])).events.iloc[0]
    assert (event["level"], event["severity"]) == (tier, severity)


def test_a_velocity_at_the_limit_is_no_cascade_and_a_sum_at_the_floor_is_one() -> None:
    params = LiquidationParameters(adaptive=False, critical_velocity=500_000, cascade_threshold_usd=500_000)
    assert not rule(liquidation_market([0.0, 500_000.0]), params)["is_cascade"].any()
    params = LiquidationParameters(adaptive=False, critical_velocity=499_999, cascade_threshold_usd=500_000)
    assert rule(liquidation_market([0.0, 500_000.0]), params)["is_cascade"].iloc[-1]


@pytest.mark.parametrize(("long_usd", "side"), [(65, "LONG"), (64, "BALANCED"), (36, "BALANCED"), (35, "SHORT")])
def test_two_thirds_on_one_side_make_it_one_sided(long_usd: float, side: str) -> None:
    rows = rule(liquidation_market([long_usd * 1.0], [100.0 - long_usd]), replace_windows(1))
    assert rows["side_bias"].iloc[0] == side
    assert rows["long_share"].iloc[0] == pytest.approx(long_usd / 100)


def replace_windows(*hours: int) -> LiquidationParameters:
    return LiquidationParameters(adaptive=False, windows_h=hours, velocity_window=max(hours))


def test_an_hour_without_liquidations_has_no_side() -> None:
    rows = rule(liquidation_market([0.0] * 5))
    assert set(rows["side_bias"]) == {"NONE"}
    assert rows["long_share"].isna().all()
    assert (rows["severity"].iloc[4], rows["velocity_1h"].iloc[4]) == (0.0, 0.0)


# --- limits -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated() -> Raw:
    raw = simulate(1800, seed=5, symbols=("BTC/USDT", "ETH/USDT"))
    holes = np.random.default_rng(1).random(len(raw.market)) < 0.02
    raw.market.loc[holes, ["long_liq_usd", "short_liq_usd", "liq_coverage"]] = [np.nan, np.nan, 0.5]
    return raw


@pytest.mark.parametrize("with_volume", [True, False])
def test_limits_and_the_deciding_window_equal_a_slow_loop(simulated: Raw, with_volume: bool) -> None:
    params = LiquidationParameters()
    rows = rule(simulated, params, simulated.perp_volume if with_volume else None)
    for symbol, part in rows.groupby("symbol"):  # noqa: B007 (used by query)
        usd = part["total_liq_usd"].to_numpy()
        ts = part["ts"].array
        daily = simulated.perp_volume.query("symbol == @symbol").set_index("ts")["volume_usd"]
        for t in [*range(0, 12), 170, 171, 172, 400, *range(1500, 1700, 7)]:
            scale = None
            if with_volume:
                near = daily[(daily.index > ts[t] - pd.Timedelta(days=30)) & (daily.index <= ts[t])]
                scale = float(np.clip(np.median(near) / 1e10, 0.02, 1)) if len(near) >= 7 else None
            best, cascade = (0.0, 0, np.nan), []
            for w in (4, 1):
                now = usd[t - w + 1 : t + 1]
                if t < w - 1 or np.isnan(now).any():
                    continue
                velocity = now.sum() / w
                spans = [usd[s - w + 1 : s + 1] for s in range(max(t - w - 719, w - 1), t - w + 1)]
                history = [span.sum() / w for span in spans if not np.isnan(span).any()]
                floor, least = 200_000 * (scale or 1), 500_000 * (scale or 1)
                limit = floor
                if len(history) >= 168:
                    quantile = np.quantile(history, 0.995)
                    limit = max(floor, quantile) if scale else quantile
                    least = least if scale else 0
                if velocity > limit and now.sum() >= least:
                    cascade.append((velocity / limit, w, limit))
                if velocity / limit > best[0]:
                    best = (velocity / limit, w, limit)
            row = part.iloc[t]
            assert row["is_cascade"] == bool(cascade)
            if best[1]:
                severity, w, limit = max(cascade) if cascade else best
                assert row["severity"] == pytest.approx(severity, rel=1e-12)
                assert row["critical_velocity_eff"] == pytest.approx(limit, rel=1e-12)
                assert row["window_hours"] == w if cascade else np.isnan(row["window_hours"])


def test_intensity_is_the_robust_score_of_the_log_sum_against_the_lagged_month(simulated: Raw) -> None:
    part = rule(simulated, LiquidationParameters(windows_h=(4,))).query("symbol == 'BTC/USDT'")
    logs = np.log1p(part["total_4h"].to_numpy())
    for t in (200, 777, 1500, 1799):
        history = logs[max(t - 4 - 719, 0) : t - 3]
        history = history[np.isfinite(history)]
        scale = max(1.4826 * stats.median_abs_deviation(history), 0.25)
        expected = np.clip((logs[t] - np.median(history)) / scale, -10, 50)
        assert part["intensity_z"].iloc[t] == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_until_a_week_of_history_the_floors_hold_and_alerts_are_marked() -> None:
    usd = np.full(400, 1_000.0)
    usd[[100, 300]] = 900_000
    result = run(liquidation_market(usd), LiquidationParameters())
    rows = result.rows["liquidation_features"]
    assert rows["warming_up"].to_numpy().argmin() == 168 + 4 + 2
    assert set(rows["threshold_mode"].iloc[:168]) == {"FLOOR"}
    opened = result.events.query("phase == 'OPEN'")
    assert opened["suppressed_reason"].tolist() == ["WARMING_UP", None]
    loud = run(liquidation_market(usd), LiquidationParameters(alert_during_warmup=True)).events
    assert loud.query("phase == 'OPEN'")["suppressed_reason"].isna().all()


def test_a_cascade_right_after_the_warm_up_is_not_hidden_by_what_the_floors_said() -> None:
    usd = np.full(260, 400_000.0)
    usd[200] = 6_000_000
    result = run(liquidation_market(usd), LiquidationParameters())
    opened = result.events.query("phase == 'OPEN' and suppressed_reason.isna()")
    assert opened["ts"].tolist() == [result.rows["liquidation_features"]["ts"].iloc[200]]


def test_without_perpetual_volume_the_floors_fall_after_a_week_so_that_a_small_coin_can_alert() -> None:
    usd = np.random.default_rng(2).lognormal(4, 0.5, 400)
    usd[300] = 20_000
    small = liquidation_market(usd, symbol="DOGE/USDT")
    row = rule(small, LiquidationParameters()).iloc[300]
    assert row["is_cascade"]
    assert (row["threshold_mode"], row["threshold_eff"]) == ("ADAPTIVE", 0.0)
    days = pd.date_range("2023-12-01", periods=60, freq="D", tz="UTC", unit="us")
    volume = pd.DataFrame({"venue": "gate", "symbol": "DOGE/USDT", "ts": days, "volume_usd": 5e8})
    row = rule(small, LiquidationParameters(), volume).iloc[300]
    assert (row["threshold_eff"], row["is_cascade"]) == (0.05 * 500_000, False)


def test_a_history_of_zeros_keeps_the_floor_instead_of_dividing_by_nothing() -> None:
    usd = np.zeros(400)
    usd[[300, 350]] = [50.0, 600_000.0]
    rows = rule(liquidation_market(usd), LiquidationParameters())
    assert not rows["is_cascade"].iloc[300]
    assert rows["is_cascade"].iloc[350]
    assert np.isfinite(rows["severity"].iloc[4:]).all()


def test_the_configured_scale_comes_before_the_volume() -> None:
    raw = liquidation_market([0.0, 60_000.0])
    params = LiquidationParameters(adaptive=False, symbol_scale={"BTC/USDT": 0.1})
    assert rule(raw, params)["is_cascade"].tolist() == [False, True]
    assert floor_scale(MarketRows.of(raw.market), None, params).tolist() == [[0.1, 0.1]]


# --- venues and gaps ----------------------------------------------------------------------------------------------


def test_a_venue_that_joins_restarts_the_history() -> None:
    raw = liquidation_market(np.full(600, 1_000.0))
    joins = raw.liquidations.iloc[400:].assign(venue="bitfinex", is_lower_bound=False)
    both = pd.concat([raw.liquidations, joins], ignore_index=True)
    rows = detect_cascade_events(raw.market, both, LiquidationParameters())
    assert not rows["warming_up"].iloc[399]
    assert rows["warming_up"].iloc[400 : 400 + 168 + 4 + 2].all()
    assert not rows["warming_up"].iloc[400 + 168 + 4 + 2]
    assert rows["n_venues"].iloc[[399, 400]].tolist() == [1, 2]


def test_a_venue_leaves_the_set_thirty_days_after_its_last_row() -> None:
    raw = liquidation_market(np.full(1200, 1_000.0))
    leaves = raw.liquidations.iloc[:300].assign(venue="bitfinex")
    record = venue_record(MarketRows.of(raw.market), pd.concat([raw.liquidations, leaves], ignore_index=True))
    assert record.same_since[0, [1018, 1019, 1199]].tolist() == [0, 1019, 1019]


def test_events_are_counted_only_where_every_venue_gives_them() -> None:
    raw = liquidation_market([1.0, 2.0, 3.0])
    other = raw.liquidations.iloc[1:2].assign(venue="bitfinex", n_events=pd.array([None], dtype="Int64"))
    rows = detect_cascade_events(raw.market, pd.concat([raw.liquidations, other], ignore_index=True), FIXED)
    assert rows["n_events"].tolist() == [3, pd.NA, 3]


@pytest.mark.parametrize(("hours", "state"), [(1, "ACTIVE"), (5, "UNKNOWN"), (30, "UNKNOWN")])
def test_an_outage_is_unknown_not_zero_and_holds_the_state_for_three_hours(hours: int, state: str) -> None:
    usd = np.full(80, 600_000.0)
    usd[:3] = 0
    usd[10 : 10 + hours] = np.nan
    rows = run(liquidation_market(usd)).rows["liquidation_features"]
    gap = rows.iloc[10 : 10 + hours]
    assert gap[["long_liq_usd", "total_1h", "severity", "total_4h"]].isna().all().all()
    assert set(gap["quality"]) == {"INSUFFICIENT"}
    assert gap["state"].iloc[-1] == state
    assert rows["state"].iloc[10 + hours] == "ACTIVE"
    assert rows["episode_id"].iloc[10 + hours] is not None


def test_low_coverage_is_unknown() -> None:
    coverage = np.array([1.0, 0.89, 0.9, 1.0, 1.0, 1.0])
    rows = rule(liquidation_market(np.full(6, 9e5), coverage=coverage))
    assert rows["total_liq_usd"].isna().tolist() == [False, True, False, False, False, False]
    assert rows["total_4h"].isna().tolist() == [True, True, True, True, True, False]
    assert rows["coverage"].tolist() == coverage.tolist()


def test_a_symbol_without_any_liquidations_has_rows_without_figures() -> None:
    raw = liquidation_market(np.full(30, np.nan))
    rows = run(raw, LiquidationParameters()).rows["liquidation_features"]
    assert len(rows) == 30
    assert set(rows["state"]) == {"UNKNOWN"}
    assert not rows["is_cascade"].any()


# --- price and market -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("long_usd", "move", "confirmed"),
    [(1e6, -0.05, True), (1e6, 0.05, False), (0.0, 0.05, True), (1e6, -0.0001, False)],
)
def test_a_cascade_is_confirmed_by_a_move_against_the_liquidated_side(
    long_usd: float, move: float, confirmed: bool
) -> None:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.004, 60)))
    close[-1] = close[-2] * (1 + move)
    usd, other = np.zeros(60), np.zeros(60)
    usd[-1], other[-1] = long_usd, 1e6 - long_usd
    rows = rule(liquidation_market(usd, other, close=close))
    assert rows["price_confirmed"].iloc[-1] == confirmed
    assert not rows["price_confirmed"].iloc[:-1].any()


def test_three_symbols_in_one_hour_are_market_wide_and_two_are_not() -> None:
    def together(n: int) -> pd.DataFrame:
        parts = [liquidation_market([0.0, 0.0, 9e5 if k < n else 0.0], symbol=f"S{k}/USDT") for k in range(4)]
        raw = replace(
            parts[0],
            market=pd.concat([p.market for p in parts], ignore_index=True),
            liquidations=pd.concat([p.liquidations for p in parts], ignore_index=True),
        )
        return run(raw).rows["liquidation_features"]

    assert together(3).query("market_wide")["ts"].unique().tolist() == [utc("2024-01-01 03:00")]
    assert not together(2)["market_wide"].any()


# --- episodes -----------------------------------------------------------------------------------------------------


def test_one_open_per_episode_and_one_escalation_per_tier() -> None:
    usd = [0, 0, 0, 500_000, 500_000, 700_000, 2_000_000, 700_000, 0, 0, 0, 0, 0, 0]
    events = run(liquidation_market(np.array(usd, dtype=float))).events
    assert events["phase"].tolist() == ["OPEN", "ESCALATE", "ESCALATE", "CLOSE"]
    assert events["level"].tolist()[:3] == [2, 3, 4]
    assert events["episode_id"].nunique() == 1


def test_an_episode_ends_when_the_hour_stays_below_half_its_limit_twice() -> None:
    usd = np.array([0, 0, 900_000, 0, 150_000, 0, 0, 0, 0, 0, 0, 0, 0], dtype=float)
    rows = run(liquidation_market(usd)).rows["liquidation_features"]
    # The window of four hours holds the condition until 06:00; the two quiet hours after it end the episode.
    assert rows["state"].tolist()[2:9] == ["ACTIVE"] * 5 + ["COOLING"] * 2


def test_an_episode_is_split_after_a_day_without_a_second_open() -> None:
    usd = np.full(80, 600_000.0)
    usd[:3] = 0
    events = run(liquidation_market(usd)).events
    assert events["phase"].tolist().count("OPEN") == 1


@settings(max_examples=15, deadline=None)
@given(
    usd=st.lists(st.one_of(st.floats(0, 1e9), st.just(np.nan), st.just(0.0)), min_size=5, max_size=60),
    share=st.floats(0, 1),
)
def test_any_sums_give_finite_figures_within_their_ranges(usd: list[float], share: float) -> None:
    sums = np.array(usd)
    rows = run(liquidation_market(sums * share, sums * (1 - share)), LiquidationParameters()).rows[
        "liquidation_features"
    ]
    assert not np.isinf(rows.select_dtypes("number").to_numpy(dtype=float, na_value=np.nan)).any()
    assert (rows["is_cascade"] == rows["window_hours"].notna()).all()
    assert (rows.loc[rows["is_cascade"], "severity"] > 1).all()
