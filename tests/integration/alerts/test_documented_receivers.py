"""The receivers printed in docs/alerts.md run as printed and check what the engine sends."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.servers.receivers import Receiver

DOCS = Path(__file__).resolve().parents[3] / "docs" / "alerts.md"
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return next(text for text in blocks if containing in text)


@pytest.fixture
def sent(outbox, settings_for):
    """A signed message as it arrived."""
    with Receiver() as receiver:
        settings = settings_for({"url": receiver.url, "secret": [SECRET]})
        outbox.add(settings, description="z 2.30σ, 100 % & more")
        outbox.deliver(settings)
        return receiver.requests[0]


def test_the_fastapi_receiver_takes_a_message_once_and_refuses_a_changed_one(sent, monkeypatch, capsys) -> None:
    monkeypatch.setenv("DESK_SECRET", SECRET)
    space: dict[str, Any] = {"__name__": "receiver"}
    exec(compile(block("python", "FastAPI"), "docs/alerts.md", "exec"), space)
    client = TestClient(space["app"])
    for _ in range(2):
        assert client.post("/alerts", content=sent.body, headers=sent.headers).status_code == 204
    assert capsys.readouterr().out.count("Liquidation Cascade Detected") == 1
    assert client.post("/alerts", content=sent.body + b" ", headers=sent.headers).status_code == 401


def test_the_shell_receiver_stores_a_message_and_refuses_a_changed_one(sent, tmp_path) -> None:
    script = tmp_path / "receive.sh"
    script.write_text(block("bash", "openssl dgst"), encoding="utf-8")
    names = ("content-length", "webhook-id", "webhook-timestamp", "webhook-signature")

    def receive(body: bytes) -> str:
        head = "".join(f"{name}: {sent.headers[name]}\r\n" for name in names)
        done = subprocess.run(
            ["bash", str(script)], input=b"POST /alerts HTTP/1.1\r\n" + head.encode() + b"\r\n" + body,
            env={**os.environ, "DESK_SECRET": SECRET}, cwd=tmp_path, capture_output=True, check=True,
        )  # fmt: skip
        return done.stdout.decode()

    assert receive(sent.body).startswith("HTTP/1.1 204 ")
    assert receive(b"{" + sent.body[1:].replace(b"CRITICAL", b"WARNING_")).startswith("HTTP/1.1 401 ")
    assert (tmp_path / "alerts.jsonl").read_bytes() == sent.body + b"\n"


def test_every_variable_and_key_on_the_page_exists() -> None:
    from regimes_dagster.configuration.sections import AlertsSection, WebhookEntry
    from regimes_dagster.vocabulary import WEBHOOK_VARIABLES

    text = DOCS.read_text(encoding="utf-8")
    assert set(re.findall(r"`(WEBHOOKS_[A-Z]+)`", text)) - {"WEBHOOKS_OFF"} <= set(WEBHOOK_VARIABLES)
    toml = block("toml", "[[alerts.webhook]]")
    section, entry = toml.split("[[alerts.webhook]]")
    keys = set(re.findall(r"^(\w+) =", section, re.MULTILINE)) - {"VOLATILITY_REGIME_CHANGE"}
    assert keys <= set(AlertsSection.model_fields)
    assert set(re.findall(r"^(\w+) =", entry, re.MULTILINE)) <= set(WebhookEntry.model_fields)
