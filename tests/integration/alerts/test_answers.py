"""Every row of the answer table, with a real receiver, a real database and the real engine."""

import pytest

from tests.servers.certificates import server_and_client
from tests.servers.receivers import Manner, Receiver, answer, cut, drip, flood, hang, ok, reset, sequence

DISCORD_404 = answer(404, b'{"message": "Unknown Webhook", "code": 10015}')


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_delivered_and_resets_the_endpoint(outbox, settings_for, status: int) -> None:
    with Receiver(answer(500)) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings)
        outbox.deliver(settings)
        assert outbox.endpoint().consecutive_failures == 1
        receiver.manner = answer(status)
        outbox.now.move(10)
        assert outbox.deliver(settings).delivered == 1
    (row,) = outbox.rows()
    assert (row.state, row.last_status, row.attempts, row.next_attempt_at) == ("DELIVERED", status, 2, None)
    assert row.delivered_at is not None
    endpoint = outbox.endpoint()
    assert (endpoint.state, endpoint.consecutive_failures, endpoint.failing_since) == ("ACTIVE", 0, None)


TEMPORARY: list[tuple[str, Manner, str | None]] = [
    *((str(status), answer(status), None) for status in (408, 409, 421, 423, 425, 500, 502, 503, 504, 599)),
    ("no answer", hang, "timeout: "),
    ("endless body", drip, "timeout: "),
    ("reset", reset, "reset: "),
    ("cut body", cut, "reset: "),
]


@pytest.mark.parametrize(("name", "manner", "error"), TEMPORARY, ids=[case[0] for case in TEMPORARY])
def test_what_is_temporary_is_tried_again_on_the_schedule(outbox, settings_for, name, manner, error) -> None:
    if manner in (hang, drip):
        outbox.hurry()
    with Receiver(manner) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings)
        outbox.deliver(settings)
        (row,) = outbox.rows()
        assert row.state == "RETRYING"
        assert (row.next_attempt_at - row.last_attempt_at).total_seconds() == pytest.approx(5, abs=0.01)
        assert (row.last_error or "").startswith(error or "")
        assert outbox.deliver(settings).posts == 0, "not before it is due"
        outbox.now.move(6)
        assert outbox.deliver(settings).posts == 1
    (row,) = outbox.rows()
    assert (row.attempts, row.tries) == (2, 2)
    assert (row.next_attempt_at - row.last_attempt_at).total_seconds() == pytest.approx(30, abs=0.01)


def test_the_whole_schedule_is_walked_and_then_the_delivery_is_dead(outbox, settings_for) -> None:
    waits = []
    with Receiver(answer(503)) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings)
        for _ in range(9):
            outbox.deliver(settings)
            (row,) = outbox.rows()
            if row.next_attempt_at is not None:
                waits.append(round((row.next_attempt_at - row.last_attempt_at).total_seconds()))
                outbox.now.move(waits[-1] + 1)
        assert len(receiver.requests) == 9
    assert waits == [5, 30, 120, 600, 1800, 7200, 18000, 36000]
    assert (row.state, row.reason) == ("DEAD", "OUT_OF_TRIES")
    assert len(row.history) == 9
    assert set(row.history[0]) == {"at", "ms", "status"}


def test_a_refused_connection_is_tried_again(outbox, settings_for) -> None:
    with Receiver() as receiver:
        url = receiver.url
    settings = settings_for(url)
    outbox.add(settings)
    outbox.deliver(settings)
    (row,) = outbox.rows()
    assert (row.state, row.last_status, row.last_error) == ("RETRYING", None, "connect: ConnectError")


def test_a_name_that_does_not_resolve_is_tried_again(outbox, settings_for) -> None:
    settings = settings_for("https://receiver.invalid/hook")
    outbox.add(settings)
    outbox.deliver(settings)
    (row,) = outbox.rows()
    assert row.state == "RETRYING"
    assert row.last_error.startswith("dns: ")


def test_a_certificate_that_nobody_vouches_for_is_tried_again(outbox, settings_for, tmp_path) -> None:
    server, _ = server_and_client(tmp_path, "hooks.example.com")
    with Receiver(tls=server) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings)
        outbox.deliver(settings)
        assert receiver.requests == []
    (row,) = outbox.rows()
    assert (row.state, row.last_error) == ("RETRYING", "tls: ConnectError")


@pytest.mark.parametrize(
    ("header", "wait"),
    [("120", 120), ("7.5", 7.5), ("86400", 3600), ("1", 5), ("soon", 5), ("-4", 5), ("nan", 5), ("inf", 5), ("", 5)],
)
def test_retry_after_may_raise_the_delay_to_an_hour_at_most(outbox, settings_for, header, wait) -> None:
    with Receiver(answer(503, retry_after=header)) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings)
        outbox.deliver(settings)
    (row,) = outbox.rows()
    assert (row.next_attempt_at - row.last_attempt_at).total_seconds() == pytest.approx(wait, abs=0.01)


