"""The payload in words: the few lines of figures that a chat message shows.

What belongs here: choosing and writing payload figures for people. What does not: the limits and the escaping of a
service (``discord.py``, ``slack.py``, ``telegram.py``).
"""

from typing import Any

from regimes_dagster.alerts.body import plain
from regimes_dagster.alerts.message import Message, ordered_data
from regimes_dagster.alerts.text_limits import tidy

EMOJI = {"CRITICAL": "🚨", "WARNING": "⚠️", "INFO": "ℹ️"}

_MOST = 12


def figures(message: Message, most: int = _MOST) -> list[tuple[str, str]]:
    """Name and value of the first payload entries that have a value, in their declared order."""
    found = []
    for key, value in ordered_data(message.event_type, message.data).items():
        text = _shown(key, plain(value))
        if text:
            found.append((_name(key), text))
    return found[:most]


def headline(message: Message) -> str:
    """Emoji and title on one line; a simulated market says so."""
    mark = "[SIMULATED] " if message.is_simulated else ""
    again = "Still active: " if message.reminder else ""
    return f"{EMOJI.get(message.severity, 'ℹ️')} {mark}{again}{tidy(message.title, one_line=True) or message.event_type}"


def summary_line(message: Message) -> str:
    """One line of a summary of many alerts."""
    return f"{headline(message)} ({message.severity}, {message.ts:%d %b %H:%M} UTC)"


def footer(message: Message) -> str:
    """Where and when, and that it is no advice."""
    simulated = "simulated market · " if message.is_simulated else ""
    return f"{simulated}{message.event_type} · {message.ts:%Y-%m-%d %H:%M} UTC · not investment advice"


def summary_title(count: int) -> str:
    """Headline of a summary."""
    return f"{count} alerts at once"


def _name(key: str) -> str:
    return tidy(
        key.replace("_usd", " USD").replace("_pct", " %").replace("_pp", " pp").replace("_", " "), one_line=True
    )


def _shown(key: str, value: Any) -> str:
    if value is None or value == "" or value == [] or value == {}:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return f"{value:,.0f}" if key.endswith("_usd") or abs(value) >= 10_000 else f"{value:.6g}"
    if isinstance(value, list):
        return "; ".join(filter(None, (_shown("", inner) for inner in value)))
    if isinstance(value, dict):
        return ", ".join(f"{tidy(name, one_line=True)} {_shown(name, inner)}" for name, inner in value.items())
    return tidy(str(value))
