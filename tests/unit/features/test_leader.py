"""The leader test on planted leads, on shuffled data, on missing bars; Holm; the sign test on regime shifts."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from regimes_dagster.features.leader import daily_leaders, holm, identify_leading_assets, shift_test
from regimes_dagster.features.regime_shift_lead import lead_of_regime_shifts
from regimes_dagster.parameters import CorrelationParameters
from regimes_dagster.partitions import utc

PARAMS = CorrelationParameters()
DAY = utc("2024-03-15")
PAIRS = [("BTC/USDT", "ETH/USDT"), ("BTC/USDT", "SOL/USDT"), ("ETH/USDT", "SOL/USDT")]


def minute_bars(lag: int = 0, days: int = 14, seed: int = 1, strength: float = 0.25) -> pd.DataFrame:
    """BTC moves, ETH follows ``lag`` minutes later with part of its moves, SOL goes its own way but for hour noise."""
    rng = np.random.default_rng(seed)
    n = days * 1440
    btc, eth, sol = rng.normal(0, 0.0005, (3, n))
    eth = eth + 0.8 * btc
    if lag:
        eth[lag:] += strength * btc[:-lag]
    ts = pd.date_range(end=DAY, periods=n, freq="min", unit="us")
    return pd.concat(
        [
            pd.DataFrame({"venue": "binanceus", "symbol": name, "ts": ts, "close": 100 * np.exp(np.cumsum(moves))})
            for name, moves in zip(("BTC/USDT", "ETH/USDT", "SOL/USDT"), (btc, eth, sol), strict=True)
        ],
        ignore_index=True,
    )


def outcome(bars: pd.DataFrame | None, pair: str = "BTC/USDT/ETH/USDT") -> dict[str, Any]:
    found = identify_leading_assets(bars, PAIRS, PARAMS, [DAY])
    return dict(found.set_index("asset_pair").loc[pair])


def test_a_planted_lead_is_found_with_its_lag_and_the_follower_named_second() -> None:
    found = outcome(minute_bars(lag=3))
    assert found["leader"] == "BTC/USDT"
    assert found["lead_lag_s"] == 180
    assert found["lead_p"] < PARAMS.lead_alpha
    assert found["leader_reason"] is None or pd.isna(found["leader_reason"])


def test_the_order_of_the_pair_does_not_matter_for_who_leads() -> None:
    found = identify_leading_assets(minute_bars(lag=2), [("ETH/USDT", "BTC/USDT")], PARAMS, [DAY])
    assert found["leader"].tolist() == ["BTC/USDT"]
    assert found["lead_lag_s"].tolist() == [120]


def test_moving_together_without_a_lag_is_no_lead() -> None:
    found = outcome(minute_bars(lag=0))
    assert found["leader"] == "NONE"
    assert "chance" in str(found["leader_reason"])
    assert pd.isna(found["lead_lag_s"])


def test_a_lead_of_the_last_days_only_is_not_called_yet() -> None:
    bars = minute_bars(lag=0)
    late = minute_bars(lag=3, strength=0.6)
    recent = bars["ts"] > DAY - pd.Timedelta(days=2)
    btc, eth = ((late["symbol"] == name) for name in ("BTC/USDT", "ETH/USDT"))
    assert btc.sum() == eth.sum()
    bars.loc[recent, "close"] = late.loc[recent, "close"]
    found = outcome(bars)
    assert found["leader"] == "NONE"


def test_without_minute_bars_the_reason_says_so() -> None:
    for nothing in (None, minute_bars().iloc[:0]):
        found = outcome(nothing)
        assert (found["leader"], found["leader_reason"]) == ("NONE", "no minute bars")
        assert pd.isna(found["lead_p"])


def test_too_few_minute_bars_are_said_to_be_too_few() -> None:
    bars = minute_bars(lag=3)
    holes = (bars["symbol"] == "ETH/USDT") & (np.random.default_rng(0).random(len(bars)) < 0.2)
    found = outcome(bars[~holes].reset_index(drop=True))
    assert found["leader"] == "NONE"
    assert "too few minute bars" in str(found["leader_reason"])


def test_bars_after_the_day_change_nothing_and_the_result_is_the_same_each_time() -> None:
    bars = minute_bars(lag=3)
    later = bars.copy()
    later["ts"] += pd.Timedelta(days=14)
    later["close"] = np.exp(np.random.default_rng(1).normal(size=len(later)))
    both = pd.concat([bars, later], ignore_index=True)
    pd.testing.assert_frame_equal(
        identify_leading_assets(both, PAIRS, PARAMS, [DAY]), identify_leading_assets(bars, PAIRS, PARAMS, [DAY])
    )


def test_several_days_at_once_equal_each_day_alone() -> None:
    bars = minute_bars(lag=1, days=16)
    days = [DAY - pd.Timedelta(days=i) for i in range(3)]
    together = identify_leading_assets(bars, PAIRS, PARAMS, days)
    alone = pd.concat([identify_leading_assets(bars, PAIRS, PARAMS, [day]) for day in days])
    pd.testing.assert_frame_equal(together, alone.sort_values(["asset_pair", "ts"]).reset_index(drop=True))


def slow_circular(a: np.ndarray, b: np.ndarray, shift: int) -> float:
    return float((a * np.roll(b, -shift)).sum())


@pytest.mark.parametrize(("strength", "seed"), [(0.1, 2), (0.0, 3), (0.0, 4), (0.03, 5)])
def test_the_p_value_is_that_of_a_slow_loop_over_shifts(strength: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=4320)
    b = strength * np.roll(a, 2) + rng.normal(size=4320)
    a, b = ((x - x.mean()) / np.sqrt(((x - x.mean()) ** 2).sum()) for x in (a, b))
    circular = np.fft.irfft(np.conj(np.fft.rfft(a)) * np.fft.rfft(b), n=4320)
    for shift in (0, 1, 2000, 4319):
        assert circular[shift] == pytest.approx(slow_circular(a, b, shift), abs=1e-12)
    p, lag, ratio = shift_test(circular, PARAMS, 1, "key")
    lags = [x for x in range(-10, 11) if x]
    observed = [slow_circular(a, b, x) for x in lags]
    assert lag == lags[int(np.abs(observed).argmax())]
    assert strength < 0.1 or lag == 2
    assert ratio == pytest.approx(sum(c * c for c in observed[10:]) / sum(c * c for c in observed[:10]))
    every = [max(abs(circular[(s + x) % 4320]) for x in lags) for s in range(1440, 4320 - 1440 + 1)]
    # 499 of 1441 shifts are drawn: two standard errors of a share near one half.
    assert p == pytest.approx(np.mean(np.array(every) >= max(map(abs, observed))), abs=0.045)
    assert shift_test(circular, PARAMS, 1, "key")[0] == p
    assert shift_test(circular, PARAMS, 1, "other key")[0] != p or strength == 0.1


def test_many_pairs_draw_enough_shifts_for_holm_to_be_able_to_accept() -> None:
    circular = np.full(10_080, 1e-6)
    circular[3] = 0.5
    p, lag, _ = shift_test(circular, PARAMS, 28, "key")
    assert lag == 3
    assert p * 28 < PARAMS.lead_alpha


def test_holm_is_that_of_statsmodels() -> None:
    p = np.array([0.001, 0.04, np.nan, 0.03, 0.2, 0.01])
    known = ~np.isnan(p)
    expected = np.full(p.shape, np.nan)
    expected[known] = multipletests(p[known], method="holm")[1]
    np.testing.assert_allclose(holm(p), expected)


def test_a_recorded_result_stands_after_its_minute_bars_are_gone() -> None:
    hours = pd.date_range(DAY + pd.Timedelta(hours=1), periods=24, freq="h", unit="us")
    name = "BTC/USDT/ETH/USDT"
    recorded = pd.DataFrame(
        {
            "asset_pair": name, "ts": hours, "leader": "BTC/USDT", "leader_reason": None, "lead_lag_s": 60.0,
            "lead_p": 0.004, "config_hash": "same",
        }
    )  # fmt: skip
    pair, hour = np.zeros(24, dtype=np.intp), hours.asi8 // 3_600_000_000
    for stored, leader in [(recorded, "BTC/USDT"), (recorded.assign(config_hash="other"), "NONE"), (None, "NONE")]:
        rows = daily_leaders(None, stored, PAIRS, PARAMS, hours, "same").of([name]).rows(pair, hour)
        assert set(rows["leader"]) == {leader}


@pytest.mark.slow
def test_shuffled_data_have_a_leader_in_at_most_two_per_cent_of_days() -> None:
    false = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        bars = minute_bars(lag=0, seed=seed)
        eth = bars["symbol"] == "ETH/USDT"
        moves = np.diff(np.log(bars.loc[eth, "close"]), prepend=np.log(100))
        bars.loc[eth, "close"] = 100 * np.exp(np.cumsum(rng.permutation(moves)))
        found = identify_leading_assets(bars, [PAIRS[0]], PARAMS, [DAY])
        false += int((found["leader"] != "NONE").sum())
    assert false / 300 <= 0.02


def families(leader_first: float, n: int = 60, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first, second = np.zeros(n * 100), np.zeros(n * 100)
    value = 0.0
    for i in range(n):
        value = rng.choice([v for v in (-1.0, 0.0, 1.0) if v != value])
        a, b = i * 100 + 40, i * 100 + 40 + (6 if rng.random() < leader_first else -6)
        first[a:], second[b:] = value, value
    return first, second


def test_who_changes_first_leads_regime_shifts_and_a_coin_flip_does_not() -> None:
    lead = lead_of_regime_shifts(*families(0.95))
    assert lead.leader == 0
    assert lead.first + lead.second > 50
    swapped = lead_of_regime_shifts(*families(0.95)[::-1])
    assert swapped.leader == 1
    assert lead_of_regime_shifts(*families(0.5)).leader is None


def test_fewer_than_twenty_shared_changes_are_no_lead() -> None:
    lead = lead_of_regime_shifts(*families(1.0, n=15))
    assert lead.leader is None
    assert lead.p < 0.05
    assert np.isnan(lead_of_regime_shifts(np.zeros(50), np.zeros(50)).p)
