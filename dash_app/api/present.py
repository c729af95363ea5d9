"""Endpoints about now: features, cascades, one per feature, alerts.

What belongs here: parameters and the shape of the answer. What does not: statements (``queries``) and the present
state itself (``snapshot.py``), from which most answers come without a query.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from dash_app import freshness
from dash_app.api import contracts, problems
from dash_app.api.caching import Answers, encode, send
from dash_app.queries import alerts, latest
from dash_app.reader import DatabaseDown, Reader
from dash_app.snapshot import Snapshot, SnapshotKeeper
from regimes_dagster.schemas import EVENT_TYPES, OPERATIONAL_EVENT_TYPES
from regimes_dagster.settings import Settings

Symbol = Annotated[
    str | None, Query(description="Canonical symbol, e.g. BTC/USDT; default every symbol", max_length=40)
]
At = Annotated[str | None, Query(description="ISO 8601 moment, e.g. 2024-08-05T12:00Z; default now", max_length=40)]
Hours = Annotated[int, Query(ge=1, le=8784, description="How far back")]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many")]
EventName = Literal[(*EVENT_TYPES, *OPERATIONAL_EVENT_TYPES)]  # type: ignore[valid-type]

ERRORS: dict[int | str, dict[str, Any]] = {
    304: {"description": "Not modified (ETag)"},
    404: {
        "description": "Unknown symbol",
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    },
    422: {
        "description": "Wrong parameter",
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    },
    503: {
        "description": "Database away; see Retry-After",
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    },
}

#: Path -> section of the snapshot and table.
SECTIONS = {
    "volatility": ("volatility", "volatility_features"),
    "regimes": ("regimes", "regimes"),
    "funding": ("funding", "funding_features"),
    "correlation": ("correlation", "correlation_features"),
}


def moment(name: str, text: str | None) -> datetime | None:
    """A moment from a parameter; without an offset it is UTC.

    Raises
    ------
    Problem
        422 if it is none, or lies outside the years 2000 to 2200.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
    except ValueError:
        raise problems.wrong(name, text, "is no ISO 8601 moment, e.g. 2024-08-05T12:00Z") from None
    if not 2000 <= found.year <= 2200:
        raise problems.wrong(name, text, "must lie between the years 2000 and 2200")
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def router(settings: Settings, keeper: SnapshotKeeper, reader: Reader) -> APIRouter:
    """Routes ``/api/features``, ``/api/cascades``, ``/api/volatility``, ... and ``/api/alerts``."""
    routes = APIRouter(prefix="/api", tags=["now"], responses=ERRORS)
    answers = Answers()

    def snapshot() -> Snapshot:
        snap = keeper.current
        if not snap.ready:
            raise DatabaseDown(snap.error or "the tables have not been read yet")
        return snap

    def chosen(symbol: str | None) -> tuple[str, ...]:
        if symbol is not None and symbol not in settings.symbols:
            raise problems.unknown_symbol(symbol, settings.symbols)
        return (symbol,) if symbol is not None else settings.symbols

    @routes.get(
        "/features",
        response_model=None,
        responses={200: {"model": contracts.Features}},
        summary="Latest market metrics and every feature per symbol",
    )
    async def features(request: Request, symbol: Symbol = None, at: At = None) -> Response:
        symbols, when = chosen(symbol), moment("at", at)
        if when is not None:
            return await run_in_threadpool(lambda: send(request, encode(_features_at(reader, settings, symbols, when))))
        snap = snapshot()
        return answers.remembered(request, snap, lambda: _features(snap, symbols))

    @routes.get(
        "/cascades",
        response_model=None,
        responses={200: {"model": contracts.Cascades}},
        summary="Cascade events, newest first",
    )
    async def cascades(request: Request, hours: Hours = 24, symbol: Symbol = None, limit: Limit = 100) -> Response:
        snap, symbols = snapshot(), chosen(symbol)
        if hours == 24:
            rows = [row for row in snap.cascades if row["symbol"] in symbols][:limit]
            return answers.remembered(request, snap, lambda: _envelope(snap, [_cascade(row) for row in rows]))
        return await run_in_threadpool(
            lambda: answers.remembered(
                request,
                snap,
                lambda: _envelope(
                    snap,
                    [
                        _cascade(row)
                        for row in alerts.cascades(
                            reader,
                            snap.moment() - timedelta(hours=hours),
                            snap.moment(),
                            symbol=symbol or "",
                            limit=limit,
                        )
                    ],
                ),
            )
        )

    def one_feature(path: str, section: str, table: str) -> None:
        async def now(request: Request, symbol: Symbol = None) -> Response:
            snap, symbols = snapshot(), chosen(symbol)
            rows = getattr(snap, section)
            if section == "correlation":
                picked = [
                    rows[pair] for pair in snap.pairs if pair in rows and (symbol is None or symbol in _sides(pair))
                ]
            else:
                picked = [rows[one] for one in symbols if one in rows]
            return answers.remembered(request, snap, lambda: _envelope(snap, picked))

        summary = f"Newest row of {table} per {'pair' if section == 'correlation' else 'symbol'}"
        routes.add_api_route(
            f"/{path}",
            now,
            response_model=None,
            responses={200: {"model": contracts.listing(table)}},
            summary=summary,
            name=path,
        )

    for path, (section, table) in SECTIONS.items():
        one_feature(path, section, table)

    @routes.get(
        "/alerts", response_model=None, responses={200: {"model": contracts.AlertList}}, summary="Alerts, newest first"
    )
    async def list_alerts(
        request: Request,
        hours: Hours = 24,
        symbol: Symbol = None,
        event_type: Annotated[EventName | None, Query(description="Only this event")] = None,
        min_severity: Annotated[Literal["INFO", "WARNING", "CRITICAL"], Query(description="Lowest severity")] = "INFO",
        limit: Limit = 100,
        offset: Annotated[int, Query(ge=0, le=100_000, description="Skip so many")] = 0,
    ) -> Response:
        snap = snapshot()
        chosen(symbol)

        def build() -> Any:
            rows = alerts.listing(
                reader,
                limit=limit,
                offset=offset,
                start=snap.moment() - timedelta(hours=hours),
                end=snap.moment(),
                event=event_type or "",
                severity=min_severity,
                symbol=symbol or "",
            )
            return _envelope(snap, rows)

        return await run_in_threadpool(lambda: answers.remembered(request, snap, build))

    return routes


