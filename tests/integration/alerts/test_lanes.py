"""Lanes: the healthy never wait for the sick, order is kept, and nobody sends anything twice."""

import threading
from collections import Counter
from datetime import timedelta

import pytest
import sqlalchemy as sa

from regimes_dagster import database, tables
from regimes_dagster.alerts import ledger, queue, silences
from regimes_dagster.alerts.body import json_body
from regimes_dagster.alerts.post import Limits
from regimes_dagster.alerts.requests import replay
from tests.servers.certificates import server_and_client
from tests.servers.receivers import (
    Receiver,
    answer,
    cut,
    drip,
    flood,
    hang,
    ok,
    sequence,
    slow,
)  # fmt: skip


def test_healthy_endpoints_get_everything_within_one_tick_beside_six_sick_ones(outbox, settings_for) -> None:
    sick = [hang, answer(500), answer(429, retry_after="3"), answer(410), cut, drip]
    receivers = [Receiver(manner) for manner in [ok, *sick, ok, slow(0.02)]]
    outbox.limits = Limits(connect_s=2, read_s=2, total_s=3)
    for receiver in receivers:
        receiver.__enter__()
    try:
        settings = settings_for(*(receiver.url for receiver in receivers))
        ids = outbox.add(settings, 30)
        outbox.deliver(settings, budget_s=10)
    finally:
        for receiver in receivers:
            receiver.__exit__(None, None, None)
    for healthy in (receivers[0], receivers[7], receivers[8]):
        assert len(healthy.ids) == len(ids)
        assert set(healthy.ids.values()) == {1}
    delivered = Counter(row.endpoint for row in outbox.rows(state="DELIVERED"))
    assert set(delivered) == {settings.endpoints[n].id for n in (0, 7, 8)}


def test_alerts_that_come_while_another_lane_hangs_go_out_in_the_same_tick(outbox, settings_for) -> None:
    outbox.limits = Limits(connect_s=2, read_s=8, total_s=8)
    with Receiver(hang) as sick, Receiver() as healthy:
        settings = settings_for(sick.url, healthy.url)
        outbox.add(settings, 1)
        thread = threading.Thread(target=outbox.deliver, args=(settings,), kwargs={"budget_s": 9})
        thread.start()
        arrived = threading.Event()

        async def note(_receiver, _request, writer):
            await ok(_receiver, _request, writer)
            if len(healthy.requests) == 2:
                arrived.set()

        healthy.manner = note
        outbox.add(settings, 1, first=50)
        assert arrived.wait(7.5), "the news waited for the hanging lane"
        thread.join()


def test_the_alerts_of_an_episode_arrive_in_order_also_after_failures(outbox, settings_for) -> None:
    with Receiver(sequence(answer(500), ok)) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings, phases=[("OPEN", 1), ("ESCALATE", 2), ("ESCALATE", 3), ("CLOSE", 3)], episode="a" * 16)
        outbox.deliver(settings)
        assert len(receiver.requests) == 1, "ESCALATE waits for its OPEN"
        outbox.now.move(6)
        outbox.deliver(settings)
        assert [r.headers["regimes-phase"] for r in receiver.requests] == [
            "OPEN",
            "OPEN",
            "ESCALATE",
            "ESCALATE",
            "CLOSE",
        ]


def test_an_open_that_is_dead_lets_its_escalation_pass(outbox, settings_for) -> None:
    with Receiver(sequence(answer(400), ok)) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings, phases=[("OPEN", 1), ("ESCALATE", 2)])
        outbox.deliver(settings)
    assert [row.state for row in outbox.rows()] == ["DEAD", "DELIVERED"]


def test_two_workers_at_once_send_nothing_twice(outbox, settings_for) -> None:
    with Receiver(slow(0.002)) as one, Receiver(slow(0.001)) as two:
        settings = settings_for(one.url, two.url)
        outbox.add(settings, 150)
        threads = [threading.Thread(target=outbox.deliver, args=(settings,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        outbox.deliver(settings)
        for receiver in (one, two):
            assert len(receiver.ids) == 150
            assert set(receiver.ids.values()) == {1}
    assert outbox.states() == {"DELIVERED": 300}


def test_a_lane_that_another_session_holds_is_left_alone(outbox, settings_for) -> None:
    with Receiver() as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings)
        with outbox.engine.connect() as other:
            assert queue.take_lane(other, settings.endpoints[0].id, outbox.now())
            assert outbox.deliver(settings).posts == 0
            queue.leave_lane(other, settings.endpoints[0].id)
        assert outbox.deliver(settings).posts == 1


def test_rows_of_a_worker_that_is_gone_are_taken_over_after_20_seconds(outbox, settings_for) -> None:
    with Receiver() as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings, 25)
        with outbox.engine.connect() as dead:
            queue.take_lane(dead, settings.endpoints[0].id, outbox.now())
            assert len(queue.claim(dead, settings.endpoints[0].id, outbox.now())) == 10
            dead.invalidate()
        assert outbox.deliver(settings).posts == 15
        outbox.now.move(21)
        assert outbox.deliver(settings).posts == 10


def test_an_open_breaker_burns_no_attempt_and_one_probe_wakes_all_that_waits(outbox, settings_for) -> None:
    with Receiver(answer(500)) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings, 12)
        outbox.deliver(settings)
        assert len(receiver.requests) == 5
        assert (outbox.endpoint().state, outbox.endpoint().consecutive_failures) == ("PAUSED", 5)
        outbox.now.move(25)
        outbox.deliver(settings)
        assert len(receiver.requests) == 5, "open: no attempt"
        outbox.now.move(6)
        outbox.deliver(settings)
        assert len(receiver.requests) == 6, "one probe"
        receiver.manner = ok
        outbox.now.move(61)
        assert outbox.deliver(settings).delivered == 12
        assert outbox.endpoint().state == "ACTIVE"
    assert outbox.states() == {"DELIVERED": 12}


