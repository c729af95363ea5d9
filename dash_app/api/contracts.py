"""The shapes of answers, made from the pandera models: a column is described once, in ``schemas.py``.

What belongs here: the translation of a table's model to a pydantic model, and the few shapes around rows. What
does not: the routes.
"""

from datetime import datetime
from typing import Any, Literal

from pandera.api.pandas.components import Column
from pydantic import BaseModel, ConfigDict, Field, create_model

from regimes_dagster import tables
from regimes_dagster.schemas import TABLES

_NUMBERS = {"greater_than": "gt", "greater_than_or_equal_to": "ge", "less_than": "lt", "less_than_or_equal_to": "le"}
_made: dict[str, type[BaseModel]] = {}


def _type(column: Column) -> Any:
    if tables.is_json(column):
        return Any
    name = str(column.dtype)
    for start, kind in (
        ("datetime", datetime),
        ("float", float),
        ("Int", int),
        ("int", int),
        ("bool", bool),
        ("boolean", bool),
    ):
        if name.startswith(start):
            return kind
    for check in column.checks:
        allowed = (check.statistics or {}).get("allowed_values")
        if check.name == "isin" and isinstance(allowed, tuple | list | set | frozenset):
            return Literal[tuple(allowed)]
    return str


def _field(column: Column) -> tuple[Any, Any]:
    limits: dict[str, Any] = {}
    kind = _type(column)
    if kind in (float, int):
        for check in column.checks:
            for argument in ("min_value", "max_value"):
                if check.name in _NUMBERS and argument in (check.statistics or {}):
                    limits[_NUMBERS[check.name]] = check.statistics[argument]
    unit = tables.unit(column)
    extra: Any = {"x-unit": unit} if unit else None
    if column.nullable and kind is not Any:
        kind = kind | None
    return kind, Field(description=column.description, json_schema_extra=extra, **limits)


def row(table: str) -> type[BaseModel]:
    """The pydantic model of a table's rows."""
    if table not in _made:
        schema = TABLES[table].to_schema()
        fields: dict[str, Any] = {column.name: _field(column) for column in schema.columns.values()}
        name = "".join(part.capitalize() for part in table.split("_")) + "Row"
        _made[table] = create_model(
            name, __config__=ConfigDict(extra="forbid"), __doc__=(TABLES[table].__doc__ or "").strip(), **fields
        )
    return _made[table]


class Answer(BaseModel):
    """What every answer about the present carries."""

    model_config = ConfigDict(extra="forbid")

    as_of: datetime = Field(description="The platform's now")
    state: Literal["LIVE", "DELAYED", "STALE", "NO DATA"] = Field(description="Freshness of the market data")
    is_simulated: bool = Field(description="True where the market is simulated")
    count: int = Field(ge=0, description="Items in this answer")


class Freshness(BaseModel):
    """How old the newest row of a symbol is."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["LIVE", "DELAYED", "STALE", "NO DATA"]
    age_seconds: float | None = Field(ge=0)
    limit_seconds: float = Field(gt=0)


class SymbolFeatures(BaseModel):
    """Everything known of one symbol now; a part is null where nothing is stored."""

    model_config = ConfigDict(extra="forbid")

    symbol: str
    ts: datetime | None = Field(description="Newest hour of market_metrics")
    freshness: Freshness
    is_simulated: bool
    market: row("market_metrics") | None  # type: ignore[valid-type]
    volatility: row("volatility_features") | None  # type: ignore[valid-type]
    liquidation: row("liquidation_features") | None  # type: ignore[valid-type]
    funding: row("funding_features") | None  # type: ignore[valid-type]
    regime: row("regimes") | None  # type: ignore[valid-type]


class CascadeEvent(BaseModel):
    """One cascade: the guide's eight keys, then the window, the coverage and where it belongs."""

    model_config = ConfigDict(extra="forbid")

    event_type: Literal["LIQUIDATION_CASCADE"]
    timestamp: datetime
    symbol: str
    severity: Literal["INFO", "WARNING", "CRITICAL"]
    title: str
    description: str
    source: str
    data: dict[str, Any] = Field(
        description="total_liquidated_usd, velocity_usd_per_hour, side_bias, severity and more"
    )
    alert_id: str
    episode_id: str
    window_hours: float | None
    coverage: float | None
    suppressed_reason: str | None
    is_simulated: bool


class AlertItem(row("alerts")):  # type: ignore[misc]
    """An alert with the counts of its deliveries."""

    delivered: int = Field(ge=0)
    waiting: int = Field(ge=0)
    dead: int = Field(ge=0)
    planned: int = Field(ge=0)


class Features(Answer):
    """Latest market metrics and every feature per symbol."""

    items: list[SymbolFeatures]
    correlation: list[row("correlation_features")]  # type: ignore[valid-type]


class Cascades(Answer):
    """Cascade events, newest first."""

    items: list[CascadeEvent]


class AlertList(Answer):
    """Alerts, newest first."""

    items: list[AlertItem]


def listing(table: str) -> type[BaseModel]:
    """The answer that lists the newest row of a table per symbol or pair."""
    name = "".join(part.capitalize() for part in table.split("_")) + "Now"
    fields: dict[str, Any] = {"items": (list[row(table)], ...)}  # type: ignore[misc]
    made: type[BaseModel] = create_model(name, __base__=Answer, __doc__=(TABLES[table].__doc__ or "").strip(), **fields)
    return made


class History(BaseModel):
    """One page of rows in the order of the table's key."""

    model_config = ConfigDict(extra="forbid")

    table: str
    columns: list[str]
    rows: list[list[Any]] = Field(description="Values in the order of `columns`")
    count: int = Field(ge=0)
    next_offset: int | None = Field(description="Offset of the next page; null on the last one")


class ActionRequest(BaseModel):
    """What the delivery sensor is asked to do."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["REPLAY", "SILENCE", "TEST"]
    args: dict[str, str | int | float | bool | None] = Field(
        default_factory=dict,
        max_length=10,
        description="REPLAY: alert_id, endpoint; SILENCE: event_type, symbol, hours, comment; TEST: endpoint",
    )


class ActionAccepted(BaseModel):
    """The request was recorded; the sensor carries it out within seconds."""

    id: str


class ProblemItem(BaseModel):
    """One wrong parameter."""

    model_config = ConfigDict(extra="allow")

    parameter: str
    detail: str
    allowed: list[str] = Field(default_factory=list)


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemItem] = Field(default_factory=list)
