"""Is there history that nobody has fetched yet, and would anybody answer?

What belongs here: which symbols a first backfill is still to come for, and one small question to the listed venues
before it. What does not: the backfill itself (``commands/backfill.py``).

Why it exists: on a machine without a network the first backfill asked every venue for every kind, gave up after six
minutes, and was then forgotten, because the hourly runs only ever do the months since the newest row.
"""

from collections.abc import Sequence

import pandas as pd

from regimes_dagster.partitions import HOUR, partition_of, partition_window
from regimes_dagster.platform import Platform
from regimes_dagster.settings import Settings
from regimes_dagster.sources.status import StatusBoard
from regimes_dagster.storage import Write
from regimes_dagster.vocabulary import OFFLINE_SOURCES

#: A venue in one of these states will not have the symbol tomorrow either.
FOR_GOOD = frozenset({"UNKNOWN_SYMBOL", "CLOSED", "NOT_AVAILABLE"})

#: Tables with a row for every symbol and hour of ``market_metrics``.
COMPUTED = ("volatility_features", "liquidation_features", "funding_features", "regimes")


def never_asked(settings: Settings, coverage: pd.DataFrame, statuses: pd.DataFrame) -> list[str]:
    """Symbols of whose first month no listed source of bars has said anything yet.

    Parameters
    ----------
    coverage, statuses
        Rows of ``source_coverage`` and ``source_status``; other kinds and sources do no harm.

    Returns
    -------
    list of str
        In the order of the settings. A symbol that every listed source has refused for good is left out.
    """
    listed = list(settings.sources.ohlcv)
    end = partition_window(partition_of(settings.history_start_at + HOUR)).end
    said = coverage[(coverage["kind"] == "ohlcv") & coverage["venue"].isin(listed) & (coverage["start_ts"] < end)]
    denied = statuses[(statuses["kind"] == "ohlcv") & statuses["venue"].isin(listed) & statuses["state"].isin(FOR_GOOD)]
    refusals = denied.groupby("symbol")["venue"].nunique().to_dict()
    asked = set(said["symbol"]) | {symbol for symbol, venues in refusals.items() if venues == len(set(listed))}
    return [symbol for symbol in settings.symbols if symbol not in asked]


def history_to_do(platform: Platform) -> list[str]:
    """Symbols whose history a backfill has still to fetch, or to compute because one was killed on the way."""
    settings, warehouse = platform.settings, platform.warehouse
    where = {"kind": "ohlcv", "symbol": settings.symbols}
    asked = never_asked(
        settings, warehouse.read("source_coverage", where=where), warehouse.read("source_status", where=where)
    )
    joined = platform.first_hours("market_metrics")
    computed = [platform.first_hours(table) for table in COMPUTED]
    month = pd.Timedelta(days=31)
    # An hourly run of the newest month may have been faster than a new attempt: not the newest row counts, the oldest.
    halfway = {
        symbol
        for symbol, first in joined.items()
        if any(symbol not in table or table[symbol] > first + month for table in computed)
    }
    return [symbol for symbol in settings.symbols if symbol in asked or symbol in halfway]


def nobody_answers(platform: Platform, symbols: Sequence[str]) -> str | None:
    """Why no listed venue of bars can be reached, for people; None if one can, or if a source needs no network.

    What the venues said is written to ``source_status``, so that the dashboard and ``regimes doctor`` show it.
    """
    settings = platform.settings
    listed = settings.sources.ohlcv
    if not symbols or not listed or any(name in OFFLINE_SOURCES for name in listed):
        return None
    from regimes_dagster.sources.probe import probe_all
    from regimes_dagster.sources.protocol import GeoBlocked, Outage

    found = list(
        probe_all(settings.sources.ccxt_options, symbols[0], platform.clock.system_now, kinds=["ohlcv"], venues=listed)
    )
    errors = {"OUTAGE": Outage, "GEO_BLOCKED": GeoBlocked}
    if not found or any(one.state not in errors for one in found):
        return None
    board = StatusBoard("ohlcv", platform.clock.now(), listed, platform.warehouse.read("source_status"))
    for one in found:
        for symbol in symbols:
            board.failed(one.venue, symbol, errors[one.state](one.venue, symbol, one.message))
    platform.warehouse.write([Write("source_status", board.frame())])
    said = "\n".join(f"  {one.venue:<18}{one.message[:160]}" for one in found)
    return (
        f"none of the venues in [sources] ohlcv can be reached from here, so nothing was fetched:\n{said}\n"
        "Is this machine online? `regimes probe` asks every venue; through a proxy they need an option of their own "
        "(docs/install.md); your own files need no network (docs/data.md), and neither does `regimes demo`."
    )
