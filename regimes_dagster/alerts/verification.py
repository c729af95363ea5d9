"""Checking a message's signature: the receiver's side of Standard Webhooks.

What belongs here: what the local receiver and the documentation's examples do. What does not: signing
(``signing.py``).
"""

import hmac
from collections.abc import Mapping, Sequence
from typing import Literal

from regimes_dagster.alerts.signing import signature

Verdict = Literal["unsigned", "not checked", "ok", "wrong", "too old"]

#: Seconds by which a message's stamp may differ from the receiver's clock.
TOLERANCE_S = 300


def verdict(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_s: float) -> Verdict:
    """What a receiver that knows ``secrets`` thinks of a message.

    Parameters
    ----------
    headers
        Names in lower case.
    now_s
        The receiver's clock, seconds since 1970.
    """
    given = headers.get("webhook-signature", "").split()
    if not given:
        return "wrong" if secrets else "unsigned"
    if not secrets:
        return "not checked"
    try:
        stamp = int(headers.get("webhook-timestamp", ""))
    except ValueError:
        return "wrong"
    expected = signature(secrets, headers.get("webhook-id", ""), stamp, body).split()
    if not any(hmac.compare_digest(one, other) for one in expected for other in given):
        return "wrong"
    return "ok" if abs(now_s - stamp) <= TOLERANCE_S else "too old"
