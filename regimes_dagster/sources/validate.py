"""One validator for every batch that comes out of a source, whichever venue it is from.

What belongs here: what must hold of raw rows before anything else looks at them: stamps that increase and lie
on the grid, no nulls, consistent bars, plausible rates, non-negative sums. A 200 answer with an HTML body is
no error for the client library: it becomes rows of None, and this is where it is caught. What does not: ranges
that concern storage (the table models check those again) and gaps, which are legal.
"""

import numpy as np
import pandas as pd

from regimes_dagster.partitions import Window
from regimes_dagster.sources.protocol import BadResponse, Batch

#: Grid of the hourly tables, microseconds.
_HOUR_US = 3_600_000_000
_MINUTE_US = 60_000_000
_DAY_US = 24 * _HOUR_US

_GRID_US = {
    "ohlcv": _HOUR_US,
    "minute_bars": _MINUTE_US,
    "funding_rates": _MINUTE_US,
    "liquidations": _HOUR_US,
    "perp_volume_usd": _DAY_US,
}
_MAY_BE_NULL = {"n_events", "next_settlement"}
_STAMP = {"liquidation_events": "ts", "funding_predictions": "observed_at"}


def validate_batch(venue: str, symbol: str, batch: Batch, window: Window) -> None:
    """Refuse a batch of which any row cannot be true.

    Raises
    ------
    BadResponse
        Names table, column, stamp and value of the first bad row.
    """
    for table, rows in batch.rows.items():
        if rows.empty:
            continue
        check = _Check(venue, symbol, table, rows)
        check.no_nulls()
        check.own_rows(window)
        check.stamps()
        if table == "ohlcv":
            check.bars()
        elif table == "minute_bars":
            check.between("close", 1e-300, np.inf)
            check.between("volume", 0.0, np.inf)
        elif table in ("funding_rates", "funding_predictions"):
            check.between("rate", -0.2, 0.2)
            check.between("interval_hours", 1e-9, 24.0)
        elif table == "liquidations":
            check.between("long_usd", 0.0, np.inf)
            check.between("short_usd", 0.0, np.inf)
            check.between("coverage", 0.0, 1.0)
        elif table == "perp_volume_usd":
            check.between("volume_usd", 0.0, np.inf)
        elif table == "liquidation_events":
            check.between("price", 1e-300, np.inf)
            check.between("amount", 0.0, np.inf)
            check.between("usd", 0.0, np.inf)
            check.distinct("event_id")
    for part in batch.covered + batch.unavailable:
        if part.start < window.start or part.end > window.end:
            raise BadResponse(venue, symbol, f"the source claims {part}, which is outside the window asked ({window})")


class _Check:
    def __init__(self, venue: str, symbol: str, table: str, rows: pd.DataFrame) -> None:
        self.venue, self.symbol, self.table, self.rows = venue, symbol, table, rows
        self.stamp = _STAMP.get(table, "ts")

    def no_nulls(self) -> None:
        for column in self.rows.columns:
            if column not in _MAY_BE_NULL and self.rows[column].isna().any():
                self._refuse(self.rows[column].isna().to_numpy(), column, "a value is missing")

    def own_rows(self, window: Window) -> None:
        if self.table == "funding_predictions":
            return
        outside = ~window.mask(self.rows["ts"]).to_numpy()
        if outside.any():
            self._refuse(outside, "ts", f"the row is outside the window asked ({window})")

    def stamps(self) -> None:
        stamps = self.rows[self.stamp].astype("int64").to_numpy()
        step = np.diff(stamps, prepend=stamps[0] - 1)
        if self.table == "liquidation_events":
            if (step[1:] < 0).any():
                self._refuse(step < 0, self.stamp, "stamps must not decrease")
            return
        if (step <= 0).any():
            self._refuse(step <= 0, self.stamp, "stamps must increase")
        grid = _GRID_US.get(self.table)
        if grid is not None and (stamps % grid != 0).any():
            self._refuse(stamps % grid != 0, self.stamp, f"the stamp is not on the grid of {grid // _MINUTE_US} min")

    def bars(self) -> None:
        for column in ("open", "high", "low", "close"):
            self.between(column, 1e-300, np.inf)
        for column in ("volume", "quote_volume"):
            self.between(column, 0.0, np.inf)
        body = self.rows[["open", "close"]].to_numpy()
        low, high = self.rows["low"].to_numpy(), self.rows["high"].to_numpy()
        bad = (low > body.min(axis=1)) | (high < body.max(axis=1))
        if bad.any():
            self._refuse(bad, "low", "low <= open, close <= high does not hold")

    def between(self, column: str, least: float, most: float) -> None:
        values = self.rows[column].to_numpy(dtype="float64")
        bad = ~((values >= least) & (values <= most)) | np.isinf(values)
        if bad.any():
            self._refuse(bad, column, f"allowed is {least:g} .. {most:g}")

    def distinct(self, column: str) -> None:
        twice = self.rows[column].duplicated().to_numpy()
        if twice.any():
            self._refuse(twice, column, "the id occurs twice")

    def _refuse(self, bad: np.ndarray, column: str, why: str) -> None:
        row = self.rows.iloc[int(np.argmax(bad))]
        raise BadResponse(
            self.venue,
            self.symbol,
            f"{int(np.sum(bad))} bad rows for {self.table}, the first at {row[self.stamp]}: "
            f"{column} = {row[column]!r}; "
            f"{why}. "
            "Nothing of this answer was stored; the next run asks again.",
        )
