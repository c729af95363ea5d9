"""Correlation breaks end to end: the guide's example, contracts, no look-ahead, live as in one pass, gaps."""

import math
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from regimes_dagster.features.asset_pairs import asset_pairs
from regimes_dagster.features.break_evidence import OUTCOME_H, Break, BreakRecord
from regimes_dagster.features.break_rule import TRIGGERS, break_rule
from regimes_dagster.features.correlation_engine import compute_pairwise_correlations, lookback
from regimes_dagster.features.correlation_messages import divergence_strength
from regimes_dagster.features.hourly_grid import hour_number
from regimes_dagster.features.pair_statistics import PairFigures
from regimes_dagster.features.result import FeatureResult, StoredState
from regimes_dagster.parameters import CorrelationParameters
from regimes_dagster.partitions import Window, utc
from regimes_dagster.schemas import CorrelationFeatures, EngineState, EpisodeEvents
from tests.unit.features.hourly_market import SYMBOLS, differences, market, no_infinities, paths, rough, stored

PARAMS = CorrelationParameters()
WINDOW = Window(utc("2024-01-01"), utc("2024-04-03"))
TABLE = "correlation_features"


def decoupled(hours: int = 24 * 300, seed: int = 31) -> pd.DataFrame:
    """A market whose pairs come apart for some days now and then, so that there are breaks to compare."""
    rng = np.random.default_rng(seed)
    steps = np.diff(np.log(paths(3, hours, seed)), axis=1, prepend=np.log(100))
    for begin in range(hours - 2600, hours - 100, 330):
        k = rng.integers(3)
        steps[k, begin : begin + 90] = rng.permutation(steps[k, begin : begin + 90]) * rng.choice([-1, 1])
    return market(hours, seed, closes=np.exp(np.cumsum(steps, axis=1)))


MARKET = rough(decoupled())


def run(
    frame: pd.DataFrame,
    window: Window = WINDOW,
    state: StoredState | None = None,
    params: CorrelationParameters = PARAMS,
) -> FeatureResult:
    start = frame["ts"].min() if state is None else state.ts - lookback(params)
    seen = frame[(frame["ts"] > start - timedelta(hours=1)) & (frame["ts"] <= window.end)].reset_index(drop=True)
    return compute_pairwise_correlations(seen, params, window=window, state=state, symbols=SYMBOLS)


@pytest.fixture(scope="module")
def whole() -> FeatureResult:
    return run(MARKET)


def between(frame: pd.DataFrame, after: pd.Timestamp, until: pd.Timestamp) -> pd.DataFrame:
    return frame[(frame["ts"] > after) & (frame["ts"] <= until)].reset_index(drop=True)


def figures(**values: float) -> PairFigures:
    every = dict.fromkeys(PairFigures.__dataclass_fields__, math.nan) | values
    return PairFigures(**{name: np.array([[value]]) for name, value in every.items()})


# --- the rule ----------------------------------------------------------------------------------------------


def test_the_guides_opposition_has_strength_065_and_is_a_potential_pair_trade() -> None:
    """rho = -0.65 -> divergence_strength 0.65, POTENTIAL_PAIR_TRADE."""
    rng = np.random.default_rng(2)
    hours = 24 * 60
    x = rng.normal(0, 0.005, (2, hours))
    a, b = x[0], 0.8 * x[0] + 0.6 * x[1]
    # The last 72 hours: exactly rho = -0.65 in the sample.
    z = x[1, -72:]
    base = a[-72:] - a[-72:].mean()
    residual = z - z.mean() - base * (base @ (z - z.mean())) / (base @ base)
    b[-72:] = -0.65 * base / base.std() * 0.005 + math.sqrt(1 - 0.65**2) * residual / residual.std() * 0.005
    closes = 100 * np.exp(np.cumsum(np.stack([a, b]), axis=1))
    frame = market(hours, symbols=SYMBOLS[:2], closes=closes)
    result = compute_pairwise_correlations(frame, PARAMS, window=WINDOW)
    last = result.rows[TABLE].iloc[-1]
    assert last["return_correlation"] == pytest.approx(-0.65, abs=1e-9)
    assert last["divergence_strength"] == pytest.approx(0.65, abs=1e-9)
    assert last["signal"] == "POTENTIAL_PAIR_TRADE"
    assert last["trigger"] == "ABSOLUTE"
    assert last["asset_pair"] == "BTC/USDT/ETH/USDT"
    escalated = result.events.iloc[-1]
    assert escalated["level"] == 3
    assert escalated["severity"] == "CRITICAL"
    assert escalated["data"]["signal"] == "POTENTIAL_PAIR_TRADE"
    assert divergence_strength(-0.65, 0.9, "ABSOLUTE") == 0.65


