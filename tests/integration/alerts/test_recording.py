"""What is recorded and what is posted: decisions 13, 23 and 24 over a real database."""

import threading
from datetime import timedelta

import pandas as pd
import pytest
import sqlalchemy as sa

from regimes_dagster import tables
from regimes_dagster.alerts.records import record_window
from regimes_dagster.features.episodes import EpisodeRule, run_episodes
from regimes_dagster.partitions import Window, utc
from tests.servers.receivers import Receiver

NOW = utc("2026-03-15T13:01")
HOUR = timedelta(hours=1)


def event(episode: str, phase: str, ts: pd.Timestamp, level: int = 1, **more) -> dict:
    return {
        "feature": "volatility_features",
        "episode_id": episode,
        "phase": phase,
        "level": level,
        "event_type": "LIQUIDATION_CASCADE",
        "key": "BTC/USDT",
        "symbol": "BTC/USDT",
        "asset_pair": None,
        "ts": ts.to_pydatetime(),
        "onset_ts": more.pop("onset", ts).to_pydatetime(),
        "severity": "CRITICAL",
        "title": "Liquidation Cascade Detected - BTC/USDT",
        "description": "Large liquidation event with velocity 375000 USD/h",
        "source": "CASCADE",
        "data": {"total_liquidated_usd": 1.5e6, "severity": float("nan")},
        "explain": {"terms": [1, 2]},
        "suppressed_reason": None,
        "config_hash": "0" * 16,
        **more,
    }


