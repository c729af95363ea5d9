"""LIVE, DELAYED, STALE."""

from datetime import UTC, datetime, timedelta

import pytest

from dash_app.freshness import funding_limit, judge, next_run, worst

NOW = datetime(2024, 8, 5, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("minutes", "state"), [(0, "LIVE"), (75, "LIVE"), (76, "DELAYED"), (150, "DELAYED"), (151, "STALE")]
)
def test_a_stage_is_delayed_above_its_limit_and_stale_above_twice_it(minutes, state):
    assert judge("market", NOW - timedelta(minutes=minutes), NOW).state == state


def test_no_row_is_no_data():
    stage = judge("market", None, NOW)
    assert (stage.state, stage.age) == ("NO DATA", None)


def test_funding_may_be_as_old_as_one_interval_and_half_an_hour():
    assert funding_limit(8) == timedelta(hours=8, minutes=30)
    assert funding_limit(None) == timedelta(hours=8, minutes=30)


def test_the_worst_stage_counts():
    stages = [judge("a", NOW, NOW), judge("b", NOW - timedelta(hours=5), NOW)]
    assert worst(stages) == "STALE"
    assert worst([]) == "NO DATA"


@pytest.mark.parametrize(("minute", "hour"), [(0, 12), (1, 13), (59, 13)])
def test_the_next_run_is_at_minute_one(minute, hour):
    assert next_run(NOW.replace(minute=minute)) == NOW.replace(hour=hour, minute=1)
