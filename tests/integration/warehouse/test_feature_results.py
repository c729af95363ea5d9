"""A feature's rows, events and states go together; a later month knows when its start has changed."""

from typing import Any

import pandas as pd
import pytest

from regimes_dagster.contracts import InvalidRowsError
from regimes_dagster.feature_results import Stored, market_changed, resume_from, store
from regimes_dagster.features.result import FeatureResult, StoredState, events_frame, states_frame
from regimes_dagster.partitions import keys_window, partition_window, utc
from regimes_dagster.storage import Warehouse, Write, WriteCounts
from tests.integration.warehouse.test_round_trip import random_rows

FEATURE = "funding_venue_features"
SYMBOLS = ("BTC/USDT", "ETH/USDT")
NOW = utc("2024-06-01")


def rows(key: str, symbols: tuple[str, ...] = SYMBOLS, value: float = 1e-4, config_hash: str = "one") -> pd.DataFrame:
    """Two rows per symbol: the first and the last of the month."""
    window = partition_window(key)
    stamps = [window.start + pd.Timedelta(hours=8), window.end]
    return pd.DataFrame(
        [
            {
                "venue": "deribit", "symbol": symbol, "ts": ts, "funding_rate_8h": value, "funding_z_score": None,
                "config_hash": config_hash,
            }
            for symbol in symbols
            for ts in stamps
        ]
    )  # fmt: skip


def event(symbol: str, ts: str, episode: str = "e1") -> dict[str, Any]:
    return {
        "feature": FEATURE, "episode_id": episode, "phase": "OPEN", "level": 1, "event_type": "FUNDING_ANOMALY",
        "key": symbol, "symbol": symbol, "asset_pair": None, "ts": utc(ts), "onset_ts": utc(ts), "severity": "INFO",
        "title": "t", "description": "d", "source": "s", "data": {}, "explain": {}, "suppressed_reason": None,
        "config_hash": "one",
    }  # fmt: skip


def run(
    warehouse: Warehouse,
    *keys: str,
    state: Any = 1,
    events: list[dict[str, Any]] | None = None,
    config_hash: str = "one",
    symbols: tuple[str, ...] = SYMBOLS,
) -> Stored:
    """Store a result as a run over some months would."""
    window = keys_window(keys)
    checkpoints = {partition_window(key).end: {symbol: {"level": state} for symbol in symbols} for key in keys}
    result = FeatureResult(
        rows={FEATURE: pd.concat([rows(key, symbols, config_hash=config_hash) for key in keys])},
        events=events_frame(events or []),
        states=states_frame(FEATURE, config_hash, checkpoints),
    )
    return store(warehouse, result, feature=FEATURE, window=window, partition_keys=keys, symbols=symbols, now=NOW)


def stale(warehouse: Warehouse) -> list[str]:
    return warehouse.read("stale_partitions")["partition_key"].tolist()


def test_rows_events_and_states_are_stored_together_and_twice_changes_nothing(warehouse: Warehouse) -> None:
    events = [event("BTC/USDT", "2024-02-10")]
    first = run(warehouse, "2024-02-01", "2024-03-01", events=events)
    assert first.counts[FEATURE] == WriteCounts(inserted=8)
    assert first.counts["episode_events"].inserted == 1
    assert first.counts["engine_state"].inserted == 4
    again = run(warehouse, "2024-02-01", "2024-03-01", events=events)
    assert {name: counts.changed for name, counts in again.counts.items()} == dict.fromkeys(again.counts, 0)
    assert again.stale == []


def test_a_bad_event_keeps_the_rows_out_too(warehouse: Warehouse) -> None:
    with pytest.raises(InvalidRowsError, match="episode_events"):
        run(warehouse, "2024-02-01", events=[event("BTC/USDT", "2024-02-10") | {"severity": "LOUD"}])
    assert warehouse.read(FEATURE).empty
    assert warehouse.read("engine_state").empty


def test_an_event_that_is_no_longer_computed_is_deleted_within_its_month(warehouse: Warehouse) -> None:
    run(warehouse, "2024-02-01", events=[event("BTC/USDT", "2024-02-10"), event("ETH/USDT", "2024-02-11", "e2")])
    run(warehouse, "2024-03-01", events=[event("BTC/USDT", "2024-03-10", "e3")])
    run(warehouse, "2024-02-01", events=[event("ETH/USDT", "2024-02-11", "e2")])
    assert warehouse.read("episode_events")["episode_id"].tolist() == ["e2", "e3"]


def test_rows_and_events_of_a_symbol_that_left_the_configuration_stay(warehouse: Warehouse) -> None:
    run(warehouse, "2024-02-01", events=[event("ETH/USDT", "2024-02-11")])
    run(warehouse, "2024-02-01", symbols=("BTC/USDT",))
    assert warehouse.read(FEATURE)["symbol"].value_counts().to_dict() == {"BTC/USDT": 2, "ETH/USDT": 2}
    assert warehouse.read("episode_events")["symbol"].tolist() == ["ETH/USDT"]


def test_the_state_of_the_newest_hour_is_replaced_hour_by_hour(warehouse: Warehouse) -> None:
    window = partition_window("2024-02-01")
    for hour in (5, 6, 7):
        states = states_frame(FEATURE, "one", {window.start + pd.Timedelta(hours=hour): {"BTC/USDT": {"level": hour}}})
        result = FeatureResult({FEATURE: rows("2024-02-01")}, events_frame([]), states)
        store(
            warehouse, result, feature=FEATURE, window=window, partition_keys=["2024-02-01"], symbols=SYMBOLS, now=NOW
        )
    assert [state["level"] for state in warehouse.read("engine_state")["state"]] == [7]


