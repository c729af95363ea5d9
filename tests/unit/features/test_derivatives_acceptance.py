"""Cascades and funding alerts on the recorded markets: what must be caught, and how often alerts are raised."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from regimes_dagster.features.funding_anomaly import compute_funding_metrics
from regimes_dagster.features.liquidation_cascade import compute_liquidation_metrics
from regimes_dagster.features.market_metrics import join_market_metrics
from regimes_dagster.features.result import FeatureResult
from regimes_dagster.parameters import FundingParameters, LiquidationParameters
from regimes_dagster.partitions import Window, utc

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
WINDOW = Window(utc("2023-01-01"), utc("2025-01-01"))
VENUE = "recorded"


@pytest.fixture(scope="module")
def raw(acceptance: Path) -> dict[str, pd.DataFrame]:
    bars = pd.read_parquet(acceptance / "ohlcv.parquet")
    bars["ts"] = (bars["open_time"] + pd.Timedelta(hours=1)).dt.as_unit("us")
    bars = bars.assign(venue=VENUE, quote_volume=bars["volume"] * bars["close"], is_simulated=False)
    liquidations = pd.read_parquet(acceptance / "liquidations.parquet")
    liquidations["ts"] = (liquidations["hour_start"] + pd.Timedelta(hours=1)).dt.as_unit("us")
    liquidations = liquidations.assign(
        venue=VENUE,
        n_events=pd.array([None] * len(liquidations), dtype="Int64"),
        coverage=1.0,
        is_lower_bound=True,
        is_simulated=False,
    )
    funding = pd.read_parquet(acceptance / "funding.parquet")
    funding["ts"] = funding["settled_at"].dt.round("min").dt.as_unit("us")
    funding = funding.assign(venue=VENUE, is_simulated=False, interval_hours=8.0)
    market = join_market_metrics(
        bars,
        funding,
        liquidations,
        window=WINDOW,
        first_hours=bars.groupby("symbol")["ts"].min().to_dict(),
        venues={kind: [VENUE] for kind in ("ohlcv", "funding", "liquidations")},
    )
    return {"market": market, "liquidations": liquidations, "funding": funding}


@pytest.fixture(scope="module")
def cascades(raw: dict[str, pd.DataFrame]) -> FeatureResult:
    return compute_liquidation_metrics(
        raw["market"], LiquidationParameters(), window=WINDOW, liquidations=raw["liquidations"]
    )


@pytest.fixture(scope="module")
def funding(raw: dict[str, pd.DataFrame]) -> FeatureResult:
    return compute_funding_metrics(raw["market"], FundingParameters(), window=WINDOW, funding_rates=raw["funding"])


def alerted(result: FeatureResult) -> pd.DataFrame:
    return result.events[(result.events["phase"] == "OPEN") & result.events["suppressed_reason"].isna()]


def usable_months(result: FeatureResult, symbol: str) -> float:
    rows = result.rows["liquidation_features"]
    mine = rows[(rows["symbol"] == symbol) & ~rows["warming_up"] & (rows["quality"] == "OK")]
    return len(mine) / 720


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_cascades_stay_within_five_episodes_a_month(cascades: FeatureResult, symbol: str) -> None:
    opened = (alerted(cascades)["symbol"] == symbol).sum()
    assert 2 <= opened / usable_months(cascades, symbol) <= 5


@pytest.mark.parametrize(
    ("symbol", "first", "last"),
    [
        *((symbol, "2024-06-28", "2024-06-29") for symbol in SYMBOLS[:2]),
        *((symbol, "2024-07-04", "2024-07-06") for symbol in SYMBOLS),
        *((symbol, "2024-08-05", "2024-08-06") for symbol in SYMBOLS),
    ],
)
def test_a_known_crash_opens_an_alert(cascades: FeatureResult, symbol: str, first: str, last: str) -> None:
    mine = alerted(cascades).query("symbol == @symbol")
    near = mine[(mine["ts"] > utc(first)) & (mine["ts"] <= utc(last))]
    assert len(near)
    assert near["data"].iloc[0]["side_bias"] == "LONG"


def test_the_worst_hour_of_a_crash_is_not_silent_in_a_cooldown(cascades: FeatureResult) -> None:
    """BTC opened at 1.40 on 2024-07-04 14:00; ten hours later 3.84 must escalate."""
    events = cascades.events.query("symbol == 'BTC/USDT'")
    near = events[(events["ts"] > utc("2024-07-04 20:00")) & (events["ts"] <= utc("2024-07-05 12:00"))]
    escalated = near[near["phase"] == "ESCALATE"]
    assert escalated["level"].max() == 3
    assert max(data["severity"] for data in escalated["data"]) == pytest.approx(3.84, abs=0.01)


def test_the_guides_fixed_rule_would_be_true_most_of_the_time(raw: dict[str, pd.DataFrame]) -> None:
    fixed = LiquidationParameters(adaptive=False, windows_h=(4,))
    result = compute_liquidation_metrics(
        raw["market"], fixed, window=WINDOW, liquidations=raw["liquidations"], zones=False
    )
    rows = result.rows["liquidation_features"].query("quality == 'OK'")
    share = rows.groupby("symbol")["is_cascade"].mean()
    assert share.round(2).to_dict() == {"BTC/USDT": 0.67, "ETH/USDT": 0.57, "SOL/USDT": 0.30}


def test_the_hours_that_the_collector_missed_are_unknown(cascades: FeatureResult) -> None:
    rows = cascades.rows["liquidation_features"].query("symbol == 'SOL/USDT'").set_index("ts")
    missed = rows.loc[utc("2024-07-19 11:00") : utc("2024-07-19 12:00")]
    assert missed["total_liq_usd"].isna().all()
    assert set(missed["quality"]) == {"INSUFFICIENT"}
    assert "UNKNOWN" not in set(missed["state"])


def test_zones_exist_in_most_hours_and_surround_the_price(cascades: FeatureResult) -> None:
    zones = cascades.rows["liquidation_zones"]
    assert set(zones["method"]) == {"HOURLY"}
    hours = zones.groupby("symbol")["ts"].nunique()
    assert (hours > 1300).all()
    assert set(zones["side"]) == {"ABOVE", "BELOW"}
    assert zones["dist_sigma"].abs().max() < 40


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_funding_alerts_stay_within_their_budget(funding: FeatureResult, symbol: str) -> None:
    rows = funding.rows["funding_features"].query("symbol == @symbol and quality == 'OK'")
    months = len(rows) / 720
    mine = funding.events.query("symbol == @symbol")
    anomalies = mine[(mine["event_type"] == "FUNDING_ANOMALY") & (mine["phase"] != "CLOSE")]
    assert 0.3 <= (anomalies["severity"] == "WARNING").sum() / months <= 8 / 3
    assert (anomalies["severity"] == "CRITICAL").sum() / months <= 4.5 / 3


def test_a_deviation_of_funding_decays_within_days(funding: FeatureResult) -> None:
    rows = funding.rows["funding_features"]
    assert 4 < rows["half_life_h"].median() < 48
    assert np.isfinite(rows["funding_apr"].dropna()).all()
