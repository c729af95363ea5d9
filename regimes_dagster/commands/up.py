"""`regimes up`: Dagster, its daemon and the dashboard side by side, until Ctrl-C.

What belongs here: which processes an installation runs and where they listen. What does not: supervision
(``supervisor.py``) and the demo's own extras (``commands/demo.py``).
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from regimes_dagster.settings import Settings, load_settings
from regimes_dagster.supervisor import Child, StartError, Supervisor, free_port_or_fail, python


def platform_children(settings: Settings, environment: dict[str, str]) -> list[Child]:
    """The Dagster webserver, the Dagster daemon and the dashboard."""
    logs = settings.home / "logs"
    workspace = ["-w", str(_workspace(settings))]
    web, board = settings.dagster, settings.dashboard
    return [
        Child(
            "dashboard",
            python("-m", "regimes_dagster", "dashboard"),
            log=logs / "dashboard.log",
            env=environment,
            ready_url=f"http://{_reachable(board.host)}:{board.port}/healthz",
        ),
        Child(
            "dagster-webserver",
            python("-m", "dagster_webserver", "-h", web.host, "-p", str(web.port), *workspace),
            log=logs / "dagster-webserver.log",
            env=environment,
            ready_url=f"http://{_reachable(web.host)}:{web.port}/server_info",
        ),
        Child(
            "dagster-daemon",
            python("-m", "dagster._daemon", "run", *workspace),
            log=logs / "dagster-daemon.log",
            env=environment,
        ),
    ]


def check_ports(settings: Settings) -> None:
    """Refuse to start where another program listens."""
    free_port_or_fail(settings.dagster.port, "the Dagster pages", "[dagster] port, or REGIMES_DAGSTER__PORT")
    free_port_or_fail(settings.dashboard.port, "the dashboard", "[dashboard] port, or REGIMES_DASHBOARD__PORT")


@contextmanager
def database_running(settings: Settings) -> Iterator[dict[str, str]]:
    """The database up and migrated; gives Dagster's environment. Stops the embedded server if it started it."""
    from regimes_dagster.database import embedded_server
    from regimes_dagster.instance import dagster_environment

    server = None if settings.db_url else embedded_server({"REGIMES_HOME": str(settings.home)})
    ours = server is not None and not server.answers()
    try:
        yield dagster_environment(settings)
    finally:
        if ours and server is not None:
            server.stop()


def addresses(settings: Settings) -> list[tuple[str, str]]:
    """What a person opens in a browser."""
    return [
        ("Dashboard", f"http://{_reachable(settings.dashboard.host)}:{settings.dashboard.port}"),
        ("Dagster", f"http://{_reachable(settings.dagster.host)}:{settings.dagster.port}"),
    ]


def say_addresses(settings: Settings, more: list[tuple[str, str]] | None = None) -> None:
    """Print where to look."""
    click.echo("")
    for name, where in [*addresses(settings), *(more or [])]:
        click.echo(f"  {name:<18} {where}")
    click.echo(f"  {'Logs':<18} {settings.home / 'logs'}")
    click.echo("\nCtrl-C stops everything.")


@click.command(name="up")
def up() -> None:
    """Start everything on live venues: Dagster, its daemon and the dashboard, until Ctrl-C."""
    settings = load_settings()
    started = time.monotonic()
    check_ports(settings)
    with Supervisor(click.echo) as supervisor, database_running(settings) as environment:
        _refuse_declared_time(settings)
        try:
            for child in platform_children(settings, environment):
                supervisor.start(child)
            waiting = _history_to_do(settings)
            if waiting:
                which = "" if len(waiting) == len(settings.symbols) else f" of {', '.join(waiting)}"
                click.echo(f"Fetching the history{which} since {settings.history_start} in the background,")
                click.echo(f"  {_estimate(settings, waiting)}. Progress: {settings.home / 'logs' / 'backfill.log'}")
                supervisor.start(_first_backfill(settings, environment))
            for name in ("dashboard", "dagster-webserver"):
                supervisor.wait_ready(name)
        except StartError as error:
            raise click.ClickException(str(error)) from error
        if not supervisor.stopping:
            click.echo(f"Up after {time.monotonic() - started:.1f} s.")
            say_addresses(settings)
        supervisor.watch()
        supervisor.stop()
        click.echo("Stopped.")


def _refuse_declared_time(settings: Settings) -> None:
    """A clock that a demo or a replay left behind would keep the schedule from running."""
    from regimes_dagster.platform import Platform

    declared = Platform(settings).clock.declared()
    if declared is not None:
        raise click.ClickException(
            f"this database lives at {declared:%Y-%m-%d %H:%M} UTC, a time that a demo or test declared. Use another "
            "database (DB_URL, or REGIMES_HOME for the embedded one), or, to keep it, delete the row of the table "
            "platform_clock."
        )


def _first_backfill(settings: Settings, environment: dict[str, str]) -> Child:
    start = settings.history_start
    return Child(
        "backfill",
        python("-m", "regimes_dagster", "backfill", "--from", start.isoformat()),
        log=settings.home / "logs" / "backfill.log",
        env=environment,
        once=True,
        again=lambda: bool(_history_to_do(settings)),
    )


def _estimate(settings: Settings, waiting: Sequence[str]) -> str:
    """About how many requests the history of these symbols takes (decision 28)."""
    from regimes_dagster.clock import system_now
    from regimes_dagster.partitions import keys_between

    symbols = len(waiting)
    months = len(keys_between(settings.history_start, system_now().date()))
    bars = months * symbols
    days = min(settings.sources.liquidation_backfill_days, months * 31)
    liquidations = days * symbols * len(settings.sources.liquidations)
    return (
        f"about {bars} requests for bars, {bars} to {2 * bars} for funding and, trade by trade for the last {days} "
        f"days, {liquidations} or more for liquidations"
    )


def _history_to_do(settings: Settings) -> list[str]:
    """Symbols whose history is still to come; all of them while the database cannot be asked."""
    import sqlalchemy as sa

    from regimes_dagster.database import DatabaseError
    from regimes_dagster.first_history import history_to_do
    from regimes_dagster.platform import Platform

    platform = Platform(settings)
    try:
        return history_to_do(platform)
    except (DatabaseError, sa.exc.SQLAlchemyError):
        return list(settings.symbols)
    finally:
        platform.engine.dispose()


def _workspace(settings: Settings) -> os.PathLike[str]:
    from pathlib import Path

    place = settings.root / "workspace.yaml"
    return place if place.exists() else Path(__file__).resolve().parent.parent.parent / "workspace.yaml"


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - how to reach it, not where to listen
