"""A year lived through hour by hour says what one backfill says: every row, event, id and state.

Each hour runs as the schedule runs it: the running month is joined and computed again from the state stored at its
start. A month goes on from the state of the backfill at its start, which is what the month before must end in
(checked too), so the twelve months together are one year without a seam, and can run side by side.
"""

import pytest

from regimes_dagster.partitions import HOUR, Window, partition_window, utc
from tests.proof.memory_platform import FEATURES, Backfill, MemoryPlatform
from tests.proof.raw_market import HISTORY
from tests.proof.sameness import (
    event_differences,
    inside,
    result_differences,
    row_differences,
    state_differences,
    summary,
)

MONTHS = [f"2024-{month:02}-01" for month in range(1, 13)]


def lived_differences(whole: Backfill, month: Window) -> list[str]:
    """What differs while the month, and the first hours of the next one, are lived through hour by hour."""
    platform = MemoryPlatform(whole, month.start)
    said = []
    for now in Window(month.start, min(month.end + 3 * HOUR, HISTORY.end)).hours():
        window, found = platform.run(now)
        newest = Window(now - HOUR, now)
        for feature in FEATURES:
            live, expected = found[feature], whole[feature]
            if now.hour == 0:  # once a day every row of the month so far, at the other hours the newest
                said += result_differences(live, expected, window)
            else:
                for name, rows in expected.rows.items():
                    said += row_differences(name, inside(live.rows[name], newest), inside(rows, newest))
                said += event_differences(live, expected, window)
            if now == month.end:
                said += state_differences(live, expected, now)
    return said


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("key", MONTHS)
def test_a_month_of_the_recorded_market_lived_hour_by_hour_equals_one_backfill(whole: Backfill, key: str) -> None:
    said = lived_differences(whole, partition_window(key))
    assert not said, summary(said)


def test_the_hours_around_a_month_edge_before_a_crash_equal_one_backfill(whole: Backfill) -> None:
    edge = utc("2024-08-01")
    platform = MemoryPlatform(whole, utc("2024-07-01"))
    said = []
    for now in Window(edge - 3 * HOUR, edge + 4 * HOUR).hours():
        window, found = platform.run(now)
        for feature in FEATURES:
            said += result_differences(found[feature], whole[feature], window)
    assert not said, summary(said)
