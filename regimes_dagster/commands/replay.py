"""`regimes replay`: live through recorded hours again, one by one, and compare with what is stored.

What belongs here: the command. What does not: the replay itself (``replay.py``).
"""

from datetime import datetime

import click

from regimes_dagster.partitions import HOUR, Window, utc


@click.command(name="replay")
@click.option(
    "--from", "first", required=True, type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"]), help="UTC, exclusive."
)
@click.option(
    "--to", "last", required=True, type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"]), help="UTC, inclusive."
)
@click.option("--schema", default="replay", show_default=True, help="Scratch schema to work in.")
@click.option("--keep", is_flag=True, help="Keep the scratch schema for a closer look.")
def replay(first: datetime, last: datetime, schema: str, keep: bool) -> None:
    """Run the platform hour by hour over stored history and show every row that comes out differently.

    Raw rows are seen only up to the simulated hour, nothing in `public` is written, nothing is posted.
    """
    from tqdm import tqdm

    from regimes_dagster.platform import Platform
    from regimes_dagster.replay import compare, live_through, scratch_schema
    from regimes_dagster.settings import load_settings

    start, end = utc(first.isoformat()), utc(last.isoformat())
    if end <= start:
        raise click.UsageError(f"--to {last} must lie after --from {first}")
    window = Window(start, end)
    settings = load_settings()
    engine = Platform(settings).engine
    with scratch_schema(engine, schema, start, keep=keep):
        with tqdm(total=(end - start) // HOUR, unit="h", desc="replaying") as bar:
            live_through(settings, window, schema, progress=lambda _hour: bar.update() and None)
        differences = compare(engine, schema, window)
    for found in differences:
        verdict = "same" if found.same else f"{found.missing} missing, {found.extra} extra, {found.differing} differing"
        click.echo(f"  {found.table:<24} {found.rows:>8} rows  {verdict}")
        for example in found.examples:
            click.echo(f"      {example}")
    if not all(found.same for found in differences):
        raise SystemExit(1)
