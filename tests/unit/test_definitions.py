"""The names that Dagster shows: a rename orphans history in the UI, so it must be a decision."""

from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from regimes_dagster.definitions import build_defs
from regimes_dagster.schemas import TABLES
from regimes_dagster.settings import load_settings

FEATURES = [
    "correlation_features", "funding_features", "liquidation_features", "liquidation_zones", "regimes",
    "volatility_features",
]  # fmt: skip
RAW = ["funding_rates", "liquidations", "minute_bars", "ohlcv"]


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_defs(load_settings(environ={}, cwd=tmp_path_factory.mktemp("settings")))


def keys(definitions: dg.Definitions, group: str) -> list[str]:
    specs = definitions.resolve_all_asset_specs()
    return sorted(spec.key.to_user_string() for spec in specs if spec.group_name == group)


def test_the_assets_are_these(definitions: dg.Definitions) -> None:
    assert keys(definitions, "raw") == RAW
    assert keys(definitions, "market") == ["market_metrics"]
    assert keys(definitions, "features") == FEATURES
    assert keys(definitions, "alerts") == ["alerts"]
    assert keys(definitions, "evidence") == ["signal_evidence"]


def test_the_lineage_reads_like_the_architecture(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()

    def parents(name: str) -> set[str]:
        return {key.to_user_string() for key in graph.get(dg.AssetKey(name)).parent_keys}

    assert parents("market_metrics") == set(RAW) - {"minute_bars"}
    assert parents("correlation_features") == {"market_metrics", "minute_bars"}
    for feature in FEATURES:
        assert "market_metrics" in parents(feature), feature
    assert parents("alerts") == set(FEATURES) - {"liquidation_zones"}


def test_without_minute_bars_there_is_no_such_asset_and_nothing_waits_for_it(tmp_path: Path) -> None:
    off = build_defs(load_settings(environ={"REGIMES_SOURCES__MINUTE_BARS": "[]"}, cwd=tmp_path))
    assert keys(off, "raw") == ["funding_rates", "liquidations", "ohlcv"]
    parents = off.resolve_asset_graph().get(dg.AssetKey("correlation_features")).parent_keys
    assert {key.to_user_string() for key in parents} == {"market_metrics"}


def test_every_asset_says_what_it_is_and_shares_the_platforms_promises(definitions: dg.Definitions) -> None:
    for spec in definitions.resolve_all_asset_specs():
        name = spec.key.to_user_string()
        assert spec.description, name
        assert len(spec.description.strip()) > 30, name
        assert list(spec.owners) == ["team:regimes"], name
        assert spec.code_version, name
        columns = [column.name for column in spec.metadata["dagster/column_schema"].columns]
        assert columns == list(TABLES[name].to_schema().columns), name
        assert {"postgres"} <= set(spec.kinds), name
        assert isinstance(spec.partitions_def, dg.MonthlyPartitionsDefinition), name
        assert spec.partitions_def.end_offset == 1, name


def test_every_asset_promises_to_be_as_new_as_its_schedule_can_make_it(definitions: dg.Definitions) -> None:
    """Decision 27 for what runs by the hour. The monthly evidence was called missing two hours after it was made."""
    for spec in definitions.resolve_all_asset_specs():
        policy = spec.freshness_policy
        assert policy is not None, spec.key
        late, missing = policy.warn_window.to_timedelta(), policy.fail_window.to_timedelta()
        if spec.group_name == "evidence":
            assert timedelta(days=31) < late < missing < timedelta(days=40)
        else:
            assert (late, missing) == (timedelta(minutes=75), timedelta(minutes=130)), spec.key


def test_every_asset_runs_any_number_of_months_in_one_run(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    policies = {str(key): graph.get(key).backfill_policy for key in graph.materializable_asset_keys}
    assert all(policy == dg.BackfillPolicy.single_run() for policy in policies.values()), policies


def test_every_asset_is_a_table_of_the_same_name(definitions: dg.Definitions) -> None:
    names = {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}
    assert names <= set(TABLES)


def test_the_jobs_schedules_and_sensors_are_these(definitions: dg.Definitions) -> None:
    jobs = [job.name for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")]
    assert sorted(jobs) == ["evidence", "hourly", "purge"]
    schedules = sorted(schedule.name for schedule in definitions.schedules or [])
    assert schedules == ["evidence_schedule", "hourly_schedule", "purge_schedule"]
    assert sorted(sensor.name for sensor in definitions.sensors or []) == SENSORS


def test_the_evidence_is_no_part_of_the_hourly_run(definitions: dg.Definitions) -> None:
    hourly = {key.to_user_string() for key in definitions.resolve_job_def("hourly").asset_layer.executable_asset_keys}
    assert hourly == {*RAW, "market_metrics", *FEATURES, "alerts"}


def test_only_a_simulated_market_has_a_clock_of_its_own(tmp_path: Path) -> None:
    settings = load_settings(environ={"REGIMES_SOURCES__OHLCV": '["simulated"]'}, cwd=tmp_path)
    names = {sensor.name for sensor in build_defs(settings).sensors or []}
    assert names == {*SENSORS, "demo_clock"}


SENSORS = ["alert_delivery", "pipeline_failed", "platform_health"]
