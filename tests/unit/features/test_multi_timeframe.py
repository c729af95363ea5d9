"""Regimes end to end: rows keep the contract, never look ahead, and are the same live, monthly and in one pass."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from regimes_dagster.features.multi_timeframe import compute_multi_timeframe_regimes, lookback
from regimes_dagster.features.result import FeatureResult, StoredState
from regimes_dagster.parameters import MultiTimeframeParameters
from regimes_dagster.partitions import Window, utc
from regimes_dagster.schemas import EngineState, EpisodeEvents, Regimes
from tests.unit.features.hourly_market import SYMBOLS, differences, market, no_infinities, rough, stored

PARAMS = MultiTimeframeParameters()
WINDOW = Window(utc("2024-01-01"), utc("2024-04-03"))


def funding(frame: pd.DataFrame, seed: int = 9) -> pd.DataFrame:
    out = frame[["symbol", "ts"]].copy()
    out["funding_z_score"] = np.repeat(np.random.default_rng(seed).normal(size=len(out) // 8 + 1), 8)[: len(out)]
    return out


def run(
    frame: pd.DataFrame,
    window: Window = WINDOW,
    state: StoredState | None = None,
    *,
    with_funding: bool = True,
    **more: object,
) -> FeatureResult:
    start = frame["ts"].min() if state is None else state.ts - lookback(PARAMS)
    seen = frame[(frame["ts"] > start - timedelta(hours=1)) & (frame["ts"] <= window.end)].reset_index(drop=True)
    extra = FUNDING[(FUNDING["ts"] >= seen["ts"].min()) & (FUNDING["ts"] <= window.end)] if with_funding else None
    return compute_multi_timeframe_regimes(
        seen,
        PARAMS,
        window=window,
        state=state,
        funding_features=extra,
        **more,  # type: ignore[arg-type]
    )


MARKET = rough(market(hours=24 * 460, seed=21))
FUNDING = funding(MARKET)


@pytest.fixture(scope="module")
def whole() -> FeatureResult:
    return run(MARKET)


def rows_until(result: FeatureResult, moment: pd.Timestamp, after: pd.Timestamp = WINDOW.start) -> pd.DataFrame:
    rows = result.rows["regimes"]
    return rows[(rows["ts"] <= moment) & (rows["ts"] > after)].reset_index(drop=True)


def events_until(result: FeatureResult, moment: pd.Timestamp, after: pd.Timestamp = WINDOW.start) -> pd.DataFrame:
    events = result.events
    return events[(events["ts"] <= moment) & (events["ts"] > after)].reset_index(drop=True)


def test_rows_events_and_states_keep_their_contracts(whole: FeatureResult) -> None:
    rows = whole.rows["regimes"]
    Regimes.validate(rows)
    EpisodeEvents.validate(whole.events)
    EngineState.validate(whole.states)
    assert list(rows.columns) == list(Regimes.to_schema().columns)
    assert no_infinities(rows)
    wanted = MARKET[WINDOW.mask(MARKET["ts"])]
    assert rows[["symbol", "ts"]].equals(wanted[["symbol", "ts"]].reset_index(drop=True))
    assert set(rows["state"]) == {"IDLE", "ACTIVE", "COOLING", "UNKNOWN"}
    assert (whole.events["phase"] == "OPEN").sum() >= 5


def test_the_payload_has_exactly_the_keys_of_the_contract(whole: FeatureResult) -> None:
    for event in whole.events.to_dict("records"):
        assert list(event["data"]) == [
            "primary_regime", "confidence", "confidence_weighted", "regimes", "long_bias", "risk_multiplier", "heat",
        ]  # fmt: skip
        assert list(event["data"]["regimes"]) == ["1h", "4h", "1d", "1w"]
        assert event["source"] == "REGIME"
        assert event["key"].rsplit(":", 1)[0] == event["symbol"]
    opened = whole.events[whole.events["phase"] == "OPEN"]
    assert all(data["confidence"] > 0.70 for data in opened["data"])


def test_an_open_follows_the_rule_and_a_confirmation_ends_when_the_family_changes(whole: FeatureResult) -> None:
    rows = whole.rows["regimes"].set_index(["symbol", "ts"])
    for event in whole.events.to_dict("records"):
        row = rows.loc[(event["symbol"], event["ts"])]
        family = int(event["key"].rsplit(":", 1)[1])
        if event["phase"] == "OPEN":
            assert row["family"] == family
            assert row["state"] == "ACTIVE"
            assert row["episode_id"] == event["episode_id"]
        elif event["phase"] == "CLOSE":
            share = event["explain"]["terms"]["weight_share"]
            assert row["family"] != family or share < PARAMS.release


def test_cutting_the_future_off_changes_no_row_and_no_event(whole: FeatureResult) -> None:
    hours = pd.date_range(WINDOW.start + timedelta(days=2), WINDOW.end, freq="h", unit="us")
    rng = np.random.default_rng(3)
    edges = ["2024-02-05", "2024-02-05 04:00", "2024-03-11", "2024-03-10 23:00"]
    moments = [*rng.choice(hours, 16, replace=False), *(utc(edge) for edge in edges)]
    for moment in moments:
        cut = run(MARKET[MARKET["ts"] <= moment], Window(WINDOW.start, utc(moment)))
        assert differences(cut.rows["regimes"], rows_until(whole, moment)) == []
        assert differences(cut.events, events_until(whole, moment)) == []


def test_garbage_in_the_future_changes_nothing_before(whole: FeatureResult) -> None:
    moment = utc("2024-02-14 13:00")
    poisoned = MARKET.copy()
    later = poisoned["ts"] > moment
    rng = np.random.default_rng(4)
    poisoned.loc[later, "close"] = np.exp(rng.normal(0, 20, later.sum()))
    poisoned.loc[later, "quote_volume"] = np.exp(rng.normal(0, 30, later.sum()))
    poisoned.loc[later, "ohlcv_venue"] = "elsewhere"
    result = run(poisoned)
    assert differences(rows_until(result, moment), rows_until(whole, moment)) == []
    assert differences(events_until(result, moment), events_until(whole, moment)) == []
    assert differences(result.rows["regimes"], whole.rows["regimes"]) != []


def test_starting_at_the_lookback_gives_the_same_floats_as_starting_at_the_first_row(whole: FeatureResult) -> None:
    resumed = run(MARKET, state=stored(run(MARKET, Window(utc("2023-12-01"), WINDOW.start)), WINDOW.start))
    assert differences(resumed.rows["regimes"], whole.rows["regimes"]) == []
    assert differences(resumed.events, whole.events) == []


def test_month_by_month_equals_one_pass(whole: FeatureResult) -> None:
    state = stored(run(MARKET, Window(utc("2023-12-01"), WINDOW.start)), WINDOW.start)
    for start, end in [("2024-01-01", "2024-02-01"), ("2024-02-01", "2024-03-01"), ("2024-03-01", "2024-04-01")]:
        month = run(MARKET, Window(utc(start), utc(end)), state)
        assert differences(month.rows["regimes"], rows_until(whole, utc(end), utc(start))) == []
        assert differences(month.events, events_until(whole, utc(end), utc(start))) == []
        state = stored(month, utc(end))
        kept = whole.states[whole.states["ts"] == utc(end)].reset_index(drop=True)
        assert differences(month.states, kept) == []


def hour_by_hour(whole: FeatureResult, first: str, hours: int) -> None:
    """Every hour recomputes its month from the state at the month's start, as the hourly run does."""
    january = Window(utc("2023-12-01"), utc("2024-02-01"))
    state = stored(run(MARKET, january), january.end)
    for moment in pd.date_range(first, periods=hours, freq="h", tz="UTC", unit="us"):
        if moment > utc("2024-03-01") and state.ts == utc("2024-02-01"):
            state = stored(run(MARKET, Window(state.ts, utc("2024-03-01")), state), utc("2024-03-01"))
        live = run(MARKET, Window(state.ts, moment), state)
        assert differences(live.rows["regimes"], rows_until(whole, moment, state.ts)) == []
        assert differences(live.events, events_until(whole, moment, state.ts)) == []
        assert set(live.states["ts"]) == {moment}