@pytest.mark.parametrize(
    ("rho", "baseline", "z", "trigger", "level"),
    [
        (0.4, 0.7, -2.5, "RELATIVE", 1), (0.4, 0.7, -2.49, "NONE", 0), (0.56, 0.7, -3.0, "NONE", 0),
        (0.4, 0.7, -4.0, "RELATIVE", 2), (-0.51, 0.7, -5.0, "ABSOLUTE", 3), (-0.5, -0.4, -0.5, "NONE", 0),
        (-0.6, -0.5, -0.5, "ABSOLUTE", 3), (-0.6, math.nan, math.nan, "ABSOLUTE", 3),
        (0.1, math.nan, math.nan, "NONE", 0), (math.nan, 0.7, math.nan, "NONE", 0),
    ],
)  # fmt: skip
def test_a_break_is_relative_or_absolute(rho: float, baseline: float, z: float, trigger: str, level: int) -> None:
    rule = break_rule(figures(rho=rho, baseline=baseline, break_z=z), PARAMS)
    assert TRIGGERS[rule.trigger[0, 0]] == trigger
    assert rule.level[0, 0] == level
    assert rule.valid[0, 0] == (not math.isnan(rho))


@pytest.mark.parametrize(
    ("rho", "z", "release"),
    [
        (0.6, -0.99, True), (0.6, -1.0, False), (-0.31, 0.0, False), (-0.29, 0.0, True), (0.2, math.nan, True),
        (math.nan, math.nan, False),
    ],
)  # fmt: skip
def test_a_break_is_over_when_neither_rule_is_near(rho: float, z: float, release: bool) -> None:
    assert break_rule(figures(rho=rho, baseline=0.7, break_z=z), PARAMS).release[0, 0] == release


# --- pairs -------------------------------------------------------------------------------------------------


def test_up_to_eight_symbols_every_pair_is_followed_and_beyond_that_each_against_the_benchmark() -> None:
    eight, nine = [f"S{k}/USDT" for k in range(8)], [f"S{k}/USDT" for k in range(9)]
    assert len(asset_pairs(eight, PARAMS)) == 28
    assert asset_pairs(nine, PARAMS) == [("S0/USDT", symbol) for symbol in nine[1:]]
    other = asset_pairs(nine, CorrelationParameters(benchmark="S4/USDT"))
    assert len(other) == 8
    assert all(pair[0] == "S4/USDT" for pair in other)


def test_configured_pairs_come_on_top_without_doubles() -> None:
    nine = [f"S{k}/USDT" for k in range(9)]
    params = CorrelationParameters(pairs=(("S3/USDT", "S2/USDT"), ("S1/USDT", "S0/USDT"), ("S2/USDT", "S3/USDT")))
    pairs = asset_pairs(nine, params)
    assert len(pairs) == 9
    assert pairs[-1] == ("S3/USDT", "S2/USDT")


def test_a_pair_of_an_unknown_symbol_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="DOGE/USDT, not among the symbols"):
        asset_pairs(SYMBOLS, CorrelationParameters(pairs=(("BTC/USDT", "DOGE/USDT"),)))
    with pytest.raises(ValueError, match="twice in one pair"):
        asset_pairs(SYMBOLS, CorrelationParameters(pairs=(("BTC/USDT", "BTC/USDT"),)))


def test_one_symbol_has_no_pairs() -> None:
    result = compute_pairwise_correlations(market(500, symbols=SYMBOLS[:1]), PARAMS, window=WINDOW)
    CorrelationFeatures.validate(result.rows[TABLE])
    assert result.rows[TABLE].empty
    assert list(result.rows[TABLE].columns) == list(CorrelationFeatures.to_schema().columns)
    assert result.events.empty


# --- contract ----------------------------------------------------------------------------------------------


