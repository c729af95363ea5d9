"""Simulated minutes and simulated hours are one market, and nobody leads in it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes_dagster.features.leader import identify_leading_assets
from regimes_dagster.parameters import CorrelationParameters
from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.sources.simulated import SimulatedSource

NOW = utc("2026-11-22 13:30")
FORTNIGHT = Window(utc("2025-03-03"), utc("2025-03-17"))
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")


def minutes(symbol: str, window: Window, seed: int = 7, *, gaps: bool = True) -> pd.DataFrame:
    return SimulatedSource(seed, gaps=gaps).fetch("minute_bars", symbol, window, NOW).rows["minute_bars"]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 50), symbol=st.sampled_from(SYMBOLS), start=st.integers(0, 12_000), hours=st.integers(1, 60))
def test_minutes_stay_inside_their_hour_and_end_on_its_close(seed: int, symbol: str, start: int, hours: int) -> None:
    window = Window(utc("2025-01-01") + start * HOUR, utc("2025-01-01") + (start + hours) * HOUR)
    bars = SimulatedSource(seed).fetch("ohlcv", symbol, window, NOW).rows["ohlcv"].set_index("ts")
    rows = minutes(symbol, window, seed)
    found = rows.groupby(rows["ts"].dt.ceil("h")).agg(
        high=("close", "max"), low=("close", "min"), close=("close", "last"), volume=("volume", "sum"), n=("ts", "size")
    )
    assert found.index.equals(pd.DatetimeIndex(bars.index))
    assert (found["close"] == bars["close"]).all()
    assert (found["high"] <= bars["high"]).all()
    assert (found["low"] >= bars["low"]).all()
    assert (found["n"] == 60).all()
    assert np.allclose(found["volume"], bars["volume"], rtol=0.5)


def test_a_missing_hour_has_no_minutes() -> None:
    year = Window(utc("2025-01-01"), utc("2026-01-01"))
    hours = SimulatedSource(7).fetch("ohlcv", SYMBOLS[0], year, NOW).rows["ohlcv"]["ts"]
    missing = year.hours().difference(pd.DatetimeIndex(hours))
    assert len(missing)
    hour = Window(missing[0] - HOUR, missing[0])
    assert minutes(SYMBOLS[0], hour).empty
    assert len(minutes(SYMBOLS[0], hour, gaps=False)) == 60


@pytest.mark.parametrize("seed", [1, 2, 7])
def test_no_asset_of_the_simulated_market_leads(seed: int) -> None:
    bars = pd.concat([minutes(symbol, FORTNIGHT, seed) for symbol in SYMBOLS], ignore_index=True)
    pairs = [(SYMBOLS[0], SYMBOLS[1]), (SYMBOLS[0], SYMBOLS[2]), (SYMBOLS[1], SYMBOLS[2])]
    found = identify_leading_assets(bars, pairs, CorrelationParameters(), [FORTNIGHT.end])
    assert (found["leader"] == "NONE").all()
    assert found["lead_p"].notna().all()


def test_minutes_move_together_at_the_same_minute() -> None:
    moves = [np.diff(np.log(minutes(symbol, FORTNIGHT, gaps=False)["close"])) for symbol in SYMBOLS[:2]]
    assert 0.2 < np.corrcoef(*moves)[0, 1] < 0.95
