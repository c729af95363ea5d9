"""`regimes demo`: the whole platform on a simulated market, with its own receiver and its own time.

What belongs here: the demo's settings, its clock and its first history. What does not: the simulated market
(``sources/simulated.py``), the moving clock (``schedules.py``) and the receiver (``commands/webhook_sink.py``).
"""

import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import click
import pandas as pd

from regimes_dagster.commands.backfill import log_to_file, run_months
from regimes_dagster.commands.up import check_ports, database_running, platform_children, say_addresses
from regimes_dagster.partitions import month_start
from regimes_dagster.platform import Platform
from regimes_dagster.schedules import DEMO_CLOCK
from regimes_dagster.settings import Settings, load_settings
from regimes_dagster.supervisor import Child, StartError, Supervisor, free_port_or_fail, python

#: Days of history computed before the demo's time begins to move.
HISTORY_DAYS = 180

#: How far behind wall time the demo begins.
LAG = timedelta(days=30)

#: Who declares the clock while the first history is computed; the moving clock waits for it.
FILLING = "demo backfill"

SINK_PORT = 8099

#: The guide's variables and the live sources are replaced: nothing of a live installation is read or posted to.
OVERRIDES = {
    "REGIMES_CONFIG": "none",
    "DB_URL": "",
    "DASHBOARD_DB_URL": "",
    "REGIMES_HOME": ".regimes/demo",
    "REGIMES_SYMBOLS": '["BTC/USDT", "ETH/USDT", "SOL/USDT"]',
    "REGIMES_SOURCES__OHLCV": '["simulated"]',
    "REGIMES_SOURCES__FUNDING": '["simulated"]',
    "REGIMES_SOURCES__LIQUIDATIONS": '["simulated"]',
    # A fixed first day: the market must stay the same when the demo is started again in another month.
    "REGIMES_SOURCES__SIMULATED__START": "2024-01-01",
    "REGIMES_ALERTS__ALLOW_NETWORKS": '["127.0.0.0/8"]',
    "WEBHOOKS_CASCADE": "",
    "WEBHOOKS_FUNDING": "",
    "WEBHOOKS_VOLATILITY": "",
    "WEBHOOKS_CORRELATION": "",
    "WEBHOOKS_REGIME": "",
}


def demo_environment(now: pd.Timestamp, sink_port: int = SINK_PORT) -> dict[str, str]:
    """Variables that make any command of the platform work on the demo instead of a live installation."""
    start = month_start(now - LAG - timedelta(days=HISTORY_DAYS))
    return {
        **OVERRIDES,
        "REGIMES_HISTORY_START": start.date().isoformat(),
        "WEBHOOKS_ALL": f"http://127.0.0.1:{sink_port}/",
    }


@click.command(name="demo")
@click.option("--sink-port", default=SINK_PORT, show_default=True, help="Port of the local webhook receiver.")
def demo(sink_port: int) -> None:
    """Start everything on a simulated market: offline, with 180 days of history, one simulated hour per 20 s.

    Alerts go to a local receiver alone and are printed here. Ctrl-C stops everything; the next start goes on
    where this one ended.
    """
    from regimes_dagster.clock import system_now

    os.environ.update(demo_environment(system_now(), sink_port))
    settings = load_settings()
    started = time.monotonic()
    check_ports(settings)
    free_port_or_fail(sink_port, "the webhook receiver", "--sink-port")
    with Supervisor(click.echo) as supervisor, database_running(settings) as environment:
        platform = Platform(settings)
        try:
            supervisor.start(_receiver(sink_port))
            for child in platform_children(settings, environment):
                supervisor.start(child)
            _fill(settings, platform)
            for name in ("dashboard", "dagster-webserver"):
                supervisor.wait_ready(name)
        except StartError as error:
            raise click.ClickException(str(error)) from error
        if not supervisor.stopping:
            _greet(settings, platform)
            click.echo(f"Up after {time.monotonic() - started:.1f} s, on a SIMULATED market.")
            say_addresses(
                settings,
                [
                    ("Webhook receiver", f"http://127.0.0.1:{sink_port} (prints what arrives below)"),
                    ("Ask it", f"{_program()} --demo doctor; likewise alerts list, db url, ..."),
                ],
            )
        supervisor.watch()
        supervisor.stop()
        click.echo("Stopped.")


def _greet(settings: Settings, platform: Platform) -> None:
    """A test message, so that the receiver shows something within seconds; market alerts come about once a day."""
    from regimes_dagster.alerts.requests import execute

    with platform.engine.begin() as connection:
        execute(
            connection,
            settings,
            "TEST",
            {"endpoint": settings.endpoints[0].id},
            now=platform.clock.now(),
            moment=platform.clock.system_now(),
        )


def _program() -> str:
    """How to type this program here: it is on nobody's path before the environment is activated."""
    return os.path.relpath(Path(sys.executable).parent / "regimes")


def _receiver(port: int) -> Child:
    return Child("webhook-sink", python("-m", "regimes_dagster", "webhook-sink", "--port", str(port)), log=None)


def _fill(settings: Settings, platform: Platform) -> None:
    """History up to 30 days ago on the first start; then, or later, let the demo's time move."""
    log_to_file(settings)
    clock = platform.clock
    if clock.declared_by(DEMO_CLOCK) is not None or (
        clock.declared() is None and platform.newest_joined_hour() is not None
    ):
        click.echo("Going on with the market of the last start.")
        return
    from regimes_dagster.definitions import build_defs
    from regimes_dagster.instance import dagster_instance

    begin = clock.declared_by(FILLING) or (clock.system_now() - LAG).floor("h")
    clock.declare(begin, FILLING)
    first, last = settings.history_start, begin.date()
    click.echo(f"First start: computing {HISTORY_DAYS} days of simulated history ...")
    with dagster_instance(settings) as instance:
        outcome = run_months(build_defs(settings, platform), instance, first, last)
    if not outcome.success:
        raise click.ClickException(f"the first history could not be computed: {outcome.error}")
    click.echo(f"  {outcome.months} months in {outcome.seconds:.1f} s")
    clock.declare(begin, DEMO_CLOCK)
