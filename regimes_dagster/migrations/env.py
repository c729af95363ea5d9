"""Alembic's entry: run the steps on the connection that ``upgrade`` holds (and its lock). Nothing else is supported."""

from alembic import context

from regimes_dagster.migrations.upgrade import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    version_table_schema="public",
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
