"""Replay, silence and test: from the dashboard's function, by the sensor, and from the command line."""

import json

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from regimes_dagster import tables
from regimes_dagster.alerts import requests, silences
from regimes_dagster.alerts.tick import tick
from regimes_dagster.commands.alerts import alerts as command
from tests.servers.receivers import Receiver, answer


def ask(outbox, kind: str, **args) -> None:
    with outbox.engine.begin() as connection:
        connection.execute(
            sa.text("SELECT public.request_alert_action(:kind, CAST(:args AS jsonb))"),
            {"kind": kind, "args": json.dumps(args)},
        )


def answers(outbox) -> list[tuple[str, str]]:
    table = tables.table("alert_requests")
    with outbox.engine.connect() as connection:
        rows = connection.execute(sa.select(table).order_by(table.c.requested_at))
        return [(row.state, row.result) for row in rows]


def test_the_sensor_carries_out_what_the_dashboard_asks_for(outbox, settings_for) -> None:
    with Receiver() as receiver:
        settings = settings_for(receiver.url)
        (alert,) = outbox.add(settings)
        outbox.deliver(settings)
        ask(outbox, "REPLAY", alert_id=alert)
        ask(outbox, "SILENCE", hours=2, symbol="BTC/USDT", event_type="CASCADE", comment="maintenance")
        ask(outbox, "TEST", endpoint="hook0")
        summary = tick(outbox.engine, settings, outbox.now())
        assert (summary.requests, summary.tally.delivered) == (3, 2)
        assert [r.json["event_type"] for r in receiver.requests] == [
            "LIQUIDATION_CASCADE", "LIQUIDATION_CASCADE", "TEST",
        ]  # fmt: skip
        assert receiver.requests[2].json["data"]["test"] is True
    assert [state for state, _ in answers(outbox)] == ["DONE"] * 3
    with outbox.engine.connect() as connection:
        (silence,) = silences.holding(connection, outbox.now())
    assert (silence.event_type, silence.symbol) == ("LIQUIDATION_CASCADE", "BTC/USDT")


def test_a_request_that_makes_no_sense_is_marked_and_harms_no_other(outbox, settings_for) -> None:
    settings = settings_for("https://hooks.example.com/a")
    ask(outbox, "REPLAY", alert_id="nothing")
    ask(outbox, "TEST", endpoint="hok0")
    ask(outbox, "SILENCE", hours="long")
    ask(outbox, "SILENCE", hours=-1)
    ask(outbox, "SILENCE", hours=1, event_type="CASCADES")
    ask(outbox, "SILENCE", hours=1)
    assert requests.execute_pending(outbox.engine, settings, outbox.now(), outbox.now()) == 6
    found = answers(outbox)
    assert [state for state, _ in found] == ["FAILED"] * 5 + ["DONE"]
    assert "there is no alert 'nothing'" in found[0][1]
    assert "Did you mean 'hook0'?" in found[1][1]
    assert "Did you mean LIQUIDATION_CASCADE" in found[4][1] or "Did you mean CASCADE" in found[4][1]


def test_two_sensors_carry_a_request_out_once(outbox, settings_for) -> None:
    import threading

    settings = settings_for("https://hooks.example.com/a")
    for _ in range(10):
        ask(outbox, "SILENCE", hours=1)
    threads = [
        threading.Thread(target=requests.execute_pending, args=(outbox.engine, settings, outbox.now(), outbox.now()))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with outbox.engine.connect() as connection:
        assert len(silences.holding(connection, outbox.now())) == 10


def test_an_alert_that_was_too_old_can_be_replayed_by_hand(outbox, settings_for) -> None:
    with Receiver() as receiver:
        settings = settings_for(receiver.url)
        (alert,) = outbox.add(settings, to=[], suppressed_reason="AGE")
        with outbox.engine.begin() as connection:
            assert requests.replay(connection, settings, alert, None, outbox.now()) == [settings.endpoints[0].label]
        assert outbox.deliver(settings).delivered == 1


def test_a_simulated_alert_is_not_replayed_to_the_world(outbox, settings_for) -> None:
    settings = settings_for("https://hooks.example.com/a")
    (alert,) = outbox.add(settings, is_simulated=True)
    with outbox.engine.begin() as connection, pytest.raises(requests.RequestError):
        requests.replay(connection, settings, alert, None, outbox.now())


@pytest.fixture
def run(outbox, monkeypatch):
    """The command line on the test's database."""

    def call(settings, *arguments: str):
        monkeypatch.setenv("REGIMES_CONFIG", str(settings.config_file))
        monkeypatch.setenv("DB_URL", outbox.engine.url.render_as_string(hide_password=False))
        return CliRunner().invoke(command, list(arguments))

    return call


def test_the_list_shows_what_became_of_each_alert(outbox, settings_for, run) -> None:
    with Receiver(answer(400)) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings, title="first")
        outbox.deliver(settings)
        outbox.add(settings, first=1, to=[], title="second", suppressed_reason="AGE")
    shown = run(settings, "list")
    assert shown.exit_code == 0, shown.output
    assert "1 DEAD (REFUSED)" in shown.output
    assert "not posted: AGE" in shown.output
    dead = run(settings, "list", "--state", "dead")
    assert "first" in dead.output
    assert "second" not in dead.output
    assert "Did you mean" in run(settings, "list", "--event", "CASCADES").output


def test_a_test_message_prints_the_answer(outbox, settings_for, run) -> None:
    with Receiver(answer(404)) as receiver:
        settings = settings_for(receiver.url)
        bad = run(settings, "test", "hook0")
        assert bad.exit_code == 1
        assert "404 after" in bad.output
        receiver.manner = answer(200)
        good = run(settings, "test", "hook0")
        assert good.exit_code == 0, good.output
        assert "200 after" in good.output
        assert "DELIVERED" in good.output
        assert receiver.url not in bad.output + good.output
        assert "hook0" in run(settings, "test").output


def test_a_test_that_reaches_a_switched_off_endpoint_switches_it_on(outbox, settings_for, run) -> None:
    with Receiver(answer(410)) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings)
        outbox.deliver(settings)
        assert outbox.endpoint().state == "DISABLED"
        receiver.manner = answer(200)
        assert run(settings, "test", "hook0").exit_code == 0
        assert outbox.endpoint().state == "ACTIVE"


def test_replay_and_silence_from_the_command_line(outbox, settings_for, run) -> None:
    with Receiver() as receiver:
        settings = settings_for(receiver.url)
        (alert,) = outbox.add(settings)
        outbox.deliver(settings)
        assert "1 deliveries planned" in run(settings, "replay", alert).output
        assert outbox.deliver(settings).delivered == 1
    assert "there is no alert" in run(settings, "replay", "x").output
    made = run(settings, "silence", "--hours", "3", "--symbol", "BTC/USDT").output
    name = made.split()[1]
    assert name in run(settings, "silence").output
    assert "ended" in run(settings, "silence", "--end", name).output
    assert "No silence holds" in run(settings, "silence").output