def test_a_long_outage_costs_few_posts_and_ends_soon_after_it(outbox, settings_for) -> None:
    # 90 simulated minutes down: without the breaker each of 20 alerts would be tried by its own schedule.
    with Receiver(answer(503)) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings, 20)
        for _ in range(180):
            outbox.deliver(settings)
            outbox.now.move(30)
        posts = len(receiver.requests)
        receiver.manner = ok
        waited = 0
        while outbox.states() != {"DELIVERED": 20}:
            outbox.deliver(settings)
            outbox.now.move(30)
            waited += 30
        assert posts < 25
        assert waited <= 930


@pytest.mark.parametrize(("form", "posts"), [("discord", 1), ("slack", 1), ("telegram", 1), ("json", 12)])
def test_a_storm_is_one_summary_in_chat_formats_and_each_alert_in_json(outbox, settings_for, form, posts) -> None:
    with Receiver() as receiver:
        settings = settings_for({"url": receiver.url + "?chat_id=5", "format": form})
        outbox.add(settings, 12)
        outbox.deliver(settings)
        assert len(receiver.requests) == posts
    assert outbox.states() == {"DELIVERED": 12}


def test_ten_alerts_are_no_storm(outbox, settings_for) -> None:
    with Receiver() as receiver:
        settings = settings_for({"url": receiver.url, "format": "discord"})
        outbox.add(settings, 10)
        outbox.deliver(settings)
        assert len(receiver.requests) == 10


def test_a_silence_made_after_the_plan_holds_and_a_replay_passes_it(outbox, settings_for) -> None:
    with Receiver() as receiver:
        settings = settings_for(receiver.url)
        (alert,) = outbox.add(settings)
        with outbox.engine.begin() as connection:
            silences.add(connection, now=outbox.now(), hours=1, symbol="BTC/USDT")
        assert outbox.deliver(settings).suppressed == 1
        assert [(row.state, row.reason) for row in outbox.rows()] == [("SUPPRESSED", "SILENCED")]
        with outbox.engine.begin() as connection:
            replay(connection, settings, alert, None, outbox.now())
        assert outbox.deliver(settings).delivered == 1
        assert [(row.series, row.state) for row in outbox.rows()] == [(0, "SUPPRESSED"), (1, "DELIVERED")]


def test_a_replay_carries_the_same_id_and_the_same_bytes(outbox, settings_for) -> None:
    with Receiver() as receiver:
        settings = settings_for(receiver.url)
        (alert,) = outbox.add(settings)
        outbox.deliver(settings)
        with outbox.engine.begin() as connection:
            replay(connection, settings, alert, None, outbox.now())
        outbox.deliver(settings)
        first, second = receiver.requests
        assert first.webhook_id == second.webhook_id
        assert first.body == second.body


def test_the_signed_bytes_are_the_sent_bytes(outbox, settings_for) -> None:
    from standardwebhooks.webhooks import Webhook

    secret, other = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "A" * 40
    with Receiver() as receiver:
        settings = settings_for({"url": receiver.url, "secret": [secret, other]})
        outbox.add(settings, title="Funding z-score 2.30σ – BTC/USDT", data={"b": 1.0, "a": [0.1, None]})
        outbox.deliver(settings)
        (request,) = receiver.requests
    Webhook(secret).verify(request.body, request.headers)
    Webhook(other).verify(request.body, request.headers)
    alerts = tables.table("alerts")
    with outbox.engine.connect() as connection:
        assert request.body == json_body(ledger.message_of(connection.execute(sa.select(alerts)).one()))
    assert request.headers["content-type"] == "application/json"
    assert "cookie" not in request.headers


def test_a_cookie_is_not_sent_back(outbox, settings_for) -> None:
    with Receiver(answer(200, set_cookie="a=b")) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings, 2)
        outbox.deliver(settings)
        assert not any("cookie" in request.headers for request in receiver.requests)


