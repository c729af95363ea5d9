"""`regimes evidence`: measure what the signals were worth on stored history.

What belongs here: the command. What does not: the tests (``evidence/``).
"""

from datetime import datetime, timedelta
from pathlib import Path

import click

_DAY = click.DateTime(["%Y-%m-%d", "%Y-%m"])

#: Period without --from: a year says enough, and half a minute is enough to wait.
DEFAULT_DAYS = 365


@click.command(name="evidence")
@click.option("--from", "first", type=_DAY, metavar="DATE", help="First day (UTC). Default: a year before the last.")
@click.option("--to", "last", type=_DAY, metavar="DATE", help="Last day (UTC). Default: the newest one stored.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write a report with plots here.")
@click.option("--no-store", is_flag=True, help="Do not write the figures to the table signal_evidence.")
def evidence(first: datetime | None, last: datetime | None, html: Path | None, no_store: bool) -> None:
    """Measure how well the signals did on your own history, against honest baselines.

    Every figure comes with an interval; what does not hold is shown as not holding, and too little data as undecided.
    """
    from regimes_dagster.evidence.measure import TooLittleHistoryError, measure, store
    from regimes_dagster.evidence.report import counts, html_report, lines
    from regimes_dagster.partitions import HOUR, Window, utc
    from regimes_dagster.platform import Platform
    from regimes_dagster.settings import load_settings

    platform = Platform(load_settings())
    newest = platform.newest_joined_hour()
    if newest is None:
        raise click.ClickException("nothing is stored yet; fetch history first: `regimes backfill --from DATE`")
    end = newest if last is None else utc(last.date()) + timedelta(days=1)
    start = (end - HOUR).normalize() - timedelta(days=DEFAULT_DAYS) if first is None else utc(first.date())
    if end <= start:
        raise click.UsageError(f"--to must lie after --from ({start:%Y-%m-%d})")
    try:
        found = measure(
            platform.warehouse,
            platform.settings,
            Window(start, end),
            progress=lambda name: click.echo(f"  measured {name}", err=True),
        )
    except TooLittleHistoryError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{', '.join(found.symbols)}, {found.period}")
    for line in lines(found):
        click.echo(line)
    click.echo("\n" + ", ".join(f"{number} {word}" for word, number in counts(found).items()) + ".")
    if not no_store:
        store(platform.warehouse, found)
        click.echo(f"{len(found.rows)} figures are in the table signal_evidence.")
    if html is not None:
        html.write_text(html_report(found), encoding="utf-8")
        click.echo(f"Report: {html}")
