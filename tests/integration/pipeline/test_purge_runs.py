"""The purge on a real instance: the event log shrinks, and what Dagster knows of the assets stays."""

from datetime import timedelta
from typing import Any

import dagster as dg
import sqlalchemy as sa

from regimes_dagster.commands.backfill import run_months
from regimes_dagster.definitions import build_defs
from regimes_dagster.partitions import utc
from regimes_dagster.platform import Platform
from regimes_dagster.purge import KEEP_CHECKS, KEEP_RUNS, PURGE, purge_checks, purge_rows, purge_runs
from tests.integration.pipeline.conftest import MakeSettings

METRICS = dg.AssetKey("market_metrics")


def test_superseded_runs_go_and_the_newest_of_each_month_stays(make_settings: MakeSettings, instance: Any) -> None:
    settings = make_settings(REGIMES_SYMBOLS='["BTC/USDT"]')
    platform = Platform(settings)
    definitions = build_defs(settings, platform)
    for hour in ("2024-01-31 22:00", "2024-02-01 02:00", "2024-02-01 03:00"):
        platform.clock.declare(utc(hour), "test")
        last = run_months(definitions, instance, "2024-01-01", hour[:10])
        assert last.success
    only_february = run_months(definitions, instance, "2024-02-01", "2024-02-01")
    before = {
        record.partition_key: record.asset_materialization.metadata
        for record in instance.fetch_materializations(METRICS, limit=1).records
    }
    now = platform.clock.system_now() + KEEP_RUNS + timedelta(hours=1)

    assert purge_runs(instance, platform.clock.system_now()) == 0, "all of them are young"
    assert purge_runs(instance, now) == 2
    kept = {record.dagster_run.run_id for record in instance.get_run_records()}
    assert kept == {last.run_id, only_february.run_id}
    assert instance.get_materialized_partitions(METRICS) == {"2024-01-01", "2024-02-01"}
    after = instance.fetch_materializations(METRICS, limit=1).records
    assert {record.partition_key: record.asset_materialization.metadata for record in after} == before
    # Rows that Dagster plans per partition and never fills in go; the four results stay to be plotted.
    assert purge_checks(platform.engine, now) > 0
    key = dg.AssetCheckKey(METRICS, "freshness")
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=50)
    assert [record.status.value for record in history] == ["SUCCEEDED"] * 4
    assert purge_checks(platform.engine, now) == 0
    purge_checks(platform.engine, now + KEEP_CHECKS)
    assert len(instance.event_log_storage.get_asset_check_execution_history(key, limit=50)) == 1
    assert purge_runs(instance, now) == 0
    platform.engine.dispose()


def test_the_job_deletes_minute_bars_that_are_old(make_settings: MakeSettings, instance: Any) -> None:
    settings = make_settings()
    platform = Platform(settings)
    now = platform.clock.now().floor("min")
    with platform.engine.begin() as connection:
        for days in (1, 13, 15, 40):
            connection.execute(
                sa.text("INSERT INTO minute_bars VALUES ('binance', 'BTC/USDT', :ts, 1, 1, false)"),
                {"ts": (now - timedelta(days=days)).to_pydatetime()},
            )
    result = build_defs(settings, platform).resolve_job_def(PURGE).execute_in_process(instance=instance)
    assert result.success
    assert len(platform.warehouse.read("minute_bars")) == 2
    assert purge_rows(platform.tables_engine, now) == {"minute_bars": 0}
    platform.engine.dispose()
