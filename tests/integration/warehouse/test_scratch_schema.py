"""The scratch schema of a replay knows what was known at its start, whatever became of the tables since."""

import pandas as pd
import pytest

from regimes_dagster.partitions import HOUR, utc
from regimes_dagster.replay import scratch_schema
from regimes_dagster.storage import Warehouse, Write
from tests.integration.warehouse.test_round_trip import random_rows

START = utc("2024-02-01")


def models(warehouse: Warehouse) -> pd.DataFrame:
    rows = random_rows("volatility_models", 3, 2).assign(fit_ts=[START - HOUR, START + HOUR])
    warehouse.write([Write("volatility_models", rows)])
    return warehouse.read("volatility_models").query("fit_ts <= @START").reset_index(drop=True)


def test_rows_after_the_start_are_not_known(warehouse: Warehouse) -> None:
    known = models(warehouse)
    with scratch_schema(warehouse.engine, "scratch_1", START, keep=False):
        pd.testing.assert_frame_equal(Warehouse(warehouse.engine, "scratch_1").read("volatility_models"), known)


def test_columns_that_an_upgrade_added_at_the_end_are_copied_by_name(warehouse: Warehouse) -> None:
    with warehouse.engine.begin() as connection:
        for column, kind in (("smear", "double precision"), ("n_rows", "bigint")):
            connection.exec_driver_sql(f"ALTER TABLE volatility_models DROP COLUMN {column}")
            connection.exec_driver_sql(f"ALTER TABLE volatility_models ADD COLUMN {column} {kind}")
    known = models(warehouse)
    with scratch_schema(warehouse.engine, "scratch_2", START, keep=False):
        pd.testing.assert_frame_equal(Warehouse(warehouse.engine, "scratch_2").read("volatility_models"), known)


def test_months_that_are_marked_stale_are_marked_in_the_replay_too(warehouse: Warehouse) -> None:
    with warehouse.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO stale_partitions VALUES ('regimes', '2024-01-01', 'a test', now())")
    with scratch_schema(warehouse.engine, "scratch_3", START, keep=False):
        marks = Warehouse(warehouse.engine, "scratch_3").read("stale_partitions")
    assert marks["partition_key"].tolist() == ["2024-01-01"]


@pytest.mark.parametrize("name", ["public", "dagster", "Replay", "a b", ""])
def test_a_name_that_is_no_scratch_schema_is_refused(warehouse: Warehouse, name: str) -> None:
    with (
        pytest.raises(ValueError, match="no name for a scratch schema"),
        scratch_schema(warehouse.engine, name, START, keep=False),
    ):
        pass
