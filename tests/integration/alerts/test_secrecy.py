"""Addresses, tokens and signing secrets appear nowhere: not in logs at DEBUG, tables, metadata, errors or pages."""

import asyncio
import io
import logging
import traceback

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from regimes_dagster import tables
from regimes_dagster.alerts import requests
from regimes_dagster.alerts.delivery import Engine
from regimes_dagster.alerts.metrics import dead_verdict, figures, late_verdict, prometheus
from regimes_dagster.alerts.post import Poster
from regimes_dagster.alerts.tick import tick
from regimes_dagster.commands.alerts import alerts as command
from tests.servers.certificates import server_and_client
from tests.servers.receivers import Receiver, answer, cut, hang, reset

TOKEN = "tok-3n-s3cr3t"
SECRET = "whsec_" + "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
QUERY = "key=qu3ry-s3cr3t"
NEEDLES = (TOKEN, SECRET.removeprefix("whsec_"), "qu3ry-s3cr3t", "bot123:tok")


@pytest.fixture
def heard():
    """Everything that any logger says at DEBUG, with the levels that a user could set."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setLevel(logging.DEBUG)
    root = logging.getLogger()
    names = ["", "regimes_dagster", "httpx", "httpcore", "asyncio", "sqlalchemy.engine", "sqlalchemy.pool"]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield stream
    root.removeHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def everything_stored(engine: sa.Engine) -> str:
    found = []
    with engine.connect() as connection:
        for table in tables.metadata.sorted_tables:
            found += [str(tuple(row)) for row in connection.execute(sa.select(table))]
    return "\n".join(found)


def test_nothing_secret_is_logged_stored_measured_or_printed(
    outbox, settings_for, heard, monkeypatch, tmp_path
) -> None:
    outbox.engine.echo = False
    outbox.hurry()
    path = f"/api/webhooks/1/{TOKEN}?{QUERY}"
    server, _ = server_and_client(tmp_path, "hooks.example.com")
    manners = [
        answer(200),
        answer(500),
        answer(302, location=f"https://x.example/{TOKEN}"),
        answer(404),
        cut,
        reset,
        hang,
    ]
    receivers = [Receiver(manner) for manner in manners] + [Receiver(tls=server)]
    for receiver in receivers:
        receiver.__enter__()
    try:
        hooks = [{"url": r.url.replace("/hook", path), "secret": [SECRET]} for r in receivers]
        dead_port = receivers[0].url.replace(str(receivers[0].port), "1").replace("/hook", path)
        hooks += [
            {"url": dead_port},
            {"url": f"https://unknown.invalid{path}"},
            {"url": receivers[0].url.replace("/hook", "/bot123:tok/sendMessage?chat_id=5"), "format": "telegram"},
        ]
        settings = settings_for(*hooks)
        outbox.add(settings, 2)
        summary = tick(
            outbox.engine, settings, outbox.now(), budget_s=5, parts=Engine(now=outbox.now, limits=outbox.limits)
        )
        with outbox.engine.connect() as connection:
            found = figures(connection, outbox.now())
        said = [str(summary), repr(summary), str(summary.as_metadata()), str(found), prometheus(found)]
        said += [str(late_verdict(found)), str(dead_verdict(found)), str(found.as_metadata())]
        monkeypatch.setenv("REGIMES_CONFIG", str(settings.config_file))
        monkeypatch.setenv("DB_URL", outbox.engine.url.render_as_string(hide_password=False))
        for arguments in (
            ["list"],
            ["test"],
            ["test", "hook0"],
            ["test", "hook2"],
            ["test", "nothing"],
            ["replay", "x"],
        ):
            result = CliRunner().invoke(command, arguments)
            said += [result.output, "".join(traceback.format_exception(result.exception)) if result.exception else ""]
        try:
            requests.find_endpoint(settings, "nothing")
        except requests.RequestError as error:
            said += [str(error), repr(error)]
        said += [repr(settings), repr(settings.endpoints), everything_stored(outbox.engine), heard.getvalue()]
    finally:
        for receiver in receivers:
            receiver.__exit__(None, None, None)
    assert len(heard.getvalue()) > 500, "the loggers were listened to"
    assert receivers[0].requests, "the secrets were in use"
    for needle in NEEDLES:
        for text in said:
            assert needle not in text, f"{needle[:3]}... leaked: {text[max(0, text.find(needle) - 200) :][:300]}"


@pytest.mark.parametrize("manner", [cut, reset, hang, answer(500)])
def test_an_outcome_holds_the_class_of_an_error_and_never_its_text(manner, outbox) -> None:
    import ipaddress

    outbox.hurry()

    async def post(url: str):
        async def local(_host: str, _port: int) -> list[str]:
            return ["127.0.0.1"]

        poster = Poster(resolver=local, allow=[ipaddress.ip_network("127.0.0.0/8")], limits=outbox.limits)
        try:
            return await poster.post(url, b"{}", {"webhook-id": "x"})
        finally:
            await poster.close()

    with Receiver(manner) as receiver:
        outcome = asyncio.run(post(f"{receiver.url}/{TOKEN}"))
    assert TOKEN not in repr(outcome)
    assert outcome.error is None or outcome.error.isidentifier()
