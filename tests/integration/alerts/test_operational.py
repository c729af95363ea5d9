"""PIPELINE_FAILED and DATA_GAP: once per episode, over the same path as every alert."""

import json
from datetime import timedelta

import jsonschema
import pytest
import sqlalchemy as sa

from regimes_dagster import tables
from regimes_dagster.alerts import contract, operational
from regimes_dagster.partitions import utc
from tests.servers.receivers import Receiver

NOW = utc("2026-03-15T13:01")


@pytest.fixture
def market(engine):
    def newest(**symbols) -> None:
        table = tables.table("market_metrics")
        with engine.begin() as connection:
            connection.execute(sa.delete(table))
            for symbol, ts in symbols.items():
                connection.execute(
                    sa.insert(table).values(
                        symbol=f"{symbol}/USDT", ts=ts.to_pydatetime(), close=1.0, is_simulated=False
                    )
                )

    return newest


def gaps(outbox, settings, now):
    with outbox.engine.begin() as connection:
        return operational.data_gaps(connection, settings, moment=outbox.now(), now=now)


def failed(outbox, settings, run_id: str, job: str = "hourly"):
    with outbox.engine.begin() as connection:
        return operational.pipeline_failed(
            connection, settings, job=job, run_id=run_id, error_class="SourceError", step="ohlcv",
            moment=outbox.now(), now=NOW,
        )  # fmt: skip


def test_a_gap_is_told_once_escalates_once_and_ends_with_the_data(outbox, settings_for, market) -> None:
    with Receiver() as receiver:
        settings = settings_for(receiver.url, emit_close=True)
        last = NOW.floor("h") - timedelta(hours=2)
        market(BTC=last, ETH=NOW.floor("h"))
        assert gaps(outbox, settings, NOW) == [], "2 h 01 min is no gap"
        assert len(gaps(outbox, settings, NOW + timedelta(minutes=20))) == 1
        assert gaps(outbox, settings, NOW + timedelta(minutes=30)) == []
        market(BTC=last, ETH=NOW + timedelta(hours=5))
        assert len(gaps(outbox, settings, NOW + timedelta(hours=4.5))) == 1, "CRITICAL after six hours"
        assert gaps(outbox, settings, NOW + timedelta(hours=5)) == []
        market(BTC=NOW + timedelta(hours=5), ETH=NOW + timedelta(hours=5))
        gaps(outbox, settings, NOW + timedelta(hours=5))
        outbox.deliver(settings)
        bodies = [request.json for request in receiver.requests]
    assert [(b["event_type"], b["symbol"], b["severity"]) for b in bodies] == [
        ("DATA_GAP", "BTC/USDT", "WARNING"),
        ("DATA_GAP", "BTC/USDT", "CRITICAL"),
        ("DATA_GAP", "BTC/USDT", "INFO"),
    ]
    for body in bodies:
        jsonschema.validate(body, contract.json_schema("DATA_GAP"))


def test_a_second_gap_after_the_first_ended_is_told_again(outbox, settings_for, market) -> None:
    settings = settings_for()
    market(BTC=NOW - timedelta(hours=3))
    assert len(gaps(outbox, settings, NOW)) == 1
    market(BTC=NOW)
    gaps(outbox, settings, NOW)
    assert len(gaps(outbox, settings, NOW + timedelta(hours=3))) == 1


def test_a_symbol_that_never_had_data_is_no_gap(outbox, settings_for, market) -> None:
    market(BTC=NOW)
    assert gaps(outbox, settings_for(), NOW) == []


def test_a_failing_job_is_told_once_until_it_succeeds(outbox, settings_for) -> None:
    with Receiver() as receiver:
        settings = settings_for(receiver.url)
        assert failed(outbox, settings, "run-1") is not None
        assert failed(outbox, settings, "run-1") is None
        assert failed(outbox, settings, "run-2") is None
        assert failed(outbox, settings, "run-x", job="other") is not None
        with outbox.engine.begin() as connection:
            recovered = operational.pipeline_recovered
            assert recovered(connection, settings, job="hourly", moment=outbox.now(), now=NOW)
            assert not recovered(connection, settings, job="hourly", moment=outbox.now(), now=NOW)
        assert failed(outbox, settings, "run-3") is not None
        outbox.deliver(settings)
        assert [r.json["data"]["run_id"] for r in receiver.requests] == ["run-1", "run-x", "run-3"] or len(
            receiver.requests
        ) == 3
        for request in receiver.requests:
            jsonschema.validate(json.loads(request.body), contract.json_schema("PIPELINE_FAILED"))


def test_operational_alerts_go_where_they_are_asked_for(outbox, settings_for) -> None:
    with Receiver() as cascades, Receiver() as everything, Receiver() as btc:
        settings = settings_for(
            {"url": cascades.url, "events": ["CASCADE"]}, everything.url, {"url": btc.url, "symbols": ["BTC/USDT"]}
        )
        failed(outbox, settings, "run-1")
        outbox.deliver(settings)
        assert (len(cascades.requests), len(everything.requests), len(btc.requests)) == (0, 1, 1)


def test_with_the_kill_switch_on_they_are_recorded_alone(outbox, settings_for) -> None:
    settings = settings_for("https://hooks.example.com/a", environ={"WEBHOOKS_ENABLED": "0"})
    assert failed(outbox, settings, "run-1") is not None
    assert outbox.rows() == []
