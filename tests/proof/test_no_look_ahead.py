"""No cell of any table knows the future: cut off or poisoned after a moment, everything up to it stays the same.

Through the real join and all five features on the recorded market. A run covers the month of the moment and the month
before it, resumed from the stored state at its start, as a live run is; that resuming changes nothing is what
``test_a_year_hour_by_hour.py`` shows.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from regimes_dagster.features.result import FeatureResult
from regimes_dagster.partitions import HOUR, Window, month_start, utc
from tests.proof.memory_platform import (
    FEATURES,
    RAW_LOOKBACK,
    Backfill,
    Inputs,
    compute,
    no_funding_features,
    stored_state,
)
from tests.proof.raw_market import HISTORY, RawMarket
from tests.proof.sameness import inside, result_differences, row_differences, summary

#: All of 2024 after its second month, and again the weeks for which liquidations are recorded.
SPANS = (Window(utc("2024-03-01"), utc("2024-12-31")), Window(utc("2024-06-25"), utc("2024-08-24")))

#: Ends of a day, a week and a month, and the hours beside them.
EDGES = tuple(
    utc(moment) for moment in ("2024-06-30 23:00", "2024-07-01", "2024-07-01 01:00", "2024-07-15", "2024-08-05 16:00")
)

#: How far the poisoned future reaches.
BEYOND = 14 * 24 * HOUR


def random_hours(count: int, seed: int) -> list[pd.Timestamp]:
    rng = np.random.default_rng(seed)
    spans = [SPANS[i % len(SPANS)] for i in range(count)]
    return [span.start + int(rng.integers(1, (span.end - span.start) // HOUR)) * HOUR for span in spans]


def run_until(whole: Backfill, raw: RawMarket, window: Window) -> tuple[pd.DataFrame, dict[str, FeatureResult]]:
    """Join and features of the window from other raw rows; what lies before the window is as it was stored."""
    near = raw.within(Window(window.start - RAW_LOOKBACK, window.end))
    joined = near.joined(window, whole.raw.first_hours())
    rows = pd.concat([whole.market.loc[whole.market["ts"] <= window.start], joined])
    rows = rows.sort_values(["symbol", "ts"], kind="stable", ignore_index=True)
    inputs = Inputs(near, rows, no_funding_features(), whole["volatility_features"].models)
    assert inputs.models is not None
    inputs = replace(inputs, models=inputs.models.loc[inputs.models["fit_ts"] <= window.start])
    found: dict[str, FeatureResult] = {}
    for feature in FEATURES:
        state = stored_state(whole[feature].states, window.start)
        found[feature] = compute(feature, inputs, window, state)
        if feature == "funding_features":
            before = whole[feature].rows[feature]
            scores = pd.concat([before.loc[before["ts"] <= window.start], found[feature].rows[feature]])
            scores = scores.sort_values(["symbol", "ts"], kind="stable", ignore_index=True)
            inputs = replace(inputs, funding_features=scores)
    return joined, found


def touched_until(moment: pd.Timestamp) -> Window:
    """The month of the hour before the moment, with the month before it."""
    return Window(month_start(month_start(moment - HOUR) - HOUR), moment)


def all_differences(
    whole: Backfill, joined: pd.DataFrame, found: dict[str, FeatureResult], window: Window
) -> list[str]:
    said = row_differences("market_metrics", inside(joined, window), inside(whole.market, window))
    for feature in FEATURES:
        said += result_differences(found[feature], whole[feature], window)
    return said


def cut_differences(whole: Backfill, moments: Sequence[pd.Timestamp]) -> list[str]:
    said = []
    for moment in moments:
        window = touched_until(moment)
        joined, found = run_until(whole, whole.raw.until(moment), window)
        assert joined["ts"].max() == moment
        said += [f"cut at {moment}: {text}" for text in all_differences(whole, joined, found, window)]
    return said


def test_cutting_the_input_at_twenty_random_hours_changes_no_earlier_cell(whole: Backfill) -> None:
    said = cut_differences(whole, random_hours(20, seed=20240805))
    assert not said, summary(said)


def test_cutting_the_input_at_the_edges_of_bars_changes_no_earlier_cell(whole: Backfill) -> None:
    said = cut_differences(whole, EDGES)
    assert not said, summary(said)


def poison_differences(whole: Backfill, moments: Sequence[pd.Timestamp]) -> list[str]:
    said = []
    for moment in moments:
        before = touched_until(moment)
        joined, found = run_until(
            whole, whole.raw.poisoned(moment), Window(before.start, min(moment + BEYOND, HISTORY.end))
        )
        said += [f"poisoned after {moment}: {text}" for text in all_differences(whole, joined, found, before)]
        after = Window(moment, moment + BEYOND)
        unharmed = [
            name
            for feature in FEATURES
            for name, rows in whole[feature].rows.items()
            if len(inside(rows, after))
            and not row_differences(name, *(inside(r, after) for r in (found[feature].rows[name], rows)))
        ]
        assert not unharmed, f"the poison after {moment} did not reach {unharmed}: the test proves nothing"
    return said


def test_a_poisoned_future_changes_no_earlier_cell(whole: Backfill) -> None:
    said = poison_differences(whole, [utc("2024-07-04 20:00"), *random_hours(2, seed=1)])
    assert not said, summary(said)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_poisoned_future_changes_no_earlier_cell_at_twenty_random_hours(whole: Backfill) -> None:
    said = poison_differences(whole, random_hours(20, seed=2))
    assert not said, summary(said)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_cutting_the_input_at_two_hundred_random_hours_changes_no_earlier_cell(whole: Backfill) -> None:
    said = cut_differences(whole, random_hours(200, seed=3))
    assert not said, summary(said)