def test_rows_events_and_states_keep_their_contracts(whole: FeatureResult) -> None:
    rows = whole.rows[TABLE]
    CorrelationFeatures.validate(rows)
    EpisodeEvents.validate(whole.events)
    EngineState.validate(whole.states)
    assert list(rows.columns) == list(CorrelationFeatures.to_schema().columns)
    assert no_infinities(rows)
    assert rows[["asset_pair", "ts"]].equals(rows[["asset_pair", "ts"]].sort_values(["asset_pair", "ts"]))
    assert set(rows["state"]) == {"IDLE", "ACTIVE", "COOLING", "UNKNOWN"}
    assert (whole.events["phase"] == "OPEN").sum() >= 5
    assert rows["spread_half_life_h"].notna().any()


def test_the_payload_has_exactly_the_keys_of_the_contract(whole: FeatureResult) -> None:
    for event in whole.events.to_dict("records"):
        assert list(event["data"]) == [
            "return_correlation", "divergence_strength", "signal", "baseline_correlation", "break_z",
            "break_strength", "trigger", "spread_z", "beta", "evidence",
        ]  # fmt: skip
        assert set(event["data"]["evidence"]) == {"n", "reversal_rate"}
        assert event["symbol"] == event["asset_pair"] == event["key"]
    opened = whole.events[whole.events["phase"] == "OPEN"]
    assert all(data["trigger"] != "NONE" and data["signal"] != "NONE" for data in opened["data"])


def test_the_signal_needs_a_wide_spread_that_comes_back_or_opposition(whole: FeatureResult) -> None:
    rows = whole.rows[TABLE]
    trade = rows["signal"] == "POTENTIAL_PAIR_TRADE"
    ok = (rows["trigger"] == "ABSOLUTE") | ((rows["spread_z"].abs() >= 2) & (rows["spread_half_life_h"] <= 72))
    assert ok[trade].all()
    assert ((rows["signal"] == "CORRELATION_BREAK") <= (rows["trigger"] != "NONE")).all()
    assert ((rows["trigger"] == "NONE") | (rows["signal"] != "NONE")).all()


def test_without_minute_bars_nothing_leads(whole: FeatureResult) -> None:
    rows = whole.rows[TABLE]
    assert (rows["leader"] == "NONE").all()
    assert (rows["leader_reason"] == "no minute bars").all()


def test_a_leader_holds_for_the_day_after_its_midnight() -> None:
    rng = np.random.default_rng(1)
    day = utc("2024-04-02")
    # The fifth day that has a week of bars behind it is the first that may name a leader.
    minutes = pd.date_range(end=day, periods=11 * 1440, freq="min", unit="us")
    btc = rng.normal(0, 0.0005, len(minutes))
    eth = 0.5 * rng.normal(0, 0.0005, len(minutes)) + 0.4 * np.roll(btc, 1)
    bars = pd.concat(
        pd.DataFrame({"symbol": s, "ts": minutes, "close": np.exp(np.cumsum(x))})
        for s, x in (("BTC/USDT", btc), ("ETH/USDT", eth))
    )
    frame = market(200, symbols=SYMBOLS[:2])
    rows = compute_pairwise_correlations(frame, PARAMS, window=WINDOW, minute_bars=bars).rows[TABLE].set_index("ts")
    assert set(rows.loc[day + timedelta(hours=1) : day + timedelta(hours=24), "leader"]) == {"BTC/USDT"}
    assert rows.loc[day, "leader"] == "NONE"
    CorrelationFeatures.validate(rows.reset_index()[list(CorrelationFeatures.to_schema().columns)])


# --- no look-ahead, and the same however it is run -----------------------------------------------------------


def test_cutting_the_future_off_changes_no_row_and_no_event(whole: FeatureResult) -> None:
    hours = pd.date_range(WINDOW.start + timedelta(days=1), WINDOW.end, freq="h", unit="us")
    edges = ["2024-02-01", "2024-03-01 01:00", "2024-03-10 23:00", "2024-04-02 23:00"]
    moments = [*np.random.default_rng(3).choice(hours, 16, replace=False), *(utc(edge) for edge in edges)]
    for moment in moments:
        late = Window(max(WINDOW.start, moment - timedelta(days=30)), utc(moment))
        cut = run(MARKET[MARKET["ts"] <= moment], late)
        assert differences(cut.rows[TABLE], between(whole.rows[TABLE], late.start, moment)) == []
        assert differences(cut.events, between(whole.events, late.start, moment)) == []


