"""From alerts to the bytes of one post, in the endpoint's format.

What belongs here: the choice of the format, and whether several alerts may be one summary. What does not: the
bodies themselves.
"""

from collections.abc import Sequence
from typing import Any

from regimes_dagster.alerts import discord, slack, telegram
from regimes_dagster.alerts.body import encode, json_body
from regimes_dagster.alerts.message import Message
from regimes_dagster.vocabulary import WebhookFormat

#: Formats in which many alerts become one summary; json always gets each.
CHAT_FORMATS: tuple[WebhookFormat, ...] = ("discord", "slack", "telegram")


def render(form: WebhookFormat, messages: Sequence[Message], url: str) -> bytes:
    """The bytes that are signed and sent.

    Raises
    ------
    ValueError
        If several alerts are given in the json format, which never merges.
    """
    if form == "json":
        (message,) = messages
        return json_body(message)
    return encode(_chat(form, messages, url))


def target(form: WebhookFormat, url: str) -> str:
    """The address that is posted to: the configured one with what the service wants added or taken out."""
    if form == "discord":
        return discord.address(url)
    if form == "telegram":
        return telegram.address(url)
    return url


def _chat(form: WebhookFormat, messages: Sequence[Message], url: str) -> dict[str, Any]:
    if form == "discord":
        return discord.payload(messages[0]) if len(messages) == 1 else discord.summary(messages)
    if form == "slack":
        return slack.payload(messages[0]) if len(messages) == 1 else slack.summary(messages)
    return telegram.payload(messages[0], url) if len(messages) == 1 else telegram.summary(messages, url)
