"""Grids of thresholds, counting of alerts, and the pages and lines that show them."""

import math

import numpy as np
import pandas as pd
import pytest

from regimes_dagster.calibration.knobs import KNOBS, Knob, knobs_of
from regimes_dagster.calibration.measure import Calibration, Tried
from regimes_dagster.calibration.rates import QUANTILES, Rate, alert_rates, figure_quantiles
from regimes_dagster.calibration.report import html_report, lines, value_text
from regimes_dagster.features.result import FeatureResult, events_frame
from regimes_dagster.parameters import (
    CorrelationParameters,
    FundingParameters,
    LiquidationParameters,
    MultiTimeframeParameters,
    VolatilityParameters,
)
from regimes_dagster.partitions import Window, utc

SECTIONS = {
    "liquidation": LiquidationParameters(),
    "funding": FundingParameters(),
    "volatility": VolatilityParameters(),
    "multi_timeframe": MultiTimeframeParameters(),
    "correlation": CorrelationParameters(),
}


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
def test_every_knob_is_a_key_whose_grid_holds_the_value_in_force(knob: Knob) -> None:
    params = SECTIONS[knob.section]
    grid = knob.grid(params)
    values = [value for value, _ in grid]
    assert values == sorted(values)
    assert len(values) >= 2
    assert [changed for value, changed in grid if value == getattr(params, knob.key)] == [params]
    assert all(getattr(changed, knob.key) == value for value, changed in grid)


def test_a_value_that_contradicts_another_key_is_left_out() -> None:
    knob = next(knob for knob in KNOBS if knob.key == "high_vol_threshold")
    values = [value for value, _ in knob.grid(VolatilityParameters(high_vol_threshold=0.05, explosive_threshold=0.07))]
    assert values == [0.03, 0.04, 0.05, 0.06]


def test_knobs_of_a_section() -> None:
    assert {knob.section for knob in knobs_of(["funding"])} == {"funding"}
    assert len(knobs_of([])) == len(KNOBS)


def event(
    episode: str, phase: str, severity: str, symbol: str = "A/USDT", suppressed: str | None = None
) -> dict[str, object]:
    return {
        "feature": "liquidation_features", "episode_id": episode, "phase": phase, "level": 1,
        "event_type": "LIQUIDATION_CASCADE", "key": symbol, "symbol": symbol, "asset_pair": None,
        "ts": utc("2024-01-02"), "onset_ts": utc("2024-01-02"), "severity": severity, "title": "", "description": "",
        "source": "", "data": {}, "explain": {}, "suppressed_reason": suppressed, "config_hash": "h",
    }  # fmt: skip


def result(*events: dict[str, object], hours: int = 1440, warm: int = 720) -> FeatureResult:
    table = pd.DataFrame(
        {
            "symbol": "A/USDT",
            "severity": np.where(np.arange(hours) < 10, np.nan, 1.0),
            "warming_up": np.arange(hours) < warm,
            "velocity_1h": np.arange(hours, dtype=float),
            "velocity_4h": np.nan,
        }
    )
    return FeatureResult({"liquidation_features": table}, events_frame(events), pd.DataFrame())


def test_alerts_are_counted_once_per_episode_over_the_days_in_which_they_could_fire() -> None:
    found = result(
        event("one", "OPEN", "WARNING"),
        event("one", "ESCALATE", "CRITICAL"),
        event("one", "CLOSE", "CRITICAL"),
        event("two", "OPEN", "WARNING"),
        event("warm", "OPEN", "CRITICAL", suppressed="WARMING_UP"),
    )
    rates = alert_rates(found, "liquidation_features", "LIQUIDATION_CASCADE", "INFO")
    assert rates == {"A/USDT": Rate(opened=2.0, critical=1.0, n=2, days=30.0)}
    assert alert_rates(found, "liquidation_features", "LIQUIDATION_CASCADE", "CRITICAL")["A/USDT"].n == 1
    assert alert_rates(found, "liquidation_features", "FUNDING_ANOMALY", "INFO")["A/USDT"].n == 0


def test_a_symbol_whose_rule_could_never_fire_has_no_rate() -> None:
    assert alert_rates(result(warm=1440), "liquidation_features", "LIQUIDATION_CASCADE", "INFO") == {}


def test_quantiles_are_those_of_the_known_hours() -> None:
    table = figure_quantiles(result().rows["liquidation_features"], "liquidation_features").set_index("figure")
    assert table.loc["velocity_1h", "hours"] == 1440
    assert [table.loc["velocity_1h", str(q)] for q in QUANTILES] == pytest.approx([q * 1439 for q in QUANTILES])
    assert table.loc["velocity_4h", "hours"] == 0
    assert math.isnan(table.loc["velocity_4h", "0.5"])


def calibration(rates: dict[float, dict[str, Rate]]) -> Calibration:
    knob = next(knob for knob in KNOBS if knob.key == "adaptive_quantile")
    tried = Tried(knob, 0.995, "INFO", rates)
    quantiles = {
        "liquidation_features": figure_quantiles(result().rows["liquidation_features"], "liquidation_features")
    }
    return Calibration(Window(utc("2024-01-01"), utc("2024-03-01")), ("A/USDT",), quantiles, (tried,), True)


def test_the_value_in_force_is_marked_and_a_simulated_market_is_named() -> None:
    found = calibration({0.99: {"A/USDT": Rate(9.5, 1.0, 19, 60)}, 0.995: {"A/USDT": Rate(4.5, 0.5, 9, 60)}})
    shown = list(lines(found))
    assert any(line.startswith("   *0.995") and "4.5 (0.5 crit.)" in line for line in shown)
    assert any(line.startswith("    0.99 ") and "9.5 (1.0 crit.)" in line for line in shown)
    html = html_report(found)
    assert "simulated" in html
    assert '<tr class="current"><td>0.995</td>' in html


def test_what_makes_no_difference_is_said_and_not_plotted() -> None:
    same = {"A/USDT": Rate(4.5, 0.5, 9, 60)}
    found = calibration({0.99: same, 0.995: same})
    assert any("no difference" in line for line in lines(found))
    assert "No difference" in html_report(found)
    assert "<svg" not in html_report(found)


def test_a_rule_that_could_never_fire_is_said() -> None:
    assert any("nothing to count" in line for line in lines(calibration({0.995: {}})))


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (200_000.0, "200000"), (0.995, "0.995"), (12, "12")])
def test_values_are_written_as_in_the_file(value: object, text: str) -> None:
    assert value_text(value) == text
