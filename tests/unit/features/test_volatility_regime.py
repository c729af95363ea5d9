"""The volatility feature as a whole: point in time, independent of where it starts, resumable, sane on broken input."""

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from regimes_dagster.features.result import FeatureResult, StoredState
from regimes_dagster.features.volatility_regime import compute_volatility_features, lookback, nothing_to_fit
from regimes_dagster.parameters import VolatilityParameters
from regimes_dagster.partitions import Window, month_edges, utc
from regimes_dagster.schemas import EngineState, EpisodeEvents, VolatilityFeatures, VolatilityModels

TABLE = "volatility_features"
PRICES = ["open", "high", "low", "close"]
#: A year of history would make every run here ten times longer and prove no more.
PARAMS = VolatilityParameters(har_max_days=40, har_min_days=20)
START = utc("2024-01-01")
END = utc("2024-06-01")


def walk(
    symbols: tuple[str, ...] = ("BTC/USDT", "ETH/USDT", "SOL/USDT"),
    start: pd.Timestamp = START,
    end: pd.Timestamp = END,
    seed: int = 0,
    gaps: bool = True,
) -> pd.DataFrame:
    """Hourly bars whose volatility wanders through every regime, with gaps, outages, a listing and a venue change."""
    hours = Window(start, end).hours()
    frames = []
    for k, symbol in enumerate(symbols):
        rng = np.random.default_rng(seed * 100 + k)
        n = len(hours)
        log_sd = np.zeros(n)
        for t in range(1, n):
            log_sd[t] = 0.99 * log_sd[t - 1] + rng.normal(0, 0.13)
        sd = 0.005 * np.exp(log_sd) / np.sqrt(3)
        steps = rng.standard_t(4, (n, 4)) * sd[:, None] / 2
        path = 100 * np.exp(np.cumsum(steps.ravel()).reshape(n, 4))
        opens = np.concatenate(([100.0], path[:-1, 3]))
        bars = np.column_stack([opens, path])
        frame = pd.DataFrame(
            {
                "symbol": symbol,
                "ts": hours,
                "open": opens,
                "high": bars.max(axis=1),
                "low": bars.min(axis=1),
                "close": path[:, 3],
                "volume": 1.0,
                "ohlcv_venue": "binanceus",
            }
        )
        holes = [*rng.choice(n, 12, replace=False), *(h + i for h, m in OUTAGES for i in range(m))]
        if gaps:
            frame.loc[[h for h in holes if h < n], [*PRICES, "volume"]] = np.nan
        frame.loc[frame["close"].isna(), "ohlcv_venue"] = None
        frame.loc[(frame.index > 2000) & frame["close"].notna(), "ohlcv_venue"] = "coinbaseexchange"
        frames.append(frame.iloc[24 * 25 + 7 :] if k == 2 else frame)
    return pd.concat(frames, ignore_index=True)


OUTAGES = ((900, 1), (1300, 5), (1700, 30), (2600, 3), (2650, 4))


def compute(market: pd.DataFrame, window: Window | None = None, **more: Any) -> FeatureResult:
    return compute_volatility_features(market, PARAMS, window=window or Window(START, END), **more)


@pytest.fixture(scope="module")
def market() -> pd.DataFrame:
    return walk()


@pytest.fixture(scope="module")
def whole(market: pd.DataFrame) -> FeatureResult:
    return compute(market)


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """Exact for labels, ids and counts; 1e-12 for floats."""
    left, right = left.reset_index(drop=True), right.reset_index(drop=True)
    floats = left.select_dtypes("float").columns
    pd.testing.assert_frame_equal(left.drop(columns=floats), right.drop(columns=floats), check_exact=True)
    pd.testing.assert_frame_equal(left[floats], right[floats], rtol=1e-12, atol=0)


def inside(frame: pd.DataFrame, window: Window) -> pd.DataFrame:
    return frame[window.mask(frame["ts"])].reset_index(drop=True)


