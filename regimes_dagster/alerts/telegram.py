"""The telegram format: one HTML message through a bot, inside Telegram's limit.

What belongs here: the body of ``sendMessage`` (https://core.telegram.org/bots/api#sendmessage) and the address it
goes to. The chat is named in the configured address: ``https://api.telegram.org/bot<token>/sendMessage?chat_id=...``.
What does not: reading Telegram's answers (``answers.py``).
"""

import html
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from regimes_dagster.alerts.figures_text import figures, footer, headline, summary_line, summary_title
from regimes_dagster.alerts.message import Message
from regimes_dagster.alerts.text_limits import cut, length, tidy

TEXT = 4096

_CHAT_KEYS = ("chat_id", "message_thread_id")
_TITLE, _DESCRIPTION, _VALUE, _FOOTER, _SUMMARY_LINES = 300, 2000, 300, 200, 20


def payload(message: Message, url: str) -> dict[str, Any]:
    """Body for one alert."""
    parts = [f"<b>{_escape(headline(message), _TITLE)}</b>"]
    description = tidy(message.description)
    if description:
        parts.append(_escape(description, _DESCRIPTION))
    shown = [("Symbol", tidy(message.symbol, one_line=True)), *figures(message, 10)]
    last = f"<i>{_escape(footer(message), _FOOTER)}</i>"
    room = TEXT - length("\n\n".join([*parts, last])) - 2
    lines: list[str] = []
    for name, value in shown:
        line = f"{_escape(name, 60)}: <code>{_escape(value, _VALUE)}</code>"
        room -= length(line) + 1
        if room < 0:
            break
        lines.append(line)
    return _post(url, "\n\n".join([*parts, *(["\n".join(lines)] if lines else []), last]))


def summary(messages: Sequence[Message], url: str) -> dict[str, Any]:
    """Body for many alerts: the first lines, and how many more there are."""
    lines = [_escape(summary_line(message), 150) for message in messages[:_SUMMARY_LINES]]
    if len(messages) > len(lines):
        lines.append(f"and {len(messages) - len(lines)} more")
    return _post(url, "\n".join([f"<b>🚨 {summary_title(len(messages))}</b>", *lines]))


def address(url: str) -> str:
    """The configured address without the chat, which goes into the body."""
    parts = urlsplit(url)
    query = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key not in _CHAT_KEYS]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _post(url: str, text: str) -> dict[str, Any]:
    chat = {key: value for key, value in parse_qsl(urlsplit(url).query) if key in _CHAT_KEYS}
    return {**chat, "text": text, "parse_mode": "HTML", "link_preview_options": {"is_disabled": True}}


def _escape(text: str, limit: int) -> str:
    """Escaped text of at most ``limit`` units; an entity is never cut in two."""
    kept = cut(text, limit)
    while (over := length(html.escape(kept, quote=False)) - limit) > 0:
        kept = cut(kept, length(kept) - max(1, over // 5))
    return html.escape(kept, quote=False)
