"""The sensors inside Dagster: the real definitions, a real instance, real receivers."""

from datetime import timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa

from regimes_dagster import tables
from regimes_dagster.instance import dagster_instance
from regimes_dagster.platform import Platform
from regimes_dagster.resources.webhooks import Webhooks
from regimes_dagster.schemas import EpisodeEvents
from regimes_dagster.sensors.delivery import delivery_sensor
from regimes_dagster.sensors.health import pipeline_failed, platform_health
from regimes_dagster.storage import Write
from tests.servers.receivers import Receiver


@pytest.fixture
def on_this_database(database_url: str, tmp_path: Path, settings_for):
    """Settings of a live installation whose database is the test's."""

    def make(*hooks, **alerts):
        environ = {"DB_URL": database_url, "REGIMES_HOME": str(tmp_path / "home")}
        return settings_for(*hooks, environ=environ, **alerts)

    return make


def test_a_tick_posts_says_what_it_did_and_starts_no_run(outbox, on_this_database) -> None:
    with Receiver() as receiver:
        settings = on_this_database(receiver.url)
        platform = Platform(settings)
        sensor = delivery_sensor(settings)
        assert sensor.minimum_interval_seconds == 10
        outbox.add(settings, 3)
        context = dg.build_sensor_context(resources={"webhooks": Webhooks(platform)})
        told = sensor(context)
        assert isinstance(told, dg.SkipReason)
        assert "3 delivered" in (told.skip_message or "")
        assert sensor(context).skip_message == "nothing due"
        assert len(receiver.requests) == 3
        platform.engine.dispose()


def test_a_failed_run_is_told_and_a_run_that_succeeds_ends_it(outbox, on_this_database) -> None:
    with Receiver() as receiver:
        settings = on_this_database(receiver.url)
        platform = Platform(settings)
        broken = [True]

        @dg.op
        def fetch() -> None:
            if broken[0]:
                raise ConnectionError("https://token@venue.example/secret")

        @dg.job(name="hourly")
        def job() -> None:
            fetch()

        with dagster_instance(settings) as instance:
            for _ in range(2):
                result = job.execute_in_process(instance=instance, raise_on_error=False)
                failure = next(event for event in result.all_events if event.event_type_value == "PIPELINE_FAILURE")
                context = dg.build_run_status_sensor_context(
                    sensor_name="pipeline_failed",
                    dagster_instance=instance,
                    dagster_run=result.dagster_run,
                    dagster_event=failure,
                    resources={"platform": platform},
                ).for_run_failure()
                pipeline_failed(context)
            outbox.deliver(settings)
            (request,) = receiver.requests
            assert request.json["event_type"] == "PIPELINE_FAILED"
            assert request.json["data"]["step"] == "fetch"
            assert request.json["data"]["error_class"] == "ConnectionError"
            assert b"token" not in request.body

            broken[0] = False
            job.execute_in_process(instance=instance)
            looked = platform_health(dg.build_sensor_context(instance=instance, resources={"platform": platform}))
            assert "1 jobs recovered" in (looked.skip_message or "")
        platform.engine.dispose()


def test_one_broken_feature_silences_no_other(outbox, on_this_database) -> None:
    with Receiver() as receiver:
        settings = on_this_database(receiver.url)
        platform = Platform(settings)
        hour = outbox.now().floor("h") - timedelta(hours=1)
        cascade = {
            "feature": "liquidation_features", "episode_id": "0123456789abcdef", "phase": "OPEN", "level": 2,
            "event_type": "LIQUIDATION_CASCADE", "key": "BTC/USDT", "symbol": "BTC/USDT", "asset_pair": None,
            "ts": hour, "onset_ts": hour, "severity": "CRITICAL", "title": "t", "description": "d",
            "source": "CASCADE", "data": {"severity": 2.0}, "explain": {}, "suppressed_reason": None,
            "config_hash": "x",
        }  # fmt: skip
        events = pd.DataFrame([{name: cascade.get(name) for name in EpisodeEvents.to_schema().columns}])
        platform.warehouse.write([Write("episode_events", events)])

        @dg.op
        def correlation_features() -> None:
            raise ArithmeticError("a bug")

        @dg.job(name="hourly")
        def job() -> None:
            correlation_features()

        with dagster_instance(settings) as instance:
            result = job.execute_in_process(instance=instance, raise_on_error=False)
            failure = next(event for event in result.all_events if event.event_type_value == "PIPELINE_FAILURE")
            for _ in range(2):
                pipeline_failed(
                    dg.build_run_status_sensor_context(
                        sensor_name="pipeline_failed",
                        dagster_instance=instance,
                        dagster_run=result.dagster_run,
                        dagster_event=failure,
                        resources={"platform": platform},
                    ).for_run_failure()
                )
        outbox.deliver(settings)
        told = sorted(request.json["event_type"] for request in receiver.requests)
        assert told == ["LIQUIDATION_CASCADE", "PIPELINE_FAILED"]
        platform.engine.dispose()


def test_missing_data_is_told_by_the_health_sensor(outbox, on_this_database) -> None:
    with Receiver() as receiver:
        settings = on_this_database(receiver.url)
        platform = Platform(settings)
        with outbox.engine.begin() as connection:
            connection.execute(
                sa.insert(tables.table("market_metrics")).values(
                    symbol="BTC/USDT",
                    ts=(outbox.now().floor("h") - timedelta(hours=4)).to_pydatetime(),
                    close=1.0,
                    is_simulated=False,
                )
            )
        with dagster_instance(settings) as instance:
            looked = platform_health(dg.build_sensor_context(instance=instance, resources={"platform": platform}))
        assert "1 new gaps" in (looked.skip_message or "")
        outbox.deliver(settings)
        assert [r.json["event_type"] for r in receiver.requests] == ["DATA_GAP"]
        platform.engine.dispose()
