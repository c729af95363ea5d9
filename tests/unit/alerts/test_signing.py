"""Signatures as Standard Webhooks specifies them, checked by its reference library."""

import base64
import os
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from regimes_dagster.alerts.body import json_body
from regimes_dagster.alerts.signing import SecretError, headers, key_of, signature
from regimes_dagster.alerts.verification import verdict
from tests.unit.alerts.messages import message, odd_messages

# The specification's own vector.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def seconds_now() -> int:
    """Asked in each test: the reference library refuses a stamp older than five minutes."""
    return int(datetime.now(UTC).timestamp())


def test_the_specifications_vector() -> None:
    made = signature([SECRET], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@settings(max_examples=60, deadline=None)
@given(odd_messages())
def test_the_reference_library_accepts_every_message(made) -> None:
    now = seconds_now()
    body = json_body(made)
    Webhook(SECRET).verify(body, headers([made], body, secrets=[SECRET], timestamp=now))


def test_during_a_rotation_either_secret_verifies_and_no_other() -> None:
    now = seconds_now()
    body = json_body(message())
    sent = headers([message()], body, secrets=[OTHER, SECRET], timestamp=now)
    assert sent["webhook-signature"].count("v1,") == 2
    for secret in (SECRET, OTHER):
        Webhook(secret).verify(body, sent)
        assert verdict({k.lower(): v for k, v in sent.items()}, body, [secret], now) == "ok"
    stranger = "whsec_" + base64.b64encode(os.urandom(24)).decode()
    with pytest.raises(WebhookVerificationError):
        Webhook(stranger).verify(body, sent)
    assert verdict({k.lower(): v for k, v in sent.items()}, body, [stranger], now) == "wrong"


def test_a_changed_byte_id_or_stamp_does_not_verify() -> None:
    now = seconds_now()
    body = json_body(message())
    sent = {k.lower(): v for k, v in headers([message()], body, secrets=[SECRET], timestamp=now).items()}
    assert verdict(sent, body, [SECRET], now) == "ok"
    assert verdict(sent, body + b" ", [SECRET], now) == "wrong"
    assert verdict({**sent, "webhook-id": "msg_x"}, body, [SECRET], now) == "wrong"
    assert verdict({**sent, "webhook-timestamp": str(now + 1)}, body, [SECRET], now) == "wrong"
    assert verdict(sent, body, [SECRET], now + 400) == "too old"
    assert verdict({k: v for k, v in sent.items() if k != "webhook-signature"}, body, [SECRET], now) == "wrong"


def test_the_headers_carry_what_the_body_must_not() -> None:
    now = seconds_now()
    sent = headers([message()], b"{}", secrets=[], timestamp=now)
    assert sent["Idempotency-Key"] == sent["webhook-id"]
    assert (sent["regimes-episode"], sent["regimes-phase"]) == ("0123456789abcdef", "OPEN")
    assert sent["User-Agent"].startswith("regimes/")
    assert "webhook-signature" not in sent
    assert all(value.isascii() for value in sent.values())


@pytest.mark.parametrize(
    "secret",
    ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_abc", "whsec_c2hvcnQ=", "whsec_" + "!" * 32,
     "whsec_" + base64.b64encode(bytes(65)).decode()],
)  # fmt: skip
def test_a_secret_that_is_not_strict_base64_of_24_to_64_bytes_is_refused(secret: str) -> None:
    with pytest.raises(SecretError) as refused:
        key_of(secret)
    assert not secret or len(secret) < 7 or secret not in str(refused.value)
