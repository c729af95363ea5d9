"""What became of the price after an hour, and only what was known by the end of the period."""

import numpy as np
import pytest

from tests.unit.evidence.made_inputs import SYMBOLS, event, events, inputs, market, rows, walk

HOURS = 24 * 60


def test_forward_returns_and_volatilities_are_those_of_a_slow_loop() -> None:
    closes = walk(HOURS)
    made = inputs(closes)
    forward, ratio = made.forward_rv(), made.forward_rv_ratio()
    returns = np.diff(np.log(closes), axis=1, prepend=np.nan)
    trailing = np.array([[np.sqrt((row[t - 23 : t + 1] ** 2).sum()) for t in range(24, HOURS)] for row in returns])
    for k in range(2):
        for t in (100, 800, HOURS - 26):
            assert made.forward_return(24)[k, t] == pytest.approx(np.log(closes[k, t + 24] / closes[k, t]))
            assert made.forward_return(-24)[k, t] == pytest.approx(np.log(closes[k, t] / closes[k, t - 24]))
            assert forward[k, t] == pytest.approx(np.sqrt((returns[k, t + 1 : t + 25] ** 2).sum()))
        usual = np.median(trailing[k, 900 - 24 - 719 : 900 - 24 + 1])
        assert ratio[k, 900] == pytest.approx(forward[k, 900] / usual)


def test_an_outcome_that_lies_beyond_the_period_is_unknown() -> None:
    made = inputs(walk(HOURS))
    assert np.isnan(made.forward_rv()[:, -24:]).all()
    assert np.isfinite(made.forward_rv()[:, -25]).all()
    assert np.isnan(made.forward_return(4)[:, -4:]).all()


def test_a_return_across_a_change_of_venue_is_unknown() -> None:
    closes = walk(100)
    bars = market(closes)
    bars.loc[(bars["symbol"] == SYMBOLS[0]) & (bars.index >= 50), "ohlcv_venue"] = "other"
    made = inputs(closes, market=bars)
    assert np.isnan(made.forward_return(4)[0, 46:50]).all()
    assert np.isfinite(made.forward_return(4)[0, 50])
    assert np.isfinite(made.forward_return(4)[1, :90]).all()


def test_hours_and_events_are_found_in_their_place() -> None:
    values = np.arange(2 * 100.0).reshape(2, 100)
    table = rows({"figure": values, "word": np.where(values % 2 == 0, "even", "odd")})
    made = inputs(
        walk(100),
        volatility=table,
        events=events(event("A", SYMBOLS[1], 7), event("A", SYMBOLS[0], 9, suppressed_reason="COOLDOWN")),
    )
    assert (made.column(table, "figure") == values).all()
    assert (made.codes(table, "word", ("odd",)) == np.where(values % 2 == 0, -1, 0)).all()
    opened = made.opened("A")
    assert opened[["k", "t"]].to_numpy().tolist() == [[1, 7]]
