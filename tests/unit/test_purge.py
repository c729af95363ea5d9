"""Which hourly runs may be forgotten: never the newest of a partition."""

from datetime import timedelta

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from regimes_dagster.partitions import utc
from regimes_dagster.purge import KEEP_FAILED, KEEP_ROWS, KEEP_RUNS, PastRun, superseded

NOW = utc("2024-06-15 12:00")


def run(name: str, days_ago: float, *months: str, ok: bool = True, assets: set[str] | None = None) -> PastRun:
    ended = NOW - timedelta(days=days_ago)
    return PastRun(name, ended, ok, frozenset(months), frozenset(assets) if assets else None)


def test_a_run_goes_once_a_later_one_has_done_its_months_again() -> None:
    runs = [run("c", 0.1, "2024-06-01"), run("b", 3, "2024-06-01"), run("a", 4, "2024-06-01")]
    assert superseded(runs, NOW) == ["b", "a"]


def test_the_newest_run_of_a_month_stays_however_old_it_is() -> None:
    runs = [run("june", 0.1, "2024-06-01"), run("may", 15, "2024-05-01"), run("edge", 14.9, "2024-05-01", "2024-06-01")]
    assert superseded(sorted(runs, key=lambda r: r.ended, reverse=True), NOW) == ["may"]


def test_the_backfill_of_years_stays_while_one_of_its_months_has_nothing_newer() -> None:
    runs = [run("hourly", 0.1, "2024-06-01"), run("backfill", 90, *(f"2024-{m:02d}-01" for m in range(1, 7)))]
    assert superseded(runs, NOW) == []


def test_yesterdays_runs_stay_to_be_looked_at() -> None:
    runs = [run("b", 0.1, "2024-06-01"), run("a", KEEP_RUNS / timedelta(days=1) - 0.1, "2024-06-01")]
    assert superseded(runs, NOW) == []


def test_what_recorded_rows_and_alerts_were_computed_from_is_never_forgotten() -> None:
    """Predictions open episodes; without them a month computed again would differ from the one that was lived."""
    read_again = {"ohlcv", "funding_rates", "funding_predictions", "liquidations", "liquidation_events"}
    assert not read_again & set(KEEP_ROWS)


def test_a_failed_run_supersedes_nothing_and_stays_for_a_month() -> None:
    days = KEEP_FAILED / timedelta(days=1)
    runs = [
        run("bad", 0.1, "2024-06-01", ok=False),
        run("good", 5, "2024-06-01"),
        run("old bad", days - 1, "2024-06-01", ok=False),
    ]
    assert superseded(runs, NOW) == []
    assert superseded([*runs, run("older bad", days + 1, "2024-06-01", ok=False)], NOW) == ["older bad"]


def test_a_run_of_a_few_assets_does_not_supersede_a_run_of_all() -> None:
    runs = [run("few", 0.1, "2024-06-01", assets={"regimes"}), run("all", 5, "2024-06-01")]
    assert superseded(runs, NOW) == []


def test_a_run_of_all_supersedes_a_run_of_a_few() -> None:
    runs = [run("all", 0.1, "2024-06-01"), run("few", 5, "2024-06-01", assets={"regimes"})]
    assert superseded(runs, NOW) == ["few"]


months = st.sampled_from(["2024-04-01", "2024-05-01", "2024-06-01"])
past = st.builds(
    lambda n, days, keys, ok: PastRun(str(n), NOW - pd.Timedelta(days, unit="D"), ok, frozenset(keys)),
    st.integers(0, 10**9),
    st.floats(0, 100),
    st.sets(months, min_size=1),
    st.booleans(),
)


@given(st.lists(past, max_size=20, unique_by=lambda r: r.run_id))
def test_after_a_purge_every_month_still_has_its_newest_successful_run(runs: list[PastRun]) -> None:
    ordered = sorted(runs, key=lambda r: r.ended, reverse=True)
    gone = set(superseded(ordered, NOW))
    for month in ("2024-04-01", "2024-05-01", "2024-06-01"):
        newest = next((r for r in ordered if r.succeeded and month in r.partitions), None)
        assert newest is None or newest.run_id not in gone


@given(st.lists(past, max_size=20, unique_by=lambda r: r.run_id))
def test_a_second_purge_finds_nothing(runs: list[PastRun]) -> None:
    ordered = sorted(runs, key=lambda r: r.ended, reverse=True)
    gone = set(superseded(ordered, NOW))
    assert superseded([r for r in ordered if r.run_id not in gone], NOW) == []
