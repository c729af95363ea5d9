"""What time it is: the only place in the project that asks.

What belongs here: the system clock, and the clock that a demo or a replay may set (table ``platform_clock``).
What does not: anything that turns a moment into windows (``partitions.py``). Pure code never asks: ``now`` is
passed to it.
"""

from collections.abc import Callable
from datetime import UTC, datetime

import pandas as pd
import sqlalchemy as sa

from regimes_dagster import tables
from regimes_dagster.partitions import utc

#: The one row of ``platform_clock``.
CLOCK_NAME = "platform"


def system_now() -> pd.Timestamp:
    """The system's moment, UTC, in microseconds."""
    return pd.Timestamp(datetime.now(UTC)).as_unit("us")


class Clock:
    """The platform's clock: the declared moment of a demo or replay, else the system's.

    Parameters
    ----------
    engine : sqlalchemy.Engine or None
        Where ``platform_clock`` is; without one the clock is the system's.
    schema : str
        Schema of the table.
    system : callable
        The clock used when nothing is declared.
    """

    def __init__(
        self,
        engine: sa.Engine | None = None,
        *,
        schema: str = "public",
        system: Callable[[], pd.Timestamp] = system_now,
    ) -> None:
        self._engine = engine.execution_options(schema_translate_map={None: schema}) if engine is not None else None
        self._system = system

    def now(self) -> pd.Timestamp:
        """The moment that the platform takes for now."""
        declared = self.declared()
        return self._system() if declared is None else declared

    def declared(self) -> pd.Timestamp | None:
        """The moment that a demo or replay declared, or None on a live installation."""
        return self._declaration()[0]

    def declared_by(self, set_by: str) -> pd.Timestamp | None:
        """The declared moment if ``set_by`` declared it, else None."""
        moment, who = self._declaration()
        return moment if who == set_by else None

    def system_now(self) -> pd.Timestamp:
        """The system's moment, whatever is declared."""
        return self._system()

    def _declaration(self) -> tuple[pd.Timestamp | None, str | None]:
        if self._engine is None:
            return None, None
        clock = tables.table("platform_clock")
        query = sa.select(clock.c.now_ts, clock.c.set_by).where(clock.c.name == CLOCK_NAME)
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return (None, None) if row is None or row.now_ts is None else (utc(row.now_ts), str(row.set_by))

    def declare(self, moment: pd.Timestamp | datetime, set_by: str) -> None:
        """Make ``moment`` the platform's now, for every process; ``set_by`` names the command.

        Raises
        ------
        RuntimeError
            If the clock has no database.
        """
        values = {"name": CLOCK_NAME, "now_ts": utc(moment).to_pydatetime(), "set_by": set_by}
        from sqlalchemy.dialects.postgresql import insert

        clock = tables.table("platform_clock")
        upsert = insert(clock).values(values).on_conflict_do_update(index_elements=["name"], set_=values)
        with self._database().begin() as connection:
            connection.execute(upsert)

    def follow_system(self) -> None:
        """Forget a declared moment: the platform follows the system's clock again."""
        with self._database().begin() as connection:
            connection.execute(sa.delete(tables.table("platform_clock")))

    def _database(self) -> sa.Engine:
        if self._engine is None:
            raise RuntimeError("this clock has no database, so it cannot be set; build it with an engine")
        return self._engine
