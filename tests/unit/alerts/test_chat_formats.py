"""Discord, Slack and Telegram bodies stay inside the services' published limits, whatever the text."""

import html
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes_dagster.alerts import discord, formats, slack, telegram
from regimes_dagster.alerts.text_limits import cut, length, tidy
from tests.unit.alerts.messages import message, odd_messages

URLS = {
    "discord": "https://discord.com/api/webhooks/1/token",
    "slack": "https://hooks.slack.com/services/T/B/x",
    "telegram": "https://api.telegram.org/bot1:token/sendMessage?chat_id=-100&message_thread_id=7",
}
MANY = st.lists(odd_messages(), min_size=2, max_size=30)


def body(form, *given_messages):
    raw = formats.render(form, list(given_messages), URLS[form])
    return json.loads(raw.decode("utf-8"))


def check_discord(sent) -> None:
    assert set(sent) == {"content", "embeds", "allowed_mentions"}
    assert sent["allowed_mentions"] == {"parse": []}
    assert 1 <= length(sent["content"]) <= 2000
    (embed,) = sent["embeds"]
    total = length(embed["title"]) + length(embed.get("description", "")) + length(embed["footer"]["text"])
    assert 1 <= length(embed["title"]) <= 256
    assert "description" not in embed or 1 <= length(embed["description"]) <= 4096
    assert length(embed["footer"]["text"]) <= 2048
    assert len(embed.get("fields", [])) <= 25
    for field in embed.get("fields", []):
        assert 1 <= length(field["name"]) <= 256
        assert 1 <= length(field["value"]) <= 1024
        assert field["value"].strip()
        total += length(field["name"]) + length(field["value"])
    assert total <= 6000
    assert 0 <= embed["color"] <= 0xFFFFFF


def check_slack(sent) -> None:
    assert 1 <= length(sent["text"]) <= 3000
    assert 1 <= len(sent["blocks"]) <= 50
    for block in sent["blocks"]:
        if block["type"] == "header":
            assert block["text"]["type"] == "plain_text"
            assert 1 <= length(block["text"]["text"]) <= 150
        elif "text" in block:
            assert 1 <= length(block["text"]["text"]) <= 3000
        for field in block.get("fields", []):
            assert 1 <= length(field["text"]) <= 2000
        assert len(block.get("fields", [])) <= 10
    texts = json.dumps(sent, ensure_ascii=False)
    assert length(texts) < 12_000
    for block in sent["blocks"]:
        for text in (t["text"] for t in [block.get("text", {}), *block.get("fields", [])] if t.get("type") == "mrkdwn"):
            assert not re.search(r"&(?!amp;|lt;|gt;)|[<>]", text), "an entity is whole, nothing else is markup"


def check_telegram(sent) -> None:
    assert sent["chat_id"] == "-100"
    assert sent["message_thread_id"] == "7"
    assert sent["parse_mode"] == "HTML"
    assert 1 <= length(sent["text"]) <= 4096
    bare = re.sub(r"</?(b|i|code)>", "", sent["text"])
    assert not re.search(r"&(?!amp;|lt;|gt;)|[<>]", bare)
    for tag in ("b", "i", "code"):
        assert sent["text"].count(f"<{tag}>") == sent["text"].count(f"</{tag}>")


CHECKS = {"discord": check_discord, "slack": check_slack, "telegram": check_telegram}


@pytest.mark.parametrize("form", list(CHECKS))
@settings(max_examples=120, deadline=None)
@given(made=odd_messages())
def test_any_message_fits(form, made) -> None:
    CHECKS[form](body(form, made))


@pytest.mark.parametrize("form", list(CHECKS))
@settings(max_examples=25, deadline=None)
@given(made=MANY)
def test_any_summary_fits(form, made) -> None:
    CHECKS[form](body(form, *made))


@pytest.mark.parametrize("form", list(CHECKS))
def test_a_summary_of_hundreds_names_some_and_counts_the_rest(form) -> None:
    sent = json.dumps(body(form, *[message(title=f"alert number {n}") for n in range(300)]), ensure_ascii=False)
    assert "300 alerts" in sent
    assert "alert number 0" in sent
    assert "and 280 more" in sent
    assert "alert number 25" not in sent


def test_json_never_merges() -> None:
    with pytest.raises(ValueError, match="unpack"):
        formats.render("json", [message(), message()], "https://x.example/")


def test_the_guides_discord_case_is_configuration() -> None:
    sent = body("discord", message(title="Liquidation Cascade!", description="500K liquidated in 1 hour"))
    assert sent["content"] == "🚨 Liquidation Cascade!\n500K liquidated in 1 hour"
    (embed,) = sent["embeds"]
    assert (embed["title"], embed["description"], embed["color"]) == (
        "Liquidation Cascade!", "500K liquidated in 1 hour", 16711680,
    )  # fmt: skip
    assert body("discord", message(severity="WARNING"))["embeds"][0]["color"] == 16753920


def test_discord_is_asked_to_wait_and_keeps_its_thread() -> None:
    assert discord.address("https://discord.com/api/webhooks/1/t?thread_id=5") == (
        "https://discord.com/api/webhooks/1/t?thread_id=5&wait=true"
    )
    assert discord.address("https://discord.com/api/webhooks/1/t?wait=false").endswith("?wait=true")


def test_telegrams_chat_moves_from_the_address_to_the_body() -> None:
    assert telegram.address(URLS["telegram"]) == "https://api.telegram.org/bot1:token/sendMessage"


def test_nobody_can_be_pinged_or_linked_by_a_text() -> None:
    nasty = message(title="<!channel> <https://evil.example|click>", description="<@U1> & <b>bold</b>")
    for block in body("slack", nasty)["blocks"]:
        if block.get("text", {}).get("type") == "mrkdwn":
            assert "<" not in block["text"]["text"]
    assert "&lt;b&gt;bold&lt;/b&gt;" in body("telegram", nasty)["text"]
    assert body("discord", message(title="@everyone"))["allowed_mentions"] == {"parse": []}


def test_a_simulated_market_says_so_in_every_format() -> None:
    for form in CHECKS:
        assert "SIMULATED" in json.dumps(body(form, message(is_simulated=True)))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=80), st.integers(0, 60))
def test_cutting_never_exceeds_the_limit_and_never_halves_a_character(text: str, limit: int) -> None:
    short = cut(tidy(text), limit)
    assert length(short) <= limit
    short.encode("utf-8")
    assert slack.escape_cut(tidy(text), limit) == "" or length(slack.escape_cut(tidy(text), limit)) <= limit
    assert html.unescape(slack.escape_cut(tidy(text), 10_000)) is not None
