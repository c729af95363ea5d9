"""The schema a database gets, and how it gets it."""

import sqlalchemy as sa


def test_a_fresh_database_has_every_table(engine: sa.Engine) -> None:
    from regimes_dagster.tables import metadata

    assert set(metadata.tables) <= set(sa.inspect(engine).get_table_names())


def test_two(engine: sa.Engine) -> None:
    pass
