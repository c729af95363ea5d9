"""Delays, jitter and the reading of Retry-After; the breaker's pauses."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimes_dagster.alerts.answers import Decision, Effect, Outcome, Trouble, decide
from regimes_dagster.alerts.breaker import Health, after, gate
from regimes_dagster.alerts.schedule import RETRY_DELAYS, breaker_pause, delay, hold, retry_after
from regimes_dagster.clock import system_now

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FAILED = Decision("RETRYING", Effect.FAILURE, "TIMEOUT", 5.0)


@given(st.integers(1, 8), st.floats(-1, 1))
def test_jitter_stays_within_a_fifth(tries: int, spread: float) -> None:
    wait = delay(RETRY_DELAYS, tries, spread)
    assert wait is not None
    assert 0.8 * RETRY_DELAYS[tries - 1] <= wait <= 1.2 * RETRY_DELAYS[tries - 1]


def test_the_schedule_ends_inside_the_life_of_a_json_delivery() -> None:
    assert 1.2 * sum(RETRY_DELAYS) < 24 * 3600
    assert delay(RETRY_DELAYS, 9, 0.0) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7), ("7.25", 7.25), (" 12 ", 12), ("", None), ("soon", None), ("-3", None), ("nan", None), ("inf", None),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90), ("Wed, 99 Foo 2026", None),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - NOW).total_seconds()),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date_and_garbage_is_ignored(text: str, seconds) -> None:
    assert retry_after({"retry-after": text}, b"", NOW) == seconds


@given(st.text(max_size=40), st.binary(max_size=200))
def test_no_header_or_body_can_break_the_reading(text: str, body: bytes) -> None:
    found = retry_after({"retry-after": text}, b'{"retry_after": ' + body, NOW)
    assert found is None or found > 0


@pytest.mark.parametrize("body", [b'{"retry_after": 3.5}', b'{"parameters": {"retry_after": 3.5}}'])
def test_a_chat_service_says_it_in_the_body(body: bytes) -> None:
    assert retry_after({}, body, NOW) == 3.5


def test_a_hold_lasts_a_minute_to_an_hour() -> None:
    assert [hold(asked) for asked in (None, 1, 90, 1e9)] == [60, 60, 90, 3600]


def test_the_breaker_opens_at_the_fifth_failure_and_doubles_to_a_quarter_of_an_hour() -> None:
    assert [breaker_pause(n) for n in range(3, 12)] == [None, None, 30, 60, 120, 240, 480, 900, 900]


def test_an_open_breaker_lets_one_probe_through_after_its_pause() -> None:
    now, health = system_now(), Health()
    for _ in range(5):
        health = after(health, FAILED, now)
    assert (health.state, gate(health, now)) == ("PAUSED", "CLOSED")
    later = now + timedelta(seconds=31)
    assert gate(health, later) == "PROBE"
    assert after(health, Decision("DELIVERED", Effect.OK), later) == Health(last_ok_at=later)
    again = after(health, FAILED, later)
    assert again.retry_at == later + timedelta(seconds=60)


def test_an_endpoint_that_only_failed_for_120_hours_is_switched_off() -> None:
    now = system_now()
    health = after(Health(), FAILED, now)
    assert after(health, FAILED, now + timedelta(hours=119)).state != "DISABLED"
    off = after(health, FAILED, now + timedelta(hours=120))
    assert (off.state, off.state_reason, gate(off, now)) == ("DISABLED", "FAILING_FOR_DAYS", "CLOSED")


def test_answers_about_the_message_leave_the_endpoint_alone() -> None:
    for status in (301, 400, 401, 404, 422):
        decision = decide(Outcome(status=status), form="json", tries=1, spread=0.0)
        assert after(Health(), decision, system_now()) == Health()


@given(st.integers(100, 599), st.sampled_from(["json", "discord", "slack", "telegram"]), st.integers(1, 12))
def test_every_status_has_a_decision_and_only_2xx_delivers(status: int, form, tries: int) -> None:
    decision = decide(Outcome(status=status), form=form, tries=tries, spread=0.0)
    assert (decision.state == "DELIVERED") == (200 <= status < 300)
    assert (decision.delay is not None) == (decision.state == "RETRYING")


@pytest.mark.parametrize("trouble", list(Trouble))
def test_every_trouble_has_a_decision(trouble: Trouble) -> None:
    assert decide(Outcome(trouble=trouble), form="json", tries=1, spread=0.0).state in ("RETRYING", "DEAD")
