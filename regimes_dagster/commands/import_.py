"""``regimes import``: takes history from files into the database, once.

What belongs here: finding out what a file holds, progress, the summary. What does not: reading files
(``sources/files.py``) and the rules of a write (``sources/ingest.py``).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from regimes_dagster.partitions import Window
from regimes_dagster.settings import Settings, load_settings
from regimes_dagster.vocabulary import SOURCE_NAMES

if TYPE_CHECKING:
    from regimes_dagster.sources.protocol import Kind
    from regimes_dagster.storage import Warehouse

_COLUMNS: dict[str, str] = {
    "open_time": "ohlcv",
    "settled_at": "funding",
    "hour_start": "liquidations",
    "liquidated_side": "liquidations",
}


@click.command(name="import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path, dir_okay=False))
@click.option(
    "--kind",
    type=click.Choice(["ohlcv", "funding", "liquidations"]),
    help="What the files hold [default: by their columns].",
)
@click.option("--venue", default="files", show_default=True, help="Venue that the rows are stored under.")
def import_(files: tuple[Path, ...], kind: str | None, venue: str) -> None:
    """Take in CSV or Parquet files (gzip too): ohlcv, funding or liquidations.

    Every file is read and checked as a whole before anything is written. Rows of the venue inside the span of a file
    are replaced by the file's. Under --venue NAME the hours count as fetched, so that the venue is not asked for them.
    """
    settings = load_settings()
    names = [name for name in SOURCE_NAMES if name != "simulated"]
    if venue not in names:
        raise click.UsageError(f"{venue!r} is no venue that files can come from; use one of {', '.join(names)}.")
    plan = [(path, _kind_of(path, kind)) for path in files]
    warehouse = _warehouse(settings)
    spans = [_take_in(warehouse, settings, path, what, venue) for path, what in plan]
    if venue == "files" and settings.sources.files.path is not None:
        click.echo(f"Note: {settings.sources.files.path} is read in every run, and what it holds wins.")
    for what in sorted({what for _, what in plan}):
        if venue not in settings.sources.of(what):
            click.echo(f"Note: {venue!r} is not listed under [sources] {what}, so these rows are not used yet.")
    first, last = min(span.start for span in spans), max(span.end for span in spans)
    click.echo(f"Next: `regimes backfill --from {first:%Y-%m-%d} --to {last:%Y-%m-%d}` computes the features from it.")


def _take_in(warehouse: "Warehouse", settings: Settings, path: Path, kind: "Kind", venue: str) -> Window:
    from tqdm import tqdm

    from regimes_dagster.clock import Clock
    from regimes_dagster.sources.files import FilesSource
    from regimes_dagster.sources.ingest import stream, writes
    from regimes_dagster.sources.protocol import BadFile

    source = FilesSource(path.parent, name=venue, only=path)
    try:
        spans = source.span(kind)
    except BadFile as problem:
        raise click.ClickException(problem.message) from None
    if not spans:
        raise click.ClickException(f"{path} holds no row.")
    whole = Window(min(span.start for span in spans.values()), max(span.end for span in spans.values()))
    now = Clock(warehouse.engine).now()
    steps = stream(
        kind,
        window=whole,
        now=now,
        sources=[source],
        symbols=sorted(spans),
        coverage=warehouse.read("source_coverage", where={"kind": kind, "venue": venue}),
        statuses=warehouse.read("source_status", where={"kind": kind, "venue": venue}),
    )
    rows = 0
    for step in tqdm(steps, desc=path.name, unit="month", leave=False, disable=None):
        warehouse.write(writes(step))
        rows += sum(len(frame) for frame in step.rows.values())
    click.echo(
        f"{path}: {rows} rows of {kind}, {_listed(sorted(spans))}, {whole.start:%Y-%m-%d} to {whole.end:%Y-%m-%d}"
    )
    if whole.end > now:
        click.echo(f"Note: rows after {now:%Y-%m-%d %H:%M} UTC, which is now, were left out.")
    strangers = sorted(set(spans) - set(settings.symbols))
    if strangers:
        click.echo(f"Note: {_listed(strangers)} is not among the configured symbols; the rows are stored, not used.")
    return whole


def _kind_of(path: Path, given: str | None) -> "Kind":
    """What a file holds: as given, else by its columns."""
    from regimes_dagster.sources.file_reading import read_cells

    found = given
    if found is None:
        cells = read_cells(path)
        found = next((kind for column, kind in _COLUMNS.items() if cells.has(column)), None)
    if found == "ohlcv":
        return "ohlcv"
    if found == "funding":
        return "funding"
    if found == "liquidations":
        return "liquidations"
    raise click.UsageError(
        f"{path}: its columns do not say what it holds; use --kind. Known are {', '.join(_COLUMNS)}."
    )


def _warehouse(settings: Settings) -> "Warehouse":
    from regimes_dagster.instance import open_engine
    from regimes_dagster.storage import Warehouse

    return Warehouse(open_engine(settings))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
