"""The slack format: header, section and fields in Block Kit, inside Slack's limits.

What belongs here: the body of an incoming webhook post
(https://api.slack.com/reference/block-kit/blocks, https://api.slack.com/messaging/webhooks). What does not: reading
Slack's answers (``answers.py``).
"""

from collections.abc import Sequence
from typing import Any

from regimes_dagster.alerts.figures_text import figures, footer, headline, summary_line, summary_title
from regimes_dagster.alerts.message import Message
from regimes_dagster.alerts.text_limits import cut, length, tidy

TEXT, HEADER, SECTION, FIELDS, FIELD, BLOCKS, TOTAL = 1500, 150, 3000, 10, 2000, 50, 12_000

_FIELD_SHOWN = 400
_SUMMARY_LINES = 20


def payload(message: Message) -> dict[str, Any]:
    """Body for one alert."""
    head = headline(message)
    description = tidy(message.description)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(head, HEADER), "emoji": True}}
    ]
    if description:
        blocks.append({"type": "section", "text": _markdown(escape_cut(description, SECTION))})
    shown = [
        ("Symbol", tidy(message.symbol, one_line=True)),
        ("Severity", message.severity),
        *figures(message, FIELDS - 2),
    ]
    fields = [
        _markdown(f"*{escape_cut(name, 100)}*\n{escape_cut(value, _FIELD_SHOWN)}") for name, value in shown if value
    ]
    blocks.append({"type": "section", "fields": fields})
    blocks.append({"type": "context", "elements": [_markdown(escape_cut(footer(message), SECTION))]})
    fallback = f"{head}: {description}" if description else head
    return {"text": escape_cut(fallback.replace("\n", " "), TEXT), "blocks": blocks}


def summary(messages: Sequence[Message]) -> dict[str, Any]:
    """Body for many alerts: the first lines, and how many more there are."""
    lines = [
        escape_cut(summary_line(message), SECTION // (_SUMMARY_LINES + 2)) for message in messages[:_SUMMARY_LINES]
    ]
    if len(messages) > len(lines):
        lines.append(f"and {len(messages) - len(lines)} more")
    title = f"🚨 {summary_title(len(messages))}"
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": title, "emoji": True}},
        {"type": "section", "text": _markdown("\n".join(lines))},
        {"type": "context", "elements": [_markdown(escape_cut(footer(messages[-1]), SECTION))]},
    ]
    return {"text": title, "blocks": blocks}


def escape(text: str) -> str:
    """Slack's three characters as entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_cut(text: str, limit: int) -> str:
    """Escaped text of at most ``limit`` units; an entity is never cut in two."""
    kept = cut(text, limit)
    while (over := length(escape(kept)) - limit) > 0:
        kept = cut(kept, length(kept) - max(1, over // 5))
    return escape(kept)


def _markdown(text: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text}
