"""What a mistake in the configuration looks like to the person who made it.

What belongs here: the ``Problem`` and ``SettingsError`` types, and the translation of pydantic's errors into
plain words with the key, its origin, the value, what is allowed and the nearest valid name. What does not:
reading files (``reading.py``) and the rules themselves (the models).
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]

#: Values of keys whose name contains one of these are never shown.
SECRET_WORDS = ("secret", "password", "url", "apikey", "token", "privatekey", "proxy")

#: Keys that contain one of the words and still hide nothing.
PUBLIC_KEYS = frozenset({"base_url", "url_env", "secret_env", "trusted_proxies", "public_url"})

_TYPE_WORDS = {
    "string_type": "a string in quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list in square brackets",
    "tuple_type": "a list in square brackets",
    "dict_type": "a table of keys and values",
    "model_type": "a section of keys and values",
    "model_attributes_type": "a section of keys and values",
    "date_type": 'a date such as "2024-01-01"',
    "date_parsing": 'a date such as "2024-01-01"',
    "date_from_datetime_parsing": 'a date such as "2024-01-01"',
    "date_from_datetime_inexact": 'a date such as "2024-01-01"',
    "path_type": "a path in quotes",
    "ip_any_network": 'a network such as "10.0.0.0/8", with the host part zero',
}
_BOUND_WORDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


@dataclass(frozen=True)
class Problem:
    """One mistake.

    Attributes
    ----------
    key : str
        Dotted name of the key, e.g. ``volatility.stable_threshold``; empty for a whole file.
    origin : str
        File and line, environment variable, or ``default``.
    message : str
        What is wrong, with the value (masked if secret) and what is allowed.
    suggestion : str or None
        What the person probably meant.
    """

    key: str
    origin: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        head = f"{self.origin}: " if self.origin else ""
        key = f"{self.key}: " if self.key else ""
        hint = f" {self.suggestion}" if self.suggestion else ""
        return f"{head}{key}{self.message}{hint}"


class SettingsError(Exception):
    """The configuration cannot be used; ``problems`` holds every mistake found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        count = len(self.problems)
        head = f"The configuration has {count} mistake{'s' if count != 1 else ''}:"
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in self.problems)]))


def news(later: Iterable[Problem], earlier: Iterable[Problem]) -> list[Problem]:
    """Problems of joined rules that are not a mere consequence of a key already found wrong."""
    wrong = {problem.key for problem in earlier if problem.key}
    return [
        problem
        for problem in later
        if not problem.key
        or not any(key == problem.key or key.startswith((f"{problem.key}.", f"{problem.key}[")) for key in wrong)
    ]


def in_reading_order(problems: Iterable[Problem]) -> list[Problem]:
    """By file and line, then variables by name."""

    def place(problem: Problem) -> tuple[int, str, int]:
        name, _, rest = problem.origin.partition(":")
        line = rest.split(":")[0]
        return (0, name, int(line)) if line.isdigit() else (1, problem.origin, 0)

    return sorted(problems, key=place)


def dotted(path: Path) -> str:
    """``("alerts", "webhook", 0, "url")`` as ``alerts.webhook[0].url``; quotes keys that need them."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = part.replace("_", "").replace("-", "").isalnum()
            text += ("." if text else "") + (part if plain else f'"{part}"')
    return text


def nearest(word: str, candidates: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The candidate most like ``word``, whatever the case, or None if none is near."""
    by_fold = {candidate.casefold(): candidate for candidate in candidates}
    found = difflib.get_close_matches(word.casefold(), list(by_fold), n=1, cutoff=cutoff)
    return by_fold[found[0]] if found else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """``Did you mean "x"?``, or None."""
    match = nearest(word, candidates)
    return f'Did you mean "{match}"?' if match is not None else None


def listed(words: Sequence[str], limit: int = 24) -> str:
    """Comma-separated words, cut after ``limit``."""
    shown = ", ".join(words[:limit])
    return f"{shown} and {len(words) - limit} more" if len(words) > limit else shown


def is_secret(path: Path) -> bool:
    """Whether the value under ``path`` must not be shown."""
    names = [part.casefold() for part in path if isinstance(part, str)]
    if not names or names[-1] in PUBLIC_KEYS:
        return False
    if names[:2] == ["sources", "ccxt"] and len(names) > 3:
        names = names[3:]
        return any(word in name for name in names for word in SECRET_WORDS if word != "url")
    return any(word in names[-1] for word in SECRET_WORDS)


def shown(value: Any, path: Path = ()) -> str:
    """The value as a person would write it, masked if the key holds a secret, cut if long."""
    if is_secret(path):
        return "(hidden)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, Mapping):
        text = "a table" if value else "an empty table"
    elif isinstance(value, (list, tuple)):
        text = "[" + ", ".join(shown(item) for item in value) + "]"
    else:
        text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def wrong_type(error: ErrorDetails, path: Path) -> str | None:
    """Message for an error of type, or None if it is another kind of error."""
    wanted = _TYPE_WORDS.get(error["type"])
    if wanted is None:
        return None
    return f"is {_kind(error['input'], path)}, must be {wanted}."


def out_of_bounds(error: ErrorDetails, path: Path) -> str | None:
    """Message for a number outside its range, or None if it is another kind of error."""
    if error["type"] == "finite_number":
        return f"is {shown(error['input'], path)}, must be a finite number."
    words = _BOUND_WORDS.get(error["type"])
    if words is None:
        return None
    name, phrase = words
    limit = error.get("ctx", {}).get(name)
    limit = int(limit) if isinstance(limit, float) and limit.is_integer() else limit
    return f"is {shown(error['input'], path)}, must be {phrase} {limit}."


def _kind(value: Any, path: Path) -> str:
    if isinstance(value, bool):
        return f"{shown(value, path)} (a truth value)"
    if isinstance(value, str):
        return f"the string {shown(value, path)}"
    if isinstance(value, (int, float)):
        return f"the number {shown(value, path)}"
    if isinstance(value, (list, tuple)):
        return f"the list {shown(value, path)}"
    if value is None:
        return "empty"
    return "a table"