def test_hour_by_hour_over_a_month_edge_equals_one_pass(whole: FeatureResult) -> None:
    hour_by_hour(whole, "2024-02-29 18:00", 12)


@pytest.mark.slow
def test_ten_days_hour_by_hour_equal_one_pass(whole: FeatureResult) -> None:
    hour_by_hour(whole, "2024-02-24", 240)


def test_a_symbol_listed_in_mid_history_is_unknown_until_three_timeframes_speak(whole: FeatureResult) -> None:
    frame = market(hours=24 * 300, seed=5)
    young = frame[(frame["symbol"] != "SOL/USDT") | (frame["ts"] > utc("2024-02-01"))].reset_index(drop=True)
    result = run(young, with_funding=False)
    rows = result.rows["regimes"]
    sol = rows[rows["symbol"] == "SOL/USDT"]
    assert sol["ts"].min() == utc("2024-02-01 01:00")
    first = sol.iloc[0]
    assert (first["primary_regime"], first["quality"], first["state"]) == ("UNKNOWN", "INSUFFICIENT", "UNKNOWN")
    assert pd.isna(first["hours_in_regime"])
    assert not (result.events["symbol"] == "SOL/USDT").any() or sol["quality"].eq("OK").any()
    others = rows[rows["symbol"] != "SOL/USDT"].reset_index(drop=True)
    alone = run(frame[frame["symbol"] != "SOL/USDT"].reset_index(drop=True), with_funding=False)
    assert differences(others, alone.rows["regimes"]) == []
    assert "SOL/USDT" not in set(result.states.loc[result.states["ts"] == utc("2024-02-01"), "key"])