def test_a_month_that_ends_in_another_state_makes_the_later_months_stale(warehouse: Warehouse) -> None:
    run(warehouse, "2024-01-01", "2024-02-01", "2024-03-01", "2024-04-01")
    assert run(warehouse, "2024-02-01", state=2).stale == ["2024-03-01", "2024-04-01"]
    assert stale(warehouse) == ["2024-03-01", "2024-04-01"]
    marks = warehouse.read("stale_partitions")
    assert "ends in another state for BTC/USDT, ETH/USDT" in marks["reason"][0]
    assert marks["marked_at"][0] == NOW


def test_computing_a_stale_month_again_clears_its_mark_alone(warehouse: Warehouse) -> None:
    run(warehouse, "2024-01-01", "2024-02-01", "2024-03-01")
    run(warehouse, "2024-01-01", state=2)
    run(warehouse, "2024-02-01", state=1)
    assert stale(warehouse) == ["2024-03-01"]
    run(warehouse, "2024-03-01")
    assert stale(warehouse) == []


def test_the_same_end_state_or_no_later_month_marks_nothing(warehouse: Warehouse) -> None:
    run(warehouse, "2024-01-01", "2024-02-01")
    assert run(warehouse, "2024-01-01").stale == []
    assert run(warehouse, "2024-02-01", state=2).stale == []


def test_other_parameters_make_the_later_months_stale(warehouse: Warehouse) -> None:
    run(warehouse, "2024-01-01", "2024-02-01")
    assert run(warehouse, "2024-01-01", config_hash="two").stale == ["2024-02-01"]


def test_a_run_resumes_from_the_newest_state_before_it(warehouse: Warehouse) -> None:
    run(warehouse, "2024-01-01", state=1)
    run(warehouse, "2024-02-01", state=2)
    found = resume_from(warehouse, FEATURE, "one", utc("2024-03-01"))
    assert found == StoredState(utc("2024-03-01"), {symbol: {"level": 2} for symbol in SYMBOLS})
    found = resume_from(warehouse, FEATURE, "one", utc("2024-02-20"), keys=["BTC/USDT"])
    assert found == StoredState(utc("2024-02-01"), {"BTC/USDT": {"level": 1}})
    assert resume_from(warehouse, FEATURE, "one", utc("2024-01-15")) is None
    assert resume_from(warehouse, FEATURE, "other parameters", utc("2024-03-01")) is None
    assert resume_from(warehouse, "regimes", "one", utc("2024-03-01")) is None


def test_states_of_stale_months_are_passed_over(warehouse: Warehouse) -> None:
    run(warehouse, "2024-01-01", "2024-02-01", "2024-03-01")
    run(warehouse, "2024-01-01", state=2)
    found = resume_from(warehouse, FEATURE, "one", utc("2024-04-01"))
    assert found is not None
    assert found.ts == utc("2024-02-01")
    assert found.by_key["BTC/USDT"] == {"level": 2}


def test_changed_market_rows_mark_every_month_that_was_computed_from_them(warehouse: Warehouse) -> None:
    """The run's own month too: a run that is killed before its features must not leave them looking current."""
    computed = random_rows("regimes", 3, 3).assign(symbol="BTC/USDT")
    computed["ts"] = [utc("2024-01-10"), utc("2024-02-10"), utc("2024-03-10")]
    warehouse.write([Write("regimes", computed)])
    february = partition_window("2024-02-01")
    with warehouse.engine.begin() as connection:
        assert market_changed(connection, utc("2024-02-05"), february, NOW) == ["2024-03-01"]
    assert stale(warehouse) == ["2024-02-01", "2024-03-01"]


def test_an_hour_that_is_new_marks_nothing(warehouse: Warehouse) -> None:
    warehouse.write([Write("regimes", random_rows("regimes", 3, 1).assign(ts=utc("2024-02-10")))])
    with warehouse.engine.begin() as connection:
        assert market_changed(connection, utc("2024-02-10 01:00"), partition_window("2024-02-01"), NOW) == []
    assert stale(warehouse) == []


def test_pairs_are_replaced_when_both_symbols_are_configured(warehouse: Warehouse) -> None:
    """A pair that is no longer computed goes; a pair with a symbol that left the configuration stays."""
    from regimes_dagster.feature_results import derived_scopes

    window = partition_window("2024-02-01")
    pairs = random_rows("correlation_features", 3, 6).assign(ts=window.end)
    pairs["asset_pair"] = ["BTC/USDT/ETH/USDT", "ETH/USDT/SOL/USDT", "BTC/USDT/SOL/USDT", *pairs["asset_pair"][3:]]
    pairs = pairs[:3]
    warehouse.write([Write("correlation_features", pairs)])
    kept = pairs[:1]
    symbols = ("BTC/USDT", "ETH/USDT")
    scopes = derived_scopes(warehouse, "correlation_features", kept[:0], window, symbols)
    warehouse.write([Write("correlation_features", kept[:0], scopes)])
    assert warehouse.read("correlation_features")["asset_pair"].tolist() == ["BTC/USDT/SOL/USDT", "ETH/USDT/SOL/USDT"]