@pytest.mark.parametrize(
    ("form", "manner", "wait"),
    [
        ("json", answer(429), 60),
        ("json", answer(429, retry_after="150"), 150),
        ("json", answer(429, retry_after="90000"), 3600),
        ("discord", answer(429, b'{"message": "rate limited", "retry_after": 77.7, "global": false}'), 77.7),
        ("telegram", answer(429, b'{"ok": false, "parameters": {"retry_after": 95}}'), 95),
    ],
)
def test_429_holds_the_whole_endpoint_and_does_not_count(outbox, settings_for, form, manner, wait) -> None:
    with Receiver(manner) as receiver:
        settings = settings_for({"url": receiver.url, "format": form})
        outbox.add(settings, 3)
        outbox.deliver(settings)
        assert len(receiver.requests) == 1, "the first 429 stops the lane"
        endpoint = outbox.endpoint()
        assert (endpoint.state, endpoint.consecutive_failures) == ("ACTIVE", 0)
        row = next(row for row in outbox.rows() if row.attempts)
        assert (row.state, row.tries) == ("RETRYING", 0)
        assert (endpoint.retry_at - row.last_attempt_at).total_seconds() == pytest.approx(wait, abs=0.01)
        outbox.now.move(wait - 2)
        outbox.deliver(settings)
        assert len(receiver.requests) == 1
        receiver.manner = ok
        outbox.now.move(4)
        assert outbox.deliver(settings).delivered == 3


@pytest.mark.parametrize("status", [400, 413, 414, 415, 422])
def test_a_body_that_is_refused_is_dead_at_once_and_the_next_goes_out(outbox, settings_for, status: int) -> None:
    with Receiver(sequence(answer(status), ok)) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings, 2)
        outbox.deliver(settings)
    first, second = outbox.rows()
    assert (first.state, first.reason, first.attempts) == ("DEAD", "REFUSED", 1)
    assert second.state == "DELIVERED"
    assert outbox.endpoint().state == "ACTIVE"


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_misconfigured_receiver_gets_three_tries(outbox, settings_for, status: int) -> None:
    waits = []
    with Receiver(answer(status)) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings)
        for _ in range(4):
            outbox.deliver(settings)
            (row,) = outbox.rows()
            if row.next_attempt_at is not None:
                waits.append(round((row.next_attempt_at - row.last_attempt_at).total_seconds()))
                outbox.now.move(waits[-1] + 1)
        assert len(receiver.requests) == 3
    assert waits == [300, 1800]
    assert (row.state, row.reason) == ("DEAD", "MISCONFIGURED")
    assert outbox.endpoint().state == "ACTIVE"


@pytest.mark.parametrize(
    ("form", "manner"),
    [
        ("json", answer(410)),
        ("discord", answer(401)),
        ("discord", DISCORD_404),
        ("slack", answer(403, b"action_prohibited")),
        ("slack", answer(404, b"no_service")),
        ("slack", answer(410, b"channel_is_archived")),
    ],
)
def test_an_endpoint_that_is_gone_is_switched_off(outbox, settings_for, form, manner) -> None:
    with Receiver(manner) as receiver:
        settings = settings_for({"url": receiver.url, "format": form})
        outbox.add(settings, 3)
        outbox.deliver(settings)
        outbox.now.move(100_000)
        outbox.deliver(settings)
        assert len(receiver.requests) == 1
    endpoint = outbox.endpoint()
    assert (endpoint.state, endpoint.state_reason) == ("DISABLED", "GONE")
    assert outbox.states() == {"DEAD": 1, "CANCELLED": 2}
    assert {row.reason for row in outbox.rows(state="CANCELLED")} == {"ENDPOINT_DISABLED"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
def test_a_redirect_is_dead_and_never_followed(outbox, settings_for, status: int) -> None:
    with Receiver() as private, Receiver(answer(status, location=private.url)) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings)
        outbox.deliver(settings)
        assert private.connections == 0
    (row,) = outbox.rows()
    assert (row.state, row.reason) == ("DEAD", "REDIRECT")


def test_a_refused_address_switches_the_endpoint_off_until_the_configuration_changes(outbox, settings_for) -> None:
    async def leads_inside(_host: str, _port: int) -> list[str]:
        return ["10.1.2.3"]

    settings = settings_for("https://hooks.example.com/a")
    outbox.resolver = leads_inside
    outbox.add(settings)
    outbox.deliver(settings)
    (row,) = outbox.rows()
    assert (row.state, row.reason) == ("DEAD", "REFUSED_ADDRESS")
    assert outbox.endpoint().state == "DISABLED"
    outbox.add(settings, first=5)
    assert outbox.endpoint().state == "DISABLED", "the same configuration does not wake it"
    changed = settings_for({"url": "https://hooks.example.com/a", "min_severity": "INFO"})
    outbox.add(changed, first=6)
    assert outbox.endpoint().state == "ACTIVE"


@pytest.mark.parametrize(("form", "hours"), [("json", 24), ("discord", 6), ("slack", 6), ("telegram", 6)])
def test_a_delivery_that_is_too_old_expires_by_its_format(outbox, settings_for, form, hours) -> None:
    with Receiver() as receiver:
        settings = settings_for({"url": receiver.url, "format": form})
        outbox.add(settings)
        outbox.now.move(hours * 3600 + 1)
        assert outbox.deliver(settings).expired == 1
        assert receiver.requests == []
    (row,) = outbox.rows()
    assert (row.state, row.reason) == ("EXPIRED", "TIME_TO_LIVE")


def test_an_answer_of_ten_megabytes_is_not_read(outbox, settings_for) -> None:
    with Receiver(flood) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings)
        assert outbox.deliver(settings).delivered == 1
        assert receiver.flooded < 8 * 1024 * 1024