class Platform:
    """The tables that recording reads, and record_window at chosen moments."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def insert(self, table: str, *rows: dict) -> None:
        if not rows:
            return
        with self.engine.begin() as connection:
            connection.execute(sa.insert(tables.table(table)), list(rows))

    def clear(self, table: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.delete(tables.table(table)))

    def events(self, *rows: dict) -> None:
        self.clear("episode_events")
        if rows:
            clean = [{**row, "data": {k: v for k, v in row["data"].items() if v == v}} for row in rows]
            self.insert("episode_events", *clean)

    def market(self, newest: pd.Timestamp, *symbols: str) -> None:
        self.clear("market_metrics")
        self.insert(
            "market_metrics",
            *({"symbol": s, "ts": newest.to_pydatetime(), "close": 1.0, "is_simulated": False} for s in symbols),
        )

    def active(self, ts: pd.Timestamp, *episodes: str) -> None:
        self.clear("engine_state")
        self.insert(
            "engine_state",
            *(
                {
                    "feature": "volatility_features", "key": f"k{n}", "ts": ts.to_pydatetime(), "config_hash": "0",
                    "state": {"machines": [{"status": "ACTIVE", "episode_id": episode}]},
                }
                for n, episode in enumerate(episodes)
            ),
        )  # fmt: skip

    def record(self, settings, now: pd.Timestamp = NOW, window: Window | None = None, **more):
        window = window or Window(utc("2026-03-01"), utc("2026-04-01"))
        return record_window(self.engine, settings, window, now, more.pop("is_simulated", False), **more)

    def alerts(self) -> dict[str, tuple[str | None, bool]]:
        table = tables.table("alerts")
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(table).order_by(table.c.ts, table.c.alert_id)).all()
        return {row.alert_id: (row.suppressed_reason, row.retracted_at is not None) for row in rows}

    def deliveries(self) -> list[tuple[str, str, str | None]]:
        table = tables.table("alert_deliveries")
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(table).order_by(table.c.alert_id, table.c.endpoint, table.c.series))
            return [(row.alert_id, row.state, row.reason) for row in rows]


@pytest.fixture
def platform(engine) -> Platform:
    return Platform(engine)


HOOK = "https://hooks.example.com/a"


def test_a_young_alert_is_recorded_and_planned_in_one_transaction_once(platform, settings_for) -> None:
    settings = settings_for(HOOK, "https://hooks.example.com/b")
    platform.events(event("a", "OPEN", NOW.floor("h")), event("a", "CLOSE", NOW.floor("h")))
    first = platform.record(settings)
    assert (first.recorded, first.planned) == (1, 2)
    assert platform.alerts() == {"a:OPEN:1": (None, False)}
    assert [state for _, state, _ in platform.deliveries()] == ["PENDING", "PENDING"]
    second = platform.record(settings)
    assert (second.recorded, second.planned) == (0, 0)


def test_if_the_deliveries_cannot_be_planned_the_alert_is_not_recorded(platform, settings_for, monkeypatch) -> None:
    from regimes_dagster.alerts import ledger

    def broken(*_args, **_kwargs):
        raise sa.exc.OperationalError("", {}, Exception("the disk is full"))

    platform.events(event("a", "OPEN", NOW.floor("h")))
    monkeypatch.setattr(ledger, "insert_deliveries", broken)
    with pytest.raises(sa.exc.OperationalError):
        platform.record(settings_for(HOOK))
    assert platform.alerts() == {}


def test_two_recorders_at_once_write_every_row_once(platform, settings_for) -> None:
    settings = settings_for(HOOK)
    platform.events(*(event(f"e{n:03}", "OPEN", NOW.floor("h") - timedelta(minutes=n)) for n in range(60)))
    threads = [threading.Thread(target=platform.record, args=(settings,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(platform.alerts()) == len(platform.deliveries()) == 60


def test_a_backfill_of_two_years_that_ends_more_than_six_hours_ago_posts_nothing(platform, settings_for) -> None:
    settings = settings_for(HOOK)
    end = NOW.floor("h") - timedelta(hours=7)
    start = end - timedelta(days=730)
    every_half_day = [event(f"e{n:04}", "OPEN", start + timedelta(hours=12 * n)) for n in range(1, 1460)]
    platform.events(*every_half_day, event("last", "OPEN", end))
    platform.active(end, "last")
    summary = platform.record(settings, window=Window(start, end))
    assert summary.recorded == 1460
    assert platform.deliveries() == []
    assert set(platform.alerts().values()) == {("AGE", False)}


@pytest.mark.parametrize(("age", "posted"), [(0, 1), (5.9, 1), (6, 1), (6.1, 0)])
def test_posting_depends_on_age_alone(platform, settings_for, age: float, posted: int) -> None:
    platform.events(event("a", "OPEN", NOW - timedelta(hours=age)))
    assert platform.record(settings_for(HOOK)).planned == posted


def test_a_machine_that_slept_26_hours_announces_the_open_episode_once(platform, settings_for) -> None:
    settings = settings_for(HOOK)
    platform.record(settings, now=NOW - timedelta(hours=27))
    opened = NOW.floor("h") - timedelta(hours=20)
    platform.events(
        event("done", "OPEN", opened - HOUR, key="ETH/USDT"),
        event("done", "CLOSE", opened, key="ETH/USDT", onset=opened - HOUR),
        event("open", "OPEN", opened),
        event("open", "ESCALATE", opened + HOUR, level=2, onset=opened),
    )
    platform.active(NOW.floor("h"), "open")
    summary = platform.record(settings)
    assert summary.announced_late == 1
    assert platform.deliveries() == [("open:OPEN:1", "PENDING", None)]
    assert platform.record(settings, now=NOW + HOUR).announced_late == 0
    assert len(platform.deliveries()) == 1


def test_the_open_episode_is_announced_whoever_recorded_it_first(platform, settings_for) -> None:
    settings = settings_for(HOOK)
    platform.record(settings, now=NOW - timedelta(hours=27))
    opened = NOW.floor("h") - timedelta(hours=20)
    platform.events(event("open", "OPEN", opened))
    past = Window(utc("2026-03-01"), opened + HOUR)
    assert platform.record(settings, window=past).announced_late == 0, "a backfill that does not reach the newest hour"
    platform.active(NOW.floor("h"), "open")
    assert platform.record(settings).announced_late == 1


def test_turning_an_endpoint_on_does_not_flood_it_with_history(platform, settings_for) -> None:
    opened = NOW.floor("h") - timedelta(hours=20)
    platform.events(event("old", "OPEN", opened), event("young", "OPEN", NOW - HOUR, key="ETH/USDT", symbol="ETH/USDT"))
    platform.active(NOW.floor("h"), "old", "young")
    platform.record(settings_for())
    settings = settings_for(HOOK)
    summary = platform.record(settings, now=NOW + timedelta(minutes=1))
    assert (summary.planned, summary.announced_late) == (0, 0)
    assert platform.deliveries() == []


def test_an_endpoint_that_was_away_is_enabled_from_its_return(platform, settings_for) -> None:
    from regimes_dagster.alerts import endpoints

    settings, without = settings_for(HOOK), settings_for()
    platform.record(settings, now=NOW - timedelta(days=3))
    with platform.engine.begin() as connection:
        endpoints.sync(connection, without, NOW - timedelta(days=2), remove=True)
    platform.events(event("open", "OPEN", NOW.floor("h") - timedelta(hours=20)))
    platform.active(NOW.floor("h"), "open")
    assert platform.record(settings).announced_late == 0


def test_an_alert_held_back_by_stale_data_goes_out_when_the_data_is_fresh(platform, settings_for) -> None:
    settings = settings_for(HOOK)
    vol = {"event_type": "VOLATILITY_REGIME_CHANGE", "severity": "WARNING"}
    platform.events(event("v", "OPEN", NOW.floor("h") - 3 * HOUR, **vol), event("c", "OPEN", NOW.floor("h") - 3 * HOUR))
    platform.market(NOW.floor("h") - 3 * HOUR, "BTC/USDT")
    platform.record(settings)
    assert platform.alerts() == {"c:OPEN:1": (None, False), "v:OPEN:1": ("STALE_INPUT", False)}
    platform.market(NOW.floor("h"), "BTC/USDT")
    assert platform.record(settings).announced_late == 1
    assert platform.alerts()["v:OPEN:1"] == (None, False)
    assert len(platform.deliveries()) == 2


def test_the_kill_switch_records_and_plans_nothing_and_what_it_held_back_stays_unposted(platform, settings_for) -> None:
    platform.events(event("a", "OPEN", NOW - HOUR))
    platform.record(settings_for(HOOK, environ={"WEBHOOKS_ENABLED": "0"}))
    assert platform.alerts() == {"a:OPEN:1": ("WEBHOOKS_OFF", False)}
    assert platform.record(settings_for(HOOK)).planned == 0
    assert platform.deliveries() == []


def test_what_the_machine_keeps_silent_is_recorded_with_its_reason(platform, settings_for) -> None:
    platform.events(
        event("a", "OPEN", NOW - HOUR, suppressed_reason="COOLDOWN"),
        event("b", "OPEN", NOW - HOUR, key="ETH/USDT", suppressed_reason="WARMING_UP"),
    )
    platform.record(settings_for(HOOK))
    assert platform.alerts() == {"a:OPEN:1": ("COOLDOWN", False), "b:OPEN:1": ("WARMING_UP", False)}
    assert platform.deliveries() == []


def test_a_revision_keeps_the_id_posts_nothing_and_retracts_what_vanished(platform, settings_for) -> None:
    settings = settings_for(HOOK)
    platform.events(event("a", "OPEN", NOW.floor("h") - 2 * HOUR))
    platform.record(settings)
    platform.events(event("b", "OPEN", NOW.floor("h") - HOUR))
    assert platform.record(settings).adopted == 1
    assert platform.alerts() == {"a:OPEN:1": (None, False)}
    platform.events()
    assert platform.record(settings).retracted == 1
    platform.events(event("a", "OPEN", NOW.floor("h") - 2 * HOUR))
    assert platform.record(settings).restored == 1
    assert len(platform.deliveries()) == 1


def test_an_episode_ends_with_its_close_and_lasts_while_its_machine_is_active(platform, settings_for) -> None:
    settings = settings_for(HOOK)
    at = NOW.floor("h") - 3 * HOUR
    platform.events(event("a", "OPEN", at))
    platform.active(NOW.floor("h"), "a")
    platform.record(settings)

    def ended():
        table = tables.table("alerts")
        with platform.engine.connect() as connection:
            return connection.execute(sa.select(table.c.ended_ts)).scalar_one()

    assert ended() is None
    platform.events(event("a", "OPEN", at), event("a", "CLOSE", at + 2 * HOUR, onset=at))
    platform.active(NOW.floor("h"))
    platform.record(settings)
    assert utc(ended()) == at + 2 * HOUR


def test_a_critical_alert_that_stays_active_is_repeated_if_asked(platform, settings_for, outbox) -> None:
    with Receiver() as receiver:
        settings = settings_for(receiver.url, repeat_hours=4)
        platform.events(event("a", "OPEN", NOW - HOUR))
        platform.active(NOW.floor("h"), "a")
        platform.record(settings)
        outbox.deliver(settings)
        moment = outbox.now()
        assert platform.record(settings, moment=moment + timedelta(hours=3.9)).reminders == 0
        assert platform.record(settings, moment=moment + timedelta(hours=4.1)).reminders == 1
        assert platform.record(settings, moment=moment + timedelta(hours=4.2)).reminders == 0, "one waits already"
        outbox.now.move(4.2 * 3600)
        assert outbox.deliver(settings).delivered == 1
        assert len(receiver.ids) == 2, "a reminder is news: it has an id of its own"
        assert receiver.requests[0].body == receiver.requests[1].body


def test_below_the_minimum_severity_and_under_a_silence_the_plan_says_why(platform, settings_for) -> None:
    from regimes_dagster.alerts import silences

    settings = settings_for(
        {"url": HOOK, "min_severity": "CRITICAL"}, {"url": "https://hooks.example.com/eth", "symbols": ["ETH/USDT"]}
    )
    with platform.engine.begin() as connection:
        silences.add(connection, now=pd.Timestamp.now("UTC"), hours=1, symbol="ETH/USDT")
    platform.events(
        event("a", "OPEN", NOW - HOUR, severity="WARNING"),
        event("b", "OPEN", NOW - HOUR, key="ETH/USDT", symbol="ETH/USDT"),
    )
    platform.record(settings)
    assert sorted(platform.deliveries()) == [
        ("a:OPEN:1", "SUPPRESSED", "BELOW_SEVERITY"),
        ("b:OPEN:1", "SUPPRESSED", "SILENCED"),
        ("b:OPEN:1", "SUPPRESSED", "SILENCED"),
    ]


def test_the_default_minimum_keeps_calm_regime_changes_back(platform, settings_for) -> None:
    vol = {"event_type": "VOLATILITY_REGIME_CHANGE", "severity": "INFO"}
    platform.events(event("v", "OPEN", NOW - HOUR, **vol))
    settings = settings_for(HOOK, {"url": "https://hooks.example.com/all", "min_severity": "INFO"})
    platform.record(settings)
    assert sorted(reason or "" for _, _, reason in platform.deliveries()) == ["", "BELOW_SEVERITY"]


def test_figures_of_a_simulated_market_go_to_this_machine_alone(platform, settings_for) -> None:
    settings = settings_for(HOOK, "http://127.0.0.1:9/hook")
    platform.events(event("a", "OPEN", NOW - HOUR))
    platform.record(settings, is_simulated=True)
    assert sorted((state, reason) for _, state, reason in platform.deliveries()) == [
        ("PENDING", None),
        ("SUPPRESSED", "SIMULATED"),
    ]


def test_a_replay_records_and_leaves_endpoints_alone(platform, settings_for) -> None:
    platform.events(event("a", "OPEN", NOW - HOUR))
    platform.record(settings_for(HOOK), plan=False)
    assert list(platform.alerts()) == ["a:OPEN:1"]
    assert platform.deliveries() == []


def test_the_machines_own_states_say_which_episode_is_active(platform, settings_for) -> None:
    from regimes_dagster.alerts.active import active_episodes

    hours = pd.date_range(end=NOW.floor("h"), periods=48, freq="h", unit="us")
    level = (hours >= hours[-3]).astype("int8").reshape(-1, 1)
    made = run_episodes(
        hours, ["BTC/USDT"], level, level == 0, level >= 0, EpisodeRule("LIQUIDATION_CASCADE", 12),
        checkpoints=[hours[-1]],
    )  # fmt: skip
    state = made.states[hours[-1]]["BTC/USDT"]
    row = {"feature": "f", "key": "k", "ts": hours[-1].to_pydatetime(), "config_hash": "0", "state": {"machine": state}}
    platform.insert("engine_state", row)
    with platform.engine.connect() as connection:
        assert active_episodes(connection, NOW) == {made.events["episode_id"].iloc[-1]}
        assert active_episodes(connection, NOW + 3 * HOUR) == set(), "a state that is hours old says nothing of now"
