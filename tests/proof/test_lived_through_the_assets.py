"""Ten days lived through by the real hourly job equal the backfill: an open cascade, a regime change, a month edge.

``tests/integration/pipeline/test_recorded_history.py`` does the same for two days in the default tests.
"""

import pytest

from regimes_dagster.partitions import Window, month_edges, utc
from regimes_dagster.platform import Platform
from regimes_dagster.replay import compare, live_through, scratch_schema
from regimes_dagster.schemas import DERIVED_TABLES
from regimes_dagster.settings import Settings
from regimes_dagster.storage import Warehouse
from tests.proof.sameness import EVENT_KEY, STATE_KEY, row_differences, summary

TEN_DAYS = Window(utc("2024-07-27"), utc("2024-08-06"))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_days_lived_through_the_real_assets_equal_the_backfill(recorded: tuple[Settings, Platform]) -> None:
    settings, platform = recorded
    stored = platform.warehouse
    events = stored.read("episode_events", window=TEN_DAYS).sort_values(EVENT_KEY, ignore_index=True)
    opened = set(events.loc[(events["phase"] == "OPEN") & events["suppressed_reason"].isna(), "event_type"])
    assert opened >= {"LIQUIDATION_CASCADE", "VOLATILITY_REGIME_CHANGE"}
    edge = month_edges(TEN_DAYS)[0]
    assert TEN_DAYS.start < edge < TEN_DAYS.end

    with scratch_schema(platform.engine, "replay_ten_days", TEN_DAYS.start, keep=False):
        live_through(settings, TEN_DAYS, "replay_ten_days")
        found = compare(platform.engine, "replay_ten_days", TEN_DAYS)
        lived = Warehouse(platform.engine, "replay_ten_days")
        lived_events = lived.read("episode_events", window=TEN_DAYS).sort_values(EVENT_KEY, ignore_index=True)
        states = [
            house.read("engine_state", window=Window(TEN_DAYS.start, edge))
            .query("ts == @edge")
            .sort_values(["feature", *STATE_KEY], ignore_index=True)
            for house in (lived, stored)
        ]

    assert {difference.table for difference in found} == {
        *(str(model.to_schema().name) for model in DERIVED_TABLES),
        "alerts",
    }
    assert [difference.table for difference in found if not difference.rows] == [], "no rows prove nothing"
    said = [f"{difference.table}: {text}" for difference in found for text in difference.examples]
    said += row_differences("episode_events", lived_events, events)
    assert len(states[0])
    said += row_differences("engine_state", *states)
    assert not said, summary(said)
    assert all(difference.same for difference in found)