def same_result(result: FeatureResult, whole: FeatureResult, window: Window) -> None:
    same(result.rows[TABLE], inside(whole.rows[TABLE], window))
    mine, theirs = result.events, inside(whole.events, window)
    nested = ["data", "explain"]
    pd.testing.assert_frame_equal(mine.drop(columns=nested), theirs.drop(columns=nested))
    for column in nested:
        for one, other in zip(mine[column], theirs[column], strict=True):
            assert flat(one) == pytest.approx(flat(other), rel=1e-12, abs=0)


def flat(cell: Any, path: str = "") -> dict[str, float]:
    """Numbers of a nested payload by their path; texts and nulls become part of the path."""
    if isinstance(cell, dict):
        return {p: n for key, value in cell.items() for p, n in flat(value, f"{path}/{key}").items()}
    if isinstance(cell, (int, float)):
        return {path: float(cell)}
    return {f"{path}={cell}": 0.0}


# --- point in time ---------------------------------------------------------------------------------------------


def test_the_walk_visits_every_regime_and_every_severity(whole: FeatureResult) -> None:
    # Otherwise the tests below would compare nothing with nothing.
    assert set(whole.rows[TABLE]["regime"]) == {"STABLE", "HIGH_VOL", "EXPLOSIVE", "EXTREME", "UNKNOWN"}
    assert set(whole.events["severity"]) == {"INFO", "WARNING", "CRITICAL"}
    assert set(whole.rows[TABLE]["forecast_model"].dropna()) == {"HAR", "EWMA"}
    assert whole.rows[TABLE]["vol_pctl_90d"].notna().sum() > 2000


def test_cutting_the_input_at_twenty_moments_changes_nothing_before_them(
    market: pd.DataFrame, whole: FeatureResult
) -> None:
    rng = np.random.default_rng(4)
    cuts = [START + timedelta(hours=int(h)) for h in rng.integers(24 * 60, 24 * 151, 18)]
    for cut in [*cuts, utc("2024-04-01"), utc("2024-04-01 01:00")]:
        # All rows of the past ever stored: the last two weeks show every column that depends on a later hour.
        window = Window(cut - timedelta(days=14), cut)
        result = compute(market[market["ts"] <= cut], window)
        same_result(result, whole, window)


def test_poisoned_futures_change_nothing_before_them(market: pd.DataFrame, whole: FeatureResult) -> None:
    for cut in (utc("2024-03-11 05:00"), utc("2024-05-02")):
        poisoned = market.copy()
        later = poisoned["ts"] > cut
        garbage = 1e6 * (1 + poisoned.index[later].to_numpy() % 7)
        poisoned.loc[later, PRICES] = np.repeat(garbage[:, None], 4, axis=1)
        result = compute(poisoned)
        until = Window(START, cut)
        same(inside(result.rows[TABLE], until), inside(whole.rows[TABLE], until))
        assert inside(result.events, until)["episode_id"].tolist() == inside(whole.events, until)["episode_id"].tolist()


def test_rows_after_the_window_are_not_looked_at(market: pd.DataFrame, whole: FeatureResult) -> None:
    window = Window(utc("2024-04-10 03:00"), utc("2024-04-12 17:00"))
    same_result(compute(market, window), whole, window)


# --- where it starts, and resuming -----------------------------------------------------------------------------


def stored(result: FeatureResult, ts: pd.Timestamp) -> StoredState:
    rows = result.states[result.states["ts"] == ts]
    text = json.dumps(dict(zip(rows["key"], rows["state"], strict=True)), allow_nan=False)
    return StoredState(ts, json.loads(text))


def test_nothing_depends_on_history_before_the_lookback(market: pd.DataFrame, whole: FeatureResult) -> None:
    edge = utc("2024-04-20 13:00")
    state = stored(compute(market, Window(START, edge)), edge)
    window = Window(edge, edge + timedelta(days=3))
    late = market[market["ts"] > edge - lookback(PARAMS)]
    same_result(compute(late, window, state=state), whole, window)


def test_month_by_month_equals_one_pass(market: pd.DataFrame, whole: FeatureResult) -> None:
    state, models = None, None
    for start, end in pairwise([START, *month_edges(Window(START, END))]):
        window = Window(start, end)
        given = market[market["ts"] > start - lookback(PARAMS)] if state else market
        result = compute(given, window, state=state, models=models)
        same_result(result, whole, window)
        assert result.models is not None
        models = result.models if models is None else pd.concat([models, result.models], ignore_index=True)
        state = stored(result, end)
        final = whole.states[whole.states["ts"] == end]
        assert state.by_key == dict(zip(final["key"], final["state"], strict=True))
    assert whole.models is not None and models is not None  # noqa: PT018
    models = models.sort_values(["symbol", "fit_ts"], ignore_index=True)
    pd.testing.assert_frame_equal(models, whole.models, check_exact=True)


