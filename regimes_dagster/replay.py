"""Living through recorded history hour by hour, in a scratch schema, and comparing with what is stored.

What belongs here: the scratch schema (raw tables as views that end at the simulated now), the hourly steps, and
the row-by-row difference. What does not: any computation; the steps run the same job as the schedule does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from regimes_dagster import tables
from regimes_dagster.clock import Clock
from regimes_dagster.jobs import HOURLY, QUIET, range_tags
from regimes_dagster.leader_inputs import tested_since
from regimes_dagster.partitions import Window, keys_touched
from regimes_dagster.platform import Platform
from regimes_dagster.schemas import DERIVED_TABLES, RAW_TABLES, TABLES, primary_key
from regimes_dagster.settings import Settings
from regimes_dagster.storage import Warehouse

SET_BY = "replay"

DERIVED = tuple(str(model.to_schema().name) for model in DERIVED_TABLES)
RAW = {name: tables.time_column(name) for name in (str(model.to_schema().name) for model in RAW_TABLES)}

#: Besides the derived tables: what a run at `--from` would have known, and the stamp that says since when.
KNOWN = {
    **dict.fromkeys(DERIVED, "ts"),
    "engine_state": "ts",
    "episode_events": "ts",
    "volatility_models": "fit_ts",
    "alerts": "ts",
}

#: Compared beside the derived tables. When and whether a row was posted differs by design; what it says must not.
ALERT_COLUMNS = ("alert_id", "event_type", "symbol", "ts", "severity", "title", "description", "data")


#: The table with results of minute bars, which are kept for two weeks.
LEADERS = "correlation_features"

#: Sums over batches of another shape may differ in their last bits; labels, counts and ids must be equal.
FLOAT_RTOL = 1e-12


@dataclass(frozen=True)
class Difference:
    """How one table's replayed rows compare with the stored ones.

    Attributes
    ----------
    table
        Name of the table.
    rows
        Rows of the window that are stored.
    missing, extra
        Rows that only the stored table, or only the replay, has.
    differing
        Rows whose values differ.
    examples
        The first few differences, in words.
    """

    table: str
    rows: int
    missing: int = 0
    extra: int = 0
    differing: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """True if every row is there and equal."""
        return not (self.missing or self.extra or self.differing)


@contextmanager
def scratch_schema(engine: sa.Engine, schema: str, start: pd.Timestamp, *, keep: bool) -> Iterator[None]:
    """A schema that knows what was known at ``start``, and sees raw rows up to its own clock.

    Raises
    ------
    ValueError
        If the schema exists already, or its name is not a plain lower-case name.
    """
    if not schema.isidentifier() or not schema.islower() or schema in {"public", "dagster"}:
        raise ValueError(f"{schema!r} is no name for a scratch schema; use a plain name such as replay_1")
    with engine.begin() as connection:
        if sa.inspect(connection).has_schema(schema):
            raise ValueError(f"schema {schema} exists; drop it (DROP SCHEMA {schema} CASCADE) or give another --schema")
        connection.execute(sa.schema.CreateSchema(schema))
        made = [table for table in tables.metadata.sorted_tables if table.name not in RAW]
        tables.metadata.create_all(
            connection.execution_options(schema_translate_map={None: schema}), tables=made, checkfirst=False
        )
        for name, stamp in RAW.items():
            connection.execute(
                sa.text(
                    f"CREATE VIEW {schema}.{name} AS SELECT * FROM public.{name} "  # noqa: S608 - names of our own tables
                    f"WHERE {stamp} <= (SELECT now_ts FROM {schema}.platform_clock)"
                )
            )
        for name, stamp in KNOWN.items():
            connection.execute(
                sa.text(f"{_copy(schema, name)} WHERE {stamp} <= :start"), {"start": start.to_pydatetime()}
            )
        # States of stale months are not resumed from in `public` either.
        connection.execute(sa.text(_copy(schema, "stale_partitions")))
    try:
        yield
    finally:
        if not keep:
            with engine.begin() as connection:
                connection.execute(sa.schema.DropSchema(schema, cascade=True))


def _copy(schema: str, name: str) -> str:
    """Columns by name: in a database that was upgraded they stand in another order than in a new table."""
    columns = ", ".join(f'"{column.name}"' for column in tables.table(name).columns)
    return f"INSERT INTO {schema}.{name} ({columns}) SELECT {columns} FROM public.{name}"  # noqa: S608 - our own names


def live_through(
    settings: Settings,
    window: Window,
    schema: str,
    *,
    progress: Callable[[pd.Timestamp], None] | None = None,
) -> None:
    """Run the hourly job for every hour of the window, as the schedule would have, in the scratch schema.

    Raises
    ------
    RuntimeError
        If a run fails; the message names the hour.
    """
    import dagster as dg

    from regimes_dagster.definitions import build_defs

    engine = Platform(settings).engine
    clock = Clock(engine, schema=schema)
    platform = Platform(settings, schema=schema, clock=clock)
    definitions = build_defs(settings, platform)
    job: Any = definitions.resolve_job_def(HOURLY)
    raw = [dg.AssetKey(name) for name in RAW]
    computed = [key for key in job.asset_layer.executable_asset_keys if key not in raw]
    with dg.DagsterInstance.ephemeral() as instance:
        for hour in window.hours():
            clock.declare(hour, SET_BY)
            months = keys_touched(hour)
            result = job.execute_in_process(
                instance=instance,
                asset_selection=computed,
                tags=range_tags(months[0], months[-1]),
                run_config=QUIET,
                raise_on_error=False,
            )
            if not result.success:
                failed = [event.step_key for event in result.all_events if event.is_step_failure]
                raise RuntimeError(f"the run of {hour:%Y-%m-%d %H:%M} failed in {', '.join(failed)}")
            if progress is not None:
                progress(hour)


def compare(engine: sa.Engine, schema: str, window: Window) -> list[Difference]:
    """Row-by-row difference of the scratch schema against ``public`` over the window."""
    stored, lived = Warehouse(engine), Warehouse(engine, schema)
    found = []
    for name in DERIVED:
        both = [house.read(name, window=window) for house in (stored, lived)]
        if name == LEADERS:
            both = [_without_untestable_leaders(frame, tested_since(stored)) for frame in both]
        found.append(_difference(name, primary_key(TABLES[name]), *both))
    columns = list(ALERT_COLUMNS)
    alerts = [house.read("alerts", window=window, columns=columns) for house in (stored, lived)]
    return [*found, _difference("alerts", ("alert_id",), *alerts)]


def _without_untestable_leaders(frame: pd.DataFrame, since: pd.Timestamp | None) -> pd.DataFrame:
    """Rows without the leader of days whose minute bars are gone: only what was recorded then knows it."""
    gone = (frame["ts"] - pd.Timedelta(hours=1)).dt.floor("D") < (since or frame["ts"].max())
    blank = {name: frame[name].mask(gone) for name in ("leader", "leader_reason", "lead_lag_s", "lead_p")}
    return frame.assign(**blank)


def _difference(table: str, key: tuple[str, ...], stored: pd.DataFrame, lived: pd.DataFrame) -> Difference:
    left, right = (frame.set_index(list(key)).sort_index() for frame in (stored, lived))
    missing, extra = left.index.difference(right.index), right.index.difference(left.index)
    both = left.index.intersection(right.index)
    differing: dict[Any, list[str]] = {}
    for column in left.columns:
        a, b = left.loc[both, column], right.loc[both, column]
        equal = pd.Series(np.isclose(a, b, rtol=FLOAT_RTOL, atol=0)) if a.dtype == "float64" else a.eq(b).fillna(False)
        unequal = ~(equal.to_numpy(dtype=bool) | (a.isna() & b.isna()).to_numpy())
        for row in both[unequal]:
            differing.setdefault(row, []).append(f"{column}: {a[row]!r} stored, {b[row]!r} replayed")
    examples = [f"{row} {'; '.join(changes[:3])}" for row, changes in list(differing.items())[:5]]
    examples += [f"{row} is not in the replay" for row in missing[:3]]
    examples += [f"{row} is only in the replay" for row in extra[:3]]
    return Difference(table, len(left), len(missing), len(extra), len(differing), examples)
