"""From which hour on the hourly run has something to do: pauses, killed runs and outages over a month's edge."""

import pandas as pd

from regimes_dagster.partitions import HOUR, utc
from regimes_dagster.platform import Platform
from regimes_dagster.stale import HOURLY
from regimes_dagster.storage import Write
from tests.integration.pipeline.conftest import MakeSettings
from tests.integration.warehouse.test_round_trip import random_rows

NOW = utc("2024-03-01 09:01")
NEWEST = utc("2024-03-01 09:00")
EDGE = utc("2024-03-01")


def row(table: str, ts: pd.Timestamp) -> Write:
    return Write(table, random_rows(table, 3, 1).assign(symbol="BTC/USDT", ts=ts))


def coverage(*windows: tuple[str, str]) -> Write:
    frame = pd.DataFrame(
        [
            {
                "kind": "ohlcv", "venue": "binanceus", "symbol": "BTC/USDT", "start_ts": utc(start), "end_ts": utc(end),
                "state": "COMPLETE", "checked_at": NOW,
            }
            for start, end in windows
        ]
    )  # fmt: skip
    return Write("source_coverage", frame)


def platform_at_work(make_settings: MakeSettings, **variables: str) -> Platform:
    """A platform whose tables are all up to date at NOW."""
    platform = Platform(make_settings(REGIMES_SYMBOLS='["BTC/USDT"]', **variables))
    platform.clock.declare(NOW, "test")
    platform.warehouse.write([row(table, NEWEST) for table in ("market_metrics", *HOURLY)])
    return platform


def test_nothing_is_open_before_the_first_run(make_settings: MakeSettings) -> None:
    assert Platform(make_settings()).open_since() is None


def test_a_platform_that_is_up_to_date_has_its_newest_hour_to_do(make_settings: MakeSettings) -> None:
    platform = platform_at_work(make_settings)
    platform.warehouse.write([coverage(("2024-02-20", "2024-03-01"), ("2024-03-01", "2024-03-01 06:00"))])
    assert platform.open_since() == NEWEST


def test_a_feature_that_fell_behind_its_market_rows_is_caught_up(make_settings: MakeSettings) -> None:
    """A run killed between the join and the features, at the end of a month, must not leave a hole in it."""
    platform = platform_at_work(make_settings)
    with platform.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM regimes")
    platform.warehouse.write([row("regimes", EDGE - 4 * HOUR)])
    assert platform.open_since() == EDGE - 4 * HOUR


def test_hours_that_no_venue_could_give_at_the_end_of_a_month_are_asked_for_again(make_settings: MakeSettings) -> None:
    platform = platform_at_work(make_settings)
    platform.warehouse.write([coverage(("2024-02-20", "2024-02-29 20:00"), ("2024-03-01 05:00", "2024-03-01 06:00"))])
    assert platform.open_since() == utc("2024-02-29 21:00")


def test_months_before_the_first_partition_are_never_asked_for(make_settings: MakeSettings) -> None:
    platform = platform_at_work(make_settings, REGIMES_HISTORY_START="2024-03-01")
    platform.warehouse.write([coverage(("2024-02-20", "2024-02-29 20:00"), ("2024-03-01 05:00", "2024-03-01 06:00"))])
    assert platform.open_since() == EDGE + HOUR
