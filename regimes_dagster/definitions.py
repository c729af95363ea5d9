"""The one Definitions object: read it and you know what exists.

What belongs here: the list of assets, jobs, schedules, sensors, checks and resources. What does not: what any of
them does.
"""

import os

import dagster as dg

from regimes_dagster.assets.alerts import alert_assets
from regimes_dagster.assets.declare import declarer, months
from regimes_dagster.assets.evidence import evidence_assets
from regimes_dagster.assets.features import feature_assets
from regimes_dagster.assets.market import market_assets
from regimes_dagster.assets.minute_bars import minute_assets
from regimes_dagster.assets.raw import raw_assets
from regimes_dagster.checks import asset_checks
from regimes_dagster.configuration.classifier import check_classifier
from regimes_dagster.jobs import EXECUTOR, evidence_job, hourly_job
from regimes_dagster.logs import configure_logging, log_file
from regimes_dagster.platform import Platform
from regimes_dagster.purge import purge_job, purge_schedule
from regimes_dagster.resources.warehouse import WarehouseIOManager
from regimes_dagster.resources.webhooks import Webhooks
from regimes_dagster.schedules import demo_clock, evidence_schedule, hourly_schedule
from regimes_dagster.sensors.delivery import delivery_sensor
from regimes_dagster.sensors.health import pipeline_failed, platform_health
from regimes_dagster.settings import Settings, load_settings


def build_defs(settings: Settings, platform: Platform | None = None) -> dg.Definitions:
    """Everything Dagster runs, from settings alone.

    Parameters
    ----------
    settings
        The validated settings.
    platform
        Another platform than the one the settings describe: a test's or a replay's.

    Raises
    ------
    SettingsError
        If a classifier of the user's own cannot be used.
    """
    check_classifier(settings)
    platform = platform or Platform(settings)
    partitions = months(settings)
    declare = declarer(partitions)
    minutes = bool(settings.sources.of("minute_bars"))
    return dg.Definitions(
        assets=[
            *raw_assets(declare),
            *(minute_assets(declare) if minutes else []),
            *market_assets(declare),
            *feature_assets(declare, minute_bars=minutes),
            *alert_assets(declare),
            *evidence_assets(declare),
        ],
        asset_checks=asset_checks(minute_bars=minutes),
        jobs=[hourly_job(), evidence_job(), purge_job],
        schedules=[hourly_schedule, evidence_schedule, purge_schedule],
        sensors=[
            delivery_sensor(settings),
            pipeline_failed,
            platform_health,
            *([demo_clock] if settings.is_simulated else []),
        ],
        resources={
            "platform": platform,
            "warehouse": WarehouseIOManager(platform),
            "webhooks": Webhooks(platform),
        },
        executor=EXECUTOR,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What ``workspace.yaml`` loads."""
    settings = load_settings()
    configure_logging(os.environ, file=log_file(settings.home))
    return build_defs(settings)
