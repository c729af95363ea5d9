"""Evidence and calibration on the recorded market: the reference figures, the asset, and the commands."""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from regimes_dagster.assets.declare import declarer, months
from regimes_dagster.assets.evidence import evidence_assets
from regimes_dagster.calibration.knobs import KNOBS
from regimes_dagster.calibration.measure import calibrate
from regimes_dagster.calibration.rates import alert_rates
from regimes_dagster.calibration.recompute import TABLES, History
from regimes_dagster.cli import run
from regimes_dagster.evidence.measure import Evidence, TooLittleHistoryError, measure, store
from regimes_dagster.evidence.report import html_report, lines
from regimes_dagster.partitions import Window, utc
from regimes_dagster.platform import Platform
from regimes_dagster.resources.warehouse import WarehouseIOManager
from regimes_dagster.settings import Settings

Recorded = tuple[Settings, Platform]
YEAR = Window(utc("2024-01-01"), utc("2025-01-01"))
BOTH_YEARS = Window(utc("2023-01-01"), utc("2025-01-01"))


@pytest.fixture(scope="module")
def evidence(recorded: Recorded) -> Evidence:
    return measure(recorded[1].warehouse, recorded[0], YEAR)


def value(evidence: Evidence, test: str, symbol: str, metric: str) -> Any:
    rows = evidence.rows.set_index(["test", "symbol", "metric"])
    return rows.loc[(test, symbol, metric)]


#: QLIKE on 2024-01-02..12-29: random walk, EWMA 0.80, log-HAR with Garman-Klass, full model.
REFERENCE = {
    "BTC/USDT": (0.76, 0.43, 0.38, 0.28),
    "ETH/USDT": (0.69, 0.43, 0.37, 0.27),
    "SOL/USDT": (0.42, 0.29, 0.24, 0.20),
}


@pytest.mark.parametrize("symbol", REFERENCE)
def test_losses_are_those_of_the_reference_run(evidence: Evidence, symbol: str) -> None:
    models = ("random_walk", "ewma_080", "log_har", "full_model")
    measured = [value(evidence, "06_forecast_qlike", symbol, f"qlike_{model}")["value"] for model in models]
    assert measured == pytest.approx(REFERENCE[symbol], abs=0.015)
    assert value(evidence, "06_forecast_qlike", symbol, "dm_t_against_ewma_080")["holds"]


@pytest.mark.parametrize("symbol", REFERENCE)
def test_cascades_catch_every_known_day_at_five_alerts_a_month(evidence: Evidence, symbol: str) -> None:
    assert value(evidence, "08_cascade_recall", symbol, "recall")["value"] == 1.0
    assert value(evidence, "08_cascade_recall", symbol, "alerts_per_30_days")["value"] <= 5.0
    assert value(evidence, "05_regime_forward_volatility", symbol, "rises_with_regime")["holds"]


def test_no_claim_of_direction_is_made_to_hold(evidence: Evidence) -> None:
    rows = evidence.rows[evidence.rows["metric"].str.contains("return_bp")]
    assert len(rows) > 10
    assert not rows["holds"].fillna(False).any()


def test_measuring_twice_gives_the_same_rows_and_stores_nothing_new(recorded: Recorded, evidence: Evidence) -> None:
    again = measure(recorded[1].warehouse, recorded[0], YEAR)
    pd.testing.assert_frame_equal(evidence.rows, again.rows)
    assert store(recorded[1].warehouse, evidence) == len(evidence.rows)
    assert store(recorded[1].warehouse, again) == 0


def test_nothing_beyond_the_period_enters(recorded: Recorded) -> None:
    half = measure(recorded[1].warehouse, recorded[0], Window(utc("2024-01-01"), utc("2024-07-01")))
    assert half.period.end == utc("2024-07-01")
    assert half.rows["period_end"].eq(utc("2024-07-01")).all()
    days = value(half, "06_forecast_qlike", "BTC/USDT", "qlike_full_model")["n"]
    assert 175 <= days <= 181


def test_a_period_of_days_is_refused_with_what_to_do(recorded: Recorded) -> None:
    with pytest.raises(TooLittleHistoryError, match="regimes backfill"):
        measure(recorded[1].warehouse, recorded[0], Window(utc("2024-01-01"), utc("2024-01-06")))


def test_the_report_shows_every_test_and_verdict(evidence: Evidence) -> None:
    html = html_report(evidence)
    for test in evidence.tests:
        assert f'id="{test.name}"' in html
        assert test.charts, test.name
    assert "does not hold" in html
    assert len(html) < 400_000
    assert len(list(lines(evidence))) > len(evidence.rows)


@pytest.fixture(scope="module")
def history(recorded: Recorded) -> History:
    return History(recorded[1].warehouse, recorded[0], BOTH_YEARS, recorded[0].symbols)


