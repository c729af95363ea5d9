"""`regimes calibrate`: how many alerts other thresholds would have given.

What belongs here: the command. What does not: the recomputation (``calibration/``).
"""

from datetime import datetime, timedelta
from pathlib import Path

import click

_DAY = click.DateTime(["%Y-%m-%d", "%Y-%m"])

#: Period without --from.
DEFAULT_DAYS = 365

SECTIONS = ("liquidation", "funding", "volatility", "multi_timeframe", "correlation")


@click.command(name="calibrate")
@click.option("--from", "first", type=_DAY, metavar="DATE", help="First day (UTC). Default: a year before the last.")
@click.option("--to", "last", type=_DAY, metavar="DATE", help="Last day (UTC). Default: the newest one stored.")
@click.option("--symbols", default="", help="Only these, comma-separated; default all.")
@click.option("--section", "sections", multiple=True, type=click.Choice(SECTIONS), help="Only this; may be repeated.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write a report with plots here.")
def calibrate(
    first: datetime | None, last: datetime | None, symbols: str, sections: tuple[str, ...], html: Path | None
) -> None:
    """Show how often each rule would have fired at other thresholds, on your own history.

    Recomputes the period with the features' own functions, once per value; nothing is written to the database.
    """
    from regimes_dagster.calibration.measure import calibrate as measure
    from regimes_dagster.calibration.report import html_report, lines
    from regimes_dagster.evidence.inputs import known_period
    from regimes_dagster.partitions import HOUR, Window, utc
    from regimes_dagster.platform import Platform
    from regimes_dagster.settings import load_settings

    platform = Platform(load_settings())
    settings = platform.settings
    wanted = [symbol.strip() for symbol in symbols.split(",") if symbol.strip()]
    strangers = [symbol for symbol in wanted if symbol not in settings.symbols]
    if strangers:
        raise click.UsageError(f"{', '.join(strangers)} is not configured. Configured: {', '.join(settings.symbols)}")
    newest = platform.newest_joined_hour()
    if newest is None:
        raise click.ClickException("nothing is stored yet; fetch history first: `regimes backfill --from DATE`")
    end = newest if last is None else utc(last.date()) + timedelta(days=1)
    start = (end - HOUR).normalize() - timedelta(days=DEFAULT_DAYS) if first is None else utc(first.date())
    if end <= start:
        raise click.UsageError(f"--to must lie after --from ({start:%Y-%m-%d})")
    period = known_period(platform.warehouse, settings, Window(start, end))
    if period.start == period.end:
        raise click.ClickException("no hour is stored in that period; `regimes backfill --from DATE` fetches more")
    found = measure(
        platform.warehouse,
        settings,
        period,
        symbols=wanted,
        sections=sections,
        progress=lambda done, total, what: click.echo(f"  {done:>3}/{total}  {what}", err=True),
    )
    click.echo(f"{', '.join(found.symbols)}, {period}. * marks the value in force.")
    for line in lines(found):
        click.echo(line)
    if html is not None:
        html.write_text(html_report(found), encoding="utf-8")
        click.echo(f"\nReport: {html}")
