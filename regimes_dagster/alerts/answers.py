"""What an answer means: the one table from an attempt's outcome to what happens next.

What belongs here: the decision, as a pure function of the answer. What does not: sending (``post.py``) and writing
the decision down (``ledger.py``).
"""

from dataclasses import dataclass
from enum import Enum

from regimes_dagster.alerts.schedule import MISCONFIGURED_DELAYS, RETRY_DELAYS, delay, hold
from regimes_dagster.vocabulary import WebhookFormat


class Trouble(Enum):
    """Why an attempt had no whole answer."""

    TIMEOUT = "timeout"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    RESET = "reset"
    REFUSED_ADDRESS = "refused_address"
    BAD_URL = "bad_url"
    BAD_MESSAGE = "bad_message"


class Effect(Enum):
    """What the outcome does to the endpoint."""

    NONE = "none"
    OK = "ok"
    FAILURE = "failure"
    HOLD = "hold"
    DISABLE = "disable"


@dataclass(frozen=True)
class Outcome:
    """One attempt: an HTTP status with the wait it asks for, or trouble.

    Attributes
    ----------
    error
        Class name of the exception, never its text: that may hold the address.
    millis
        Duration of the attempt.
    """

    status: int | None = None
    trouble: Trouble | None = None
    asked: float | None = None
    error: str | None = None
    millis: int = 0


@dataclass(frozen=True)
class Decision:
    """What becomes of the delivery and of its endpoint.

    Attributes
    ----------
    state
        DELIVERED, RETRYING or DEAD.
    delay
        Seconds until the next attempt (RETRYING), or of the hold (Effect.HOLD).
    counts
        Whether the attempt uses up a step of the retry schedule.
    """

    state: str
    effect: Effect
    reason: str | None = None
    delay: float | None = None
    counts: bool = True


#: The same bytes cannot become valid.
REFUSED_BYTES = frozenset({400, 413, 414, 415, 422})

#: Temporary by their meaning; every 5xx is too.
TEMPORARY = frozenset({408, 409, 421, 423, 425})

#: Statuses by which a chat service says that the webhook is gone for good.
GONE: dict[WebhookFormat, frozenset[int]] = {
    "json": frozenset({410}),
    "discord": frozenset({401, 404, 410}),
    "slack": frozenset({403, 404, 410}),
    "telegram": frozenset({410}),
}

OUT_OF_TRIES = "OUT_OF_TRIES"
MISCONFIGURED = "MISCONFIGURED"
REFUSED = "REFUSED"
REDIRECT = "REDIRECT"


def decide(outcome: Outcome, *, form: WebhookFormat, tries: int, spread: float) -> Decision:
    """What to do after an attempt.

    Parameters
    ----------
    form
        Format of the endpoint; Discord and Slack say "gone" in their own way.
    tries
        Attempts that counted against the schedule, this one included.
    spread
        Jitter in [-1, 1].
    """
    if outcome.trouble is not None:
        return _troubled(outcome.trouble, tries, spread)
    status = outcome.status
    if status is None:
        raise ValueError("an outcome has a status or a trouble")
    if 200 <= status < 300:
        return Decision("DELIVERED", Effect.OK)
    if status == 429:
        return Decision("RETRYING", Effect.HOLD, "RATE_LIMITED", hold(outcome.asked), counts=False)
    if status in GONE[form]:
        return Decision("DEAD", Effect.DISABLE, "GONE")
    if 300 <= status < 400:
        return Decision("DEAD", Effect.NONE, REDIRECT)
    if status in REFUSED_BYTES:
        return Decision("DEAD", Effect.NONE, REFUSED)
    if 400 <= status < 500 and status not in TEMPORARY:
        # 401, 403, 404, 405 by the specification; other unusual 4xx are treated alike.
        wait = delay(MISCONFIGURED_DELAYS, tries, spread, outcome.asked)
        return _retry(wait, Effect.NONE, MISCONFIGURED, dead=MISCONFIGURED)
    return _retry(delay(RETRY_DELAYS, tries, spread, outcome.asked), Effect.FAILURE, "TEMPORARY", dead=OUT_OF_TRIES)


def _troubled(trouble: Trouble, tries: int, spread: float) -> Decision:
    if trouble in (Trouble.REFUSED_ADDRESS, Trouble.BAD_URL):
        return Decision("DEAD", Effect.DISABLE, trouble.name)
    if trouble is Trouble.BAD_MESSAGE:
        return Decision("DEAD", Effect.NONE, trouble.name)
    return _retry(delay(RETRY_DELAYS, tries, spread), Effect.FAILURE, trouble.name, dead=OUT_OF_TRIES)


def _retry(wait: float | None, effect: Effect, reason: str, *, dead: str) -> Decision:
    return Decision("DEAD", effect, dead) if wait is None else Decision("RETRYING", effect, reason, wait)
