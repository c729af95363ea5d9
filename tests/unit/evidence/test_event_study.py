"""Events against random times of the same symbol and hour of the week."""

import numpy as np
import pytest

from regimes_dagster.evidence.event_study import event_study

WEEKS = 52
LENGTH = WEEKS * 168


def places(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(0, 2, n), rng.choice(LENGTH, n, replace=False)


def test_an_outcome_that_only_depends_on_the_hour_of_the_week_is_no_effect() -> None:
    outcome = np.tile(np.arange(168.0), WEEKS)[None].repeat(2, axis=0)
    series = np.zeros(30, dtype=np.int64)
    hour = np.arange(30) * 168 + 160
    found = event_study(outcome, series, hour, np.ones(outcome.shape, bool), "week")
    assert found.after.value == 160.0
    assert found.baseline == 160.0
    assert found.p == 1.0


def test_the_baseline_is_of_the_same_symbol() -> None:
    outcome = np.zeros((2, LENGTH))
    outcome[1] = 7.0
    found = event_study(outcome, np.array([1, 1, 0]), np.array([5, 900, 40]), np.ones(outcome.shape, bool), "symbol")
    assert found.after.value == found.baseline == pytest.approx(14 / 3)


def test_a_planted_effect_is_found_and_none_is_not() -> None:
    rng = np.random.default_rng(5)
    outcome = rng.standard_normal((2, LENGTH))
    series, hour = places(rng, 40)
    everywhere = np.ones(outcome.shape, bool)
    p_without = [event_study(outcome, *places(rng, 40), everywhere, f"s{i}", draws=200).p for i in range(60)]
    assert np.mean(np.array(p_without) <= 0.05) <= 0.15
    outcome[series, hour] += 1.0
    found = event_study(outcome, series, hour, everywhere, "planted")
    assert found.p <= 0.005
    assert found.after.value == pytest.approx(1.0, abs=0.5)
    assert found.after.low > found.baseline_high


def test_random_times_are_drawn_where_the_event_could_have_happened() -> None:
    outcome = np.full((1, LENGTH), 100.0)
    outcome[:, : LENGTH // 2] = 1.0
    eligible = np.zeros(outcome.shape, bool)
    eligible[:, : LENGTH // 2] = True
    found = event_study(outcome, np.array([0, 0]), np.array([3, 500]), eligible, "where")
    assert found.baseline == 1.0


def test_a_sign_turns_events_and_random_times_alike() -> None:
    outcome = np.ones((1, LENGTH))
    sign = np.array([-1.0, -1.0, 1.0])
    found = event_study(
        outcome, np.zeros(3, dtype=int), np.array([1, 200, 900]), np.ones((1, LENGTH), bool), "sign", sign=sign
    )
    assert found.after.value == pytest.approx(-1 / 3)
    assert found.baseline == pytest.approx(-1 / 3)


def test_events_whose_outcome_is_unknown_do_not_count() -> None:
    outcome = np.full((1, LENGTH), np.nan)
    outcome[0, 10] = 4.0
    found = event_study(outcome, np.zeros(2, int), np.array([10, 11]), np.ones((1, LENGTH), bool), "unknown")
    assert (found.n, found.after.value) == (1, 4.0)
    none = event_study(outcome, np.zeros(1, int), np.array([11]), np.ones((1, LENGTH), bool), "unknown")
    assert none.n == 0
    assert np.isnan(none.p)
