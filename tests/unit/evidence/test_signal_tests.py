"""Cascades, zones, funding, breaks, confirmations and the budget on made-up truth."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from regimes_dagster.evidence.alert_budget import alert_budget
from regimes_dagster.evidence.cascades import cascade_tests
from regimes_dagster.evidence.confirmations import confirmation, hours_until_change
from regimes_dagster.evidence.finding import ALL, Finding, Test, correct, evidence_rows
from regimes_dagster.evidence.funding import extremes, funding_tests
from regimes_dagster.evidence.inputs import Inputs
from regimes_dagster.evidence.pair_breaks import pair_breaks
from regimes_dagster.evidence.zones import zone_turns
from regimes_dagster.parameters import FundingParameters
from regimes_dagster.partitions import Window
from tests.unit.evidence.made_inputs import PAIR, START, SYMBOLS, event, events, inputs, rows, stamps, walk

HOURS = 24 * 250


def of(test: Test, metric: str, symbol: str = ALL) -> Finding:
    return next(f for f in test.findings if (f.metric, f.symbol) == (metric, symbol))


# --- cascades --------------------------------------------------------------------------------------------


def watched(hours: int = HOURS, warm: int = 168) -> pd.DataFrame:
    severity = np.full((2, hours), 0.3)
    warming = np.zeros((2, hours), bool)
    warming[:, :warm] = True
    return rows({"severity": severity, "warming_up": warming})


def hour_of(day: str) -> int:
    return int((pd.Timestamp(day, tz="UTC") - START) / pd.Timedelta(hours=1)) - 1


def cascade(symbol: str, day: str, side: str = "LONG") -> dict[str, object]:
    return event("LIQUIDATION_CASCADE", symbol, hour_of(day), data={"side_bias": side})


def test_known_days_are_caught_within_36_hours_of_noon_and_only_where_they_could_be() -> None:
    told = events(
        cascade(SYMBOLS[0], "2024-06-29 23:00"),  # 35 hours after noon of the 28th
        cascade(SYMBOLS[0], "2024-07-07 01:00"),  # 37 hours after noon of the 5th
        cascade(SYMBOLS[0], "2024-08-05 02:00"),
        cascade(SYMBOLS[1], "2024-03-05 20:00"),
    )
    recall, _ = cascade_tests(inputs(walk(HOURS), liquidation=watched(), events=told))
    btc = of(recall, "recall", SYMBOLS[0])
    # 2024-01-03 lies in the warm-up; 03-05, 04-12, 06-28, 07-04 and 08-05 could be caught.
    assert (btc.n, btc.value, btc.holds) == (5, pytest.approx(2 / 5), False)
    assert "caught 2024-06-28, 2024-08-05; missed" in str(btc.note)
    rate = 3 / ((HOURS - 168) / 720)
    assert of(recall, "alerts_per_30_days", SYMBOLS[0]).value == pytest.approx(rate)
    assert btc.baseline == pytest.approx(1 - np.exp(-rate / 10))
    assert of(recall, "recall").value == pytest.approx(3 / 10)


def test_cascades_before_wild_days_are_precise_and_those_at_random_are_not() -> None:
    rng = np.random.default_rng(1)
    hours = np.sort(rng.choice(np.arange(1000, HOURS - 200, 120), 15, replace=False))
    sigma = np.full(HOURS, 0.004)
    for t in hours:
        sigma[t + 1 : t + 25] = 0.02
    closes = walk(HOURS, sigma=sigma)
    good = [event("LIQUIDATION_CASCADE", SYMBOLS[0], int(t), data={"side_bias": "LONG"}) for t in hours]
    bad = [event("LIQUIDATION_CASCADE", SYMBOLS[0], int(t) - 60, data={"side_bias": "SHORT"}) for t in hours]
    precise, after = cascade_tests(inputs(closes, liquidation=watched(), events=events(*good)))
    blind, _ = cascade_tests(inputs(closes, liquidation=watched(), events=events(*bad)))
    assert of(precise, "precision").value == 1.0
    assert of(precise, "precision").holds is True
    assert of(blind, "precision").holds is False
    assert of(after, "forward_volatility_ratio").value > 3
    assert of(after, "forward_volatility_ratio").low > of(after, "forward_volatility_ratio").baseline


def test_without_covered_hours_nothing_is_measured_and_it_is_said() -> None:
    for test in cascade_tests(inputs(walk(500))):
        (only,) = test.findings
        assert np.isnan(only.value)
        assert only.holds is None
        assert "not measured" in str(only.note)


# --- zones -----------------------------------------------------------------------------------------------


def test_a_turn_inside_a_zone_counts_and_the_mirror_image_is_the_placebo() -> None:
    hours = 24 * 5
    closes = np.full((1, hours), 100.0)
    closes[0, 30], closes[0, 31] = 97.0, 100.0  # the low of day 2 lies in the zone below
    table = pd.DataFrame(
        {
            "symbol": SYMBOLS[0],
            "ts": [stamps(24)[-1], stamps(48)[-1], stamps(72)[-1]],
            "side": "BELOW",
            "zone_rank": pd.array([1, 1, 1], dtype="Int64"),
            "price_low": [96.0, 96.0, 99.95],
            "price_high": [98.0, 98.0, 99.99],
        }
    )
    only = of(zone_turns(inputs(closes, zones=table)), "turn_lift")
    assert "turned inside 1 of 3 zones and 0 mirrored ones (reached: 2 and 1)" in str(only.note)
    assert only.holds is None  # far too few


def test_zones_without_meaning_have_no_lift() -> None:
    hours = 24 * 400
    closes = walk(hours, seed=3)
    midnights = np.arange(23, hours - 24, 24)
    made = [
        {"symbol": SYMBOLS[k], "ts": stamps(int(t) + 1)[-1], "side": "BELOW", "zone_rank": 1,
         "price_low": closes[k, t] * 0.96, "price_high": closes[k, t] * 0.98}
        for k in range(2) for t in midnights
    ]  # fmt: skip
    test = zone_turns(inputs(closes, zones=pd.DataFrame(made)))
    lift = of(test, "turn_lift")
    assert lift.holds is False
    assert lift.low < 1 < lift.high


# --- funding ---------------------------------------------------------------------------------------------


def funding_rows(x: np.ndarray, z: np.ndarray) -> pd.DataFrame:
    """8-hour values [K, slots] as hourly rows, in force from their settlement on."""
    wide = {name: np.repeat(v, 8, axis=1) for name, v in (("funding_rate_8h", x), ("funding_z_score", z))}
    table = rows({**wide, "funding_mean": np.zeros_like(wide["funding_rate_8h"])})
    return table.assign(settle_ts=(table["ts"] - pd.Timedelta(hours=1)).dt.floor("8h"))


def test_each_settlement_is_one_extreme_however_many_hours_it_is_in_force() -> None:
    slots = HOURS // 8
    z = np.zeros((2, slots))
    z[0, [40, 90]], z[1, 60] = 3.0, -4.0
    made = inputs(walk(HOURS), funding=funding_rows(z / 1000, z))
    _, _, sign, new = extremes(made, FundingParameters())
    assert (sign[0] > 0).sum() == 2
    assert (sign[1] < 0).sum() == 1
    assert new.sum(axis=1).tolist() == [slots, slots]


def test_extremes_that_fade_by_a_known_share_are_measured_so() -> None:
    slots = HOURS // 8
    x = np.zeros((2, slots))
    for slot in range(20, slots - 30, 30):
        sign = 1 if (slot // 30) % 2 else -1
        x[:, slot : slot + 25] = sign * 0.002 * 0.5 ** (np.arange(25) / 3)  # halves in a day
    z = np.where(np.abs(x) >= 0.00199, np.sign(x) * 3, 0.0)
    test, after = funding_tests(inputs(walk(HOURS), funding=funding_rows(x, z)), FundingParameters())
    for word in ("positive", "negative"):
        assert of(test, f"excess_left_{word}_8h").value == pytest.approx(0.5 ** (1 / 3))
        assert of(test, f"excess_left_{word}_24h").value == pytest.approx(0.5)
        assert of(test, f"excess_left_{word}_168h").value == pytest.approx(0.5**7)
    halved = of(test, "halved_within_24h")
    assert halved.value == 1.0
    assert np.isnan(halved.low)  # resampling cannot make anything else of it
    assert halved.holds is None
    assert all(f.n == 0 for f in after.findings)


def test_a_planted_fall_after_positive_funding_is_found_with_its_direction() -> None:
    hours = np.arange(800, HOURS - 200, 200)
    steps = 0.001 * np.random.default_rng(0).standard_normal((2, HOURS))
    for t in hours:
        steps[0, t + 1 : t + 25] -= 0.002
    closes = 100 * np.exp(np.cumsum(steps, axis=1))
    z = np.full((2, HOURS // 8), 0.1)
    told = events(
        *(event("FUNDING_ANOMALY", SYMBOLS[0], int(t), data={"funding_z_score": 3.0}) for t in hours),
        event("FUNDING_ANOMALY", SYMBOLS[0], 500, severity="INFO", data={"funding_z_score": 9.0}),
    )
    tests = funding_tests(inputs(closes, funding=funding_rows(z / 1000, z), events=told), FundingParameters())
    fall = of(correct(tests)[1], "return_bp_24h_after_positive")
    assert fall.n == len(hours)
    assert fall.value == pytest.approx(-480, abs=20)
    assert fall.holds is True
    assert of(correct(tests)[1], "return_bp_24h_after_negative").holds is None


# --- pairs -----------------------------------------------------------------------------------------------


def test_what_becomes_of_a_break_is_followed_for_a_week() -> None:
    hours = 24 * 60
    steps = np.zeros((2, hours))
    steps[1, 200:272] = 0.001  # b runs away, then comes back ...
    steps[1, 272:300] = -0.001
    steps[1, 700:800] = 0.001  # ... and runs away for good
    rho = np.full((1, hours), 0.9)
    rho[0, 260:330], rho[0, 760:] = 0.3, 0.3
    table = rows(
        {"return_correlation": rho, "band_low": np.full_like(rho, 0.6), "beta": np.ones_like(rho),
         "break_z": np.zeros_like(rho)},
        key="asset_pair", names=(PAIR,),
    )  # fmt: skip
    told = events(event("CORRELATION_BREAK", PAIR, 271), event("CORRELATION_BREAK", PAIR, 771))
    test = pair_breaks(inputs(100 * np.exp(np.cumsum(steps, axis=1)), correlation=table, events=told))
    assert of(test, "breaks_per_30_days", PAIR).value == 1.0
    assert of(test, "back_in_band", PAIR).value == 0.5
    assert of(test, "spread_reversed", PAIR).value == 0.5
    assert of(test, "spread_reversed").baseline == 0.5


# --- confirmations ---------------------------------------------------------------------------------------


def test_hours_until_the_family_changes_are_those_of_a_slow_loop() -> None:
    family = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], (2, 300), p=[0.1, 0.8, 0.1])
    fast = hours_until_change(family)
    for k in range(2):
        for t in range(300):
            later = [u for u in range(t + 1, 300) if family[k, u] != family[k, t]]
            # a change counts where the row differs from the one before it, which is the first that differs
            assert np.isnan(fast[k, t]) if not later else fast[k, t] == later[0] - t


def regime_rows(family: np.ndarray, active: np.ndarray) -> pd.DataFrame:
    return rows(
        {
            "family": family,
            "long_bias": 0.7 * family + 0.01 * np.random.default_rng(8).standard_normal(family.shape),
            "confidence": np.full(family.shape, 0.75),
            "state": np.where(active, "ACTIVE", "IDLE").astype(object),
        }
    )


def test_returns_that_follow_a_confirmed_direction_are_found_and_others_are_not() -> None:
    rng = np.random.default_rng(2)
    family = np.repeat(rng.choice([-1.0, 0.0, 1.0], (2, HOURS // 48)), 48, axis=1)
    noise = 0.002 * rng.standard_normal((2, HOURS))
    told = confirmation(
        inputs(100 * np.exp(np.cumsum(noise + 0.001 * family, axis=1)), regimes=regime_rows(family, family != 0))
    )
    blind = confirmation(inputs(100 * np.exp(np.cumsum(noise, axis=1)), regimes=regime_rows(family, family != 0)))
    for metric in ("excess_return_bp_bull_24h", "excess_return_bp_bear_24h"):
        assert of(correct([told])[0], metric, SYMBOLS[0]).holds is True
        assert of(correct([blind])[0], metric, SYMBOLS[0]).holds is False


def test_the_rank_correlation_is_scipys_on_one_row_per_day() -> None:
    rng = np.random.default_rng(3)
    family = np.repeat(rng.choice([-1.0, 1.0], (2, HOURS // 24)), 24, axis=1)
    closes = walk(HOURS)
    table = regime_rows(family, np.zeros_like(family, bool))
    test = confirmation(inputs(closes, regimes=table))
    bias = table[table["symbol"] == SYMBOLS[1]]["long_bias"].to_numpy()
    midnights = np.arange(23, HOURS - 24, 24)
    forward = np.log(closes[1, midnights + 24] / closes[1, midnights])
    expected = spearmanr(bias[midnights], forward).statistic
    assert of(test, "rank_correlation_24h", SYMBOLS[1]).value == pytest.approx(expected)


def test_confirmed_families_that_last_longer_have_a_ratio_above_one() -> None:
    family, active = np.ones((2, HOURS)), np.zeros((2, HOURS), bool)
    for t in range(0, HOURS, 100):  # 60 confirmed hours, then 10 hours that are not, then neutral
        active[:, t : t + 60] = True
        family[:, t + 60 : t + 62] = 0
        family[:, t + 62 : t + 72] = 1
        family[:, t + 72 : t + 100] = 0
    ratio = of(confirmation(inputs(walk(HOURS), regimes=regime_rows(family, active))), "persistence_ratio")
    assert ratio.value == pytest.approx(30.5 / 5.5)
    assert ratio.holds is True


# --- budget ----------------------------------------------------------------------------------------------


def budget_inputs(*told: dict[str, object]) -> Inputs:
    return inputs(walk(1440), liquidation=watched(1440, 720), events=events(*told))


def test_rates_are_per_thirty_days_in_which_the_rule_could_fire() -> None:
    told = [event("LIQUIDATION_CASCADE", SYMBOLS[0], t) for t in (800, 900, 1000)]
    silent = event("LIQUIDATION_CASCADE", SYMBOLS[0], 1100, suppressed_reason="WARMING_UP")
    test = alert_budget(budget_inputs(*told, silent))
    assert of(test, "cascades", SYMBOLS[0]).value == 3.0
    assert of(test, "cascades", SYMBOLS[1]).value == 0.0
    whole = of(test, "cascades")
    assert (whole.value, whole.holds) == (pytest.approx(3 * 3 / 2), True)
    assert of(test, "confirmed_regimes").holds is None


def test_an_episode_that_opens_twice_is_seen() -> None:
    twice = event("LIQUIDATION_CASCADE", SYMBOLS[0], 800)
    again = {**event("LIQUIDATION_CASCADE", SYMBOLS[0], 900), "episode_id": twice["episode_id"]}
    assert of(alert_budget(budget_inputs(twice)), "episodes_opened_twice").holds is True
    assert of(alert_budget(budget_inputs(twice, again)), "episodes_opened_twice").holds is False


# --- all together ----------------------------------------------------------------------------------------


def test_claims_are_corrected_together_and_reported_figures_are_not_counted() -> None:
    claim = Finding("A", "x", 1.0, baseline=0.0, target="more", p=0.02, claim=1, n=99)
    reported = Finding("A", "y", 1.0, p=0.0001, n=99)
    alone = correct([Test("t", "", "", [claim, reported])])[0].findings
    assert alone[0].holds is True
    assert alone[1].holds is None
    many = [Test("t", "", "", [claim]), Test("u", "", "", [Finding("A", "x", 1.0, p=0.5, claim=1)] * 2)]
    assert correct(many)[0].findings[0].holds is False
    wrong_side = Finding("A", "x", -1.0, baseline=0.0, target="more", p=0.001, claim=1)
    assert correct([Test("t", "", "", [wrong_side])])[0].findings[0].holds is False


def test_rows_fit_their_table() -> None:
    from regimes_dagster.schemas import SignalEvidence

    period = Window(START, START + pd.Timedelta(days=30))
    tests = [
        Test("t", "", "", [Finding("A", "x", np.inf, holds=None, n=None), Finding("A", "y", 1.0, holds=True, n=3)])
    ]
    checked = SignalEvidence.validate(evidence_rows(tests, period, "hash"))
    assert np.isnan(checked["value"].iloc[0])
    assert checked["holds"].tolist() == [pd.NA, True]
    assert evidence_rows([], period, "").empty
