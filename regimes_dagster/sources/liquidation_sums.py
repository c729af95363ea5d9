"""Hourly sums of single liquidations.

What belongs here: adding events up by hour and side. What does not: where events come from, and coverage.
"""

from typing import Any

import numpy as np
import pandas as pd


def hourly_sums(events: pd.DataFrame, hours: pd.DatetimeIndex) -> dict[str, Any]:
    """Sums of the hours given by their ends; an event at 10:00:00 sharp belongs to the hour that ends then.

    Parameters
    ----------
    events
        Rows of ``liquidation_events``.
    hours
        Ends of whole hours, increasing; events outside them are left out.

    Returns
    -------
    dict
        ``long_usd``, ``short_usd`` (USD) and ``n_events``, each an array as long as ``hours``.
    """
    slots = hours.get_indexer(pd.DatetimeIndex(events["ts"]).ceil("h"))
    known = slots >= 0
    usd = events["usd"].to_numpy(dtype="float64")
    longs = (events["liquidated_side"] == "LONG").to_numpy(dtype=bool)
    sums: dict[str, Any] = {}
    for column, chosen in (("long_usd", known & longs), ("short_usd", known & ~longs)):
        sums[column] = np.bincount(slots[chosen], weights=usd[chosen], minlength=len(hours)).astype("float64")
    sums["n_events"] = np.bincount(slots[known], minlength=len(hours))
    return sums
