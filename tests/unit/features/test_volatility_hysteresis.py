"""The regime's hysteresis: up at once, down after three hours below the margin, held through short gaps."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes_dagster.features.volatility_hysteresis import REGIME_NAMES, Track, edges_of, track_regime
from regimes_dagster.parameters import VolatilityParameters

PARAMS = VolatilityParameters()
EDGES = edges_of("BTC/USDT", PARAMS)
NAN = float("nan")
LETTERS = {-1: "?", 0: "S", 1: "H", 2: "X", 3: "E"}


def track(values: list[float], stored: dict[str, Any] | None = None, first: int = 1000) -> Track:
    return track_regime(np.arange(first, first + len(values)), np.array(values, dtype=float), EDGES, PARAMS, stored)


def letters(values: list[float], stored: dict[str, Any] | None = None) -> str:
    return "".join(LETTERS[int(r)] for r in track(values, stored).regime)


def test_the_regime_rises_at_once() -> None:
    assert letters([0.02, 0.06, 0.11]) == "HXE"


def test_the_regime_falls_only_after_three_hours_below_the_margin() -> None:
    assert letters([0.06, 0.045, 0.045, 0.045, 0.045]) == "XXXXX", "0.045 is not below 0.8 x 0.05"
    assert letters([0.06, 0.039, 0.039, 0.039, 0.02]) == "XXXHH"
    assert letters([0.06, 0.039, 0.039, 0.041, 0.039, 0.039, 0.039]) == "XXXXXXH"


def test_a_fall_through_two_edges_takes_both_only_where_both_are_undercut() -> None:
    assert letters([0.12, 0.03, 0.03, 0.03]) == "EEEH"
    assert letters([0.12, 0.045, 0.045, 0.045, 0.045]) == "EEEXX"
    assert letters([0.12, 0.07, 0.07, 0.03, 0.03, 0.03]) == "EEEXXH"


def test_three_missing_hours_hold_the_regime_and_its_count() -> None:
    assert letters([0.06, 0.03, 0.03, NAN, NAN, NAN, 0.03]) == "XXXXXXH"


def test_a_fourth_missing_hour_makes_it_unknown_and_the_edges_alone_set_it_afterwards() -> None:
    assert letters([0.06, NAN, NAN, NAN, NAN, 0.045]) == "XXXX?H"


def test_it_is_unknown_before_the_first_valid_hour() -> None:
    assert letters([NAN, NAN, 0.045, 0.06]) == "??HX"


def test_a_regime_knows_when_it_was_entered_and_what_it_came_from() -> None:
    result = track([0.02, 0.06, 0.06, NAN, NAN, NAN, NAN, 0.06, 0.12])
    assert result.entered.tolist() == [1000, 1001, 1001, 1001, 1001, 1001, 0, 1007, 1008]
    assert [LETTERS[int(p)] for p in result.previous] == ["?", "H", "H", "H", "H", "H", "?", "?", "X"]
    assert [LETTERS[int(p)] for p in result.previous_before] == ["?", "?", "H", "H", "H", "H", "H", "?", "?"]


def test_a_stored_state_with_a_missing_part_is_refused() -> None:
    with pytest.raises(ValueError, match="recomputing the month before"):
        track([0.02], {"regime": "STABLE"})


def reference(values: list[float]) -> list[str]:
    """Hour by hour, one trigger per edge."""
    on: list[bool] | None = None
    runs, gap, out = [0, 0, 0], 0, []
    for value in values:
        if np.isnan(value):
            gap += 1
            if gap > 3:
                on = None
        elif on is None:
            gap, on = 0, [value > edge for edge in EDGES]
            runs = [int(value < 0.8 * edge) for edge in EDGES]
        else:
            gap = 0
            for e, edge in enumerate(EDGES):
                runs[e] = runs[e] + 1 if value < 0.8 * edge else 0
                if value > edge:
                    on[e] = True
                elif runs[e] >= 3:
                    on[e] = False
        out.append("UNKNOWN" if on is None else REGIME_NAMES[sum(on)])
    return out


# Values that lie in every band, its dead part included, in runs; NaN is a missing hour.
volatilities = st.lists(
    st.tuples(st.sampled_from([0.005, 0.009, 0.02, 0.03, 0.045, 0.06, 0.085, 0.12, NAN]), st.integers(1, 5)),
    min_size=1,
    max_size=20,
).map(lambda runs: [value for value, n in runs for _ in range(n)])


@given(values=volatilities)
@settings(max_examples=300, deadline=None)
def test_the_vectorised_track_equals_the_reference(values: list[float]) -> None:
    result = track(values)
    names = [*REGIME_NAMES, "UNKNOWN"]
    assert [names[int(r)] for r in result.regime] == reference(values)


@given(values=volatilities, cut=st.integers(0, 99))
@settings(max_examples=300, deadline=None)
def test_cutting_anywhere_and_resuming_from_json_changes_nothing(values: list[float], cut: int) -> None:
    cut = min(cut, len(values) - 1)
    whole = track(values)
    state = None if cut == 0 else json.loads(json.dumps(track(values[:cut]).state(cut - 1)))
    rest = track(values[cut:], state, first=1000 + cut)
    for name in ("regime", "previous", "previous_before", "entered"):
        assert getattr(rest, name).tolist() == getattr(whole, name)[cut:].tolist(), name
    states = [whole.state(t) for t in range(cut, len(values))]
    assert [rest.state(t) for t in range(len(values) - cut)] == states