def test_hour_by_hour_over_a_month_edge_equals_one_pass(market: pd.DataFrame, whole: FeatureResult) -> None:
    """As the live run does it: each hour recomputes the running month from the state at its start."""
    edge = utc("2024-05-01")
    before = utc("2024-04-01")
    april = stored(compute(market, Window(START, before)), before)
    models, state, start = None, april, before
    first = market.groupby("symbol")["ts"].min().to_dict()
    refits = 0
    for hour in Window(edge - timedelta(hours=6), edge + timedelta(hours=30)).hours():
        window = Window(start, hour)
        known = models is not None and nothing_to_fit(models, first, PARAMS, window=window)
        refits += not known
        given = market[(market["ts"] > start - lookback(PARAMS, fitted=known)) & (market["ts"] <= hour)]
        result = compute(given, window, state=state, models=models)
        assert result.models is not None
        models = result.models if models is None else pd.concat([models, result.models], ignore_index=True)
        same(result.rows[TABLE], inside(whole.rows[TABLE], window))
        assert result.events["episode_id"].tolist() == inside(whole.events, window)["episode_id"].tolist()
        if hour == edge:
            state, start = stored(result, edge), edge
    assert refits == 3, "the first hour, and once after each midnight"


def test_a_symbol_without_stored_state_starts_from_its_own_first_row(
    market: pd.DataFrame, whole: FeatureResult
) -> None:
    edge = utc("2024-04-01")
    others = market[market["symbol"] != "ETH/USDT"]
    state = stored(compute(others, Window(START, edge)), edge)
    window = Window(edge, utc("2024-04-08"))
    result = compute(market, window, state=state)
    same_result(result, whole, window)
    assert not any(key.startswith("ETH") for key in state.by_key)
    assert {"ETH/USDT", "ETH/USDT|EXTREME"} <= set(result.states["key"])


def test_one_symbol_alone_gives_the_same_rows(market: pd.DataFrame, whole: FeatureResult) -> None:
    alone = compute(market[market["symbol"] == "ETH/USDT"])
    expected = whole.rows[TABLE]
    same(alone.rows[TABLE], expected[expected["symbol"] == "ETH/USDT"])


def test_a_window_before_the_stored_state_is_refused(market: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="before the stored state"):
        compute(market, state=StoredState(utc("2024-02-01"), {}))


# --- contracts -------------------------------------------------------------------------------------------------


def test_rows_events_states_and_models_obey_their_contracts(whole: FeatureResult) -> None:
    VolatilityFeatures.validate(whole.rows[TABLE])
    EpisodeEvents.validate(whole.events)
    EngineState.validate(whole.states)
    VolatilityModels.validate(whole.models)
    assert list(whole.rows[TABLE].columns) == list(VolatilityFeatures.to_schema().columns)


def test_nothing_is_infinite_and_everything_structured_is_json(whole: FeatureResult) -> None:
    assert not np.isinf(whole.rows[TABLE].select_dtypes("float").to_numpy()).any()
    assert whole.models is not None
    for cell in [
        *whole.events["data"],
        *whole.events["explain"],
        *whole.states["state"],
        *whole.models["coefficients"],
    ]:
        json.dumps(cell, allow_nan=False)


def test_there_is_one_row_per_row_given(market: pd.DataFrame, whole: FeatureResult) -> None:
    rows = whole.rows[TABLE]
    assert list(zip(rows["symbol"], rows["ts"], strict=True)) == list(zip(market["symbol"], market["ts"], strict=True))


def test_no_rows_give_empty_frames_with_their_columns(market: pd.DataFrame) -> None:
    result = compute(market.iloc[:0])
    assert list(result.rows[TABLE].columns) == list(VolatilityFeatures.to_schema().columns)
    assert result.events.empty
    assert result.states.empty
    VolatilityFeatures.validate(result.rows[TABLE])
    VolatilityModels.validate(result.models)


