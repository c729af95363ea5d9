"""Liquidations of Kraken Futures: executions whose taker order is a liquidation.

What belongs here: the executions, the venue's own hourly total that controls them, the daily volume. What does not:
rows and coverage (``ccxt_liquidations.py``).

The hourly total has explicit zero hours and no side. It is asked first: an hour with zero needs no executions, which
saves most of the requests of a quiet month, and the other hours are compared with it afterwards.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pandas as pd

from regimes_dagster.partitions import HOUR, Window
from regimes_dagster.sources.ccxt_client import Client
from regimes_dagster.sources.ccxt_liquidations import TRADES_PAGE, Liquidation, LiquidationVenue, Seen, read
from regimes_dagster.sources.coverage import merge, settled_edge
from regimes_dagster.sources.frames import from_milliseconds, milliseconds
from regimes_dagster.sources.instruments import Instrument
from regimes_dagster.sources.paging import Pager
from regimes_dagster.sources.protocol import BadResponse, SourceError

_PAGE_ROWS = 1000
#: Executions of six hours never fill more pages than this; more is an answer that does not advance.
_MOST_PAGES = 2000
#: A control total further away than this share is worth a note.
_TOLERANCE = 0.05


def see(client: Client, instrument: Instrument, window: Window, now: pd.Timestamp) -> Seen:
    """Liquidations of the window, in the hours that the venue's own total says are not empty."""
    totals, notes = _totals(client, instrument, window, now)
    asked = [window]
    if totals is not None:
        # The newest total may still be growing: revisable hours are always asked.
        edge = settled_edge(now)
        asked = merge(Window(ts - HOUR, ts) for ts in window.hours() if ts > edge or totals.get(ts) != 0.0)
    pager: Pager[tuple[Liquidation, bool]] = Pager(
        ask=lambda page: _executions(client, instrument, page, now),
        stamp=lambda row: row[0].ms,
        key=lambda row: row[0].event_id,
        page=TRADES_PAGE,
    )
    found = _liquidations(pager, asked, now)
    if totals is None:
        return Seen(found, notes=tuple(notes))
    lacking = _lacking(found, totals, window)
    if lacking:
        # The venue says that there were liquidations and shows none: once more, then nobody knows.
        found += _liquidations(pager, merge(Window(hour - HOUR, hour) for hour in lacking), now)
        lacking = _lacking(found, totals, window)
    notes += _differences(client, instrument, found, totals, lacking)
    return Seen(found, unknown=lacking, notes=tuple(notes))


def _liquidations(
    pager: Pager[tuple[Liquidation, bool]], parts: Sequence[Window], now: pd.Timestamp
) -> list[Liquidation]:
    return [row for part in parts for row, liquidated in pager.walk(part, settled_edge(now)).rows if liquidated]


def _lacking(found: Sequence[Liquidation], totals: Mapping[pd.Timestamp, float], window: Window) -> list[pd.Timestamp]:
    """Hours of which the venue's total is not zero and no execution is there."""
    seen = set(from_milliseconds([row.ms for row in found]).ceil("h"))
    return [hour for hour in window.hours() if totals.get(hour, 0.0) > 0.0 and hour not in seen]


def volume(client: Client, instrument: Instrument, window: Window, now: pd.Timestamp) -> list[tuple[int, float]]:
    """Daily volume from the venue's candles: base units times the typical price."""
    params = {
        "price_type": "trade", "symbol": instrument.native, "interval": "1d",
        "from": milliseconds(window.start) // 1000, "to": milliseconds(window.end) // 1000,
    }  # fmt: skip
    answer = client.ask(instrument.symbol, "chartsGetPriceTypeSymbolInterval", params, now)
    rows = answer.get("candles") if isinstance(answer, dict) else None
    day = timedelta(days=1) // timedelta(milliseconds=1)

    def parse(row: Mapping[str, Any]) -> tuple[int, float]:
        typical = (float(row["high"]) + float(row["low"]) + float(row["close"])) / 3.0
        return int(row["time"]) + day, instrument.usd(float(row["volume"]), typical)

    return read(client, instrument.symbol, "daily candles", rows, parse)


