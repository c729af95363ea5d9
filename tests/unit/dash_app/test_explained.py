"""Explanations as the features really write them: every one has a chart with the limit in force, and units."""

import json

import pandas as pd
import pytest

from bench.features import _features, _market
from dash_app.components import explained
from dash_app.tree import text_of
from regimes_dagster.schemas import EVENT_TYPES, TABLES
from tests.e2e.market import frames


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    """Every event of a simulated year of two symbols, computed by the features themselves."""
    found = [compute().events for compute in _features(_market(2, 12)).values()]
    return pd.concat(found, ignore_index=True)


def test_every_kind_of_event_occurs(events):
    assert set(EVENT_TYPES) == set(events["event_type"])


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_the_chart_of_every_event_has_its_column_and_the_limit_in_force(events, event_type):
    own = events[events["event_type"] == event_type]
    limits: list[tuple[float, ...]] = []
    for row in own.to_dict("records"):
        column, factor, found = explained.in_force(event_type, row["explain"], row["data"])
        assert column in TABLES[row["feature"]].to_schema().columns
        assert factor > 0
        limits.append(found)
    if event_type != "FUNDING_REVERSAL":  # an unwinding has no level of its own
        assert all(limits)


def test_a_cascade_is_drawn_against_the_limit_it_passed_not_the_configured_floor(events):
    own = events[(events["event_type"] == "LIQUIDATION_CASCADE") & (events["phase"] == "OPEN")]
    adaptive = 0
    for row in own.to_dict("records"):
        column, _, (limit,) = explained.in_force("LIQUIDATION_CASCADE", row["explain"], row["data"])
        if column == "velocity_1h":
            assert row["data"]["velocity_usd_per_hour"] > limit
            assert limit == pytest.approx(row["data"]["critical_velocity_usd_per_hour"])
            adaptive += limit != row["explain"]["thresholds"]["critical_velocity"]
    assert adaptive, "the symbols' own quantiles were in force"


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_figure_of_an_explanation_is_shown(events, event_type):
    row = events[events["event_type"] == event_type].iloc[-1]
    lists, tables = explained.blocks(event_type, row["explain"])
    shown = text_of(["div", {}, *lists, *tables])

    def walk(part: dict) -> None:  # type: ignore[type-arg]
        for name, value in part.items():
            if isinstance(value, dict):
                walk(value)
            else:
                assert explained.label(name) in shown
                assert explained.written(name, value, event_type) in shown

    walk(row["explain"])
    json.dumps([lists, tables], allow_nan=False)


@pytest.mark.parametrize(
    ("name", "value", "event_type", "text"),
    [
        ("velocity_limit", 3_891_827.0, "LIQUIDATION_CASCADE", "$3.89M/h"),
        ("usd_floor", 500_000.0, "LIQUIDATION_CASCADE", "$500k"),
        ("coverage", 1.0, "LIQUIDATION_CASCADE", "100.0 %"),
        ("volatility_24h", 0.031, "LIQUIDATION_CASCADE", "3.10 %"),
        ("volatility_threshold", 0.0003, "FUNDING_ANOMALY", "+3.00 bp"),
        ("funding_rate_8h", 0.00084655, "FUNDING_ANOMALY", "+8.47 bp"),
        ("critical_apr", 0.3, "FUNDING_ANOMALY", "30.0 %"),
        ("change_24h_pp", 0.07388, "FUNDING_REVERSAL", "+0.074 pp"),
        ("break_z", -2.5, "CORRELATION_BREAK", "−2.50σ"),
        ("upper_edge_of_STABLE", 0.01, "VOLATILITY_REGIME_CHANGE", "1.00 %"),
        ("cooldown_h", 6, "VOLATILITY_REGIME_CHANGE", "6 h"),
        ("estimator", "yang_zhang", "VOLATILITY_REGIME_CHANGE", "yang_zhang"),
        ("is_cascade", True, "LIQUIDATION_CASCADE", "yes"),
        ("predicted_rate", None, "FUNDING_ANOMALY", "–"),
    ],
)
def test_a_figure_carries_the_unit_of_its_name(name, value, event_type, text):
    assert explained.written(name, value, event_type) == text


@pytest.mark.parametrize("explain", [None, {}, [], "text", {"thresholds": None}, {"terms": {"windows": {}}}])
def test_an_explanation_of_another_shape_breaks_nothing(explain):
    for event_type in (*EVENT_TYPES, "DATA_GAP"):
        explained.in_force(event_type, explain, None)
        explained.blocks(event_type, explain)


def test_the_invented_market_explains_itself_in_the_same_shapes(events):
    """Browser tests on shapes that no feature writes would prove nothing."""
    invented = frames(["BTC/USDT", "ETH/USDT"], pd.Timestamp("2024-06-01", tz="UTC").to_pydatetime(), 24 * 100)[
        "alerts"
    ]
    for event_type in invented["event_type"].unique():
        real = events[events["event_type"] == event_type].iloc[-1]["explain"]
        own = invented[invented["event_type"] == event_type].iloc[-1]["explain"]
        assert set(own) == set(real), event_type
        for group, part in own.items():
            if isinstance(part, dict):
                assert set(part) <= set(real[group]), (event_type, group)