def test_garbage_in_the_future_changes_nothing_before(whole: FeatureResult) -> None:
    moment = utc("2024-02-24 13:00")
    poisoned = MARKET.copy()
    later = poisoned["ts"] > moment
    poisoned.loc[later, "close"] = np.exp(np.random.default_rng(4).normal(0, 20, later.sum()))
    poisoned.loc[later, "ohlcv_venue"] = "elsewhere"
    result = run(poisoned)
    for kind in ("rows", "events"):
        mine, theirs = (r.rows[TABLE] if kind == "rows" else r.events for r in (result, whole))
        assert differences(between(mine, WINDOW.start, moment), between(theirs, WINDOW.start, moment)) == []
    assert differences(result.rows[TABLE], whole.rows[TABLE]) != []


def test_month_by_month_from_stored_states_equals_one_pass(whole: FeatureResult) -> None:
    state = stored(run(MARKET, Window(utc("2023-12-01"), WINDOW.start)), WINDOW.start)
    for start, end in [("2024-01-01", "2024-02-01"), ("2024-02-01", "2024-03-01"), ("2024-03-01", "2024-04-01")]:
        month = run(MARKET, Window(utc(start), utc(end)), state)
        assert differences(month.rows[TABLE], between(whole.rows[TABLE], utc(start), utc(end))) == []
        assert differences(month.events, between(whole.events, utc(start), utc(end))) == []
        kept = whole.states[whole.states["ts"] == utc(end)].reset_index(drop=True)
        assert differences(month.states, kept) == []
        state = stored(month, utc(end))


def hour_by_hour(whole: FeatureResult, first: str, hours: int) -> None:
    """Every hour recomputes its month from the state at the month's start, as the hourly run does."""
    state = stored(run(MARKET, Window(utc("2023-12-01"), utc("2024-02-01"))), utc("2024-02-01"))
    for moment in pd.date_range(first, periods=hours, freq="h", tz="UTC", unit="us"):
        if moment > utc("2024-03-01") and state.ts == utc("2024-02-01"):
            state = stored(run(MARKET, Window(state.ts, utc("2024-03-01")), state), utc("2024-03-01"))
        live = run(MARKET, Window(state.ts, moment), state)
        assert differences(live.rows[TABLE], between(whole.rows[TABLE], state.ts, moment)) == []
        assert differences(live.events, between(whole.events, state.ts, moment)) == []


def test_hour_by_hour_over_a_month_edge_equals_one_pass(whole: FeatureResult) -> None:
    hour_by_hour(whole, "2024-02-29 18:00", 12)


@pytest.mark.slow
def test_ten_days_hour_by_hour_equal_one_pass(whole: FeatureResult) -> None:
    hour_by_hour(whole, "2024-02-24", 240)


# --- gaps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outage", [1, 5, 30])
def test_an_outage_lowers_the_count_and_then_names_itself(outage: int) -> None:
    frame = market(24 * 140, seed=12, symbols=SYMBOLS[:2])
    begin = len(frame) - 200
    gap = frame["ts"].iloc[begin : begin + outage]
    frame.loc[begin : begin + outage - 1, ["close", "ohlcv_venue"]] = np.nan
    rows = run(frame).rows[TABLE].set_index("ts")
    after = rows.loc[gap.iloc[-1] + timedelta(hours=1)]
    assert after["n_obs"] == 72 - outage - 1
    assert after["quality"] == ("OK" if outage < 7 else "INSUFFICIENT")
    assert (after["state"] == "UNKNOWN") == (outage == 30)
    assert no_infinities(rows)
    assert rows["quality"].iloc[-1] == "OK"


