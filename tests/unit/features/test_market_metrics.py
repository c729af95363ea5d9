"""The joined row: which venue, which settlement and which liquidations hold at an hour."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from regimes_dagster.features.market_metrics import VENUE_SET, join_market_metrics, lookback
from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.schemas import FundingRates, Liquidations, MarketMetrics, Ohlcv

START = utc("2024-02-01")
WINDOW = Window(START, START + 48 * HOUR)
VENUES = {"ohlcv": ["first", "second"], "funding": ["hourly", "eighth"], "liquidations": ["left", "right"]}


def bars(venue: str, hours: list[int], price: float = 100.0) -> pd.DataFrame:
    ts = [START + hour * HOUR for hour in hours]
    return Ohlcv.validate(
        pd.DataFrame(
            {
                "venue": venue,
                "symbol": "BTC/USDT",
                "ts": pd.DatetimeIndex(ts),
                "open": price,
                "high": price + 1,
                "low": price - 1,
                "close": price,
                "volume": 2.0,
                "quote_volume": 2 * price,
                "is_simulated": False,
            }
        )
    )


def settlements(venue: str, hours: list[float], interval: float, rate: float) -> pd.DataFrame:
    ts = pd.DatetimeIndex([START + hour * HOUR for hour in hours])
    return FundingRates.validate(
        pd.DataFrame(
            {
                "venue": venue,
                "symbol": "BTC/USDT",
                "ts": ts,
                "rate": rate,
                "interval_hours": interval,
                "settled_at_raw": ts,
                "is_simulated": False,
            }
        )
    )


def liquidations(venue: str, hours: list[int], coverage: float = 1.0) -> pd.DataFrame:
    return Liquidations.validate(
        pd.DataFrame(
            {
                "venue": venue,
                "symbol": "BTC/USDT",
                "ts": pd.DatetimeIndex([START + hour * HOUR for hour in hours]),
                "long_usd": 10.0,
                "short_usd": 4.0,
                "n_events": pd.array([None] * len(hours), dtype="Int64"),
                "coverage": coverage,
                "is_lower_bound": False,
                "is_simulated": False,
            }
        )
    )


NO_FUNDING = settlements("hourly", [], 1, 0.0)
NO_LIQUIDATIONS = liquidations("left", [])


def join(ohlcv: pd.DataFrame, funding: pd.DataFrame = NO_FUNDING, liq: pd.DataFrame = NO_LIQUIDATIONS) -> pd.DataFrame:
    first = {"BTC/USDT": ohlcv["ts"].min()}
    frame = join_market_metrics(ohlcv, funding, liq, window=WINDOW, first_hours=first, venues=VENUES)
    return MarketMetrics.validate(frame).set_index("ts")


def test_the_first_listed_venue_that_has_the_hour_gives_the_bar_and_is_named() -> None:
    frame = join(pd.concat([bars("second", list(range(1, 49)), 200.0), bars("first", [1, 2, 4], 100.0)]))
    assert frame["ohlcv_venue"].iloc[:5].tolist() == ["first", "first", "second", "first", "second"]
    assert frame["close"].iloc[:5].tolist() == [100.0, 100.0, 200.0, 100.0, 200.0]


def test_an_hour_without_a_bar_keeps_a_null_row_and_is_not_filled() -> None:
    frame = join(bars("first", [1, 2, 5]))
    assert len(frame) == 48
    assert frame["close"].notna().tolist()[:5] == [True, True, False, False, True]
    assert frame["volume"].iloc[2:4].isna().all()


def test_a_symbol_has_no_rows_before_its_first_bar() -> None:
    frame = join(bars("first", [10, 11]))
    assert frame.index[0] == START + 10 * HOUR


def test_a_venue_that_is_not_listed_is_ignored() -> None:
    frame = join(pd.concat([bars("first", [1]), bars("stranger", [2])]))
    assert pd.isna(frame["close"].iloc[1])


def test_a_settlement_is_in_force_from_its_own_moment_for_its_interval_and_an_hour() -> None:
    frame = join(bars("first", list(range(1, 49))), settlements("eighth", [8], 8, 0.0001))
    held = frame.index[frame["funding_rate"].notna()]
    assert held[0] == START + 8 * HOUR
    assert held[-1] == START + 17 * HOUR
    assert (frame.loc[held, "funding_settled_ts"] == START + 8 * HOUR).all()


def test_the_first_listed_funding_venue_in_force_wins_even_when_its_settlement_is_older() -> None:
    funding = pd.concat([settlements("hourly", [4], 1, 0.1), settlements("eighth", [0, 8], 8, 0.2)])
    frame = join(bars("first", list(range(1, 49))), funding)
    assert frame["funding_venue"].iloc[:6].tolist() == ["eighth"] * 3 + ["hourly"] * 3
    assert frame["funding_interval_hours"].iloc[3] == 1


def test_liquidations_are_summed_over_venues_and_coverage_is_their_share() -> None:
    liq = pd.concat([liquidations("left", [1, 2, 3]), liquidations("right", [2])])
    frame = join(bars("first", list(range(1, 49))), liq=liq)
    assert frame["long_liq_usd"].iloc[:3].tolist() == [10.0, 20.0, 10.0]
    assert frame["liq_coverage"].iloc[:3].tolist() == [1.0, 1.0, 0.5]
    assert frame["liq_coverage"].iloc[3] == 0.0
    assert pd.isna(frame["long_liq_usd"].iloc[3])


def test_before_any_liquidation_row_coverage_is_unknown_not_zero() -> None:
    frame = join(bars("first", list(range(1, 49))), liq=liquidations("left", [5]))
    assert frame["liq_coverage"].iloc[:4].isna().all()
    assert frame["long_liq_usd"].iloc[:4].isna().all()


def test_a_venue_leaves_the_set_after_thirty_silent_days() -> None:
    old = liquidations("right", [0]).assign(ts=START - VENUE_SET + 10 * HOUR)
    frame = join(bars("first", list(range(1, 49))), liq=pd.concat([old, liquidations("left", list(range(1, 49)))]))
    assert frame["liq_coverage"].iloc[8] == 0.5
    assert frame["liq_coverage"].iloc[9] == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_a_longer_frame_changes_no_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hours = sorted(rng.choice(np.arange(-900, 49), 700, replace=False).tolist())
    liq_hours = sorted(rng.choice(np.arange(-900, 49), 300, replace=False).tolist())
    ohlcv = bars("first", hours)
    funding = settlements("eighth", [float(h) for h in range(-896, 49, 8)], 8, 0.0001)
    liq = pd.concat([liquidations("left", liq_hours), liquidations("right", liq_hours[::3], 0.5)])
    whole = join(ohlcv, funding, liq)
    since = WINDOW.start - lookback()
    short = join_market_metrics(
        ohlcv[ohlcv["ts"] > since],
        funding[funding["ts"] > since],
        liq[liq["ts"] > since],
        window=WINDOW,
        first_hours={"BTC/USDT": ohlcv["ts"].min()},
        venues=VENUES,
    )
    pd.testing.assert_frame_equal(MarketMetrics.validate(short).set_index("ts"), whole)


def test_simulated_inputs_mark_the_row() -> None:
    simulated = settlements("eighth", [8], 8, 0.0001).assign(is_simulated=True)
    frame = join(bars("first", list(range(1, 49))), simulated)
    assert frame["is_simulated"].tolist()[6:9] == [False, True, True]
    assert not frame["is_simulated"].iloc[-1]


def test_no_symbol_gives_an_empty_frame_of_the_right_shape() -> None:
    frame = join_market_metrics(
        bars("first", []), NO_FUNDING, NO_LIQUIDATIONS, window=WINDOW, first_hours={}, venues=VENUES
    )
    assert MarketMetrics.validate(frame).empty
    assert lookback() >= timedelta(days=30)
