"""The recorded market of 2023 and 2024 through every layer: what comes out must make sense."""

import json

import jsonschema
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from regimes_dagster.alerts import contract
from regimes_dagster.alerts.body import json_body
from regimes_dagster.alerts.ledger import message_of
from regimes_dagster.partitions import Window, utc
from regimes_dagster.platform import Platform
from regimes_dagster.replay import compare, live_through, scratch_schema
from regimes_dagster.schemas import REGIMES
from regimes_dagster.settings import Settings

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
Recorded = tuple[Settings, Platform]


def query(recorded: Recorded, sql: str) -> list[sa.Row]:
    with recorded[1].engine.connect() as connection:
        return list(connection.execute(sa.text(sql)))


def test_the_guides_query_answers_newest_first(recorded: Recorded) -> None:
    rows = query(recorded, "SELECT * FROM market_metrics WHERE symbol='BTC/USDT' ORDER BY ts DESC LIMIT 10")
    assert len(rows) == 10
    assert list(rows[0]._fields[:3]) == ["symbol", "ts", "open"]
    assert utc(rows[0].ts) == utc("2025-01-01")
    assert rows[0].close == pytest.approx(93576.0, rel=0.01)


def test_every_month_of_every_symbol_is_there_and_gaps_stay_gaps(recorded: Recorded) -> None:
    counts = query(
        recorded,
        "SELECT symbol, count(*) AS hours, count(*) FILTER (WHERE close IS NULL) AS missing FROM market_metrics "
        "GROUP BY symbol ORDER BY symbol",
    )
    assert [(row.symbol, row.hours, row.missing) for row in counts] == [(s, 17544, 1) for s in SYMBOLS]
    gap = query(recorded, "SELECT DISTINCT ts FROM market_metrics WHERE close IS NULL")
    assert [utc(row.ts) for row in gap] == [utc("2023-03-24 14:00")]  # the bar that opened at 13:00
    assert query(recorded, "SELECT 1 FROM ohlcv WHERE ts = '2023-03-24 14:00+00'") == []


def test_unknown_liquidations_are_null_and_not_zero(recorded: Recorded) -> None:
    rows = query(
        recorded,
        "SELECT ts, long_liq_usd, liq_coverage FROM market_metrics WHERE symbol = 'SOL/USDT' "
        "AND ts IN ('2024-07-19 11:00+00', '2024-07-19 12:00+00')",
    )
    assert [(row.long_liq_usd, row.liq_coverage) for row in rows] == [(None, 0.0), (None, 0.0)]


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_crash_of_august_2024_is_explosive_or_extreme(recorded: Recorded, symbol: str) -> None:
    rows = query(
        recorded,
        f"SELECT regime FROM volatility_features WHERE symbol = '{symbol}' "
        "AND ts > '2024-08-05' AND ts <= '2024-08-06'",
    )
    assert {row.regime for row in rows} & {"EXPLOSIVE", "EXTREME"}


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_forward_volatility_rises_strictly_over_the_regimes_that_occur(recorded: Recorded, symbol: str) -> None:
    warehouse = recorded[1].warehouse
    regime = warehouse.read("volatility_features", symbols=[symbol], columns=["ts", "regime"]).set_index("ts")["regime"]
    close = warehouse.read("market_metrics", symbols=[symbol], columns=["ts", "close"]).set_index("ts")["close"]
    squared = np.log(close).diff() ** 2
    forward = np.sqrt(squared.rolling(24).sum().shift(-24))
    means = forward.groupby(regime).mean()
    occurring = [name for name in REGIMES if name in means.index]
    assert len(occurring) >= 3
    assert means[occurring].is_monotonic_increasing, means[occurring]


@pytest.mark.parametrize(("symbol", "expected"), list(zip(SYMBOLS, (0.28, 0.27, 0.20), strict=True)))
def test_the_forecast_is_as_good_as_measured_before(recorded: Recorded, symbol: str, expected: float) -> None:
    warehouse = recorded[1].warehouse
    forecast = warehouse.read("volatility_features", symbols=[symbol], columns=["ts", "vol_forecast_24h"]).set_index(
        "ts"
    )
    close = warehouse.read("market_metrics", symbols=[symbol], columns=["ts", "close"]).set_index("ts")["close"]
    squared = np.log(close).diff() ** 2
    days = pd.date_range("2024-01-02", "2024-12-29", tz="UTC")
    realised = squared.rolling(24).sum().reindex(days + pd.Timedelta(days=1)).to_numpy()
    x = realised / forecast["vol_forecast_24h"].reindex(days).to_numpy() ** 2
    qlike = float(np.nanmean(x - np.log(x) - 1))
    assert qlike == pytest.approx(expected, abs=0.03)


def test_regime_changes_are_recorded_as_alerts_once(recorded: Recorded) -> None:
    rows = query(
        recorded,
        "SELECT count(*) AS n, count(DISTINCT alert_id) AS ids, count(*) FILTER (WHERE data ? 'regime') AS told "
        "FROM alerts WHERE event_type = 'VOLATILITY_REGIME_CHANGE'",
    )[0]
    assert rows.n == rows.ids == rows.told > 100
    assert query(recorded, "SELECT 1 FROM alert_deliveries") == []


def test_living_through_a_month_edge_hour_by_hour_gives_what_the_backfill_gave(recorded: Recorded) -> None:
    settings, platform = recorded
    window = Window(utc("2024-07-31"), utc("2024-08-02"))
    with scratch_schema(platform.engine, "replay_edge", window.start, keep=False):
        live_through(settings, window, "replay_edge")
        differences = compare(platform.engine, "replay_edge", window)
    assert {found.table for found in differences} >= {"market_metrics", "volatility_features", "alerts"}
    rows = {found.table: found.rows for found in differences}
    hourly = ("market_metrics", "volatility_features", "liquidation_features", "funding_features", "regimes")
    assert {rows[name] for name in (*hourly, "correlation_features")} == {48 * 3}
    assert rows["liquidation_zones"] > 0
    assert [found for found in differences if not found.same] == []


def test_every_recorded_alert_keeps_the_payload_contract_and_none_is_posted(recorded: Recorded) -> None:
    schemas = {event: jsonschema.Draft202012Validator(contract.json_schema(event)) for event in contract.DATA}
    seen = set()
    for row in query(recorded, "SELECT * FROM alerts"):
        body = json.loads(json_body(message_of(row)))
        schemas[row.event_type].validate(body)
        seen.add(row.event_type)
    assert {"VOLATILITY_REGIME_CHANGE", "FUNDING_ANOMALY", "FUNDING_REVERSAL", "REGIME_CONFIRMED"} <= seen
    assert query(recorded, "SELECT 1 FROM alert_deliveries") == []
    assert query(recorded, "SELECT DISTINCT suppressed_reason FROM alerts WHERE suppressed_reason IS NULL") == []