def test_a_pair_exists_from_the_hour_both_are_listed(whole: FeatureResult) -> None:
    rows = whole.rows[TABLE]
    listed = MARKET.loc[MARKET["symbol"] == "SOL/USDT", "ts"].min()
    frame = MARKET[(MARKET["symbol"] != "SOL/USDT") | (MARKET["ts"] > utc("2024-03-01"))].reset_index(drop=True)
    young = run(frame)
    sol = young.rows[TABLE].query("asset_pair == 'BTC/USDT/SOL/USDT'")
    assert sol["ts"].min() == utc("2024-03-01 01:00") > listed
    assert (sol["quality"].iloc[0], sol["state"].iloc[0]) == ("INSUFFICIENT", "UNKNOWN")
    assert "BTC/USDT/SOL/USDT" not in set(young.states.loc[young.states["ts"] == utc("2024-02-01"), "key"])
    other = "BTC/USDT/ETH/USDT"
    mine, theirs = (r[r["asset_pair"] == other].reset_index(drop=True) for r in (young.rows[TABLE], rows))
    assert differences(mine, theirs) == []


def test_a_constant_price_has_no_correlation_and_no_event() -> None:
    frame = market(24 * 140, seed=13, symbols=SYMBOLS[:2])
    frame.loc[frame["symbol"] == "ETH/USDT", "close"] = 1.0
    result = run(frame)
    rows = result.rows[TABLE]
    assert rows["return_correlation"].isna().all()
    assert (rows["quality"] == "INSUFFICIENT").all()
    assert result.events.empty


def test_three_hundred_symbols_are_paired_with_the_benchmark_and_computed_alike() -> None:
    symbols = [f"S{k:03d}/USDT" for k in range(300)]
    frame = market(24 * 40, seed=14, symbols=symbols)
    window = Window(utc("2024-04-02"), utc("2024-04-03"))
    rows = compute_pairwise_correlations(frame, PARAMS, window=window, symbols=symbols).rows[TABLE]
    assert len(rows) == 299 * 24
    two = frame[frame["symbol"].isin(["S000/USDT", "S213/USDT"])].reset_index(drop=True)
    alone = compute_pairwise_correlations(two, PARAMS, window=window).rows[TABLE]
    mine = rows[rows["asset_pair"] == "S000/USDT/S213/USDT"].reset_index(drop=True)
    assert differences(mine, alone) == []


# --- evidence ----------------------------------------------------------------------------------------------


def test_a_break_counts_as_reversed_when_its_spread_comes_back_within_a_week() -> None:
    first = hour_number(utc("2024-01-01"))
    a = np.zeros(400)
    b = np.zeros(400)
    b[100:250] = -0.001
    record = BreakRecord()
    record.add(Break(first + 99, 1.0, 0.05))
    record.add(Break(first + 99, 1.0, -0.05))
    record.settle(first + 99 + OUTCOME_H - 1, a, b, first)
    assert record.summary() == {"n": 0, "reversal_rate": None}
    record.settle(first + 99 + OUTCOME_H, a, b, first)
    assert record.summary() == {"n": 2, "reversal_rate": 0.5}


def test_a_week_with_too_many_unknown_hours_decides_nothing() -> None:
    b = np.full(400, -0.001)
    b[110:140] = np.nan
    record = BreakRecord()
    record.add(Break(99, 1.0, 0.05))
    record.add(Break(99, math.nan, 0.05))
    record.settle(399, np.zeros(400), b, 0)
    assert record.summary()["n"] == 0
    assert record.pending == []


def test_the_record_of_breaks_survives_its_state() -> None:
    record = BreakRecord(3, 2, [Break(hour_number(utc("2024-03-01 05:00")), 1.25, -0.031)])
    assert BreakRecord.load(record.dump()) == record
    assert BreakRecord.load(None) == BreakRecord()


def test_no_rows_and_an_old_state_give_empty_tables() -> None:
    state = StoredState(utc("2024-03-01"), {"BTC/USDT/ETH/USDT": {"episode": {}, "evidence": {}}})
    for memory in (None, state):
        result = compute_pairwise_correlations(MARKET.iloc[:0], PARAMS, window=WINDOW, state=memory, symbols=SYMBOLS)
        assert result.rows[TABLE].empty
        assert result.events.empty
        assert result.states.empty


def test_running_the_newest_hour_again_gives_nothing_new(whole: FeatureResult) -> None:
    newest = MARKET["ts"].max()
    state = stored(whole, newest)
    again = run(MARKET, Window(newest, newest), state)
    assert again.rows[TABLE].empty
    assert again.events.empty
