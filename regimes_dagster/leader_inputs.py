"""What the leader test is given: the results recorded earlier, and minute bars for the days without one.

What belongs here: deciding which days are still open, and reading no more than they need. What does not: the test
(``features/leader.py``) and fetching minutes (``assets/minute_bars.py``).

A day is tested once, in the first run after its midnight, and its result stands for all its hours: the rows keep it
when the minutes are gone, and the other 23 runs of the day read no minutes at all.
"""

from collections.abc import Mapping
from datetime import timedelta

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from regimes_dagster import tables
from regimes_dagster.features.asset_pairs import asset_pairs, pair_name
from regimes_dagster.features.leader import CALL_DAYS, NO_BARS, SAMPLE_DAYS
from regimes_dagster.partitions import HOUR, REVISABLE, Window
from regimes_dagster.settings import Settings
from regimes_dagster.storage import Warehouse

RECORDED = ("asset_pair", "ts", "leader", "leader_reason", "lead_lag_s", "lead_p", "config_hash")
MINUTE_COLUMNS = ("venue", "symbol", "ts", "close")

#: Closes before a day that its test looks at: seven calls a day apart, each on a sample of seven days and the close
#: before it.
BACK = timedelta(days=CALL_DAYS - 1 + SAMPLE_DAYS, minutes=1)

#: A day with too few minutes is tried again while its own last hours, and the runs after them, may still bring some.
RETRIED = REVISABLE + HOUR


def leader_inputs(
    warehouse: Warehouse, settings: Settings, window: Window
) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Minute bars and recorded results for ``compute_pairwise_correlations``.

    Returns
    -------
    minute_bars
        ``MINUTE_COLUMNS`` of the listed sources, or None where every day of the window has its result, or no source
        is listed.
    recorded
        ``RECORDED``: one row per pair and day of the window.
    """
    recorded = recorded_leaders(warehouse, settings, window)
    venues = settings.sources.of("minute_bars")
    if not venues or window.end <= window.start:
        return None, recorded
    oldest = warehouse.oldest("minute_bars")
    if oldest.empty:
        return None, recorded
    days = open_days(recorded, window, oldest["ts"].iloc[0])
    if not days:
        return None, recorded
    bars = warehouse.read(
        "minute_bars",
        window=Window(min(days) - BACK, max(days)),
        symbols=settings.symbols,
        columns=MINUTE_COLUMNS,
        where={"venue": venues},
        order=False,
    )
    return bars, recorded


def tested_since(warehouse: Warehouse) -> pd.Timestamp | None:
    """First midnight whose test finds all its minutes stored; None where there are no minutes."""
    oldest = warehouse.oldest("minute_bars")
    return None if oldest.empty else (oldest["ts"].iloc[0] + BACK).ceil("D")


def open_days(recorded: pd.DataFrame, window: Window, oldest: pd.Timestamp) -> list[pd.Timestamp]:
    """Midnights of the window whose test is still to be made, if there are minutes before them.

    Open is a day that no row knows, or of which a row says that there were no minute bars. The newest day is also
    open while a pair had too few and its last hours may still come in.
    """
    newest = (window.end - HOUR).floor("D")
    days = pd.date_range(max(window.start.floor("D"), oldest.ceil("D")), newest, freq="D", unit="us")
    day = (recorded["ts"] - HOUR).dt.floor("D")
    seen = set(day)
    lacking = set(day[recorded["leader_reason"] == NO_BARS])
    if window.end - newest <= RETRIED:
        lacking |= set(day[recorded["lead_p"].isna() & (day == newest)])
    return [moment for moment in days if moment > oldest and (moment not in seen or moment in lacking)]


def recorded_leaders(warehouse: Warehouse, settings: Settings, window: Window) -> pd.DataFrame:
    """The result of each pair and day of the window, as far as rows of the present parameters know it.

    Of a day's rows the one that was tested counts; rows of an hour that was computed before the minutes came in may
    still say that there were none.
    """
    table = tables.table("correlation_features")
    day = sa.func.date_trunc("day", table.c.ts - sa.text("interval '1 hour'"), "UTC")
    pairs = [pair_name(pair) for pair in asset_pairs(settings.symbols, settings.correlation)]
    query = (
        sa.select(*(table.c[name] for name in RECORDED))
        .ext(distinct_on(table.c.asset_pair, day))
        .where(
            table.c.asset_pair.in_(pairs),
            table.c.ts > window.start.to_pydatetime(),
            table.c.ts <= window.end.to_pydatetime(),
            table.c.config_hash == settings.correlation.config_hash(),
        )
        .order_by(table.c.asset_pair, day, table.c.lead_p.is_(None), table.c.leader_reason == NO_BARS, table.c.ts)
    )
    with warehouse.connect() as connection:
        rows = connection.execute(query).all()
    frame = pd.DataFrame(rows, columns=list(RECORDED))
    types: Mapping[str, str] = {"ts": "datetime64[us, UTC]", "lead_lag_s": "float64", "lead_p": "float64"}
    return frame.astype(dict(types))