def test_proxies_and_credentials_of_the_environment_are_not_used(outbox, settings_for, monkeypatch, tmp_path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password hunter2\n")
    with Receiver() as proxy, Receiver() as receiver:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        settings = settings_for(receiver.url)
        outbox.add(settings)
        assert outbox.deliver(settings).delivered == 1
        assert proxy.connections == 0
        assert "authorization" not in receiver.requests[0].headers


def test_a_name_that_changes_its_answer_between_check_and_connect_leads_nowhere_new(outbox, settings_for) -> None:
    with Receiver() as inside, Receiver() as vetted:
        answers = iter([["127.0.0.1"], ["10.0.0.1"], ["10.0.0.1"]])
        asked = []

        async def rebinding(host: str, _port: int) -> list[str]:
            asked.append(host)
            return next(answers)

        outbox.resolver = rebinding
        settings = settings_for(f"http://hooks.example.com:{vetted.port}/hook")
        outbox.add(settings)
        assert outbox.deliver(settings).delivered == 1
        assert asked == ["hooks.example.com"], "one look-up, and the vetted address was connected to"
        assert vetted.requests[0].headers["host"] == f"hooks.example.com:{vetted.port}"
        outbox.add(settings, first=7)
        outbox.deliver(settings)
        assert [row.reason for row in outbox.rows(state="DEAD")] == ["REFUSED_ADDRESS"]
        assert inside.connections == 0


def test_certificates_are_checked_for_the_configured_name_not_the_address(outbox, settings_for, tmp_path) -> None:
    async def local(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    server, client = server_and_client(tmp_path, "hooks.example.com")
    outbox.resolver, outbox.tls = local, client
    with Receiver(tls=server) as receiver:
        right = settings_for(f"https://hooks.example.com:{receiver.port}/hook")
        outbox.add(right)
        assert outbox.deliver(right).delivered == 1
        wrong = settings_for(f"https://other.example.com:{receiver.port}/hook")
        outbox.add(wrong, first=9)
        outbox.deliver(wrong)
        assert len(receiver.requests) == 1
    (row,) = outbox.rows(state="RETRYING")
    assert row.last_error == "tls: ConnectError"


def test_a_second_address_is_tried_when_the_first_does_not_answer(outbox, settings_for) -> None:
    async def two(_host: str, _port: int) -> list[str]:
        return ["127.0.0.9", "127.0.0.1"]

    outbox.resolver = two
    with Receiver() as receiver:
        settings = settings_for(f"http://hooks.example.com:{receiver.port}/hook")
        outbox.add(settings)
        assert outbox.deliver(settings).delivered == 1


def test_a_message_that_cannot_be_written_does_not_hold_up_the_next(outbox, settings_for, monkeypatch) -> None:
    from regimes_dagster.alerts import delivery

    real = delivery.render

    def picky(form, messages, url):
        if messages[0].title == "poison":
            raise ValueError("cannot be written")
        return real(form, messages, url)

    monkeypatch.setattr(delivery, "render", picky)
    with Receiver() as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings, title="poison")
        outbox.add(settings, first=3)
        outbox.deliver(settings)
    assert [(row.state, row.reason) for row in outbox.rows()] == [("DEAD", "BAD_MESSAGE"), ("DELIVERED", None)]


def test_the_budget_ends_a_tick_and_what_is_left_goes_back(outbox, settings_for) -> None:
    with Receiver(slow(0.2)) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings, 30)
        tally = outbox.deliver(settings, budget_s=1.0)
        assert tally.stopped_by == "budget"
        assert 0 < tally.posts < 30
    assert not [row for row in outbox.rows() if row.lease_until is not None]


def test_a_lost_database_is_an_error_and_the_next_tick_goes_on(outbox, settings_for, postgres) -> None:
    with Receiver(slow(0.01)) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings, 60)

        def terminate() -> None:
            admin = database.make_engine(postgres.url("postgres"), poolclass=sa.NullPool)
            with admin.connect() as connection:
                connection.execute(
                    sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
                    {"name": outbox.engine.url.database},
                )

        timer = threading.Timer(0.3, terminate)
        timer.start()
        with pytest.raises(sa.exc.DBAPIError):
            outbox.deliver(settings)
        timer.join()
        outbox.now.move(25)
        outbox.deliver(settings)
        assert outbox.states() == {"DELIVERED": 60}
        assert len(receiver.ids) == 60
        assert sum(receiver.ids.values()) <= 61, "at most the post in flight is sent again"


def test_an_endpoint_that_is_no_longer_configured_gets_nothing_more(outbox, settings_for) -> None:
    from regimes_dagster.alerts.tick import tick

    with Receiver() as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings)
        tick(outbox.engine, settings_for(), outbox.now())
        assert receiver.requests == []
    assert [(row.state, row.reason) for row in outbox.rows()] == [("CANCELLED", "ENDPOINT_REMOVED")]
    assert outbox.endpoint().state == "REMOVED"


def test_the_kill_switch_stops_what_already_waits(outbox, settings_for) -> None:
    with Receiver() as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings)
        off = settings_for(receiver.url, environ={"WEBHOOKS_ENABLED": "0"})
        assert outbox.deliver(off).stopped_by == "webhooks are off"
        assert receiver.requests == []
        assert outbox.deliver(settings).delivered == 1


def test_an_answer_of_ten_megabytes_does_not_hold_up_the_lane(outbox, settings_for) -> None:
    with Receiver(flood) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings, 5)
        assert outbox.deliver(settings).delivered == 5
        assert outbox.rows()[0].delivered_at - outbox.rows()[0].created_at < timedelta(seconds=60)
