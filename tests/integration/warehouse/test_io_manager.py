"""Assets and tables: what an asset returns is stored, what it asks for is read, and the run page tells about it."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from regimes_dagster.features.result import FeatureResult, events_frame, states_frame
from regimes_dagster.partitions import Window, partition_window, utc
from regimes_dagster.resources.table_metadata import column_schema
from regimes_dagster.resources.warehouse import RawResult, StoredTable, WarehouseIOManager, Written
from regimes_dagster.storage import Scope, Warehouse, Write
from tests.integration.warehouse.conftest import bars

MONTHS = dg.MonthlyPartitionsDefinition(start_date="2024-01-01", end_date="2024-06-01")
SYMBOLS = ("BTC/USDT", "ETH/USDT")
JANUARY_TO_MARCH = dg.PartitionKeyRange("2024-01-01", "2024-03-01")


def platform(warehouse: Warehouse) -> Any:
    """As much of the platform as the IO manager needs."""
    clock = SimpleNamespace(now=lambda: utc("2024-06-01"))
    return SimpleNamespace(warehouse=warehouse, settings=SimpleNamespace(symbols=SYMBOLS), clock=clock)


Run = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def run(warehouse: Warehouse) -> Iterator[Run]:
    """Materialise assets over a range of months."""
    with dg.DagsterInstance.ephemeral() as instance:

        def materialise(
            *assets: Any, keys: dg.PartitionKeyRange = JANUARY_TO_MARCH, raise_on_error: bool = True
        ) -> Any:
            tags = {"dagster/asset_partition_range_start": keys.start, "dagster/asset_partition_range_end": keys.end}
            return dg.materialize(
                list(assets), resources={"warehouse": WarehouseIOManager(platform(warehouse))}, tags=tags,
                instance=instance, raise_on_error=raise_on_error,
            )  # fmt: skip

        yield materialise


def asset(function: Any) -> dg.AssetsDefinition:
    return dg.asset(partitions_def=MONTHS, io_manager_key="warehouse", backfill_policy=dg.BackfillPolicy.single_run())(
        function
    )


def hours(window: Window, symbol: str = "BTC/USDT") -> pd.DataFrame:
    return bars(str(window.start + timedelta(hours=1)), len(window.hours()), symbol)


def metrics(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``market_metrics`` from bars."""
    return rows.drop(columns="venue").assign(
        ohlcv_venue="kraken", funding_rate=None, funding_interval_hours=None, funding_venue=None,
        funding_settled_ts=None, long_liq_usd=None, short_liq_usd=None, liq_coverage=None,
    )  # fmt: skip


@asset
def ohlcv(context: dg.AssetExecutionContext) -> RawResult:
    windows = [partition_window(key) for key in context.partition_keys]
    writes = [Write("ohlcv", hours(window), [Scope(window, {"symbol": "BTC/USDT"})]) for window in windows]
    return RawResult(writes)


@asset
def market_metrics(ohlcv: StoredTable) -> pd.DataFrame:
    return metrics(ohlcv.read())


def failure(result: Any, name: str) -> str:
    """What a failed step says."""
    return str(result.failure_data_for_node(name).error)


def metadata(result: Any, name: str) -> dict[str, dict[str, Any]]:
    """Metadata of every partition's materialisation."""
    events = result.asset_materializations_for_node(name)
    return {event.partition: {key: value.value for key, value in event.metadata.items()} for event in events}


def test_several_months_in_one_run_are_stored_and_described_one_by_one(run: Run, warehouse: Warehouse) -> None:
    shown = metadata(run(ohlcv, market_metrics), "market_metrics")
    assert list(shown) == ["2024-01-01", "2024-02-01", "2024-03-01"]
    assert [shown[key]["dagster/partition_row_count"] for key in shown] == [744, 696, 744]
    assert shown["2024-02-01"]["first_ts"] == utc("2024-02-01 01:00").timestamp()
    assert shown["2024-02-01"]["last_ts"] == utc("2024-03-01").timestamp()
    assert shown["2024-02-01"]["missing_hours"] == 0
    assert shown["2024-02-01"]["dagster/row_count"] == 744 + 696 + 744
    assert shown["2024-02-01"]["written"] == {"market_metrics": {"inserted": 2184}}
    assert "| BTC/USDT | 2024-04-01 00:00 |" in shown["2024-03-01"]["preview"]
    assert len(warehouse.read("market_metrics")) == 2184


