"""The optional raw asset: one-minute closes of the last two weeks, for the test which asset leads.

What belongs here: which minutes a run asks for. What does not: how a venue is asked (``sources/minute_bars.py``), the
test (``features/leader.py``), what the test reads (``leader_inputs.py``), and the end of old minutes (``purge.py``).

The test looks at whole days, so minutes are asked for up to the last midnight only. With 1,000 minutes in an answer a
day costs two requests per symbol, and one per symbol in each of the three runs in which its last hours may still be
revised: 15 a day for three symbols, where an hourly fetch would be 72.
"""

from datetime import timedelta

import dagster as dg
import pandas as pd
from dagster import AssetExecutionContext

from regimes_dagster.assets.declare import Declare
from regimes_dagster.assets.raw import RAW_OPTIONS, Result, fetch, fetch_check
from regimes_dagster.assets.run import run_window
from regimes_dagster.partitions import Window
from regimes_dagster.platform import Platform

#: Minutes are kept this long (``purge.KEEP_ROWS``) and never asked for beyond it; the leader test needs 13 days.
KEPT = timedelta(days=14)


def minute_assets(declare: Declare) -> list[dg.AssetsDefinition]:
    """``minute_bars``."""

    @declare(**RAW_OPTIONS, check_specs=[fetch_check("minute_bars")])
    def minute_bars(context: AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Result:
        """One-minute closes of the last 14 days up to midnight; older months stay empty."""
        window = minutes_wanted(run_window(context, platform), platform.clock.now())
        return fetch(context, platform, "minute_bars", window)

    return [minute_bars]


def minutes_wanted(window: Window, now: pd.Timestamp) -> Window:
    """What of a run's window is fetched: the 14 days that end at the last midnight.

    A window that ends before them, or starts after midnight, gives an empty one.
    """
    midnight = now.floor("D")
    start = max(window.start, midnight - KEPT)
    return Window(start, max(start, min(window.end, midnight)))
