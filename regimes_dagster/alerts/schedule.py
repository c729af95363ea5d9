"""When to try again: the delays of the retry schedule, jitter, and what a receiver asks for.

What belongs here: delays and the reading of ``Retry-After``. What does not: which answers are retried
(``answers.py``) and whose turn it is (``queue.py``).
"""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Seconds before the 2nd, 3rd, ... attempt: 17.7 h in all, inside the 24 h that a json delivery lives.
RETRY_DELAYS = (5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0, 18_000.0, 36_000.0)

#: Answers that look like a wrong configuration get three tries in all.
MISCONFIGURED_DELAYS = (300.0, 1800.0)

JITTER = 0.2

#: What a receiver asks for may raise a delay, at most to this.
MOST_ASKED = 3600.0

#: Shortest hold of an endpoint after 429.
LEAST_HOLD = 60.0

#: Failures in a row that open the breaker, its first and its longest pause, seconds.
BREAKER_FAILURES = 5
BREAKER_FIRST = 30.0
BREAKER_LONGEST = 900.0

#: An endpoint that only failed for so long is switched off.
DISABLE_AFTER_S = 120 * 3600.0


def delay(delays: tuple[float, ...], tries: int, spread: float, asked: float | None = None) -> float | None:
    """Seconds until the next attempt after ``tries`` that counted, or None if there is none left.

    Parameters
    ----------
    spread
        Jitter in [-1, 1]; 1 lengthens by 20 %.
    asked
        Seconds the receiver asked for; raises the delay, at most to one hour.
    """
    if not 1 <= tries <= len(delays):
        return None
    jittered = delays[tries - 1] * (1 + JITTER * spread)
    return max(jittered, min(asked, MOST_ASKED)) if asked is not None else jittered


def hold(asked: float | None) -> float:
    """Seconds an endpoint is left alone after 429: at least a minute, at most an hour."""
    return min(max(LEAST_HOLD, asked or 0.0), MOST_ASKED)


def breaker_pause(failures: int) -> float | None:
    """Seconds the breaker stays open after so many failures in a row: 30 s x 2^k up to 15 min; None if closed."""
    if failures < BREAKER_FAILURES:
        return None
    return float(min(BREAKER_FIRST * 2 ** min(failures - BREAKER_FAILURES, 20), BREAKER_LONGEST))


def retry_after(headers: Mapping[str, str], body: bytes, now: datetime) -> float | None:
    """Seconds that an answer asks to wait, or None; garbage is ignored.

    Read from ``Retry-After`` (seconds, also fractions, or a date) and from the JSON of Discord (``retry_after``)
    and Telegram (``parameters.retry_after``); the longest counts.
    """
    asked = [_header(headers.get("retry-after", "")), _header(headers.get("x-ratelimit-reset-after", "")), *_body(body)]
    usable = [value if value is not None else -1.0 for value in asked]
    dated = _date(headers.get("retry-after", ""), now)
    best = max([*usable, -1.0 if dated is None else dated])
    return best if best > 0 else None


def _header(text: str) -> float | None:
    try:
        value = float(text.strip())
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _date(text: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        return (moment - now).total_seconds()
    except OverflowError:
        return None


def _body(body: bytes) -> list[float | None]:
    if b"retry_after" not in body:
        return []
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return []
    if not isinstance(found, dict):
        return []
    inner = found.get("parameters")
    candidates = [found.get("retry_after"), inner.get("retry_after") if isinstance(inner, dict) else None]
    return [_header(str(value)) for value in candidates if isinstance(value, (int, float, str))]
