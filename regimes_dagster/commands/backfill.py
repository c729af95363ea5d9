"""`regimes backfill`: fetch and compute a range of months in one Dagster run, with progress.

What belongs here: the command, and the run in this process that the demo and the tests share. What does not: what
the run computes.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import click

from regimes_dagster.partitions import keys_between

if TYPE_CHECKING:
    from regimes_dagster.platform import Platform
    from regimes_dagster.settings import Settings

#: Seconds between lines of progress when the output is no terminal.
QUIET_EVERY = 10.0


@dataclass(frozen=True)
class BackfillOutcome:
    """What a run in this process came to.

    Attributes
    ----------
    success
        Whether every step succeeded.
    run_id
        Dagster's id of the run; the Dagster UI shows it under Runs.
    months
        Number of partitions.
    seconds
        Wall time.
    failed_checks
        Asset checks about the run's own months that did not pass, as ``asset: description``. Those about the
        platform's present (freshness, delivery) are no business of a backfill.
    error
        Message of the first failed step, or None.
    """

    success: bool
    run_id: str
    months: int
    seconds: float
    failed_checks: list[str] = field(default_factory=list)
    error: str | None = None


def run_months(
    definitions: Any,
    instance: Any,
    first: date | str,
    last: date | str,
    *,
    tags: dict[str, str] | None = None,
    assets: Sequence[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    fetching: Callable[[str, int, int], None] | None = None,
) -> BackfillOutcome:
    """Run the hourly job over every month from ``first`` to ``last`` in this process, as one Dagster run.

    Parameters
    ----------
    definitions, instance
        A ``dagster.Definitions`` and the ``DagsterInstance`` that records the run.
    assets
        Only these; all by default.
    progress
        Called with the asset that ended, how many have ended and how many there are.
    fetching
        Called every few seconds of a fetch with symbol and month, how many are done and how many there are.
    """
    from dagster import AssetKey
    from dagster._core.definitions.job_base import InMemoryJob
    from dagster._core.execution.execute_in_process import core_execute_in_process

    from regimes_dagster.assets.raw import progress_in
    from regimes_dagster.checks import ABOUT_NOW
    from regimes_dagster.jobs import HOURLY, QUIET, range_tags

    job = definitions.resolve_job_def(HOURLY)
    chosen = [AssetKey(name) for name in assets or ()]
    steps = len((job.get_subset(asset_selection=set(chosen)) if chosen else job).graph.nodes)
    run_id = str(uuid.uuid4())
    ended: list[str] = []

    def listen(event: Any) -> None:
        if fetching is not None and event.dagster_event is None and (part := progress_in(event.user_message)):
            fetching(*part)
        if getattr(event.dagster_event, "is_step_success", False):
            ended.append(event.step_key)
            if progress is not None:
                progress(event.step_key, len(ended), steps)

    instance.add_event_listener(run_id, listen)
    start = time.monotonic()
    # `job.execute_in_process` is this call, but for keeping what every asset returned until the end of the run.
    result = core_execute_in_process(
        job=InMemoryJob(job.as_ephemeral_job(resource_defs={}, input_values={}, asset_selection=chosen)),
        instance=instance,
        run_id=run_id,
        asset_selection=frozenset(chosen),
        run_tags={**range_tags(str(first), str(last)), **(tags or {})},
        run_config=QUIET,
        raise_on_error=False,
        output_capturing_enabled=False,
    )
    evaluated = result.get_asset_check_evaluations()
    checks = [check for check in evaluated if not check.passed and check.check_name not in ABOUT_NOW]
    failures = [event for event in result.all_events if event.is_step_failure]
    return BackfillOutcome(
        success=result.success,
        run_id=run_id,
        months=len(keys_between(str(first), str(last))),
        seconds=time.monotonic() - start,
        failed_checks=[f"{check.asset_key.to_user_string()}: {check.description}" for check in checks],
        error=_first_error(failures),
    )


def log_to_file(settings: "Settings") -> None:
    """Let the terminal show progress and warnings, and the installation's log everything, as an hourly run does."""
    import os

    from regimes_dagster.logs import configure_logging, log_file

    context = click.get_current_context(silent=True)
    verbose = bool(context and context.find_root().params.get("verbose"))
    configure_logging(os.environ, verbose=verbose, file=log_file(settings.home), quiet=True)


def _first_error(failures: list[Any]) -> str | None:
    if not failures:
        return None
    error = failures[0].event_specific_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{failures[0].step_key}: {error.message.strip()}" if error else failures[0].step_key


def _day(context: click.Context, parameter: click.Parameter, value: str | None) -> date | None:
    if value is None:
        return None
    for pattern in ("%Y-%m-%d", "%Y-%m"):
        try:
            return datetime.strptime(value, pattern).date()  # noqa: DTZ007 - a calendar day, no moment
        except ValueError:
            continue
    raise click.BadParameter(f"{value!r} is no date; write it as 2024-01-31 or 2024-01")


