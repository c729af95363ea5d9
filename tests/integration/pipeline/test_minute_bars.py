"""Who leads, through the real assets: minutes in, a name or a reason out, the same live and looked back on.

History: the test itself was right from the start and never got a minute: nothing fetched them and nothing passed them
on, so that every row said NONE.
"""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from regimes_dagster.commands.backfill import run_months
from regimes_dagster.definitions import build_defs
from regimes_dagster.leader_inputs import leader_inputs
from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.platform import Platform
from regimes_dagster.purge import purge_rows
from regimes_dagster.settings import Settings
from regimes_dagster.sources.coverage import final_edge
from regimes_dagster.sources.frames import table_frame
from regimes_dagster.sources.protocol import Batch, Kind, Outage, Source
from regimes_dagster.sources.registry import build_sources
from tests.integration.pipeline.conftest import MakeSettings

FIRST = utc("2024-01-20")
DAYS = 45
MINUTES = DAYS * 1440
NOW = utc("2024-02-20 05:01:30")
FEBRUARY = ("2024-02-01", "2024-02-01")
#: What the leader needs; the other assets and their checks have tests of their own.
ASSETS = ("ohlcv", "minute_bars", "market_metrics", "correlation_features")
LEADER = ["asset_pair", "ts", "leader", "leader_reason", "lead_lag_s", "lead_p"]
PAIR = "BTC/USDT/ETH/USDT"


class PlantedMinutes:
    """Bitcoin moves, Ether follows two minutes later with a part of it, Solana goes its own way."""

    name = "simulated"
    kinds = frozenset({"minute_bars"})
    always_read = False

    def __init__(self, *, shuffled: bool = False, fails: str = "", until: pd.Timestamp | None = None) -> None:
        rng = np.random.default_rng(11)
        btc, eth, sol = rng.normal(0, 0.0005, (3, MINUTES))
        eth = eth + 0.8 * btc
        eth[2:] += 0.3 * btc[:-2]
        if shuffled:
            eth = rng.permutation(eth)
        self.moves = {"BTC/USDT": btc, "ETH/USDT": eth, "SOL/USDT": sol}
        self.fails = fails
        self.until = until
        self.asked: list[Window] = []

    def fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        assert kind == "minute_bars"
        self.asked.append(window)
        if symbol == self.fails:
            raise Outage(self.name, symbol, "planted outage; it is tried again in the next run")
        ends = pd.date_range(FIRST + pd.Timedelta(minutes=1), periods=MINUTES, freq="min", unit="us")
        wanted = window.until(min(final_edge(now), self.until or now))
        kept = np.asarray((ends > wanted.start) & (ends <= wanted.end))
        close = 100 * np.exp(np.cumsum(self.moves[symbol]))[kept]
        columns = {"venue": self.name, "symbol": symbol, "ts": ends[kept], "close": close, "volume": 1.0}
        return Batch({"minute_bars": table_frame("minute_bars", columns | {"is_simulated": True})}, (wanted,))


Run = Callable[..., Any]


def platform_with(settings: Settings, minutes: PlantedMinutes) -> Platform:
    def sources(settings: Settings, kind: Kind) -> Sequence[Source]:
        return [minutes] if kind == "minute_bars" else build_sources(settings, kind)

    return Platform(settings, sources=sources)


def run_at(platform: Platform, instance: Any, now: pd.Timestamp, months: tuple[str, str] = FEBRUARY) -> Any:
    platform.clock.declare(now, "test")
    definitions = build_defs(platform.settings, platform)
    declared = {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}
    outcome = run_months(definitions, instance, *months, assets=[name for name in ASSETS if name in declared])
    assert outcome.success, outcome.error
    return outcome


def leaders(platform: Platform, day: str | None = None, pair: str = PAIR) -> pd.DataFrame:
    rows = platform.warehouse.read("correlation_features", columns=LEADER, where={"asset_pair": pair})
    if day is not None:
        rows = rows[(rows["ts"] - HOUR).dt.floor("D") == utc(day)]
    return rows.reset_index(drop=True)


