"""The dashboard's way into the database: read-only, few connections, nothing takes longer than the timeout.

What belongs here: the engine with its session settings, rows out, and errors that the rest can act on. What does
not: statements (``queries``).

The role ``regimes_dashboard`` may only select and call ``request_alert_action``. Where it does not exist the
session itself refuses writes and the dashboard says so. Which of the two holds is found on the first connection
that works, so that the dashboard also starts while the database is down.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import URL

from regimes_dagster.database import dashboard_url, make_engine, normalise_url

log = logging.getLogger("dash_app.reader")

Rows = list[dict[str, Any]]
Mode = Literal["url", "role", "read_only"]

#: How the message of a database that is away begins.
AWAY = "the database does not answer"
CONNECT_TIMEOUT_S = 3
POOL_SIZE = 4
POOL_WAIT_S = 4

#: After a failed connection the next attempt waits this long; until then callers fail at once instead of queueing.
RETRY_AFTER_S = 2.0


class ReadError(RuntimeError):
    """The database could not answer; the message is fit for people."""


class DatabaseDown(ReadError):  # noqa: N818 - named for what happened
    """The database does not answer."""


class TooSlow(ReadError):  # noqa: N818 - named for what happened
    """The statement ran into the timeout."""


class NotReady(ReadError):  # noqa: N818 - named for what happened
    """The tables are not there yet, or may not be read."""


class RateLimited(ReadError):  # noqa: N818 - named for what happened
    """More was asked of the delivery sensor than is accepted in a minute."""


class Reader:
    """Read access to the platform's tables.

    Parameters
    ----------
    url : str or URL
        The platform's database.
    own_url : str, optional
        ``DASHBOARD_DB_URL``: a log-in of the dashboard's own; used as given.
    schema : str
        Schema of the tables.
    timeout_s : float
        A statement is cancelled after this long.
    """

    def __init__(
        self, url: str | URL, own_url: str | None = None, *, schema: str = "public", timeout_s: float = 5.0
    ) -> None:
        self._url, self._own_url, self._schema = normalise_url(url), own_url, schema
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._engine: sa.Engine | None = None
        self._blocked_until = 0.0
        self.mode: Mode | None = None
        self.last_error: str | None = None

    @property
    def can_request(self) -> bool:
        """Whether replay and silence can be asked for."""
        return self.mode in ("url", "role")

    def rows(self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None) -> Rows:
        """All rows of a select, as dictionaries.

        Raises
        ------
        DatabaseDown, TooSlow, NotReady
            With a message fit for people; the statement never takes longer than the timeout.
        """
        self._refuse_while_blocked()
        try:
            with self._connected().connect() as connection:
                result = [dict(row) for row in connection.execute(statement, parameters or {}).mappings()]
        except sa.exc.SQLAlchemyError as error:
            raise self._failed(error) from error
        self.last_error = None
        return result

    def delivery_figures(self) -> str:
        """Queue depth, latency and failures by endpoint as Prometheus text; errors as ``rows``."""
        from regimes_dagster.alerts.metrics import figures, prometheus
        from regimes_dagster.clock import system_now

        self._refuse_while_blocked()
        try:
            with self._connected().connect() as connection:
                return prometheus(figures(connection, system_now()))
        except sa.exc.SQLAlchemyError as error:
            raise self._failed(error) from error

    def stream(self, statement: sa.Executable, batch: int = 2_000) -> Iterator[list[tuple[Any, ...]]]:
        """Rows of a select in batches through a server-side cursor, so that memory does not grow with the answer."""
        self._refuse_while_blocked()
        try:
            with self._connected().connect() as connection:
                result = connection.execution_options(stream_results=True, max_row_buffer=batch).execute(statement)
                for part in result.partitions(batch):
                    yield [tuple(row) for row in part]
        except sa.exc.SQLAlchemyError as error:
            raise self._failed(error) from error

    def request_action(self, kind: str, arguments: Mapping[str, Any]) -> Any:
        """Ask the delivery sensor for something (``request_alert_action``): the one call that writes.

        Raises
        ------
        NotReady
            If the session may not.
        RateLimited
            If the function refuses because of its rate limit.
        """
        if not self.can_request:
            raise NotReady(
                "this dashboard has read access only; run `regimes db upgrade` as the owner to create its role"
            )
        statement = sa.text("SELECT request_alert_action(CAST(:kind AS text), CAST(:arguments AS jsonb))").bindparams(
            sa.bindparam("arguments", type_=sa.JSON)
        )
        try:
            with self._connected().connect() as connection, connection.begin():
                connection.execute(sa.text("SET TRANSACTION READ WRITE"))
                return connection.execute(statement, {"kind": kind, "arguments": dict(arguments)}).scalar_one_or_none()
        except sa.exc.SQLAlchemyError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Give back every connection."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _refuse_while_blocked(self) -> None:
        if time.monotonic() < self._blocked_until:
            raise DatabaseDown(self.last_error or AWAY)

    def _connected(self) -> sa.Engine:
        with self._lock:
            if self._engine is None:
                self._engine, self.mode = self._open()
            return self._engine

    def _open(self) -> tuple[sa.Engine, Mode]:
        if self._own_url:
            return self._make(self._own_url), "url"
        engine = self._make(dashboard_url(self._url))
        try:
            with engine.connect():
                return engine, "role"
        except sa.exc.DBAPIError as error:
            engine.dispose()
            state = getattr(error.orig, "sqlstate", None) or ""
            refused = "regimes_dashboard" in str(error.orig) or state in ("22023", "42501", "42704", "28000")
            if not refused:
                raise
        log.warning("the role regimes_dashboard cannot be used; falling back to a read-only session")
        engine = self._make(self._url)
        with engine.connect():
            return engine, "read_only"

    def _make(self, url: str | URL) -> sa.Engine:
        parsed = normalise_url(url)
        given = parsed.query.get("options", "")
        options = f"{given if isinstance(given, str) else given[-1]} -csearch_path={self._schema}".strip()
        engine = make_engine(
            parsed.set(query={**parsed.query, "options": options}),
            read_only=True,
            statement_timeout_ms=int(1000 * self._timeout_s),
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=POOL_WAIT_S,
        )

        @sa.event.listens_for(engine, "do_connect")
        def _quick(_dialect: Any, _record: Any, _arguments: Any, keywords: dict[str, Any]) -> None:
            keywords.update(connect_timeout=CONNECT_TIMEOUT_S, application_name="regimes-dashboard")

        return engine

    def _failed(self, error: sa.exc.SQLAlchemyError) -> ReadError:
        state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
        failure: ReadError
        if state == "57014":
            failure = TooSlow(
                f"the query took longer than {self._timeout_s:g} s and was cancelled; choose a shorter range "
                "or fewer columns"
            )
        elif isinstance(error, sa.exc.TimeoutError):
            failure = TooSlow("every connection of the dashboard is busy; try again in a moment")
        elif state == "53400":
            failure = RateLimited(_first_line(error))
        elif state.startswith(("42", "P0", "22", "25006", "23")):
            failure = NotReady(_first_line(error))
        else:
            self._blocked_until = time.monotonic() + RETRY_AFTER_S
            failure = DatabaseDown(f"{AWAY}; start it or check DB_URL")
        self.last_error = str(failure)
        log.warning("%s: %s", type(failure).__name__, _first_line(error))
        return failure


def _first_line(error: sa.exc.SQLAlchemyError) -> str:
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__
