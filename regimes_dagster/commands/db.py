"""``regimes db``: the database, its server, its schema and its backups.

What belongs here: questions, progress and wording. What does not: the server (``embedded.py``), migrations
(``migrations/``) and backups (``backup.py``) themselves.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from sqlalchemy.engine import URL

from regimes_dagster.settings import Settings, load_settings

if TYPE_CHECKING:
    from regimes_dagster.embedded import EmbeddedServer


@click.group(name="db")
def db() -> None:
    """Start, stop, upgrade, back up and restore the database."""


@db.command()
def start() -> None:
    """Start the embedded server if it does not run, and bring the schema up to date."""
    from regimes_dagster import database

    settings = load_settings()
    server = _server(settings)
    if server is None:
        click.echo(f"DB_URL is set, so there is nothing to start: {database.shown(_url(settings))}")
    elif server.start():
        click.echo(f"Started; it runs until `regimes db stop`. Data: {server.data}")
    else:
        click.echo(f"It runs already. Data: {server.data}")
    _upgrade(_url(settings))


@db.command()
def stop() -> None:
    """Stop the embedded server; open transactions are rolled back."""
    server = _server(load_settings())
    if server is None:
        raise click.ClickException("DB_URL is set: that server is not this program's to stop.")
    click.echo("Stopped." if server.stop() else "It does not run.")


@db.command()
def status() -> None:
    """Show which database is in use, whether it answers, its schema and its size. Exit code 1 if it does not answer."""
    import sqlalchemy as sa

    from regimes_dagster import database
    from regimes_dagster.migrations import HEAD, current_revision

    settings = load_settings()
    server = _server(settings)
    if server is not None:
        found = server.status()
        click.echo(f"Server    embedded PostgreSQL {found.version or '(no data yet)'}")
        click.echo(f"Data      {found.data}")
        click.echo(f"Socket    {found.socket_folder}")
        click.echo(
            f"Runs      {f'yes, process {found.pid}' if found.running else 'no; start it with `regimes db start`'}"
        )
        if not found.running:
            raise click.exceptions.Exit(1)
    engine = database.make_engine(_url(settings, start=False))
    revision = current_revision(engine)
    known = {None: "none yet; `regimes db upgrade` makes it", HEAD: f"{HEAD}, up to date"}
    with engine.connect() as connection:
        size = connection.execute(
            sa.select(sa.func.pg_size_pretty(sa.func.pg_database_size(sa.func.current_database())))
        )
        click.echo(f"Database  {database.shown(engine.url)}")
        click.echo(f"Schema    {known.get(revision, f'{revision}; this release expects {HEAD}')}")
        click.echo(f"Size      {size.scalar()}")


@db.command()
@click.option("--libpq", is_flag=True, help="As psql and other programs take it, without a driver name.")
def url(libpq: bool) -> None:
    """Print the database's URL, password included; starts the embedded server if needed."""
    text = _url(load_settings()).render_as_string(hide_password=False)
    click.echo(text.replace("postgresql+psycopg://", "postgresql://", 1) if libpq else text)


@db.command()
def upgrade() -> None:
    """Bring the schema to this release, and give the dashboard's role its rights. Runs at every start, too."""
    _upgrade(_url(load_settings()), again=True)


@db.command()
@click.argument("file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
def backup(file: Path, force: bool) -> None:
    """Write data and run history to FILE (pg_dump's custom format). The platform may go on running."""
    from regimes_dagster import backup as backups

    if file.exists() and not force:
        raise click.ClickException(f"{file} exists; give another name, or --force to replace it.")
    size = backups.backup(_url(load_settings()), file, _progress("  saving"))
    click.echo(f"Saved to {file} ({size / 1e6:.1f} MB). Bring it back with `regimes db restore {file}`.")


@db.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace a database that holds rows.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def restore(file: Path, force: bool, yes: bool) -> None:
    """Replace the database's content by the backup FILE, all or nothing. Stop `regimes up` first."""
    from regimes_dagster import backup as backups
    from regimes_dagster import database

    target = _url(load_settings())
    engine = database.make_engine(target)
    if backups.has_rows(engine):
        if not force:
            raise click.ClickException(
                f"the database holds rows ({database.shown(target)}). Back it up with `regimes db backup FILE`, then "
                "restore with --force, which deletes them."
            )
        if not yes:
            click.confirm(f"Delete everything in {database.shown(target)} and restore {file}?", abort=True)
    engine.dispose()
    backups.restore(target, file, _progress("  restoring"))
    _upgrade(target, again=True)
    click.echo(f"Restored from {file}.")


def _server(settings: Settings) -> "EmbeddedServer | None":
    from regimes_dagster.database import embedded_server

    return None if settings.db_url else embedded_server({"REGIMES_HOME": str(settings.home)})


def _url(settings: Settings, *, start: bool = True) -> URL:
    from regimes_dagster.database import find_url

    given = settings.db_url.get_secret_value() if settings.db_url else None
    return find_url(given, start=start, environment={"REGIMES_HOME": str(settings.home)})


def _upgrade(target: URL, *, again: bool = False) -> None:
    from regimes_dagster import database, migrations

    engine = database.make_engine(target)
    changed = migrations.upgrade(engine, again=again)
    engine.dispose()
    click.echo(f"Schema {'brought to' if changed else 'is at'} revision {migrations.HEAD}.")


def _progress(verb: str) -> Callable[[str], None]:
    def say(table: str) -> None:
        click.echo(f"{verb} {table}", err=True)

    return say
