"""Stale months become the fewest runs over consecutive months."""

from regimes_dagster.stale import Repair, StaleMonth, repairs


def stale(key: str, table: str = "volatility_features") -> StaleMonth:
    return StaleMonth(key, table, "computed with other parameters")


def test_nothing_stale_needs_no_run() -> None:
    assert repairs([]) == []


def test_consecutive_months_are_one_run_and_a_hole_starts_another() -> None:
    keys = ["2023-12-01", "2024-01-01", "2024-03-01"]
    found = repairs([stale(key) for key in keys])
    assert found == [
        Repair("2023-12-01", "2024-01-01", ("volatility_features", "alerts")),
        Repair("2024-03-01", "2024-03-01", ("volatility_features", "alerts")),
    ]


def test_what_reads_a_recomputed_feature_follows_it() -> None:
    (repair,) = repairs([stale("2024-01-01", "funding_venue_features")])
    assert repair.assets == ("funding_features", "regimes", "alerts")
