"""The schema that a database gets: it is the contracts', it is made once, and a newer one is refused."""

import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from regimes_dagster import backup, database, migrations
from regimes_dagster.embedded import EmbeddedServer
from regimes_dagster.migrations import access, generate
from regimes_dagster.migrations.upgrade import DAGSTER_SCHEMA, VERSION_TABLE
from regimes_dagster.tables import metadata
from tests.conftest import fresh_database

VERSIONS = Path(migrations.__file__).parent


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[sa.Engine]:
    made = database.make_engine(empty_database_url)
    yield made
    made.dispose()


def definition(url: str) -> list[str]:
    """Everything pg_dump knows of schema public, but for ownership, rights and what migrations add."""
    environment, name = database.libpq_arguments(url)
    command = [backup.program("pg_dump"), "--schema-only", "--schema=public", "--no-owner", "--no-privileges"]
    command += [f"--exclude-table={VERSION_TABLE}", name]
    text = subprocess.run(
        [str(word) for word in command], env=environment, capture_output=True, text=True, check=True
    ).stdout
    statements = text.split("\n\n\n")
    return sorted(part for part in statements if "request_alert_action" not in part and "restrict" not in part)


def test_the_migrated_schema_is_the_one_of_the_contracts(
    database_url: str, empty_database_url: str, empty: sa.Engine
) -> None:
    metadata.create_all(empty)
    assert definition(database_url) == definition(empty_database_url)


def test_alembic_sees_no_difference_to_the_tables(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        options = {"include_object": lambda _o, name, _t, _r, _c: name != VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_the_generated_migration_is_in_step_with_the_contracts() -> None:
    assert generate.in_step(), "run `python -m regimes_dagster.migrations.generate`"


def test_the_known_head_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(VERSIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == migrations.HEAD


def test_an_empty_database_gets_the_schema_and_dagsters(empty: sa.Engine) -> None:
    assert migrations.current_revision(empty) is None
    assert migrations.upgrade(empty) is True
    assert migrations.current_revision(empty) == migrations.HEAD
    assert DAGSTER_SCHEMA in sa.inspect(empty).get_schema_names()
    assert migrations.upgrade(empty) is False


def test_a_newer_schema_is_refused_and_left_alone(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(migrations.NewerSchemaError, match="revision 9999, this release knows up to"):
        migrations.upgrade(engine)
    assert migrations.current_revision(engine) == "9999"


def test_many_upgrades_at_once_make_the_schema_once(empty_database_url: str) -> None:
    together = threading.Barrier(6)

    def start(_: int) -> bool:
        engine = database.make_engine(empty_database_url, poolclass=sa.NullPool)
        together.wait()
        return migrations.upgrade(engine)

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(start, range(6))) == 1


def test_a_migration_that_fails_leaves_nothing(empty: sa.Engine) -> None:
    with empty.begin() as connection:
        # The name is taken, by something else than what the migration would make.
        connection.execute(sa.text("CREATE VIEW webhook_endpoints AS SELECT 1"))
    with pytest.raises(sa.exc.ProgrammingError, match="webhook_endpoints"):
        migrations.upgrade(empty)
    assert sa.inspect(empty).get_table_names() == []
    assert migrations.current_revision(empty) is None


def test_market_metrics_reads_as_the_guide_shows_it(engine: sa.Engine) -> None:
    columns = [column["name"] for column in sa.inspect(engine).get_columns("market_metrics")]
    assert columns[:7] == ["symbol", "ts", "open", "high", "low", "close", "volume"]


def test_every_column_tells_its_meaning_and_unit_in_the_database(engine: sa.Engine) -> None:
    columns = {column["name"]: column["comment"] for column in sa.inspect(engine).get_columns("market_metrics")}
    assert all(columns.values())
    assert columns["long_liq_usd"].endswith("[USD]")


# --- what the dashboard may do -----------------------------------------------------------------------------


@pytest.fixture
def dashboard(database_url: str) -> Iterator[sa.Engine]:
    made, mode = database.dashboard_engine(database_url)
    assert mode == "role"
    yield made
    made.dispose()


def test_the_dashboard_reads_every_table_and_writes_none(dashboard: sa.Engine) -> None:
    with dashboard.connect() as connection:
        for name in metadata.tables:
            connection.execute(sa.text(f"SELECT * FROM {name} LIMIT 1"))
            connection.rollback()
            with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
                connection.execute(sa.text(f"DELETE FROM {name}"))
            connection.rollback()
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            connection.execute(sa.text("CREATE TABLE x (a int)"))


def test_a_table_made_later_is_readable_too(dashboard: sa.Engine, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE later (a int)"))
    with dashboard.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM later")).scalar() == 0


def test_the_dashboard_may_ask_for_an_action(dashboard: sa.Engine, engine: sa.Engine) -> None:
    with dashboard.begin() as connection:
        made = connection.execute(sa.text("""SELECT request_alert_action('TEST', '{"endpoint": "abc"}')""")).scalar()
    with engine.connect() as connection:
        row = connection.execute(sa.text("SELECT id, kind, args, state FROM alert_requests")).one()
    assert row == (made, "TEST", {"endpoint": "abc"}, "PENDING")


def test_it_may_not_ask_too_often(dashboard: sa.Engine) -> None:
    ask = sa.text("SELECT request_alert_action('TEST', '{}')")
    with dashboard.connect() as connection:
        for _ in range(access.REQUESTS_PER_MINUTE):
            connection.execute(ask)
        with pytest.raises(sa.exc.DBAPIError, match="too many requests"):
            connection.execute(ask)


@pytest.mark.parametrize(
    ("kind", "args"),
    [("DROP", "{}"), ("TEST", "[]"), ("TEST", '{"x": "' + "y" * 9000 + '"}'), (None, "{}"), ("TEST", None)],
)
def test_it_may_not_ask_for_nonsense(dashboard: sa.Engine, kind: str | None, args: str | None) -> None:
    with dashboard.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="must be"):
        connection.execute(
            sa.text("SELECT request_alert_action(:kind, CAST(:args AS jsonb))"), {"kind": kind, "args": args}
        )


def test_a_user_who_may_not_make_roles_gets_a_working_schema_and_a_read_only_dashboard(
    postgres: EmbeddedServer,
) -> None:
    """Managed servers often give a user without CREATEROLE."""
    for url in fresh_database(postgres, "template1"):
        name = sa.make_url(url).database
        owner = database.make_engine(url, isolation_level="AUTOCOMMIT")
        with owner.connect() as connection:
            connection.execute(sa.text(f"CREATE ROLE plain_{name} LOGIN"))
            connection.execute(sa.text(f"ALTER DATABASE {name} OWNER TO plain_{name}"))
        plain = sa.make_url(url).set(username=f"plain_{name}")
        engine = database.make_engine(plain)
        try:
            assert migrations.upgrade(engine) is True
            dashboard, mode = database.dashboard_engine(plain)
            assert mode == "read_only"
            with dashboard.connect() as connection:
                assert connection.execute(sa.text("SELECT count(*) FROM alerts")).scalar() == 0
                with pytest.raises(sa.exc.DBAPIError, match="read-only"):
                    connection.execute(sa.text("DELETE FROM alerts"))
            dashboard.dispose()
        finally:
            engine.dispose()
            with owner.connect() as connection:
                connection.execute(sa.text(f"ALTER DATABASE {name} OWNER TO CURRENT_USER"))
                connection.execute(sa.text(f"DROP OWNED BY plain_{name}"))
                connection.execute(sa.text(f"DROP ROLE plain_{name}"))
            owner.dispose()
