"""Realised liquidations as weighted prices: what the zones are made of.

What belongs here: single liquidations gathered per hour and basis point, hourly sums where a venue gives no single
ones, and the entries of any trailing window with their decayed weights. What does not: densities and zones
(``liquidation_density.py``, ``liquidation_zones.py``).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from regimes_dagster.features.market_rows import HOUR_US, Bools, Floats, Ints, MarketRows, micros

#: Single liquidations of one hour are gathered in price bins of this width (ln price, one basis point).
BIN = 1e-4


@dataclass(frozen=True)
class Entries:
    """Liquidations gathered by symbol, hour and price, sorted by symbol and hour.

    Attributes
    ----------
    at
        ``symbol number x T + hour number`` of each entry, never falling.
    hour
        Hour number.
    log_price
        ln of the value-weighted price.
    long_usd, short_usd
        Value, decayed to the end of the hour.
    squares
        Sum of the squared decayed values of the single liquidations.
    plain_usd
        Value without decay.
    n_events
        Single liquidations by symbol and hour, [K, T].
    busy
        Whether anything was liquidated, by symbol and hour, [K, T].
    """

    at: Ints
    hour: Ints
    log_price: Floats
    long_usd: Floats
    short_usd: Floats
    squares: Floats
    plain_usd: Floats
    n_events: Ints
    busy: Bools


def gather(
    places: MarketRows,
    market: pd.DataFrame,
    liquidations: pd.DataFrame,
    events: pd.DataFrame | None,
    half_life_h: float,
) -> Entries:
    """Entries of the whole grid.

    A venue's single liquidations are used in the hours where it gives any; in other hours its hourly sum enters at
    (H+L+C)/3 of the hour (not at all in hours without a bar).

    Parameters
    ----------
    market
        Rows with symbol, ts, high, low, close.
    liquidations
        Hourly rows per venue (venue, symbol, ts, long_usd, short_usd).
    events
        Single liquidations (venue, symbol, ts, liquidated_side, price, usd), or ``None``.
    half_life_h
        Half-life of a liquidation's weight.
    """
    n_hours = places.shape[1]
    n_events = np.zeros(places.shape, dtype=np.int64)
    parts = []
    covered = pd.MultiIndex.from_arrays([[], [], []])
    if events is not None and len(events):
        k, hour, on = places.place(events["symbol"], events["ts"])
        on &= (events["usd"] > 0).to_numpy() & (events["price"] > 0).to_numpy()
        inside, k, hour = events.loc[on], k[on], hour[on]
        if len(inside):  # none where there are no bars yet: no hour to place one in
            np.add.at(n_events, (k, hour), 1)
            covered = pd.MultiIndex.from_arrays([inside["venue"].to_numpy(), k, hour])
            parts.append(_single(inside, k, hour, places, half_life_h))
    k, hour, on = places.place(liquidations["symbol"], liquidations["ts"])
    long_usd, short_usd = (liquidations[c].to_numpy(dtype=np.float64) for c in ("long_usd", "short_usd"))
    typical = np.log((places.wide(market["high"]) + places.wide(market["low"]) + places.wide(market["close"])) / 3)
    on &= long_usd + short_usd > 0
    if len(covered):
        on &= ~pd.MultiIndex.from_arrays([liquidations["venue"].to_numpy(), k, hour]).isin(covered)
    if len(places.ts):
        on &= np.isfinite(typical[k, hour])
    k, hour, long_usd, short_usd = k[on], hour[on], long_usd[on], short_usd[on]
    usd = long_usd + short_usd
    parts.append((k * n_hours + hour, hour, typical[k, hour], long_usd, short_usd, usd * usd, usd))
    columns = [np.concatenate([part[column] for part in parts]) for column in range(7)]
    # Ties are ordered by price: the same sums in the same order whatever the order of the rows read.
    order = np.lexsort((columns[6], columns[2], columns[0]))
    at, hour = (column[order].astype(np.int64) for column in columns[:2])
    log_price, longs, shorts, squares, plain = (column[order].astype(np.float64) for column in columns[2:])
    busy = np.zeros(places.shape, dtype=bool)
    busy.reshape(-1)[at] = True
    return Entries(at, hour, log_price, longs, shorts, squares, plain, n_events, busy)


def _single(
    events: pd.DataFrame, k: Ints, hour: Ints, places: MarketRows, half_life_h: float
) -> tuple[Ints | Floats, ...]:
    """Single liquidations gathered by symbol, hour and basis point."""
    hour_end = int(places.ts.asi8[0]) + hour * HOUR_US
    usd = events["usd"].to_numpy(dtype=np.float64)
    decayed = usd * 0.5 ** ((hour_end - micros(events["ts"])) / HOUR_US / half_life_h)
    is_long = (events["liquidated_side"] == "LONG").to_numpy()
    log_price = np.log(events["price"].to_numpy(dtype=np.float64))
    frame = pd.DataFrame(
        {
            "at": k * places.shape[1] + hour,
            "bin": np.floor(log_price / BIN).astype(np.int64),
            "hour": hour,
            "long": np.where(is_long, decayed, 0.0),
            "short": np.where(is_long, 0.0, decayed),
            "squares": decayed * decayed,
            "usd": usd,
            "moment": decayed * log_price,
            "event": micros(events["ts"]),
        }
    ).sort_values(["at", "bin", "event", "usd"], kind="stable")
    sums = frame.groupby(["at", "bin"], sort=True).agg(
        hour=("hour", "first"), long=("long", "sum"), short=("short", "sum"), squares=("squares", "sum"),
        usd=("usd", "sum"), moment=("moment", "sum"),
    )  # fmt: skip
    weight = (sums["long"] + sums["short"]).to_numpy()
    return (
        sums.index.get_level_values("at").to_numpy(dtype=np.int64),
        sums["hour"].to_numpy(dtype=np.int64),
        sums["moment"].to_numpy() / weight,
        sums["long"].to_numpy(),
        sums["short"].to_numpy(),
        sums["squares"].to_numpy(),
        sums["usd"].to_numpy(),
    )
