"""The local receiver: one readable line per message, signatures checked, doubles marked."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from regimes_dagster.alerts.requests import replay
from regimes_dagster.commands.webhook_sink import make_server

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "A" * 40


@contextmanager
def sink(**options: Any) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, **options)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_message_is_one_line_and_a_second_copy_is_marked(outbox, settings_for, capsys) -> None:
    with sink(secrets=[SECRET]) as url:
        settings = settings_for({"url": url, "secret": [SECRET]})
        (alert,) = outbox.add(settings)
        assert outbox.deliver(settings).delivered == 1
        with outbox.engine.begin() as connection:
            replay(connection, settings, alert, None, outbox.now())
        outbox.deliver(settings)
    first, second = capsys.readouterr().out.splitlines()
    for word in ("CRITICAL", "LIQUIDATION_CASCADE", "Liquidation Cascade Detected - BTC/USDT", "[OPEN, signature ok]"):
        assert word in first
    assert "[OPEN, signature ok, again]" in second


@pytest.mark.parametrize(
    ("sender", "receiver", "said"),
    [([], [], "unsigned"), ([SECRET], [], "signature not checked"), ([SECRET], [OTHER], "signature wrong"),
     ([], [SECRET], "signature wrong")],
)  # fmt: skip
def test_it_says_what_it_thinks_of_the_signature(outbox, settings_for, capsys, sender, receiver, said) -> None:
    with sink(secrets=receiver) as url:
        settings = settings_for({"url": url, "secret": sender})
        outbox.add(settings)
        outbox.deliver(settings)
    assert f"[OPEN, {said}]" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["discord", "slack", "telegram"])
def test_chat_bodies_are_shown_by_their_text_and_in_full_on_demand(outbox, settings_for, capsys, form) -> None:
    with sink(full=True) as url:
        settings = settings_for({"url": f"{url}?chat_id=5", "format": form})
        outbox.add(settings)
        outbox.deliver(settings)
    first, *rest = capsys.readouterr().out.splitlines()
    assert "Liquidation Cascade Detected" in first
    assert any("375000" in line for line in rest)


def test_an_answer_can_be_chosen_to_watch_retries(outbox, settings_for, capsys) -> None:
    with sink(answer=503) as url:
        settings = settings_for(url)
        outbox.add(settings)
        assert outbox.deliver(settings).retrying == 1
    assert len(capsys.readouterr().out.splitlines()) == 1
