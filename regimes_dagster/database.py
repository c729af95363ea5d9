"""How the platform reaches its database: URLs, engines, and clear errors.

What belongs here: the one place that normalises a database URL and its driver, the choice between ``DB_URL`` and
the embedded server, engine settings, and the translation of a lost connection into an error that says what to do.
What does not: the embedded server itself (``embedded.py``), tables, migrations, rows (``storage.py``).

Passwords never leave this module but inside a connection: show a URL with ``shown``.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from regimes_dagster.embedded import EmbeddedServer, EmbeddedServerError

DRIVER = "postgresql+psycopg"
DASHBOARD_ROLE = "regimes_dashboard"
DASHBOARD_TIMEOUT_MS = 15_000

#: Spellings of the same thing that people and hosting services use.
_SCHEMES = (
    "postgres",
    "postgresql",
    "postgresql+psycopg",
    "postgresql+psycopg2",
    "postgresql+asyncpg",
    "postgresql+pg8000",
)

_EXAMPLE = "postgresql://user:password@host:5432/regimes"


class DatabaseError(RuntimeError):
    """Something is wrong with the database; the message says what to do."""


class DatabaseUrlError(DatabaseError, ValueError):
    """The database URL cannot be used."""


class DatabaseUnavailable(DatabaseError):  # noqa: N818 - reads as what it says
    """The database does not answer, went away, or is full. Nothing was half written; try again later."""


# --- URLs ------------------------------------------------------------------------------------------------


def normalise_url(url: str | URL) -> URL:
    """A SQLAlchemy URL with the psycopg 3 driver from any usual spelling of a PostgreSQL URL.

    Raises
    ------
    DatabaseUrlError
        If it is no PostgreSQL URL. The message never carries the password.
    """
    try:
        parsed = make_url(url.strip() if isinstance(url, str) else url)
    except (sa.exc.ArgumentError, ValueError):
        raise DatabaseUrlError(f"DB_URL is no database URL; write it like {_EXAMPLE}") from None
    if parsed.drivername not in _SCHEMES:
        raise DatabaseUrlError(f"DB_URL names {parsed.drivername!r}; only PostgreSQL works here: {_EXAMPLE}")
    if not parsed.database:
        raise DatabaseUrlError(f"DB_URL {shown(parsed)} names no database; write it like {_EXAMPLE}")
    return parsed.set(drivername=DRIVER)


def dagster_url(url: str | URL, schema: str = "dagster") -> str:
    """The same database for Dagster's storage: psycopg 2 driver, ``schema`` first on the search path.

    This is what ``REGIMES_PG_URL`` holds; it carries the password.
    """
    parsed = normalise_url(url).set(drivername="postgresql+psycopg2")
    options = " ".join(filter(None, [_one(parsed.query.get("options")), f"-csearch_path={schema}"]))
    return parsed.set(query={**parsed.query, "options": options}).render_as_string(hide_password=False)


def dashboard_url(url: str | URL) -> URL:
    """The same database seen as the role ``regimes_dashboard`` (select only), for a member of that role."""
    parsed = normalise_url(url)
    options = " ".join(filter(None, [_one(parsed.query.get("options")), f"-crole={DASHBOARD_ROLE}"]))
    return parsed.set(query={**parsed.query, "options": options})


def libpq_arguments(url: str | URL) -> tuple[dict[str, str], str]:
    """Environment (``PGHOST``, ``PGPASSWORD``...) and database name for PostgreSQL's own programs."""
    parsed = normalise_url(url)
    host = parsed.host or _one(parsed.query.get("host"))
    values = {
        "PGHOST": host,
        "PGPORT": str(parsed.port or _one(parsed.query.get("port")) or ""),
        "PGUSER": parsed.username,
        "PGPASSWORD": None if parsed.password is None else str(parsed.password),
        "PGSSLMODE": _one(parsed.query.get("sslmode")),
        "PGSSLROOTCERT": _one(parsed.query.get("sslrootcert")),
    }
    return {key: value for key, value in values.items() if value}, str(parsed.database)


def shown(url: str | URL) -> str:
    """The URL as it may be shown to people: without its password."""
    parsed = make_url(url)
    hidden = {key: "***" if "password" in key.lower() else value for key, value in parsed.query.items()}
    return parsed.set(query=hidden).render_as_string(hide_password=True)


def _one(value: str | tuple[str, ...] | None) -> str | None:
    return value[-1] if isinstance(value, tuple) else value


# --- which database --------------------------------------------------------------------------------------


def home(environment: Mapping[str, str] | None = None) -> Path:
    """The platform's own folder: ``REGIMES_HOME``, else ``.regimes`` in the working folder."""
    values = os.environ if environment is None else environment
    return Path(values.get("REGIMES_HOME") or ".regimes").expanduser().resolve()


def embedded_server(environment: Mapping[str, str] | None = None) -> EmbeddedServer:
    """The embedded server of this installation, whether it runs or not."""
    return EmbeddedServer(home(environment) / "pg")


