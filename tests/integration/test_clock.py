"""What the platform takes for now."""

import pandas as pd
import pytest
import sqlalchemy as sa

from regimes_dagster.clock import Clock, system_now
from regimes_dagster.partitions import utc

WALL = utc("2026-05-01 12:34:56")


def test_a_live_installation_follows_the_system(engine: sa.Engine) -> None:
    clock = Clock(engine, system=lambda: WALL)
    assert clock.now() == WALL
    assert clock.declared() is None


def test_every_process_sees_a_declared_moment_until_it_is_taken_back(engine: sa.Engine) -> None:
    demo, other = Clock(engine, system=lambda: WALL), Clock(engine, system=lambda: WALL)
    demo.declare(utc("2024-02-01"), "demo")
    demo.declare(utc("2024-02-01 01:00"), "demo")
    assert other.now() == utc("2024-02-01 01:00")
    assert other.declared_by("demo") == utc("2024-02-01 01:00")
    assert other.declared_by("replay") is None
    demo.follow_system()
    assert other.now() == WALL


def test_the_clock_of_a_scratch_schema_is_its_own(engine: sa.Engine) -> None:
    from regimes_dagster.tables import metadata

    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema("scratch"))
        metadata.create_all(connection.execution_options(schema_translate_map={None: "scratch"}))
    Clock(engine, schema="scratch").declare(utc("2024-02-01"), "replay")
    assert Clock(engine).declared() is None


def test_a_clock_without_a_database_is_the_systems_and_cannot_be_set() -> None:
    assert Clock(system=lambda: WALL).now() == WALL
    with pytest.raises(RuntimeError, match="no database"):
        Clock().declare(WALL, "demo")


def test_the_systems_moment_is_utc_in_microseconds() -> None:
    now = system_now()
    assert str(now.tz) == "UTC"
    assert now.unit == "us"
    assert abs(now - pd.Timestamp.now("UTC")) < pd.Timedelta(minutes=1)
