"""Which episodes are active right now, and which symbols have fresh data.

What belongs here: reading the machines' newest states. What does not: the machines (``features/episodes.py``).
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from regimes_dagster import tables
from regimes_dagster.partitions import utc

#: A machine's state older than this says nothing about the newest final hour (the DATA_GAP limit of decision 27).
FRESH = timedelta(minutes=130)


def episodes_in(state: Any) -> Iterator[str]:
    """Ids of the active episodes anywhere in a stored state, however a feature nests its machines."""
    if isinstance(state, dict):
        if state.get("status") == "ACTIVE" and isinstance(state.get("episode_id"), str):
            yield state["episode_id"]
        for inner in state.values():
            yield from episodes_in(inner)
    elif isinstance(state, list):
        for inner in state:
            yield from episodes_in(inner)


def active_episodes(connection: sa.Connection, now: pd.Timestamp) -> set[str]:
    """Ids of the episodes that are ACTIVE at the newest final hour.

    Episodes of machines whose newest state is older than that are not among them: after a backfill that ends in the
    past nothing is active.
    """
    states = tables.table("engine_state")
    newest = (
        sa.select(states.c.feature, states.c.key, states.c.state)
        .ext(distinct_on(states.c.feature, states.c.key))
        .where(states.c.ts > (now - FRESH).to_pydatetime(), states.c.ts <= now.to_pydatetime())
        .order_by(states.c.feature, states.c.key, states.c.ts.desc())
    )
    return {episode for row in connection.execute(newest) for episode in episodes_in(row.state)}


def newest_hours(connection: sa.Connection) -> dict[str, pd.Timestamp]:
    """Newest hour with a bar per symbol."""
    market = tables.table("market_metrics")
    query = (
        sa.select(market.c.symbol, sa.func.max(market.c.ts))
        .where(market.c.close.is_not(None))
        .group_by(market.c.symbol)
    )
    return {symbol: utc(ts) for symbol, ts in connection.execute(query)}