def find_url(db_url: str | None, *, start: bool = True, environment: Mapping[str, str] | None = None) -> URL:
    """The URL in use: ``db_url`` (the setting ``DB_URL``) if given, else the embedded server's.

    Parameters
    ----------
    db_url : str or None
        A server of the user's own; None or empty for the embedded one.
    start : bool
        Start the embedded server if it does not run.

    Raises
    ------
    DatabaseUrlError
        If ``db_url`` is not a PostgreSQL URL.
    DatabaseUnavailable
        If the embedded server cannot be started, or does not run and ``start`` is false.
    """
    if db_url:
        return normalise_url(db_url)
    server = embedded_server(environment)
    if start:
        try:
            server.start()
        except EmbeddedServerError as error:
            raise DatabaseUnavailable(str(error)) from error
    elif not server.ready():
        raise DatabaseUnavailable(
            f"the embedded PostgreSQL in {server.data} does not run; start it with `regimes db start`"
        )
    return normalise_url(server.url())


# --- engines ---------------------------------------------------------------------------------------------


def make_engine(url: str | URL, *, read_only: bool = False, statement_timeout_ms: int = 0, **options: Any) -> sa.Engine:
    """An engine on ``url``: UTC session, checked connections, a name that shows in ``pg_stat_activity``.

    Parameters
    ----------
    url : str or URL
        Any spelling that ``normalise_url`` takes.
    read_only : bool
        Refuse every write in this session.
    statement_timeout_ms : int
        Cancel a statement after so many milliseconds; 0 never.
    **options
        Passed to ``sqlalchemy.create_engine``.
    """
    parsed = normalise_url(url)
    session = ["-ctimezone=UTC"]
    if read_only:
        session.append("-cdefault_transaction_read_only=on")
    if statement_timeout_ms:
        session.append(f"-cstatement_timeout={statement_timeout_ms}")
    given = _one(parsed.query.get("options"))
    arguments = {
        "options": " ".join([*([given] if given else []), *session]),
        "application_name": "regimes",
        "connect_timeout": 10,
        "keepalives_idle": 30,
    }
    defaults: dict[str, Any] = {"pool_pre_ping": True}
    if "poolclass" not in options:
        defaults |= {"pool_size": 5, "max_overflow": 10, "pool_recycle": 1800}
    query = {key: value for key, value in parsed.query.items() if key != "options"}
    return sa.create_engine(parsed.set(query=query), connect_args=arguments, **{**defaults, **options})


def dashboard_engine(url: str | URL, dashboard_db_url: str | None = None) -> tuple[sa.Engine, str]:
    """The engine of the dashboard, and how it is kept from writing.

    Returns
    -------
    engine, mode
        ``"url"``: ``DASHBOARD_DB_URL`` is used as given. ``"role"``: the role ``regimes_dashboard``, which may only
        select and call ``request_alert_action``. ``"read_only"``: neither exists, so the session refuses writes,
        requests of alert actions included; the dashboard says so in a banner.
    """
    if dashboard_db_url:
        return make_engine(dashboard_db_url, statement_timeout_ms=DASHBOARD_TIMEOUT_MS), "url"
    engine = make_engine(dashboard_url(url), statement_timeout_ms=DASHBOARD_TIMEOUT_MS)
    try:
        with engine.connect():
            return engine, "role"
    except sa.exc.DBAPIError:
        engine.dispose()
    return make_engine(url, read_only=True, statement_timeout_ms=DASHBOARD_TIMEOUT_MS), "read_only"


@contextmanager
def clear_errors(url: str | URL | None = None) -> Iterator[None]:
    """Turn a lost, refused, full or restarting database into ``DatabaseUnavailable``.

    Constraint violations and mistakes in SQL pass through: those are not the server's state.
    """
    where = f" ({shown(url)})" if url is not None else ""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if (text := _outage(error.orig, lost=error.connection_invalidated)) is not None:
            raise DatabaseUnavailable(text.format(where=where)) from error
        raise
    except Exception as error:
        # psycopg's own errors (COPY goes past SQLAlchemy); by module, so that importing this one stays cheap.
        if type(error).__module__.startswith("psycopg") and (text := _outage(error)) is not None:
            raise DatabaseUnavailable(text.format(where=where)) from error
        raise


def _outage(error: BaseException | None, *, lost: bool = False) -> str | None:
    """What to tell people if ``error`` is the server's state, with ``{where}`` for the place; else None."""
    import psycopg

    state = getattr(error, "sqlstate", None) or ""
    detail = str(error).strip().splitlines()[0].replace("{", "(").replace("}", ")") if str(error).strip() else ""
    if state == "53100":
        what, do = "has no disk space left", "Free some"
    elif state == "53300":
        what, do = "has no free connection", "Raise max_connections or stop other programs"
    elif state.startswith(("28", "3D")):
        what, do = "refused the log-in or does not exist", "Check user, password and name in DB_URL"
    elif lost or state.startswith(("08", "57P")) or (isinstance(error, psycopg.OperationalError) and not state):
        what, do = "does not answer or closed the connection", "Check that it runs (`regimes db status`)"
    else:
        return None
    return f"the database{{where}} {what}; nothing was half written. {do}, then run the command again. {detail}".strip()
