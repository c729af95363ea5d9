"""What the validity tests look at: prices, features and events on one grid of hours.

What belongs here: reading the stored rows, spreading them over the grid, and what became of the price after each hour.
What does not: any test.

An outcome is known only if its hours lie before the end of the period: nothing is measured with data from beyond it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from regimes_dagster.features.hourly_grid import HourlyGrid, hour_number, log_returns, on_grid, to_grid
from regimes_dagster.partitions import HOUR, Window
from regimes_dagster.settings import Settings
from regimes_dagster.storage import Warehouse

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: Prices before the period: the longest fit of the rival forecasts (365 days and its longest window).
HISTORY = timedelta(days=400)

DAY_H = 24
#: Share of the hours of a window that must be known, as everywhere.
VALID_SHARE = 0.9
#: Hours of the usual volatility that a later one is compared with.
USUAL_H = 720

FEATURES = ("volatility_features", "liquidation_features", "funding_features", "regimes", "correlation_features")

_COLUMNS = {
    "market_metrics": ("symbol", "ts", "open", "high", "low", "close", "ohlcv_venue"),
    "volatility_features": ("symbol", "ts", "regime", "volatility", "vol_forecast_24h", "forecast_model"),
    "liquidation_features": ("symbol", "ts", "severity", "warming_up", "side_bias"),
    "liquidation_zones": ("symbol", "ts", "side", "zone_rank", "price_low", "price_high"),
    "funding_features": ("symbol", "ts", "settle_ts", "funding_rate_8h", "funding_z_score", "funding_mean"),
    "regimes": ("symbol", "ts", "family", "long_bias", "confidence", "state"),
    "correlation_features": (
        "asset_pair", "ts", "return_correlation", "band_low", "break_z", "beta", "state",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Inputs:
    """Rows of the period, and prices from ``HISTORY`` before it.

    Attributes
    ----------
    period
        Hours that are judged.
    market
        Rows of ``market_metrics``.
    volatility, liquidation, zones, funding, regimes, correlation
        Rows of the feature tables inside the period.
    events
        Rows of ``episode_events`` inside the period.
    """

    period: Window
    market: pd.DataFrame
    volatility: pd.DataFrame
    liquidation: pd.DataFrame
    zones: pd.DataFrame
    funding: pd.DataFrame
    regimes: pd.DataFrame
    correlation: pd.DataFrame
    events: pd.DataFrame

    @cached_property
    def grid(self) -> HourlyGrid:
        """Every hour from the first price to the end of the period."""
        symbols = sorted(set(self.market["symbol"]))
        return to_grid(self.market, ("open", "high", "low", "close"), symbols=symbols, last=self.period.end)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols of the grid, in order."""
        return self.grid.symbols

    @cached_property
    def begin(self) -> int:
        """First column of the period."""
        return max(self.grid.column_of(self.period.start) + 1, 0)

    @property
    def hours(self) -> Ints:
        """Hours since 1970 of the period's columns."""
        return np.arange(self.grid.first_hour + self.begin, self.grid.first_hour + len(self.grid.ts), dtype=np.int64)

    @cached_property
    def returns(self) -> Floats:
        """float[K, T] hourly log returns on the whole grid."""
        return log_returns(self.grid.values["close"], self.grid.venue)

    def column(self, frame: pd.DataFrame, column: str) -> Floats:
        """float[K, P]: a number of a feature table over the period; NaN where there is none."""
        if frame.empty:
            return np.full((len(self.symbols), len(self.hours)), np.nan)
        return on_grid(frame, column, self.grid)[:, self.begin :]

    def codes(self, frame: pd.DataFrame, column: str, names: Sequence[str]) -> Ints:
        """int[K, P]: a text of a feature table as its position in ``names``; -1 for other texts and missing rows."""
        coded = frame[["symbol", "ts"]].assign(code=pd.Index(names).get_indexer(pd.Index(frame[column])).astype(float))
        return np.nan_to_num(self.column(coded, "code"), nan=-1).astype(np.int64)

    def opened(self, event_type: str, **equal: object) -> pd.DataFrame:
        """OPEN events that were not kept silent, with their place: columns ``k`` and ``t`` (column of the period).

        Events of pairs have ``k`` -1.
        """
        events = self.events
        chosen = (events["event_type"] == event_type) & (events["phase"] == "OPEN")
        chosen &= events["suppressed_reason"].isna()
        for column, value in equal.items():
            chosen &= events[column] == value
        found = events[chosen].reset_index(drop=True)
        k = pd.Index(self.symbols).get_indexer(pd.Index(found["symbol"])) if len(found) else np.empty(0)
        t = [hour_number(ts) - self.grid.first_hour - self.begin for ts in found["ts"]]
        return found.assign(k=np.asarray(k, dtype=np.int64), t=np.asarray(t, dtype=np.int64))

    # --- what became of the price -------------------------------------------------------------------------

    def forward_return(self, hours: int) -> Floats:
        """float[K, P] log return over (t, t + hours]; negative ``hours``: over (t - |hours|, t]."""
        log_price = np.log(self.grid.values["close"])
        out = np.full(log_price.shape, np.nan)
        if abs(hours) < len(self.grid.ts):
            move = log_price[:, abs(hours) :] - log_price[:, : -abs(hours)]
            same = self.grid.venue[:, abs(hours) :] == self.grid.venue[:, : -abs(hours)]
            move = np.where(same, move, np.nan)
            if hours > 0:
                out[:, :-hours] = move
            else:
                out[:, -hours:] = move
        return out[:, self.begin :]

    @cached_property
    def trailing_rv(self) -> Floats:
        """float[K, T] realised volatility of the last 24 h, from hourly closes: sqrt(24 x mean r^2)."""
        known = np.isfinite(self.returns)
        total, count = _trailing(np.nan_to_num(self.returns) ** 2, DAY_H), _trailing(known.astype(float), DAY_H)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(count >= VALID_SHARE * DAY_H, np.sqrt(DAY_H * total / count), np.nan)

    def forward_rv(self, *, whole_grid: bool = False) -> Floats:
        """float[K, P] realised volatility over (t, t + 24 h]."""
        out = np.full(self.trailing_rv.shape, np.nan)
        out[:, :-DAY_H] = self.trailing_rv[:, DAY_H:]
        return out if whole_grid else out[:, self.begin :]

    @cached_property
    def usual_rv(self) -> Floats:
        """float[K, P] median of the trailing 24 h volatility over the last 30 days."""
        wide = pd.DataFrame(self.trailing_rv.T)
        return np.asarray(wide.rolling(USUAL_H, min_periods=USUAL_H // 2).median().to_numpy().T[:, self.begin :])

    def forward_rv_ratio(self) -> Floats:
        """float[K, P] volatility of the next 24 h over its usual level."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.usual_rv > 0, self.forward_rv() / self.usual_rv, np.nan)


def _trailing(values: Floats, hours: int) -> Floats:
    ends = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=ends[:, 1:])
    out = ends[:, 1:].copy()
    out[:, hours:] = ends[:, hours + 1 :] - ends[:, 1:-hours]
    return out


def read_inputs(warehouse: Warehouse, settings: Settings, period: Window) -> Inputs:
    """Read everything the tests need.

    Parameters
    ----------
    period
        Hours to judge; outcomes beyond its end are not read.
    """
    symbols = list(settings.symbols)
    configured = set(symbols)

    def read(table: str, window: Window = period) -> pd.DataFrame:
        by_pair = table == "correlation_features"
        rows = warehouse.read(table, window=window, symbols=None if by_pair else symbols, columns=_COLUMNS[table])
        if by_pair:
            known = {pair: _both(pair) <= configured for pair in rows["asset_pair"].unique()}
            rows = rows[rows["asset_pair"].map(known).astype(bool)].reset_index(drop=True)
        return rows

    return Inputs(
        period=period,
        market=read("market_metrics", Window(period.start - HISTORY, period.end)),
        volatility=read("volatility_features"),
        liquidation=read("liquidation_features"),
        zones=read("liquidation_zones"),
        funding=read("funding_features"),
        regimes=read("regimes"),
        correlation=read("correlation_features"),
        events=_events(warehouse, period, configured),
    )


def _events(warehouse: Warehouse, period: Window, configured: set[str]) -> pd.DataFrame:
    columns = [
        "feature", "episode_id", "phase", "level", "event_type", "key", "symbol", "ts", "severity", "data",
        "suppressed_reason",
    ]  # fmt: skip
    events = warehouse.read("episode_events", window=period, columns=columns, where={"feature": list(FEATURES)})
    mine = [_both(symbol) <= configured for symbol in events["symbol"]]
    return events[np.asarray(mine, dtype=bool)].reset_index(drop=True)


def _both(name: str) -> set[str]:
    """The symbol, or the two symbols of a pair."""
    parts = name.split("/")
    return {"/".join(parts[:2]), "/".join(parts[2:])} if len(parts) == 4 else {name}


def known_period(warehouse: Warehouse, settings: Settings, period: Window) -> Window:
    """The part of a period for which there are joined rows; empty if there are none."""
    where = {"symbol": list(settings.symbols)}
    oldest = warehouse.oldest("market_metrics", by="symbol", where=where)
    newest = warehouse.newest("market_metrics", by="symbol", where=where)
    if oldest.empty:
        return Window(period.start, period.start)
    start = max(period.start, oldest["ts"].min() - HOUR)
    return Window(min(start, period.end), max(min(period.end, newest["ts"].max()), min(start, period.end)))