def test_history_without_a_row_in_the_window_gives_nothing(market: pd.DataFrame) -> None:
    edge = utc("2024-04-01")
    past = market[market["ts"] <= edge]
    state = stored(compute(past, Window(START, edge)), edge)
    result = compute(past, Window(edge, utc("2024-04-02")), state=state)
    assert result.rows[TABLE].empty
    assert result.states.empty


def test_unsorted_rows_are_refused(market: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="sort_values"):
        compute(market.iloc[::-1])
    with pytest.raises(ValueError, match="sort_values"):
        compute(pd.concat([market.iloc[:5], market.iloc[4:5]]))
    with pytest.raises(ValueError, match="close"):
        compute(market.drop(columns="close"))


# --- events ----------------------------------------------------------------------------------------------------

KEYS = [
    "previous_regime", "regime", "volatility", "volatility_close", "direction", "risk_multiplier", "position_scale",
    "vol_pctl_90d", "vol_forecast_24h", "flash_wick",
]  # fmt: skip


def opens(result: FeatureResult) -> Iterator[tuple[pd.Series, pd.Series]]:
    """Each OPEN with the row of its hour."""
    rows = result.rows[TABLE].set_index(["symbol", "ts"])
    for _, event in result.events[result.events["phase"] == "OPEN"].iterrows():
        yield event, rows.loc[(event["symbol"], event["ts"])]


def test_every_published_change_between_known_regimes_is_one_open(whole: FeatureResult) -> None:
    rows = whole.rows[TABLE]
    before = rows.groupby("symbol")["regime"].shift(fill_value="UNKNOWN")
    changed = (rows["regime"] != before) & (before != "UNKNOWN") & (rows["regime"] != "UNKNOWN")
    expected = sorted(zip(rows.loc[changed, "symbol"], rows.loc[changed, "ts"], before[changed], strict=True))
    told = sorted((e["symbol"], e["ts"], e["data"]["previous_regime"]) for e, _ in opens(whole))
    assert told == expected
    assert len(told) > 50


def test_payloads_hold_exactly_the_listed_keys_and_the_figures_of_their_row(whole: FeatureResult) -> None:
    for event, row in opens(whole):
        data = event["data"]
        assert list(data) == KEYS
        assert data["regime"] == row["regime"] == event["key"].split("|")[1]
        assert data["volatility"] == row["volatility"]
        assert row["episode_id"] == event["episode_id"]
        assert row["bars_in_regime"] == 0


def test_severity_follows_the_direction_and_the_target(whole: FeatureResult) -> None:
    order = ["STABLE", "HIGH_VOL", "EXPLOSIVE", "EXTREME"]
    for event, _ in opens(whole):
        data = event["data"]
        rises = order.index(data["regime"]) > order.index(data["previous_regime"])
        assert data["direction"] == ("UP" if rises else "DOWN")
        expected = {"EXTREME": "CRITICAL", "EXPLOSIVE": "WARNING"}.get(data["regime"], "INFO") if rises else "INFO"
        assert event["severity"] == expected
        assert event["source"] == "VOLATILITY"


def test_an_episode_closes_when_the_regime_leaves_its_target_with_the_severity_of_its_open(
    whole: FeatureResult,
) -> None:
    rows = whole.rows[TABLE].set_index(["symbol", "ts"])
    for _, episode in whole.events.groupby("episode_id"):
        assert episode["phase"].tolist() in (["OPEN"], ["OPEN", "CLOSE"])
        assert episode["severity"].nunique() == 1
        if len(episode) == 2:
            close = episode.iloc[1]
            assert rows.loc[(close["symbol"], close["ts"]), "regime"] != close["key"].split("|")[1]
            assert close["data"]["previous_regime"] == close["key"].split("|")[1]


