"""Do stored rows still keep their contract: the rules of ``schemas.py`` as one SQL query per table.

What belongs here: translating a model's rules to SQL and counting the rows of a window that break them. What does
not: the rules (``schemas.py``), checking frames before they are written (``contracts.py``), Dagster (``checks.py``).

Every write is validated already. This looks at what is in the table, whoever wrote it: a restored backup, a row
edited by hand, a server whose constraints were dropped. The database counts, so that 100 symbols cost no memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pandas as pd
import sqlalchemy as sa
from pandera.api.checks import Check
from pandera.api.pandas.components import Column

from regimes_dagster import tables
from regimes_dagster.partitions import Window
from regimes_dagster.schemas import TABLES
from regimes_dagster.storage import Warehouse

#: Whole-row rules by the name of the model's check; a model with another one has no translation and is refused.
ROW_RULES = {"low <= open, close <= high": "low <= least(open, close) AND high >= greatest(open, close)"}

_COMPARISONS = {
    "greater_than": (">", "min_value"),
    "greater_than_or_equal_to": (">=", "min_value"),
    "less_than": ("<", "max_value"),
    "less_than_or_equal_to": ("<=", "max_value"),
}

#: Tables whose stamp is not the end of an hour.
_ANY_MOMENT = frozenset({"funding_rates", "funding_predictions", "liquidation_events", "minute_bars"})


@dataclass(frozen=True)
class StoredRows:
    """What the rows of a window came to.

    Attributes
    ----------
    table
        Name of the table.
    rows
        Rows of the window.
    newest
        Newest stamp among them, or None.
    broken
        Rule -> rows that break it; rules that all rows keep are left out.
    """

    table: str
    rows: int
    newest: pd.Timestamp | None
    broken: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.broken:
            return f"{self.rows} rows keep every rule"
        shown = "; ".join(f"{rule}: {count} rows" for rule, count in self.broken.items())
        return (
            f"{self.table} holds rows that break its contract ({shown}). Something else than the platform wrote them; "
            "`regimes backfill` over the month computes them again"
        )


@cache
def rules(table: str) -> dict[str, str]:
    """Every rule of a table as SQL that is true for a good row; nullable columns may be null.

    Raises
    ------
    ValueError
        If the model has a rule that has no translation here.
    """
    schema = TABLES[table].to_schema()
    found: dict[str, str] = {}
    for column in schema.columns.values():
        for rule in _column_rules(column):
            condition = f"({rule})" if not column.nullable else f"({column.name} IS NULL OR ({rule}))"
            found[f"{column.name}: {rule}"] = condition
    for check in schema.checks:
        if check.name not in ROW_RULES:
            raise ValueError(f"{table}: the rule {check.name!r} has no translation; add it to ROW_RULES")
        found[str(check.name)] = f"({ROW_RULES[check.name]})"
    stamp = tables.time_column(table)
    if stamp is not None and table not in _ANY_MOMENT:
        found[f"{stamp} is the end of an hour"] = f"({stamp} = date_trunc('hour', {stamp}))"
    return found


def look(warehouse: Warehouse, table: str, window: Window) -> StoredRows:
    """Count the window's rows and those that break a rule, in one query."""
    known = rules(table)
    stamp = tables.time_column(table)
    counts = [f"count(*) FILTER (WHERE NOT coalesce({rule}, false)) AS r{n}" for n, rule in enumerate(known.values())]
    # Names of our own tables and columns, numbers and patterns of our own models; nothing a user wrote.
    text = f"SELECT count(*), max({stamp}), {', '.join(counts)} FROM {warehouse.schema}.{table} "  # noqa: S608
    query = sa.text(text.replace(":", r"\:") + f"WHERE {stamp} > :start AND {stamp} <= :end")
    with warehouse.connect() as connection:
        row = connection.execute(
            query, {"start": window.start.to_pydatetime(), "end": window.end.to_pydatetime()}
        ).one()
    broken = {name: int(count) for name, count in zip(known, row[2:], strict=True) if count}
    return StoredRows(table, int(row[0]), None if row[1] is None else pd.Timestamp(row[1]), broken)


def _column_rules(column: Column) -> Iterator[str]:
    name = str(column.name)
    if not column.nullable:
        yield f"{name} IS NOT NULL"
    if str(column.dtype) == "float64":
        yield f"{name} > '-Infinity' AND {name} < 'Infinity'"  # NaN sorts above infinity, so it breaks this too
    for check in column.checks:
        yield _check_rule(name, check)


def _check_rule(name: str, check: Check) -> str:
    given: dict[str, Any] = check.statistics or {}
    if check.name in _COMPARISONS:
        operator, argument = _COMPARISONS[check.name]
        return f"{name} {operator} {given[argument]!r}"
    if check.name == "equal_to":
        return f"{name} = {_literal(given['value'])}"
    if check.name == "isin":
        return f"{name} IN ({', '.join(map(_literal, given['allowed_values']))})"
    if check.name == "str_matches":
        return f"{name} ~ {_literal(given['pattern'])}"
    if check.name == "str_length":
        return f"length({name}) BETWEEN {given['min_value']!r} AND {given['max_value']!r}"
    raise ValueError(f"column {name}: the rule {check.name!r} has no translation; add it to stored_rules.py")


def _literal(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"
