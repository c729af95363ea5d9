"""``regimes dagster ...``: any Dagster command on this installation's instance.

What belongs here: handing over. What does not: Dagster's environment (``instance.py``).
"""

import os
import subprocess
import sys

import click

from regimes_dagster.settings import load_settings


@click.command(
    name="dagster",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def dagster(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Run `dagster ARGUMENTS` with DAGSTER_HOME and the database of this installation."""
    from regimes_dagster.instance import dagster_environment

    environment = {**os.environ, **dagster_environment(load_settings())}
    ctx.exit(subprocess.call([sys.executable, "-m", "dagster", *arguments], env=environment))