def test_a_new_symbol_beside_stored_ones_starts_from_its_own_first_row() -> None:
    frame = market(hours=24 * 300, seed=6)
    old = frame[frame["symbol"] != "SOL/USDT"].reset_index(drop=True)
    state = stored(run(old, Window(utc("2024-01-01"), utc("2024-03-01")), with_funding=False), utc("2024-03-01"))
    window = Window(utc("2024-03-01"), utc("2024-04-01"))
    joined = run(frame, window, state, with_funding=False)
    direct = run(frame, window, with_funding=False)
    assert differences(joined.rows["regimes"], direct.rows["regimes"]) == []
    assert differences(joined.events, direct.events) == []


@pytest.mark.parametrize(("outage", "unknown_1h"), [(1, False), (3, False), (5, True), (30, True)])
def test_an_outage_is_held_for_three_hours_and_then_named(outage: int, unknown_1h: bool) -> None:
    frame = market(hours=24 * 280, seed=7, symbols=("BTC/USDT",))
    begin = len(frame) - 200
    frame.loc[begin : begin + outage - 1, ["close", "quote_volume", "ohlcv_venue"]] = np.nan
    rows = run(frame, with_funding=False).rows["regimes"]
    during = rows[rows["ts"].isin(frame["ts"].iloc[begin : begin + outage])]
    assert (during["regime_1h"].iloc[-1] == "UNKNOWN") == unknown_1h
    assert (during["regime_1h"].iloc[: min(outage, 3)] != "UNKNOWN").all()
    assert len(during) == outage
    assert no_infinities(rows)


def test_a_delisted_symbol_ends_unknown_without_an_event() -> None:
    frame = market(hours=24 * 300, seed=8)
    gone = utc("2024-02-10 07:00")
    frame.loc[(frame["symbol"] == "ETH/USDT") & (frame["ts"] > gone), ["close", "quote_volume", "ohlcv_venue"]] = np.nan
    result = run(frame, with_funding=False)
    eth = result.rows["regimes"].query("symbol == 'ETH/USDT'")
    last = eth.iloc[-1]
    assert (last["primary_regime"], last["quality"], last["state"]) == ("UNKNOWN", "INSUFFICIENT", "UNKNOWN")
    assert not ((result.events["symbol"] == "ETH/USDT") & (result.events["ts"] > gone + timedelta(days=15))).any()


def test_a_constant_price_is_neutral_and_confirms_nothing() -> None:
    frame = market(hours=24 * 280, seed=9, symbols=("BTC/USDT",)).assign(close=1.0)
    result = run(frame, with_funding=False)
    last = result.rows["regimes"].iloc[-1]
    assert last["primary_regime"] == "NEUTRAL"
    assert last["price_z_1d"] == 0
    assert result.events.empty


def test_no_rows_give_empty_tables_of_the_right_columns() -> None:
    nothing = MARKET.iloc[:0]
    result = compute_multi_timeframe_regimes(nothing, PARAMS, window=WINDOW)
    Regimes.validate(result.rows["regimes"])
    assert list(result.rows["regimes"].columns) == list(Regimes.to_schema().columns)
    assert result.events.empty
    assert result.states.empty


def test_unsorted_rows_are_refused() -> None:
    frame = market(hours=100, symbols=SYMBOLS[:2])
    with pytest.raises(ValueError, match="sorted by symbol and ts"):
        compute_multi_timeframe_regimes(frame.iloc[::-1].reset_index(drop=True), PARAMS, window=WINDOW)


def test_three_hundred_symbols_are_computed_alike() -> None:
    symbols = [f"S{k:03d}/USDT" for k in range(300)]
    frame = market(hours=24 * 60, seed=10, symbols=symbols)
    window = Window(utc("2024-03-31"), utc("2024-04-03"))
    rows = compute_multi_timeframe_regimes(frame, PARAMS, window=window).rows["regimes"]
    assert len(rows) == 300 * 72
    one = frame[frame["symbol"] == "S177/USDT"].reset_index(drop=True)
    alone = compute_multi_timeframe_regimes(one, PARAMS, window=window).rows["regimes"]
    assert differences(rows[rows["symbol"] == "S177/USDT"].reset_index(drop=True), alone) == []


def test_fewer_timeframes_leave_the_columns_of_the_others_unknown() -> None:
    params = MultiTimeframeParameters(timeframes={k: v for k, v in PARAMS.timeframes.items() if k != "1w"})
    rows = compute_multi_timeframe_regimes(
        market(hours=24 * 200, seed=11), params, window=Window(utc("2024-04-01"), utc("2024-04-03"))
    ).rows["regimes"]
    Regimes.validate(rows)
    assert (rows["regime_1w"] == "UNKNOWN").all()
    assert rows["bar_close_1w"].isna().all()
    assert (rows["quality"] == "OK").all()


def test_running_the_newest_hour_again_gives_nothing_new(whole: FeatureResult) -> None:
    newest = MARKET["ts"].max()
    again = run(MARKET, Window(newest, newest), stored(whole, newest))
    assert again.rows["regimes"].empty
    assert again.events.empty
