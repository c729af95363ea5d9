"""The console script ``regimes``: finds a command, runs it, and turns what goes wrong into one clear message.

What belongs here: the list of commands, options that all of them share, exit codes and the wording of known
failures. What does not: the commands (``commands/``, one module each, imported only when it runs: ``regimes
--help`` loads neither pandas nor Dagster).
"""

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from regimes_dagster import __version__
from regimes_dagster.logs import configure_logging, redacted
from regimes_dagster.settings import SettingsError

#: Command, module in ``regimes_dagster.commands``, and the line that ``regimes --help`` shows.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Show everything on a simulated market, offline."),
    "up": ("up", "Run the platform: Dagster, the dashboard and the hourly runs."),
    "dashboard": ("dashboard", "Run the dashboard and the REST interface alone."),
    "backfill": ("backfill", "Fetch and compute a range of history."),
    "import": ("import_", "Take in history from files."),
    "replay": ("replay", "Run the platform hour by hour over recorded history and compare."),
    "doctor": ("doctor", "Check the installation: what is wrong and what to do."),
    "config": ("config", "Show the settings in force and where each comes from."),
    "probe": ("probe", "Ask which venues answer from here."),
    "collect": ("collect", "Record liquidations from the venues' live streams."),
    "calibrate": ("calibrate", "Suggest thresholds from your own history."),
    "evidence": ("evidence", "Measure how well the signals did on your own history."),
    "alerts": ("alerts", "List, replay, test and silence alerts."),
    "webhook-sink": ("webhook_sink", "Receive alerts locally and show them."),
    "db": ("db", "Start, stop, upgrade, back up and restore the database."),
    "dagster": ("dagster", "Run any Dagster command on this installation."),
}

EXIT_FAILURE = 1
EXIT_CONFIGURATION = 2
EXIT_INTERRUPTED = 130

#: Failures whose message already says what to do: module and class, looked up among what is loaded.
_KNOWN = (
    ("regimes_dagster.database", "DatabaseError"),
    ("regimes_dagster.embedded", "EmbeddedServerError"),
    ("regimes_dagster.contracts", "StorageError"),
    ("regimes_dagster.alerts.requests", "RequestError"),
    ("regimes_dagster.alerts.silences", "SilenceError"),
    ("dash_app.guard", "RefusedBind"),
    ("regimes_dagster.sources.protocol", "SourceError"),
    ("regimes_dagster.supervisor", "StartError"),
)


class CommandNotBuilt(click.ClickException):
    """A command of the list whose module is not part of this installation."""

    def __init__(self, name: str, module: str) -> None:
        super().__init__(f"`regimes {name}` is not part of this installation (module {module} is missing).")


class CommandList(click.Group):
    """The commands of the registry, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the registry: what people need first stands first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module and return its click command."""
        if cmd_name not in COMMANDS:
            return None
        return load_command(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name for a misspelt command."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from regimes_dagster.configuration.problems import nearest

            close = nearest(args[0], COMMANDS)
            hint = f" Did you mean `regimes {close}`?" if close else " `regimes --help` lists the commands."
            ctx.fail(f"There is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def load_command(name: str) -> click.Command:
    """The click command called ``name``.

    Raises
    ------
    CommandNotBuilt
        If its module does not exist or holds no command.
    """
    module_name = f"regimes_dagster.commands.{COMMANDS[name][0]}"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name == module_name:
            raise CommandNotBuilt(name, module_name) from None
        raise
    for attribute in ("command", name.replace("-", "_"), COMMANDS[name][0]):
        found = getattr(module, attribute, None)
        if isinstance(found, click.Command):
            return found
    raise CommandNotBuilt(name, module_name)


@click.group(cls=CommandList, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config", type=click.Path(path_type=Path), help="Configuration file [default: regimes.toml, or $REGIMES_CONFIG]."
)
@click.option("--demo", is_flag=True, help="Ask the simulated market of `regimes demo`, e.g. `regimes --demo doctor`.")
@click.option("-v", "--verbose", is_flag=True, help="Log every step.")
@click.version_option(__version__, prog_name="regimes")
def regimes(config: Path | None, demo: bool, verbose: bool) -> None:
    """Crypto market regimes: volatility, liquidations, funding, trends and correlation, with alerts and a dashboard.

    Start with `regimes demo`; `regimes doctor` says what is wrong and what to do.
    """
    if demo and config is not None:
        raise click.UsageError("--demo has settings of its own; leave out --config")
    if demo:
        from regimes_dagster.clock import system_now
        from regimes_dagster.commands.demo import demo_environment

        os.environ.update(demo_environment(system_now()))
    if config is not None:
        # In the environment, so that processes started by a command read the same file.
        os.environ["REGIMES_CONFIG"] = str(config.expanduser().resolve())
    configure_logging(os.environ, verbose=verbose)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 fine, 1 failed, 2 wrong settings or usage, 130 interrupted."""
    try:
        result = regimes.main(
            args=list(arguments) if arguments is not None else None, prog_name="regimes", standalone_mode=False
        )
    except click.exceptions.Exit as done:
        return done.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nInterrupted; nothing was left half done.", err=True)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SettingsError as error:
        click.echo(redacted(str(error)), err=True)
        return EXIT_CONFIGURATION
    except BrokenPipeError:
        # The reader (`| head`) has gone; keep the interpreter from complaining when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except Exception as error:
        message = known_failure(error)
        if message is None:
            raise
        logging.getLogger(__name__).debug("the failure in full", exc_info=error)
        click.echo(message, err=True)
        return EXIT_FAILURE
    return result if isinstance(result, int) else 0


def known_failure(error: BaseException) -> str | None:
    """What to tell a person about a failure that needs no traceback, or None if it is a bug."""
    if _is_loaded_kind(error, _KNOWN):
        return f"Error: {redacted(str(error))}"
    if type(error).__module__.split(".")[0] in ("sqlalchemy", "psycopg"):
        first = redacted(str(error)).strip().splitlines()[:1]
        what = first[0] if first else type(error).__name__
        return f"Error: the database failed: {what}\n`regimes doctor` says what is wrong."
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        return redacted(f"Error: {error.strerror or error}{place}")
    return None


def _is_loaded_kind(error: BaseException, kinds: Sequence[tuple[str, str]]) -> bool:
    for module, name in kinds:
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and isinstance(error, kind):
            return True
    return False


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run())
