"""``regimes collect``: records liquidations from the venues' live streams until it is stopped.

What belongs here: options, signals, what is printed. What does not: connections (``sources/collector_stream.py``)
and storage (``sources/collector.py``). It is a process of its own, never a step of a Dagster run.
"""

import asyncio
import signal
from typing import TYPE_CHECKING

import click

from regimes_dagster.settings import Settings, load_settings

if TYPE_CHECKING:
    from regimes_dagster.sources.collector_stream import Stream
    from regimes_dagster.sources.collector_volume import DailyVolume


@click.command(name="collect")
@click.option("--venue", "venues", multiple=True, help="Only these venues [default: those of [sources] liquidations].")
def collect(venues: tuple[str, ...]) -> None:
    """Record liquidations from the live streams of okx, bybit and binanceusdm.

    Runs until Ctrl-C, and asks each venue's perpetual volume once a day. An hour counts as observed as far as the
    stream was connected; list the venues under [sources] liquidations so that the platform adds their sums.
    """
    from regimes_dagster.sources.collector_venues import LIVE_VENUES

    settings = load_settings()
    chosen = venues or tuple(name for name in settings.sources.liquidations if name in LIVE_VENUES)
    if not chosen:
        raise click.UsageError(
            f"No venue to record. List one under [sources] liquidations, or use --venue: {', '.join(LIVE_VENUES)}."
        )
    unknown = [name for name in chosen if name not in LIVE_VENUES]
    if unknown:
        raise click.UsageError(f"{', '.join(unknown)} has no stream here; there are {', '.join(LIVE_VENUES)}.")
    unlisted = [name for name in chosen if name not in settings.sources.liquidations]
    if unlisted:
        click.echo(
            f"Note: {', '.join(unlisted)} is recorded but not listed under [sources] liquidations, so not summed."
        )
    click.echo(f"Recording liquidations of {', '.join(settings.symbols)} from {', '.join(chosen)}. Ctrl-C stops.")
    streams, volumes = _streams(settings, chosen)
    asyncio.run(_until_stopped(streams, volumes))
    for stream in streams:
        click.echo(f"{stream.recorder.venue}: {stream.recorder.received} received, {stream.connections} connections")


def _streams(settings: Settings, venues: tuple[str, ...]) -> "tuple[list[Stream], list[DailyVolume]]":
    from regimes_dagster.clock import system_now
    from regimes_dagster.instance import open_engine
    from regimes_dagster.sources.ccxt_client import client_for
    from regimes_dagster.sources.collector import Recorder
    from regimes_dagster.sources.collector_stream import Stream
    from regimes_dagster.sources.collector_venues import LIVE_VENUES
    from regimes_dagster.sources.collector_volume import DailyVolume
    from regimes_dagster.sources.instruments import perpetual
    from regimes_dagster.storage import Warehouse

    warehouse = Warehouse(open_engine(settings))
    streams, volumes = [], []
    for name in venues:
        live = LIVE_VENUES[name]
        instruments = {one.native: one for one in (perpetual(name, symbol) for symbol in settings.symbols)}
        recorder = Recorder(name, instruments, warehouse, sampled=live.sampled)
        streams.append(Stream(live, settings.sources.ccxt_options(name), recorder, system_now))
        client = client_for(name, settings.sources.ccxt_options(name), pace=settings.home / "pace")
        volumes.append(DailyVolume(client, settings.symbols, warehouse, system_now))
    return streams, volumes


async def _until_stopped(streams: "list[Stream]", volumes: "list[DailyVolume]") -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await asyncio.gather(*(stream.run(stop) for stream in streams), *(volume.run(stop) for volume in volumes))