@pytest.mark.parametrize("section", TABLES)
def test_what_is_recomputed_with_the_values_in_force_is_what_is_stored(
    recorded: Recorded, history: History, section: str
) -> None:
    computed = history.compute(section, getattr(recorded[0], section)).events
    stored = recorded[1].warehouse.read("episode_events", where={"feature": TABLES[section]})
    key = ["episode_id", "phase", "level"]
    shown = [*key, "event_type", "symbol", "ts", "severity", "suppressed_reason"]
    left, right = (frame[shown].sort_values(key).reset_index(drop=True) for frame in (computed, stored))
    assert left.fillna("").astype(str).equals(right.fillna("").astype(str))
    assert len(left) > 5


def test_a_period_that_begins_later_is_warmed_up_before_it_counts(recorded: Recorded, history: History) -> None:
    window = Window(utc("2024-06-01"), utc("2024-09-01"))
    late = History(recorded[1].warehouse, recorded[0], window, recorded[0].symbols)
    for section in ("volatility", "liquidation"):
        events = history.compute(section, getattr(recorded[0], section)).events
        inside = set(events[window.mask(events["ts"])]["episode_id"])
        assert set(late.compute(section, getattr(recorded[0], section)).events["episode_id"]) == inside


def test_a_lower_quantile_gives_more_cascades(recorded: Recorded) -> None:
    found = calibrate(
        recorded[1].warehouse, recorded[0], Window(utc("2024-06-01"), utc("2024-09-01")), sections=["liquidation"]
    )
    (quantile,) = [tried for tried in found.tried if tried.knob.key == "adaptive_quantile"]
    for symbol in recorded[0].symbols:
        counts = [by_key[symbol].n for by_key in quantile.rates.values()]
        assert counts == sorted(counts, reverse=True)
        assert counts[0] > 2 * counts[-1]
    floors = next(tried for tried in found.tried if tried.knob.key == "cascade_threshold_usd")
    assert not floors.matters  # without a scale the adaptive limit replaces the floors
    assert {tried.knob.name for tried in found.tried} == {k.name for k in KNOBS if k.section == "liquidation"}


def test_the_rate_in_force_is_the_one_that_the_evidence_reports(
    recorded: Recorded, history: History, evidence: Evidence
) -> None:
    settings, platform = recorded
    result = History(platform.warehouse, settings, YEAR, settings.symbols).compute("liquidation", settings.liquidation)
    rates = alert_rates(result, "liquidation_features", "LIQUIDATION_CASCADE", "INFO")
    for symbol in settings.symbols:
        reported = value(evidence, "17_alert_budget", symbol, "cascades")["value"]
        assert rates[symbol].opened == pytest.approx(reported)


def test_the_asset_stores_the_year_that_ends_with_its_month(recorded: Recorded) -> None:
    settings, platform = recorded
    asset = evidence_assets(declarer(months(settings)))
    result = dg.materialize(
        asset,
        partition_key="2024-09-01",
        resources={"platform": platform, "warehouse": WarehouseIOManager(platform)},
    )
    assert result.success
    rows = platform.warehouse.read("signal_evidence")
    mine = rows[rows["period_end"] == utc("2024-10-01")]
    assert mine["period_start"].eq(utc("2023-10-02")).all()
    assert {"05_regime_forward_volatility", "17_alert_budget"} <= set(mine["test"])
    (event,) = result.get_asset_materialization_events()
    shown = event.materialization.metadata
    assert "does not hold" in str(shown["verdicts"].value)
    first = dg.materialize(
        asset, partition_key="2023-01-01", resources={"platform": platform, "warehouse": WarehouseIOManager(platform)}
    )
    assert first.success


@pytest.fixture
def terminal(recorded: Recorded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The commands in this process, on the recorded database."""
    monkeypatch.setattr("regimes_dagster.settings.load_settings", lambda *_, **__: recorded[0])
    return tmp_path


def test_the_evidence_command_prints_stores_and_writes(
    terminal: Path, recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    page = terminal / "evidence.html"
    assert run(["evidence", "--from", "2024-03", "--to", "2024-05-31", "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert "qlike_full_model" in out
    assert "does not hold" in out
    assert page.read_text().startswith("<!doctype html>")
    rows = recorded[1].warehouse.read("signal_evidence")
    assert (rows["period_end"] == utc("2024-06-01")).sum() > 50


def test_the_calibrate_command_prints_and_writes(terminal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = terminal / "calibrate.html"
    arguments = ["--from", "2024-03", "--to", "2024-04-30", "--section", "funding", "--symbols", "BTC/USDT"]
    assert run(["calibrate", *arguments, "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert "[funding] anomaly_z_threshold" in out
    assert "*2 " in out
    assert "ETH" not in out
    assert "<svg" in page.read_text()


@pytest.mark.parametrize("command", ["evidence", "calibrate"])
def test_a_period_that_ends_before_it_starts_is_refused(
    terminal: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--from", "2024-05-01", "--to", "2024-03-01"]) == 2
    assert "--to must lie after --from" in capsys.readouterr().err


def test_a_symbol_that_is_not_configured_is_refused(terminal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calibrate", "--symbols", "XYZ/USDT"]) == 2
    assert "Configured: BTC/USDT" in capsys.readouterr().err


def test_figures_are_finite_or_unknown(evidence: Evidence) -> None:
    for column in ("value", "ci_low", "ci_high", "baseline"):
        assert not np.isinf(evidence.rows[column]).any()