def _executions(
    client: Client, instrument: Instrument, page: Window, now: pd.Timestamp
) -> list[tuple[Liquidation, bool]]:
    """Every execution of the page, and whether it was a liquidation."""
    params: dict[str, Any] = {
        "symbol": instrument.native, "since": milliseconds(page.start), "before": milliseconds(page.end) + 1,
        "sort": "asc", "count": _PAGE_ROWS,
    }  # fmt: skip
    rows: list[tuple[Liquidation, bool]] = []
    for _ in range(_MOST_PAGES):
        answer = client.ask(instrument.symbol, "historyGetMarketSymbolExecutions", params, now)
        elements = answer.get("elements") if isinstance(answer, dict) else None
        rows += read(client, instrument.symbol, "executions", elements, lambda row: _execution(instrument, row))
        token = answer.get("continuationToken")
        if not token or token == params.get("continuationToken"):
            return rows
        params["continuationToken"] = token
    raise BadResponse(client.venue, instrument.symbol, f"the executions of {page} do not come to an end")


def _execution(instrument: Instrument, element: Mapping[str, Any]) -> tuple[Liquidation, bool]:
    execution = element["event"]["Execution"]["execution"]
    taker = execution.get("takerOrder") or {}
    price, quantity = float(execution["price"]), float(execution["quantity"])
    row = Liquidation(
        event_id=str(element["uid"]),
        ms=int(element["timestamp"]),
        # The liquidation is the taker: it sells what a long held.
        side="LONG" if taker.get("direction") == "Sell" else "SHORT",
        price=price,
        amount=instrument.base_amount(quantity, price),
        usd=instrument.usd(quantity, price),
    )
    return row, taker.get("orderType") == "Liquidation"


def _totals(
    client: Client, instrument: Instrument, window: Window, now: pd.Timestamp
) -> tuple[dict[pd.Timestamp, float] | None, list[str]]:
    """The venue's own total by end of hour, or None with the reason."""
    params = {
        "version": "v1", "symbol": instrument.native, "interval": 3600,
        "since": milliseconds(window.start) // 1000, "to": milliseconds(window.end) // 1000,
    }  # fmt: skip
    try:
        answer = client.ask_path(instrument.symbol, "charts", "analytics/{symbol}/liquidation-volume", params, now)
    except SourceError as problem:
        if problem.venue_wide:
            raise
        return None, [f"no control total: {problem}"]
    result = answer.get("result") if isinstance(answer, dict) else None
    stamps, data = (result.get("timestamp"), result.get("data")) if isinstance(result, dict) else (None, None)
    if not isinstance(stamps, list) or not isinstance(data, list) or len(stamps) != len(data):
        return None, [f"{client.venue} {instrument.symbol}: the control total cannot be read; every hour was asked"]
    # The stamps are seconds and name the start of the hour.
    ends = from_milliseconds([int(stamp) * 1000 + 3_600_000 for stamp in stamps])
    return {end: float(value) for end, value in zip(ends, data, strict=True)}, []


def _differences(
    client: Client,
    instrument: Instrument,
    found: list[Liquidation],
    totals: dict[pd.Timestamp, float],
    lacking: Sequence[pd.Timestamp],
) -> list[str]:
    """A note where the executions of an hour and the venue's total are further apart than the tolerance."""
    seen: dict[pd.Timestamp, tuple[float, float]] = {}
    for row, end in zip(found, from_milliseconds([row.ms for row in found]).ceil("h"), strict=True):
        amount, usd = seen.get(end, (0.0, 0.0))
        seen[end] = (amount + row.amount, usd + row.usd)
    far = [
        end
        for end, (amount, usd) in seen.items()
        if end in totals
        and min(abs(amount - totals[end]), abs(usd - totals[end])) > _TOLERANCE * max(totals[end], 1e-9)
    ]
    far += lacking
    if not far:
        return []
    return [
        f"{client.venue} {instrument.symbol}: in {len(far)} hours the executions differ from the venue's own total, "
        f"first in the hour to {min(far):%Y-%m-%d %H:%M}"
    ]


VENUE = LiquidationVenue(see, volume)