def test_the_same_target_again_within_the_cooldown_is_recorded_and_kept_silent() -> None:
    params = PARAMS.model_copy(update={"cooldown_h": 60})
    events = compute_volatility_features(walk(gaps=False), params, window=Window(START, END)).events
    silent = 0
    for _, mine in events.groupby("key"):
        left: pd.Timestamp | None = None
        for event in mine.to_dict("records"):
            if event["phase"] == "OPEN":
                within = left is not None and event["ts"] - left < timedelta(hours=60)
                assert (event["suppressed_reason"] == "COOLDOWN") == within
                silent += within
            elif pd.isna(event["suppressed_reason"]):
                left = event["ts"]
    assert silent > 10
    assert set(events["suppressed_reason"].dropna()) == {"COOLDOWN"}


def test_an_event_explains_itself(whole: FeatureResult) -> None:
    event = next(e for e, _ in opens(whole) if e["severity"] == "CRITICAL")
    assert "rose to EXTREME" in event["title"]
    assert "%" in event["description"]
    explain = event["explain"]
    assert explain["edges"]["upper_edge_of_EXPLOSIVE"] == 0.10
    assert explain["hysteresis"]["release_levels"]["upper_edge_of_HIGH_VOL"] == pytest.approx(0.04)
    assert explain["inputs"]["volatility"] == event["data"]["volatility"]


# --- broken and odd input --------------------------------------------------------------------------------------


def calm(hours: int = 24 * 12, sd: float = 0.004) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    path = 100 * np.exp(np.cumsum(rng.normal(0, sd, (hours, 5)).ravel()).reshape(hours, 5))
    return pd.DataFrame(
        {
            "symbol": "BTC/USDT",
            "ts": pd.date_range("2024-03-01 01:00", periods=hours, freq="h", tz="UTC", unit="us"),
            "open": path[:, 0],
            "high": path.max(axis=1),
            "low": path.min(axis=1),
            "close": path[:, 4],
            "volume": 1.0,
            "ohlcv_venue": "binanceus",
        }
    )


def compute_calm(frame: pd.DataFrame) -> tuple[pd.DataFrame, FeatureResult]:
    result = compute(frame, Window(utc("2024-03-01"), utc("2024-03-20")))
    return result.rows[TABLE], result


@pytest.mark.parametrize(("hours", "unknown"), [(1, 0), (2, 0), (5, 0), (30, 1)])
def test_an_outage_holds_the_regime_for_three_hours_without_a_volatility_and_then_it_is_unknown(
    hours: int, unknown: int
) -> None:
    frame = calm()
    frame.loc[100 : 99 + hours, [*PRICES, "ohlcv_venue"]] = None
    rows, result = compute_calm(frame)
    missing = rows["volatility"].isna() & (rows.index > 30)
    # One missing bar breaks two joined bars; with 22 of 24 needed, one is bridged and two are not.
    assert missing.any() == (hours > 1)
    assert (rows.loc[missing, "quality"] == "INSUFFICIENT").all()
    assert (rows.loc[missing, "regime_raw"] == "UNKNOWN").all()
    held = missing & (missing.astype(int).groupby((~missing).cumsum()).cumsum() <= 3)
    assert (rows.loc[held, "regime"] == "HIGH_VOL").all()
    assert (rows.loc[missing & ~held, "regime"] == "UNKNOWN").all()
    assert (rows.loc[missing & ~held, "state"] == "UNKNOWN").all()
    assert rows.loc[missing & ~held, "episode_id"].isna().all()
    assert result.events.empty, "the first valid hour after it sets the regime without an event"
    assert rows["regime"].iloc[-1] == "HIGH_VOL"
    assert bool((missing & ~held).any()) >= bool(unknown)


def test_a_listing_begins_unknown_and_its_first_regime_is_no_event() -> None:
    rows, result = compute_calm(calm())
    assert (rows["regime"].iloc[:22] == "UNKNOWN").all()
    assert rows["regime"].iloc[22] == "HIGH_VOL"
    assert rows["state"].iloc[22] == "ACTIVE"
    assert result.events.empty


def test_hours_without_volume_and_without_movement_count_as_calm() -> None:
    frame = calm()
    last = frame.loc[149, "close"]
    frame.loc[150:, PRICES] = last
    frame.loc[150:, "volume"] = 0.0
    rows, _ = compute_calm(frame)
    assert rows["volatility"].iloc[-1] == 0
    assert rows["regime"].iloc[-1] == "STABLE"
    assert rows["quality"].iloc[-1] == "OK"
    assert rows["vol_forecast_24h"].iloc[-1] > 0


