"""Dagster's storage keeps its connections: an hourly run once opened 552 of them, which was a third of its time."""

from typing import Any

import dagster as dg
import sqlalchemy as sa

from regimes_dagster.commands.backfill import run_months
from regimes_dagster.dagster_storage import KEPT
from regimes_dagster.definitions import build_defs
from regimes_dagster.embedded import EmbeddedServer
from regimes_dagster.instance import dagster_instance
from tests.integration.pipeline.conftest import MakeSettings


def test_a_run_opens_few_connections(make_settings: MakeSettings, instance: Any) -> None:
    engines = {part._engine for part in (instance.run_storage, instance.event_log_storage, instance.schedule_storage)}
    assert len(engines) == 1
    opened = []
    sa.event.listen(engines.pop(), "connect", lambda *_: opened.append(1))
    assert run_months(build_defs(make_settings()), instance, "2024-01-01", "2024-01-01").success
    assert len(opened) <= KEPT


def test_closing_the_instance_closes_its_connections(make_settings: MakeSettings) -> None:
    settings = make_settings()
    with dagster_instance(settings) as opened:
        assert opened.get_runs_count() == 0
        pool = opened.run_storage._engine.pool
        assert pool.checkedin() == 1
    assert opened.run_storage._engine.pool.checkedin() == 0


def test_a_connection_that_died_is_replaced_without_a_failure(
    instance: Any, postgres: EmbeddedServer, make_settings: MakeSettings
) -> None:
    assert instance.get_runs_count() == 0
    admin = sa.create_engine(make_settings().db_url.get_secret_value())  # type: ignore[union-attr]
    with admin.begin() as connection:
        ended = connection.execute(
            sa.text(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        ).scalar_one()
    admin.dispose()
    assert ended >= 1
    assert instance.get_runs_count() == 0
    assert instance.get_asset_keys() == []


def test_what_the_webserver_asks_of_its_storage_still_holds(instance: Any) -> None:
    instance.optimize_for_webserver(statement_timeout=1500, pool_recycle=60, max_overflow=5)
    with instance.event_log_storage.index_connection() as connection:
        assert connection.execute(sa.text("SHOW statement_timeout")).scalar() == "1500ms"
    assert instance.event_log_storage.has_asset_key_index_cols()
    assert not instance.event_log_storage.has_asset_key_col("no_such_column")
    assert instance.get_asset_records([dg.AssetKey("ohlcv")]) == []
