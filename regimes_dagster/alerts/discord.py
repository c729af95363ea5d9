"""The discord format: one content line and one embed, inside Discord's limits.

What belongs here: the body of a Discord webhook post
(https://discord.com/developers/docs/resources/webhook#execute-webhook) and the address it goes to. What does not:
reading Discord's answers (``answers.py``).
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from regimes_dagster.alerts.figures_text import figures, footer, headline, summary_line, summary_title
from regimes_dagster.alerts.message import Message
from regimes_dagster.alerts.text_limits import cut, length, tidy

CONTENT, TITLE, DESCRIPTION, FIELDS, FIELD_NAME, FIELD_VALUE, FOOTER, EMBED_TOTAL = (
    2000,
    256,
    4096,
    25,
    256,
    1024,
    2048,
    6000,
)

#: The guide's two colours, and blue for INFO.
COLOURS = {"CRITICAL": 16711680, "WARNING": 16753920, "INFO": 3447003}

#: What a message of the guide's example shows at most of its description beside the headline.
_SUMMARY_LINES = 20


def payload(message: Message) -> dict[str, Any]:
    """Body for one alert: the guide's content and embed, figures as fields, nobody is pinged."""
    title = tidy(message.title, one_line=True) or message.event_type
    description = tidy(message.description)
    content = headline(message) + (f"\n{description}" if description else "")
    embed: dict[str, Any] = {"title": cut(title, TITLE)}
    if description:
        embed["description"] = cut(description, DESCRIPTION)
    embed |= {
        "color": COLOURS.get(message.severity, COLOURS["INFO"]),
        "fields": [],
        "footer": {"text": cut(footer(message), FOOTER)},
    }
    room = EMBED_TOTAL - length(embed["title"]) - length(embed.get("description", "")) - length(embed["footer"]["text"])
    for name, value in [
        ("Symbol", tidy(message.symbol, one_line=True)),
        ("Severity", message.severity),
        *figures(message),
    ]:
        label, text = cut(name, FIELD_NAME), cut(value, FIELD_VALUE)
        room -= length(label) + length(text)
        if room < 0 or len(embed["fields"]) == FIELDS:
            break
        if label and text:
            embed["fields"].append({"name": label, "value": text, "inline": True})
    return _post(cut(content, CONTENT), embed)


def summary(messages: Sequence[Message]) -> dict[str, Any]:
    """Body for many alerts: the first lines, and how many more there are."""
    lines = [cut(summary_line(message), TITLE) for message in messages[:_SUMMARY_LINES]]
    if len(messages) > len(lines):
        lines.append(f"and {len(messages) - len(lines)} more")
    worst = next((severity for severity in COLOURS if any(m.severity == severity for m in messages)), "INFO")
    embed = {
        "title": summary_title(len(messages)),
        "description": cut("\n".join(lines), DESCRIPTION),
        "color": COLOURS[worst],
        "footer": {"text": footer(messages[-1])},
    }
    return _post(f"🚨 {summary_title(len(messages))}", embed)


def address(url: str) -> str:
    """The configured address with ``wait=true``: without it Discord answers before it has stored the message."""
    parts = urlsplit(url)
    query = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key != "wait"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("wait", "true")])))


def _post(content: str, embed: dict[str, Any]) -> dict[str, Any]:
    return {"content": content, "embeds": [embed], "allowed_mentions": {"parse": []}}
