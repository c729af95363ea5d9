"""The SQL tables, derived from the data contracts in ``schemas.py``.

What belongs here: the translation of a pandera model to a SQLAlchemy table (types, nullability, keys, simple
range and membership checks, comments) and the indexes that the project's queries need. What does not: columns
(``schemas.py``), statements (``storage.py``, ``dash_app/queries.py``) and migrations.

Columns keep the order of their model; ``market_metrics`` therefore reads symbol, ts, open, high, low, close,
volume, ... in a plain ``SELECT *``.
"""

import re
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from pandera.api.checks import Check
from pandera.api.pandas.components import Column as ModelColumn
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION, JSONB, TIMESTAMP

from regimes_dagster.schemas import TABLES, Table, primary_key

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: Secondary indexes; ``-column`` is descending. Primary keys serve (symbol, ts) of the derived tables.
INDEXES: dict[str, tuple[tuple[str, ...], ...]] = {
    "ohlcv": (("symbol", "ts"),),
    "funding_rates": (("symbol", "ts"),),
    "funding_predictions": (("symbol", "observed_at"),),
    "liquidations": (("symbol", "ts"),),
    "liquidation_events": (("symbol", "ts"),),
    "perp_volume_usd": (("symbol", "ts"),),
    "minute_bars": (("symbol", "ts"), ("ts",)),
    "funding_venue_features": (("symbol", "ts"),),
    "episode_events": (("feature", "ts"), ("ts",)),
    "engine_state": (("feature", "config_hash", "ts"),),
    "alerts": (("-ts",), ("symbol", "-ts"), ("event_type", "-ts"), ("episode_id",), ("recorded_at",)),
    "alert_deliveries": (("state", "next_attempt_at"), ("endpoint", "state"), ("created_at",)),
    "alert_requests": (("state", "requested_at"),),
}

#: The column by which a table's rows belong to a window, where it is not ``ts``; None: it has none.
TIME_COLUMNS: dict[str, str | None] = {
    "funding_predictions": "observed_at",
    "source_coverage": "end_ts",
    "source_status": None,
    "volatility_models": "fit_ts",
    "stale_partitions": None,
    "platform_clock": None,
    "signal_evidence": "period_end",
    "alert_deliveries": None,
    "webhook_endpoints": None,
    "alert_silences": None,
    "alert_requests": None,
}

#: (table, columns) -> referred table; its primary key has the same column names.
FOREIGN_KEYS: dict[tuple[str, tuple[str, ...]], str] = {("alert_deliveries", ("alert_id",)): "alerts"}

_COMPARISONS = {
    "greater_than": (">", "min_value"),
    "greater_than_or_equal_to": (">=", "min_value"),
    "less_than": ("<", "max_value"),
    "less_than_or_equal_to": ("<=", "max_value"),
}


def table(name: str) -> sa.Table:
    """The SQLAlchemy table called ``name``.

    Raises
    ------
    KeyError
        If the project has no such table; the message lists those it has.
    """
    try:
        return metadata.tables[name]
    except KeyError:
        raise KeyError(f"there is no table {name!r}; the tables are {', '.join(sorted(metadata.tables))}") from None


def time_column(name: str) -> str | None:
    """The column by which the table's rows belong to a window, or None if they belong to none."""
    table(name)
    return TIME_COLUMNS.get(name, "ts")


def is_json(column: ModelColumn) -> bool:
    """True for a structured column, stored as jsonb and held as Python objects."""
    return (column.metadata or {}).get("sql") == "jsonb"


def unit(column: ModelColumn) -> str:
    """The unit shown to people, or an empty text."""
    return str((column.metadata or {}).get("unit", ""))


def sql_type(column: ModelColumn) -> sa.types.TypeEngine[Any]:
    """The PostgreSQL type of a model's column.

    Raises
    ------
    TypeError
        For a type that no table uses yet.
    """
    if is_json(column):
        return JSONB()
    dtype = str(column.dtype)
    if dtype.startswith("datetime64"):
        return TIMESTAMP(timezone=True)
    # Collation C: the order of Python and pandas on every server, and the fastest comparison.
    text = sa.Text(collation="C")
    types: dict[str, sa.types.TypeEngine[Any]] = {
        "float64": DOUBLE_PRECISION(),
        "string[pyarrow]": text,
        "str": text,
        "bool": sa.Boolean(),
        "boolean": sa.Boolean(),
        "Int64": sa.BigInteger(),
        "int64": sa.BigInteger(),
    }
    if dtype not in types:
        raise TypeError(f"column {column.name!r} has type {dtype}; tables.py knows {', '.join(types)} and datetime64")
    return types[dtype]


def _comment(column: ModelColumn) -> str:
    shown = unit(column)
    return f"{column.description} [{shown}]" if shown not in ("", "UTC") else str(column.description)


def _check_sql(name: str, check: Check) -> str | None:
    """The SQL form of a simple check, or None for one that only pandera makes (patterns, whole-row rules)."""
    arguments = check.statistics or {}
    if check.name in _COMPARISONS:
        operator, argument = _COMPARISONS[check.name]
        return f"{name} {operator} {arguments[argument]!r}"
    if check.name == "equal_to":
        return f"{name} = {_literal(arguments['value'])}"
    if check.name == "isin":
        return f"{name} IN ({', '.join(map(_literal, arguments['allowed_values']))})"
    return None


def _literal(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _constraints(columns: Iterable[ModelColumn]) -> list[sa.CheckConstraint]:
    found = []
    for column in columns:
        rules = [rule for check in column.checks if (rule := _check_sql(column.name, check)) is not None]
        if rules:
            found.append(sa.CheckConstraint(" AND ".join(rules), name=column.name))
    return found


def _index_column(text: str) -> Any:
    return sa.text(f"{text[1:]} DESC") if text.startswith("-") else text


def _index(name: str, columns: tuple[str, ...]) -> sa.Index:
    words = "_".join(re.sub("^-", "", column) for column in columns)
    return sa.Index(f"ix_{name}_{words}", *(_index_column(column) for column in columns))


def _build(model: type[Table]) -> None:
    schema = model.to_schema()
    name = str(schema.name)
    keys = primary_key(model)
    columns = list(schema.columns.values())
    foreign = [
        sa.ForeignKeyConstraint(own, [f"{referred}.{column}" for column in own])
        for (owner, own), referred in FOREIGN_KEYS.items()
        if owner == name
    ]
    sa.Table(
        name,
        metadata,
        *(
            sa.Column(
                column.name,
                sql_type(column),
                primary_key=column.name in keys,
                nullable=bool(column.nullable),
                autoincrement=False,
                comment=_comment(column),
            )
            for column in columns
        ),
        *_constraints(columns),
        *foreign,
        *(_index(name, index) for index in INDEXES.get(name, ())),
        comment=(model.__doc__ or "").strip().splitlines()[0],
    )


for _model in TABLES.values():
    _build(_model)
