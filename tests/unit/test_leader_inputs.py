"""Which minutes are asked for, and which days are still to be tested."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimes_dagster.assets.minute_bars import KEPT, minutes_wanted
from regimes_dagster.features.leader import NO_BARS
from regimes_dagster.leader_inputs import BACK, RECORDED, open_days
from regimes_dagster.partitions import HOUR, Window, keys_touched, keys_window, utc
from regimes_dagster.purge import KEEP_ROWS

OLDEST = utc("2024-03-06 00:01")
DAY = pd.Timedelta(days=1)


def recorded(*rows: tuple[str, str | None, float | None]) -> pd.DataFrame:
    """Rows as (moment, reason, p)."""
    frame = pd.DataFrame(
        [("BTC/USDT/ETH/USDT", utc(ts), "NONE", reason, None, p, "h") for ts, reason, p in rows], columns=list(RECORDED)
    )
    return frame.astype({"ts": "datetime64[us, UTC]", "lead_p": "float64"})


def march(newest: str) -> Window:
    return Window(utc("2024-03-01"), utc(newest))


@given(hours=st.integers(0, 24 * 70), months=st.integers(1, 3))
def test_never_more_than_fourteen_days_are_asked_and_never_beyond_midnight(hours: int, months: int) -> None:
    now = utc("2024-01-20 00:01:30") + hours * HOUR
    window = Window(keys_window(keys_touched(now)).start - months * 30 * DAY, now.floor("h"))
    wanted = minutes_wanted(window, now)
    assert wanted.end == now.floor("D")
    assert wanted.end - wanted.start == KEPT


def test_an_old_month_asks_for_nothing() -> None:
    wanted = minutes_wanted(Window(utc("2023-05-01"), utc("2023-06-01")), utc("2024-03-20 05:01"))
    assert wanted.start >= wanted.end


def test_what_is_asked_for_covers_a_test_and_is_kept_until_it_was_made() -> None:
    assert BACK <= KEPT
    assert KEEP_ROWS["minute_bars"] == KEPT
    midnight = utc("2024-03-20")
    last_hour_of_the_day = midnight + 24 * HOUR
    assert last_hour_of_the_day - KEEP_ROWS["minute_bars"] <= midnight - BACK + pd.Timedelta(minutes=1)


def test_without_any_row_every_day_that_has_minutes_before_it_is_open() -> None:
    days = open_days(recorded(), march("2024-03-20 05:00"), OLDEST)
    assert (days[0], days[-1], len(days)) == (utc("2024-03-07"), utc("2024-03-20"), 14)


def test_a_day_that_was_tested_is_not_tested_again() -> None:
    known = [(f"2024-03-{day:02d} 05:00", None, 0.4) for day in range(7, 20)]
    assert open_days(recorded(*known), march("2024-03-20 01:00"), OLDEST) == [utc("2024-03-20")]
    assert open_days(recorded(*known, ("2024-03-20 01:00", None, 0.2)), march("2024-03-20 02:00"), OLDEST) == []


def test_a_day_without_minutes_is_tested_once_they_are_there() -> None:
    rows = recorded(*[(f"2024-03-{day:02d} 05:00", NO_BARS, None) for day in range(1, 21)])
    days = open_days(rows, march("2024-03-20 20:00"), OLDEST)
    assert days == list(pd.date_range("2024-03-07", "2024-03-20", tz="UTC", unit="us"))


@pytest.mark.parametrize(("hour", "still_open"), [("02:00", True), ("04:00", True), ("05:00", False), ("23:00", False)])
def test_too_few_minutes_are_looked_at_again_while_late_ones_may_come(hour: str, still_open: bool) -> None:
    few = [(f"2024-03-{day:02d} 05:00", "too few minute bars in the last seven days", None) for day in range(7, 20)]
    rows = recorded(*few, ("2024-03-20 01:00", "too few minute bars in the last seven days", None))
    days = open_days(rows, march(f"2024-03-20 {hour}"), OLDEST)
    assert days == ([utc("2024-03-20")] if still_open else [])


def test_days_before_the_oldest_minute_are_not_open() -> None:
    assert open_days(recorded(), march("2024-03-05 12:00"), OLDEST) == []
