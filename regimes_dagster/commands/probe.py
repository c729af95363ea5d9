"""``regimes probe``: which venues answer from here, as a table and a recommendation.

What belongs here: options and wording. What does not: the questions (``sources/probe.py``).
"""

import json
from dataclasses import asdict

import click
from pydantic_core import PydanticCustomError

from regimes_dagster.configuration.sections import symbol_name
from regimes_dagster.settings import load_settings

_WORDS = {
    "OK": ("answers", "green"),
    "STREAM": ("stream only", "bright_black"),
    "GEO_BLOCKED": ("refuses this address", "red"),
    "RATE_LIMITED": ("asked too often", "yellow"),
    "OUTAGE": ("no answer", "red"),
    "UNKNOWN_SYMBOL": ("lacks the symbol", "yellow"),
    "CLOSED": ("market closed", "yellow"),
    "BAD_RESPONSE": ("strange answer", "yellow"),
    "NOT_AVAILABLE": ("not offered", "bright_black"),
}


def _symbol(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return symbol_name(value)
    except PydanticCustomError as problem:
        context = problem.context or {}
        raise click.BadParameter(f"{context.get('message', problem)} {context.get('hint', '')}".strip()) from None


@click.command(name="probe")
@click.option("--symbol", callback=_symbol, help="Symbol to ask for [default: the first configured].")
@click.option("--venue", "venues", multiple=True, help="Only these venues.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object per venue and kind.")
@click.pass_context
def probe(ctx: click.Context, symbol: str | None, venues: tuple[str, ...], as_json: bool) -> None:
    """Ask every venue one public question per kind of data, and recommend the lists for [sources].

    Exit code 1 if a kind has no venue that answers.
    """
    from regimes_dagster.clock import system_now
    from regimes_dagster.sources.archive_store import ArchiveStore
    from regimes_dagster.sources.probe import KINDS, SKEW_LIMIT, names_of, probe_all, recommended

    settings = load_settings()
    known = tuple(dict.fromkeys(name for kind in KINDS for name in names_of(kind)))
    strangers = [name for name in venues if name not in known]
    if strangers:
        raise click.BadParameter(
            f"{', '.join(strangers)} cannot be asked; there are {', '.join(known)}.", param_hint="--venue"
        )
    archive = ArchiveStore(str(settings.sources.archive.base_url), settings.archive_cache, timeout=10.0, tries=1)
    asked = symbol or settings.symbols[0]
    found = []
    for one in probe_all(settings.sources.ccxt_options, asked, system_now, venues=venues, archive=archive):
        found.append(one)
        if as_json:
            click.echo(json.dumps(asdict(one), default=str))
            continue
        if len(found) == 1 or found[-2].kind != one.kind:
            click.echo(f"\n{one.kind}")
        word, colour = _WORDS[one.state]
        latency = "" if one.latency is None else f"{one.latency * 1000:6.0f} ms"
        span = "" if one.first is None or one.last is None else f"{one.first:%m-%d %H:%M} .. {one.last:%m-%d %H:%M}"
        skew = "" if one.skew is None else f"clock {one.skew:+.0f} s"
        click.echo(
            f"  {one.venue:<18}{click.style(f'{word:<22}', fg=colour)}{latency:<11}{one.rows:>4} rows  {span:<27}{skew}"
        )
        if one.message and one.state not in ("OK", "STREAM"):
            click.echo(click.style(f"      {one.message[:150]}", fg="bright_black"))
    lists = recommended(found)
    kinds = [kind for kind in KINDS if any(one.kind == kind and one.state != "STREAM" for one in found)]
    complete = all(lists[kind] for kind in kinds)
    if as_json:
        ctx.exit(0 if complete else 1)
    skews = [one.skew for one in found if one.skew is not None]
    if skews and abs(sorted(skews)[len(skews) // 2]) > SKEW_LIMIT:
        click.echo("\nThis machine's clock differs from the venues' clocks. Set it (for example with chrony).")
    click.echo(f"\nFor regimes.toml{', of the venues asked' if venues else ''}:\n\n[sources]")
    for kind in kinds:
        names = ", ".join(f'"{name}"' for name in lists[kind])
        click.echo(f"{kind:<13}= [{names}]" + ("" if names else "   # nobody answers from here"))
    streams = [one.venue for one in found if one.state == "STREAM" and one.venue in lists["funding"]]
    if streams:
        click.echo(
            f"\n{', '.join(streams)} answer from here too: add them to liquidations and run `regimes collect`, which "
            "records their live streams."
        )
    ctx.exit(0 if complete else 1)