def one(rows: pd.DataFrame) -> dict[str, Any]:
    """The one result that all hours of a day share."""
    distinct = rows.drop(columns=["ts"]).drop_duplicates()
    assert len(distinct) == 1, distinct
    return dict(distinct.iloc[0])


def test_a_planted_lead_is_named_with_its_lag_from_the_day_on_that_it_can_be_known(
    make_settings: MakeSettings, instance: Any
) -> None:
    platform = platform_with(make_settings(), PlantedMinutes())
    run_at(platform, instance, NOW, ("2024-01-01", "2024-02-01"))
    found = one(leaders(platform, "2024-02-20"))
    assert found["leader"] == "BTC/USDT"
    assert found["lead_lag_s"] == 120
    assert found["lead_p"] < 0.01
    assert pd.isna(found["leader_reason"])
    assert one(leaders(platform, "2024-02-05"))["leader_reason"] == "no minute bars"
    assert "too few minute bars" in one(leaders(platform, "2024-02-10"))["leader_reason"]
    assert "are needed" in one(leaders(platform, "2024-02-14"))["leader_reason"]
    others = leaders(platform, "2024-02-20", "BTC/USDT/SOL/USDT")
    assert one(others)["leader"] == "NONE"
    assert len(leaders(platform, "2024-02-20")) == 5


def test_shuffled_minutes_have_no_leader_and_say_why(make_settings: MakeSettings, instance: Any) -> None:
    platform = platform_with(make_settings(), PlantedMinutes(shuffled=True))
    run_at(platform, instance, NOW)
    found = one(leaders(platform, "2024-02-20"))
    assert found["leader"] == "NONE"
    assert found["leader_reason"] == "no lagged correlation beyond chance"
    assert found["lead_p"] > 0.01


def test_switched_off_there_is_no_leader_and_nothing_is_fetched(make_settings: MakeSettings, instance: Any) -> None:
    settings = make_settings(REGIMES_SOURCES__MINUTE_BARS="[]")
    planted = PlantedMinutes()
    platform = platform_with(settings, planted)
    run_at(platform, instance, NOW)
    found = one(leaders(platform, "2024-02-20"))
    assert (found["leader"], found["leader_reason"]) == ("NONE", "no minute bars")
    assert not planted.asked
    assert platform.warehouse.read("minute_bars").empty


def test_a_day_is_tested_in_its_first_run_and_later_runs_read_no_minutes(
    make_settings: MakeSettings, instance: Any
) -> None:
    settings = make_settings()
    platform = platform_with(settings, PlantedMinutes())
    run_at(platform, instance, utc("2024-02-20 01:01:30"))
    before = leaders(platform)
    window = Window(utc("2024-02-01"), utc("2024-02-20 02:00"))
    bars, recorded = leader_inputs(platform.warehouse, settings, window)
    assert bars is None
    assert recorded is not None
    assert len(recorded) == 3 * 20
    run_at(platform, instance, utc("2024-02-20 02:01:30"))
    after = leaders(platform)
    pd.testing.assert_frame_equal(after[after["ts"] <= before["ts"].max()].reset_index(drop=True), before)
    assert one(after[after["ts"] > utc("2024-02-20")])["leader"] == "BTC/USDT"
    bars, _ = leader_inputs(platform.warehouse, settings, Window(window.start, utc("2024-02-21 01:00")))
    assert bars is not None
    assert bars["ts"].min() > utc("2024-02-07")


