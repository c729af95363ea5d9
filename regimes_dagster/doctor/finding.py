"""What a check says.

What belongs here: the finding and its order. What does not: checks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Status = Literal["OK", "WARN", "FAIL", "SKIP"]

_ORDER: tuple[Status, ...] = ("SKIP", "OK", "WARN", "FAIL")


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes
    ----------
    check : str
        What was looked at.
    status : str
        ``OK``; ``WARN`` works, but not as it should; ``FAIL`` does not work; ``SKIP`` could not be looked at.
    message : str
        What was found.
    action : str or None
        What to do about it.
    """

    check: str
    status: Status
    message: str
    action: str | None = None


def ok(check: str, message: str) -> Finding:
    """A finding that needs nothing."""
    return Finding(check, "OK", message)


def warn(check: str, message: str, action: str | None = None) -> Finding:
    """A finding that should be looked at."""
    return Finding(check, "WARN", message, action)


def fail(check: str, message: str, action: str | None = None) -> Finding:
    """A finding that keeps the platform from working."""
    return Finding(check, "FAIL", message, action)


def skip(check: str, message: str) -> Finding:
    """A check that could not be made."""
    return Finding(check, "SKIP", message)


def worst(findings: Iterable[Finding]) -> Status:
    """The worst status; OK for none."""
    return max((finding.status for finding in findings), key=_ORDER.index, default="OK")
