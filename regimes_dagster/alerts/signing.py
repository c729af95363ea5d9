"""Standard Webhooks signatures: https://github.com/standard-webhooks/standard-webhooks, v1 (HMAC-SHA256).

What belongs here: the headers that name and sign a message. The signature is ours, in a few lines: the reference
library mislabels aware times that are not UTC and takes secrets of 5 bytes, so it only checks ours in the tests.
What does not: reading secrets (the settings).
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from regimes_dagster import __version__
from regimes_dagster.alerts.message import Message, webhook_id

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix that every secret has


class SecretError(ValueError):
    """A signing secret cannot be used; the message never carries it."""


def key_of(secret: str) -> bytes:
    """The key in a ``whsec_`` secret: strict base64 of 24 to 64 bytes.

    Raises
    ------
    SecretError
        If it is anything else.
    """
    if not secret.startswith(SECRET_PREFIX):
        raise SecretError(f"a signing secret starts with {SECRET_PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise SecretError(f"a signing secret is base64 after {SECRET_PREFIX}") from None
    if not 24 <= len(key) <= 64:
        raise SecretError(f"a signing secret holds 24 to 64 bytes, this one {len(key)}")
    return key


def signature(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """``v1,<base64>`` of id, whole seconds and body; during a rotation one per secret, separated by a space."""
    content = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(
        "v1," + base64.b64encode(hmac.new(key_of(secret), content, hashlib.sha256).digest()).decode()
        for secret in secrets
    )


def headers(messages: Sequence[Message], body: bytes, *, secrets: Sequence[str], timestamp: int) -> dict[str, str]:
    """Headers of one post of ``body``.

    Parameters
    ----------
    messages
        The alerts the body tells of: one, or those of a summary.
    timestamp
        Whole seconds of this attempt.
    """
    first = messages[0]
    message_id = webhook_id(first) if len(messages) == 1 else summary_id(messages)
    found = {
        "Content-Type": "application/json",
        "User-Agent": f"regimes/{__version__}",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "Idempotency-Key": message_id,
    }
    if len(messages) == 1:
        found |= {"regimes-episode": first.episode_id, "regimes-phase": first.phase}
    else:
        found["regimes-count"] = str(len(messages))
    if any(message.is_simulated for message in messages):
        found["regimes-simulated"] = "true"
    if secrets:
        found["webhook-signature"] = signature(secrets, message_id, timestamp, body)
    return found


def summary_id(messages: Sequence[Message]) -> str:
    """Id of a summary: it follows from the alerts in it."""
    joined = "\n".join(sorted(webhook_id(message) for message in messages))
    return "msg_" + hashlib.sha256(joined.encode()).hexdigest()[:24]