def test_prices_that_never_move_give_rows_without_infinities() -> None:
    frame = calm(24 * 60)
    frame[PRICES] = 5.0
    result = compute(frame, Window(utc("2024-03-01"), utc("2024-05-01")))
    rows = result.rows[TABLE]
    VolatilityFeatures.validate(rows)
    assert rows["half_life_days"].isna().all()
    assert not np.isinf(rows.select_dtypes("float").to_numpy()).any()
    assert rows["forecast_model"].iloc[-1] == "HAR"
    assert rows["vol_forecast_24h"].iloc[-1] == pytest.approx(1e-6, rel=1e-3)


def test_prices_that_explode_stay_inside_the_contract() -> None:
    frame = calm(24 * 60)
    frame.loc[700:720, "high"] *= 1e9
    rows = compute(frame, Window(utc("2024-03-01"), utc("2024-05-01"))).rows[TABLE]
    VolatilityFeatures.validate(rows)
    assert rows["volatility"].max() == 5.0
    assert not np.isinf(rows.select_dtypes("float").to_numpy()).any()


def test_a_symbol_that_stops_leaves_no_rows_and_ends_unknown() -> None:
    gone = calm()[:150].assign(symbol="OLD/USDT")
    rows, result = compute_calm(pd.concat([calm(), gone], ignore_index=True))
    assert (rows["symbol"] == "OLD/USDT").sum() == 150
    state = dict(zip(result.states["key"], result.states["state"], strict=True))
    assert state["OLD/USDT"]["regime"] == "UNKNOWN"
    assert state["OLD/USDT|HIGH_VOL"]["status"] == "UNKNOWN"


def test_a_model_is_missing_where_a_midnight_a_symbol_or_a_configuration_is(whole: FeatureResult) -> None:
    window = Window(utc("2024-04-30 22:00"), utc("2024-05-02 05:00"))
    assert whole.models is not None
    models = whole.models
    first = {symbol: START for symbol in models["symbol"].unique()}
    assert nothing_to_fit(models, first, PARAMS, window=window)
    for midnight in ("2024-04-30", "2024-05-01", "2024-05-02"):
        fewer = models[(models["symbol"] != models["symbol"].iloc[0]) | (models["fit_ts"] != utc(midnight))]
        assert not nothing_to_fit(fewer, first, PARAMS, window=window)
    around = models[models["fit_ts"].between(utc("2024-04-30"), utc("2024-05-02"))]
    assert nothing_to_fit(around, first, PARAMS, window=window)
    assert not nothing_to_fit(models, first | {"NEW/USDT": utc("2024-05-02 03:00")}, PARAMS, window=window)
    assert nothing_to_fit(models, first | {"NEW/USDT": utc("2024-05-02 06:00")}, PARAMS, window=window)
    other = PARAMS.model_copy(update={"har_min_days": PARAMS.har_min_days + 1})
    assert not nothing_to_fit(models, first, other, window=window)


def test_position_scale_and_multiplier_follow_the_forecast_and_the_regime(whole: FeatureResult) -> None:
    rows = whole.rows[TABLE]
    known = rows["vol_forecast_24h"].notna()
    expected = (0.02 / rows.loc[known, "vol_forecast_24h"]).clip(0.1, 1.5)
    pd.testing.assert_series_equal(rows.loc[known, "position_scale"], expected, check_names=False)
    table = {"STABLE": 0.7, "HIGH_VOL": 1.2, "EXPLOSIVE": 1.8, "EXTREME": 2.5}
    assert (rows["risk_multiplier"] == rows["regime"].map(table)).sum() == (rows["regime"] != "UNKNOWN").sum()
    assert rows.loc[rows["regime"] == "UNKNOWN", "risk_multiplier"].isna().all()


def test_lookback_covers_the_model_and_the_rank() -> None:
    assert lookback(VolatilityParameters()) == timedelta(days=396)
    assert lookback(VolatilityParameters(), fitted=True) == timedelta(days=93)
    assert lookback(VolatilityParameters(har_max_days=20, har_min_days=10)) > timedelta(days=91)
