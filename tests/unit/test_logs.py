"""Log lines carry the guide's tags and no secrets."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from regimes_dagster import logs
from regimes_dagster.logs import configure_logging, hide, redacted, tagged


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (*logs.LOGGERS, *logs.CHATTY)]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    known = set(logs._known)
    yield
    logs._known.clear()
    logs._known.update(known)
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg://user:pw@host:5432/db", "postgresql+psycopg://user:***@host:5432/db"),
        ("GET https://discord.com/api/webhooks/12/token?wait=true", "GET https://discord.com/***"),
        ("https://hooks.slack.com/services/T0/B0/x failed", "https://hooks.slack.com/*** failed"),
        ("https://api.telegram.org/bot123:abc/sendMessage", "https://api.telegram.org/***"),
        ("https://api.binance.us/api/v3/klines?symbol=BTCUSDT", "https://api.binance.us/api/v3/klines?symbol=BTCUSDT"),
        ("https://x.example/a?api_key=abc&b=1", "https://x.example/a?api_key=***&b=1"),
        ("https://x.example/a?b=1&signature=abc", "https://x.example/a?b=1&signature=***"),
        ("secret whsec_c2VzYW1lc2VzYW1l here", "secret whsec_*** here"),
        ("http://proxy:pw@10.0.0.1:3128", "http://proxy:***@10.0.0.1:3128"),
        ("ratio 12:30 a@b.c", "ratio 12:30 a@b.c"),
    ],
)
def test_secret_parts_of_addresses_are_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_what_is_known_to_be_secret_is_hidden_wherever_it_stands() -> None:
    hide(["https://example.com/token-in-path", "plain-password", "x"])
    assert (
        redacted("post https://example.com/token-in-path with plain-password")
        == "post https://example.com/*** with ***"
    )
    assert redacted("x is too short to be searched for") == "x is too short to be searched for"


def test_a_tag_stands_before_the_message_and_in_the_json() -> None:
    out = io.StringIO()
    configure_logging({}, stream=out)
    tagged("VOL", "regimes_dagster.features").info("refit %s", "BTC/USDT")
    assert out.getvalue().rstrip().endswith("INFO [VOL] refit BTC/USDT")
    out = io.StringIO()
    configure_logging({"REGIMES_LOG_FORMAT": "json"}, stream=out)
    tagged("WEBHOOK").warning("late")
    line = json.loads(out.getvalue())
    assert line["tag"] == "WEBHOOK"
    assert line["level"] == "WARNING"
    assert line["message"] == "[WEBHOOK] late"


def test_a_file_gets_the_same_lines_and_is_closed_to_others(tmp_path: Path) -> None:
    file = tmp_path / "home" / "logs" / "regimes.log"
    for _ in range(2):
        configure_logging({}, stream=io.StringIO(), file=file)
    tagged("FUND").info("posted to https://discord.com/api/webhooks/1/token")
    assert file.read_text().count("INFO [FUND] posted to https://discord.com/***") == 1
    assert file.parent.parent.stat().st_mode & 0o66 == 0


def test_a_command_that_shows_its_own_progress_keeps_the_terminal_to_warnings(tmp_path: Path) -> None:
    out = io.StringIO()
    configure_logging({}, stream=out, file=tmp_path / "regimes.log", quiet=True)
    tagged("VOL").info("744 rows")
    tagged("MKT").warning("no answer")
    assert [line.split("[")[1] for line in out.getvalue().splitlines()] == ["MKT] no answer"]
    assert "744 rows" in (tmp_path / "regimes.log").read_text()


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    out = io.StringIO()
    configure_logging({}, stream=out, file=tmp_path / "logs" / "regimes.log")
    tagged("VOL").info("here")
    assert "here" in out.getvalue()


def test_setting_up_twice_writes_each_line_once() -> None:
    out = io.StringIO()
    configure_logging({}, stream=out)
    configure_logging({}, stream=out)
    logging.getLogger("regimes_dagster.x").info("once")
    assert out.getvalue().count("once") == 1


@pytest.mark.parametrize("form", ["text", "json"])
def test_tracebacks_and_arguments_are_redacted(form: str) -> None:
    out = io.StringIO()
    configure_logging({"REGIMES_LOG_FORMAT": form}, stream=out)
    try:
        raise ValueError("cannot reach postgresql://u:sesame@host/db")
    except ValueError:
        logging.getLogger("regimes_dagster.x").exception("failed: %s", "https://u:sesame@host/")
    assert "ValueError" in out.getvalue()
    assert "Traceback" in out.getvalue()
    assert "u:***@host" in out.getvalue()
    assert "u:sesame" not in out.getvalue()


def test_libraries_that_log_full_addresses_are_quiet_even_when_verbose() -> None:
    configure_logging({}, verbose=True, stream=io.StringIO())
    assert logging.getLogger("httpx").getEffectiveLevel() == logging.WARNING
    assert logging.getLogger("httpcore").getEffectiveLevel() == logging.WARNING
    assert logging.getLogger("regimes_dagster").level == logging.DEBUG