def test_missing_hours_are_counted_where_they_are(run: Run, warehouse: Warehouse) -> None:
    @dg.asset(
        name="market_metrics",
        partitions_def=MONTHS,
        io_manager_key="warehouse",
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def gaps() -> pd.DataFrame:
        rows = metrics(hours(partition_window("2024-02-01")))
        rows.loc[10:14, ["open", "high", "low", "close", "volume", "quote_volume", "ohlcv_venue"]] = None
        return rows.drop(index=[20, 21])

    shown = metadata(run(gaps, keys=dg.PartitionKeyRange("2024-02-01", "2024-02-01")), "market_metrics")
    assert shown["2024-02-01"]["missing_hours"] == 7
    assert shown["2024-02-01"]["dagster/partition_row_count"] == 694


def test_a_derived_month_is_replaced_for_the_configured_symbols_alone(run: Run, warehouse: Warehouse) -> None:
    february = partition_window("2024-02-01")
    stored = pd.concat([metrics(hours(february, symbol)) for symbol in ("BTC/USDT", "ETH/USDT", "OLD/USDT")])
    later = metrics(hours(partition_window("2024-03-01"), "ETH/USDT"))
    warehouse.write([Write("market_metrics", stored), Write("market_metrics", later)])
    run(ohlcv, market_metrics, keys=dg.PartitionKeyRange("2024-02-01", "2024-02-01"))
    counts = warehouse.read("market_metrics")["symbol"].value_counts().to_dict()
    # ETH/USDT is configured and was not computed: its month goes, the month after it stays.
    assert counts == {"BTC/USDT": 696, "OLD/USDT": 696, "ETH/USDT": 744}


def test_an_input_reaches_back_as_far_as_it_is_asked_to(run: Run, warehouse: Warehouse) -> None:
    run(ohlcv)
    seen: dict[str, pd.DataFrame] = {}

    @asset
    def regimes(ohlcv: StoredTable) -> Written:
        seen["window"] = ohlcv.read(["ts"])
        seen["back"] = ohlcv.read(["ts"], back=timedelta(hours=5))
        seen["since"] = ohlcv.read(["ts", "close"], since=utc("2024-01-30"))
        seen["all"] = ohlcv.read(["ts"], since=None)
        return Written()

    run(
        ohlcv.to_source_asset(),
        regimes,
        keys=dg.PartitionKeyRange("2024-02-01", "2024-02-01"),
    )
    first = {name: frame["ts"].min() for name, frame in seen.items()}
    assert first == {
        "window": utc("2024-02-01 01:00"), "back": utc("2024-01-31 20:00"), "since": utc("2024-01-30 01:00"),
        "all": utc("2024-01-01 01:00"),
    }  # fmt: skip
    assert {frame["ts"].max() for frame in seen.values()} == {utc("2024-03-01")}
    assert list(seen["since"].columns) == ["ts", "close"]


def test_an_input_annotated_as_a_frame_is_the_rows_of_the_window(run: Run) -> None:
    @asset
    def regimes(ohlcv: pd.DataFrame) -> Written:
        assert len(ohlcv) == 744 + 696 + 744
        return Written()

    assert run(ohlcv, regimes).success


def test_a_features_result_is_stored_whole_and_its_later_months_marked(run: Run, warehouse: Warehouse) -> None:
    level = {"now": 1}

    @asset
    def funding_venue_features(context: dg.AssetExecutionContext) -> FeatureResult:
        ends = [partition_window(key).end for key in context.partition_keys]
        rows = pd.DataFrame(
            {
                "venue": "deribit",
                "symbol": "BTC/USDT",
                "ts": ends,
                "funding_rate_8h": 0.1,
                "funding_z_score": None,
                "config_hash": "c",
            }
        )
        states = states_frame("funding_venue_features", "c", {end: {"BTC/USDT": dict(level)} for end in ends})
        return FeatureResult({"funding_venue_features": rows}, events_frame([]), states)

    run(funding_venue_features)
    level["now"] = 2
    again = run(funding_venue_features, keys=dg.PartitionKeyRange("2024-01-01", "2024-01-01"))
    assert metadata(again, "funding_venue_features")["2024-01-01"]["stale_months"] == "2024-02-01, 2024-03-01"
    assert warehouse.read("stale_partitions")["partition_key"].tolist() == ["2024-02-01", "2024-03-01"]


def test_a_broken_contract_fails_the_step_and_names_the_rows(run: Run, warehouse: Warehouse) -> None:
    @dg.asset(
        name="market_metrics",
        partitions_def=MONTHS,
        io_manager_key="warehouse",
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def broken() -> pd.DataFrame:
        return metrics(hours(partition_window("2024-02-01"))).assign(volume=-1.0)

    result = run(broken, raise_on_error=False)
    assert not result.success
    assert "symbol=BTC/USDT, ts=2024-02-01 01:00:00+00:00" in failure(result, "market_metrics")
    assert warehouse.read("market_metrics").empty


@pytest.mark.parametrize("returned", [None, 7, [pd.DataFrame()]])
def test_what_cannot_be_stored_is_refused_by_name(run: Run, returned: object) -> None:
    @dg.asset(
        name="market_metrics",
        partitions_def=MONTHS,
        io_manager_key="warehouse",
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def odd() -> Any:
        return returned

    result = run(odd, raise_on_error=False)
    assert f"market_metrics returned {type(returned).__name__}" in failure(result, "market_metrics")


def test_the_alerts_ledger_only_grows(run: Run, warehouse: Warehouse) -> None:
    from tests.integration.warehouse.test_round_trip import random_rows

    rows = random_rows("alerts", 5)

    @asset
    def alerts() -> pd.DataFrame:
        return rows[:3]

    warehouse.write([Write("alerts", rows[3:])])
    run(alerts)
    assert len(warehouse.read("alerts")) == len(rows)


def test_the_catalogue_shows_type_meaning_unit_and_rules_of_a_column() -> None:
    columns = {column.name: column for column in column_schema("market_metrics").columns}
    liquidated = columns["long_liq_usd"]
    assert liquidated.type == "double precision"
    assert liquidated.description is not None
    assert liquidated.description.endswith("[USD]")
    assert liquidated.constraints.nullable
    assert liquidated.constraints.other == ["greater_than_or_equal_to(0)"]
    assert not columns["ts"].constraints.nullable