def test_lived_hour_by_hour_and_looked_back_on_a_month_later_the_leaders_are_the_same(
    make_settings: MakeSettings, instance: Any
) -> None:
    planted = PlantedMinutes()
    platform = platform_with(make_settings(), planted)
    for moment in ("2024-02-19 23:01:30", "2024-02-20 00:01:30", "2024-02-20 03:01:30", "2024-02-21 02:01:30"):
        run_at(platform, instance, utc(moment))
    lived = leaders(platform)
    assert one(lived[(lived["ts"] - HOUR).dt.floor("D") == utc("2024-02-20")])["leader"] == "BTC/USDT"
    platform.clock.declare(utc("2024-03-04 03:31"), "test")
    purge_rows(platform.tables_engine, platform.clock.now())
    assert platform.warehouse.oldest("minute_bars")["ts"].iloc[0] >= utc("2024-02-19 03:31")
    run_at(platform, instance, utc("2024-03-04 04:01:30"))
    again = leaders(platform)
    pd.testing.assert_frame_equal(again[again["ts"] <= lived["ts"].max()].reset_index(drop=True), lived)


def test_minutes_that_come_late_are_tested_when_they_are_there(make_settings: MakeSettings, instance: Any) -> None:
    settings = make_settings()
    down = PlantedMinutes(fails="ETH/USDT", until=utc("2024-02-01"))
    run_at(platform_with(settings, down), instance, NOW)
    platform = platform_with(settings, PlantedMinutes())
    assert leaders(platform, "2024-02-20")["leader"].unique().tolist() == ["NONE"]
    run_at(platform, instance, utc("2024-02-21 01:01:30"))
    assert one(leaders(platform, "2024-02-21"))["leader"] == "BTC/USDT"


def test_what_was_purged_is_not_fetched_again(make_settings: MakeSettings, instance: Any) -> None:
    planted = PlantedMinutes()
    platform = platform_with(make_settings(), planted)
    run_at(platform, instance, NOW)
    assert {window.start for window in planted.asked} == {utc("2024-02-06")}
    stored = platform.warehouse.read("minute_bars")
    assert len(stored) == 3 * 14 * 1440
    purge_rows(platform.tables_engine, NOW)
    left = platform.warehouse.read("minute_bars")
    assert left["ts"].min() >= NOW - pd.Timedelta(days=14)
    planted.asked.clear()
    run_at(platform, instance, NOW + HOUR)
    assert planted.asked == []
    pd.testing.assert_frame_equal(platform.warehouse.read("minute_bars"), left)


def test_a_symbol_that_fails_is_named_and_the_others_are_stored(make_settings: MakeSettings, instance: Any) -> None:
    platform = platform_with(make_settings(), PlantedMinutes(fails="SOL/USDT"))
    outcome = run_at(platform, instance, NOW)
    assert any("minute_bars" in check and "SOL/USDT" in check and "planted" in check for check in outcome.failed_checks)
    assert set(platform.warehouse.read("minute_bars")["symbol"]) == {"BTC/USDT", "ETH/USDT"}
    assert one(leaders(platform, "2024-02-20"))["leader"] == "BTC/USDT"
    assert "too few" in one(leaders(platform, "2024-02-20", "BTC/USDT/SOL/USDT"))["leader_reason"]


def test_the_simulated_market_has_minutes_by_itself_and_no_leader(make_settings: MakeSettings, instance: Any) -> None:
    settings = make_settings()
    assert settings.sources.of("minute_bars") == ("simulated",)
    platform = Platform(settings)
    run_at(platform, instance, NOW)
    bars = platform.warehouse.read("minute_bars")
    assert bars["is_simulated"].all()
    assert bars["ts"].max() == utc("2024-02-20")
    found = one(leaders(platform, "2024-02-20"))
    assert found["leader"] == "NONE"
    assert found["lead_p"] >= 0
    record = instance.fetch_materializations(dg.AssetKey("minute_bars"), limit=1).records[0]
    assert record.partition_key == "2024-02-01"


@pytest.mark.parametrize("month", ["2024-01-01"])
def test_an_old_month_neither_asks_nor_forgets(make_settings: MakeSettings, instance: Any, month: str) -> None:
    planted = PlantedMinutes()
    platform = platform_with(make_settings(), planted)
    run_at(platform, instance, NOW)
    stored = platform.warehouse.read("minute_bars")
    planted.asked.clear()
    run_at(platform, instance, NOW, (month, month))
    assert planted.asked == []
    pd.testing.assert_frame_equal(platform.warehouse.read("minute_bars"), stored)
