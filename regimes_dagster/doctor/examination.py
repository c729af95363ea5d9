"""The whole examination, in the order in which things depend on each other.

What belongs here: the order, opening the database, and what happens when a check cannot be made. What does not:
the checks.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from regimes_dagster import migrations
from regimes_dagster.clock import Clock
from regimes_dagster.database import DatabaseError, clear_errors, embedded_server, find_url, make_engine, shown
from regimes_dagster.doctor import data, machine, running, server, sources
from regimes_dagster.doctor.finding import Finding, fail, ok, skip, warn
from regimes_dagster.embedded import EmbeddedServerError
from regimes_dagster.logs import redacted
from regimes_dagster.settings import Settings, SettingsError, load_settings

Check = Callable[[], Finding | Iterable[Finding]]


def examine(
    environ: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    *,
    start: bool = True,
    system_now: Callable[[], datetime] | None = None,
) -> Iterator[Finding]:
    """Look at everything and yield what was found, in order.

    Parameters
    ----------
    environ, cwd
        As for ``load_settings``.
    start : bool
        Start an embedded server that exists and does not run, and stop it again at the end.
    system_now : callable, optional
        The system's clock.
    """
    clock = system_now or Clock().system_now
    try:
        settings = load_settings(environ, cwd)
    except SettingsError as error:
        yield machine.python_version(sys.version_info)
        yield machine.packages()
        for problem in error.problems:
            yield fail("settings", str(problem), "Correct it; docs/configure.md lists every key.")
        return
    yield ok("settings", str(settings.config_file or "no regimes.toml: defaults and environment"))
    yield from _classifier(settings)
    yield from _safely("machine", lambda: machine.machine(settings, sys.version_info))
    yield from sources.configured_sources(settings)
    yield from _safely("own files", lambda: sources.files_folder(settings))
    yield from sources.ccxt_venues(settings)
    yield from running.webhooks(settings)
    yield from _database(settings, start, clock)


def _classifier(settings: Settings) -> Iterator[Finding]:
    if settings.multi_timeframe.classifier is None:
        return
    from regimes_dagster.configuration.classifier import check_classifier

    try:
        check_classifier(settings)
    except SettingsError as error:
        for problem in error.problems:
            yield fail("classifier", problem.message, problem.suggestion)
    else:
        yield ok("classifier", str(settings.multi_timeframe.classifier))


def _database(settings: Settings, start: bool, clock: Callable[[], datetime]) -> Iterator[Finding]:
    with ExitStack() as stack:
        if settings.db_url is None:
            embedded = embedded_server({"REGIMES_HOME": str(settings.home)})
            if not (embedded.data / "PG_VERSION").exists():
                yield warn("database", "not made yet", "Run: regimes up, or regimes demo")
                return
            state = "running"
            if not embedded.answers():
                if not start:
                    yield warn("database", f"the embedded server in {embedded.data} does not run", "regimes db start")
                    return
                try:
                    if embedded.start():
                        stack.callback(embedded.stop)
                except EmbeddedServerError as error:
                    yield fail("database", str(error), f"Its log is in {embedded.data / 'log'}.")
                    return
                state = "started for this examination"
            yield ok("embedded server", f"{state}, PostgreSQL {embedded.status().version} in {embedded.data}")
        try:
            given = settings.db_url.get_secret_value() if settings.db_url else None
            url = find_url(given, start=False, environment={"REGIMES_HOME": str(settings.home)})
            engine = make_engine(url, read_only=True, statement_timeout_ms=30_000)
            stack.callback(engine.dispose)
            with clear_errors(url), engine.connect():
                yield ok("database", f"{shown(url)} answers" if settings.db_url else "answers")
        except DatabaseError as error:
            yield fail("database", redacted(str(error)), "Check DB_URL and that the server runs.")
            return
        yield from _connected(engine, settings, clock)


def _connected(engine: sa.Engine, settings: Settings, clock: Callable[[], datetime]) -> Iterator[Finding]:
    found = migrations.current_revision(engine)
    revision = server.schema_revision(found, known_revisions(), migrations.HEAD)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield from _safely("database server", lambda: server.server(connection, settings, clock()))
        yield revision
        if revision.status != "OK":
            yield skip("data", "not looked at before the schema is right")
            return
        now = Clock(engine).now()
        checks: list[tuple[str, Check]] = [
            ("platform clock", lambda: data.declared_clock(connection, settings)),
            ("history", lambda: data.history(connection, settings)),
            ("freshness", lambda: data.freshness(connection, settings, now)),
            ("features", lambda: data.features(connection, settings)),
            ("stale months", lambda: data.stale_months(connection)),
            ("perpetual volume", lambda: data.perp_volume(connection, settings, now)),
            ("source answers", lambda: sources.source_states(connection, settings)),
            ("Dagster daemon", lambda: running.daemon(connection, clock())),
            ("last run", lambda: running.last_run(connection)),
            ("deliveries", lambda: running.deliveries(connection, settings, clock())),
        ]
        for name, check in checks:
            yield from _safely(name, check)


def known_revisions() -> tuple[str, ...]:
    """Revisions of the schema that this release has steps for, from the names of their files."""
    folder = Path(migrations.__file__).parent / "versions"
    return tuple(sorted(path.stem.split("_")[0] for path in folder.glob("[0-9]*.py")))


def _safely(name: str, check: Check) -> Iterator[Finding]:
    """What the check found; a database or file error becomes a finding, so that the others are still made."""
    try:
        found = check()
        yield from [found] if isinstance(found, Finding) else found
    except (sa.exc.SQLAlchemyError, OSError) as error:
        first = redacted(str(error)).strip().splitlines()[:1]
        yield fail(name, f"could not be looked at: {first[0] if first else type(error).__name__}", None)