@click.command(name="backfill")
@click.option(
    "--from", "first", callback=_day, metavar="DATE", help="First day, e.g. 2023-01-01; default history_start."
)
@click.option("--to", "last", callback=_day, metavar="DATE", help="Last day, default today.")
@click.option("--symbols", default="", help="Fetch only these, comma-separated; features are computed for all.")
@click.option("--refetch", is_flag=True, help="Fetch again what is recorded as complete.")
@click.option("--stale", is_flag=True, help="Name the months that no longer fit and compute them again.")
@click.option("--dry-run", is_flag=True, help="With --stale: name them only.")
def backfill(first: date | None, last: date | None, symbols: str, refetch: bool, stale: bool, dry_run: bool) -> None:
    """Fetch and compute every month from DATE to DATE, in one Dagster run.

    With --stale nothing is fetched: months whose rows were computed with other parameters, or from inputs that have
    changed since, are named and computed again.

    Safe to repeat and to interrupt: a month is replaced as a whole or not at all, and what was fetched completely
    is not fetched again.
    """
    from regimes_dagster.assets.run import REFETCH_TAG, SYMBOLS_TAG
    from regimes_dagster.definitions import build_defs
    from regimes_dagster.first_history import history_to_do, nobody_answers
    from regimes_dagster.instance import dagster_instance
    from regimes_dagster.platform import Platform
    from regimes_dagster.settings import load_settings

    settings = load_settings()
    log_to_file(settings)
    platform = Platform(settings)
    if stale:
        if first or last or symbols or refetch:
            raise click.UsageError("--stale finds its months itself; it goes with --dry-run alone")
        _mend(settings, platform, dry_run)
        return
    if dry_run:
        raise click.UsageError("--dry-run goes with --stale")
    first = first or settings.history_start
    today = platform.clock.now().date()
    last = min(last or today, today)
    if first < settings.history_start:
        raise click.UsageError(
            f"--from {first} lies before history_start ({settings.history_start}); "
            "set history_start in regimes.toml (or REGIMES_HISTORY_START) to an earlier day first"
        )
    if last < first:
        raise click.UsageError(f"--to {last} lies before --from {first}")
    tags = {SYMBOLS_TAG: symbols} if symbols else {}
    if refetch:
        tags[REFETCH_TAG] = "true"
    unreachable = nobody_answers(platform, history_to_do(platform))
    if unreachable is not None:
        raise click.ClickException(unreachable)
    months = keys_between(first, last)
    click.echo(f"{len(months)} months, {months[0][:7]} to {months[-1][:7]}, {', '.join(settings.symbols)}")
    with dagster_instance(settings) as instance:
        outcome = run_months(
            build_defs(settings, platform), instance, first, last, tags=tags,
            progress=_say_progress, fetching=_say_progress,
        )  # fmt: skip
    for check in outcome.failed_checks:
        click.secho(f"  incomplete  {check}", fg="yellow")
    if not outcome.success:
        raise click.ClickException(
            f"the run failed after {outcome.seconds:.0f} s. {outcome.error or ''}\n"
            f"Nothing half-written was left behind. The Dagster UI shows run {outcome.run_id}; repeat the command when "
            "mended."
        )
    click.echo(f"Done in {outcome.seconds:.1f} s (run {outcome.run_id[:8]}).")
    if outcome.failed_checks:
        raise SystemExit(1)


#: Computing a stretch may show that the months after it are stale, too; they are consecutive, so this is plenty.
ROUNDS = 4


def _mend(settings: "Settings", platform: "Platform", dry_run: bool) -> None:
    """Name the stale months and compute them, until there are none."""
    from regimes_dagster.definitions import build_defs
    from regimes_dagster.instance import dagster_instance
    from regimes_dagster.stale import repairs, stale_months

    found = stale_months(platform.warehouse, settings)
    if not found:
        click.echo("No month is stale.")
        return
    for name in sorted({month.table for month in found}):
        mine = [month for month in found if month.table == name]
        keys = [month.partition_key[:7] for month in mine]
        shown = keys[0] if len(keys) == 1 else f"{len(keys)} months, {keys[0]} to {keys[-1]}"
        click.echo(f"  {name:<24} {shown}: {', '.join(sorted({month.reason for month in mine}))}")
    if dry_run:
        return
    with dagster_instance(settings) as instance:
        definitions = build_defs(settings, platform)
        for _ in range(ROUNDS):
            for repair in repairs(found):
                click.echo(f"{repair.first[:7]} to {repair.last[:7]}: {', '.join(repair.assets)}")
                outcome = run_months(definitions, instance, repair.first, repair.last, assets=repair.assets)
                if not outcome.success:
                    raise click.ClickException(
                        f"the run failed. {outcome.error or ''}\nThe Dagster UI shows run {outcome.run_id}; what is "
                        "still stale is found again by the same command."
                    )
            found = stale_months(platform.warehouse, settings)
            if not found:
                click.echo("No month is stale any more.")
                return
    raise click.ClickException(f"{len(found)} months are still stale; repeat the command, then look at its runs")


def _say_progress(what: str, done: int, total: int) -> None:
    bar = "#" * round(24 * done / total)
    click.echo(f"  [{bar:<24}] {done:>2}/{total}  {what}")
