"""``regimes doctor``: prints the examination.

What belongs here: the table, the JSON and the exit code. What does not: the checks (``doctor/``).
"""

import json
import shutil
import textwrap
from collections.abc import Iterable
from dataclasses import asdict

import click

from regimes_dagster.doctor.finding import Finding, worst

_COLOURS = {"OK": "green", "WARN": "yellow", "FAIL": "red", "SKIP": "bright_black"}


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object per finding.")
@click.option("--problems", is_flag=True, help="Only what needs attention.")
@click.option("--no-start", is_flag=True, help="Do not start an embedded database that does not run.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool, problems: bool, no_start: bool) -> None:
    """Check the installation: what is wrong and what to do. Exit code 1 if something fails."""
    from regimes_dagster.doctor import examine

    found = []
    for finding in examine(start=not no_start):
        found.append(finding)
        if not as_json and (not problems or finding.status in ("WARN", "FAIL")):
            click.echo("\n".join(lines(finding)))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2, ensure_ascii=False))
    else:
        click.echo(f"\n{summary(found)}")
    ctx.exit(1 if worst(found) == "FAIL" else 0)


def lines(finding: Finding) -> list[str]:
    """A finding as lines of a table: status, what was looked at, what was found, what to do."""
    width = max(60, shutil.get_terminal_size((110, 24)).columns)
    head = f"{finding.status:<5} {finding.check:<24} "
    body = textwrap.wrap(finding.message, width - len(head)) or [""]
    if finding.action and finding.status != "OK":
        body += textwrap.wrap(f"-> {finding.action}", width - len(head))
    first = click.style(f"{finding.status:<5}", fg=_COLOURS[finding.status]) + head[5:] + body[0]
    return [first, *(" " * len(head) + line for line in body[1:])]


def summary(found: Iterable[Finding]) -> str:
    """One sentence about all findings."""
    found = list(found)
    failed = sum(finding.status == "FAIL" for finding in found)
    warned = sum(finding.status == "WARN" for finding in found)
    if not failed and not warned:
        return "Everything is in order."
    parts = [f"{failed} failed" if failed else "", f"{warned} to look at" if warned else ""]
    return f"{' and '.join(part for part in parts if part)}, of {len(found)} checks."