def _sides(pair: str) -> tuple[str, str]:
    parts = pair.split("/")
    return "/".join(parts[:2]), "/".join(parts[2:])


def _envelope(snap: Snapshot, items: list[Any]) -> dict[str, Any]:
    return {
        "as_of": snap.moment(),
        "state": snap.state(),
        "is_simulated": snap.is_simulated,
        "count": len(items),
        "items": items,
    }


def _one(
    symbol: str, now: datetime, market: Any, volatility: Any, liquidation: Any, funding: Any, regime: Any
) -> dict[str, Any]:
    stage = freshness.judge(symbol, market["ts"] if market else None, now)
    return {
        "symbol": symbol,
        "ts": stage.newest,
        "freshness": {
            "state": stage.state,
            "age_seconds": None if stage.age is None else max(0.0, round(stage.age.total_seconds(), 1)),
            "limit_seconds": stage.limit.total_seconds(),
        },
        "is_simulated": bool(market and market["is_simulated"]),
        "market": market,
        "volatility": volatility,
        "liquidation": liquidation,
        "funding": funding,
        "regime": regime,
    }


def _features(snap: Snapshot, symbols: tuple[str, ...]) -> dict[str, Any]:
    now = snap.moment()
    sections = (snap.market, snap.volatility, snap.liquidation, snap.funding, snap.regimes)
    items = [_one(symbol, now, *(rows.get(symbol) for rows in sections)) for symbol in symbols]
    pairs = [row for pair, row in snap.correlation.items() if any(side in symbols for side in _sides(pair))]
    return {**_envelope(snap, items), "correlation": pairs}


def _features_at(reader: Reader, settings: Settings, symbols: tuple[str, ...], at: datetime) -> dict[str, Any]:
    tables = ("market_metrics", "volatility_features", "liquidation_features", "funding_features", "regimes")
    rows = [{row["symbol"]: row for row in latest.newest(reader, table, symbols, at)} for table in tables]
    pairs = [pair for pair in latest.pairs(reader) if any(side in symbols for side in _sides(pair))]
    items = [_one(symbol, at, *(found.get(symbol) for found in rows)) for symbol in symbols]
    newest = max((row["ts"] for row in rows[0].values()), default=None)
    simulated = any(row["is_simulated"] for row in rows[0].values())
    envelope = {
        "as_of": at,
        "state": freshness.judge("market", newest, at).state,
        "is_simulated": simulated,
        "count": len(items),
        "items": items,
    }
    return {**envelope, "correlation": latest.newest(reader, "correlation_features", pairs, at)}


def _cascade(row: dict[str, Any]) -> dict[str, Any]:
    data = row["data"] if isinstance(row["data"], dict) else {}
    names = (
        "event_type",
        "symbol",
        "severity",
        "title",
        "description",
        "source",
        "alert_id",
        "episode_id",
        "suppressed_reason",
        "is_simulated",
    )
    return {
        **{name: row[name] for name in names},
        "timestamp": row["ts"],
        "data": data,
        "window_hours": data.get("window_hours"),
        "coverage": data.get("coverage"),
    }
