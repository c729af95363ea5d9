"""``regimes dagster ...``: any Dagster command on this installation's instance.

What belongs here: handing over, and the two long-lived processes that have commands of their own. What does not:
Dagster's environment (``instance.py``).
"""

import os
import subprocess
import sys

import click

from regimes_dagster.settings import load_settings

#: Words that stand for Dagster's own servers, so that a container can run one of them by itself.
SERVERS = {"webserver": ("dagster_webserver",), "daemon": ("dagster._daemon", "run")}


@click.command(
    name="dagster",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def dagster(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Run `dagster ARGUMENTS` with DAGSTER_HOME and the database of this installation.

    `regimes dagster webserver ...` and `regimes dagster daemon` run these two servers alone, without the supervision
    of `regimes up`.
    """
    from regimes_dagster.commands.up import _workspace
    from regimes_dagster.instance import dagster_environment

    settings = load_settings()
    environment = {**os.environ, **dagster_environment(settings)}
    server = SERVERS.get(arguments[0]) if arguments else None
    if server is not None:
        # Replaces this process, so that a stop signal reaches the server itself.
        command = [sys.executable, "-m", *server, *arguments[1:], "-w", str(_workspace(settings))]
        os.execve(sys.executable, command, environment)  # noqa: S606 - our own interpreter and modules
    ctx.exit(subprocess.call([sys.executable, "-m", "dagster", *arguments], env=environment))
