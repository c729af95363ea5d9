"""Answers that are remembered, and for how long."""

import gzip
import json

import pytest
from starlette.requests import Request

from dash_app.api import caching
from dash_app.snapshot import Snapshot
from regimes_dagster.clock import system_now

SNAP = Snapshot(now=system_now().to_pydatetime(), read_at=0.0, ready=True)


def request(accepts: str = "", tag: str = "", query: str = "") -> Request:
    headers = [(b"accept-encoding", accepts.encode()), (b"if-none-match", tag.encode())]
    return Request(
        {"type": "http", "method": "GET", "path": "/api/x", "query_string": query.encode(), "headers": headers}
    )


class Counted:
    """A builder that counts how often it was asked."""

    def __init__(self, size: int = 3_000) -> None:
        self.calls, self._size = 0, size

    def __call__(self) -> object:
        self.calls += 1
        return {"call": self.calls, "filling": "a" * self._size}


@pytest.fixture
def clock(monkeypatch):
    now = [1_000.0]
    monkeypatch.setattr(caching.time, "monotonic", lambda: now[0])
    return now


def test_an_answer_is_made_once_for_the_same_question(clock):
    answers, build = caching.Answers(), Counted()
    first, again = (answers.remembered(request(), SNAP, build) for _ in range(2))
    assert first.body == again.body
    assert build.calls == 1
    answers.remembered(request(query="symbol=BTC/USDT"), SNAP, build)
    assert build.calls == 2


def test_an_answer_is_made_anew_after_some_seconds_so_that_its_ages_stay_true(clock):
    answers, build = caching.Answers(), Counted()
    first = answers.remembered(request(), SNAP, build)
    clock[0] += caching.KEPT_S + 1
    later = answers.remembered(request(), SNAP, build)
    assert json.loads(later.body)["call"] == 2
    assert later.headers["etag"] == first.headers["etag"]


def test_who_holds_the_answer_already_gets_no_body_and_nothing_is_made(clock):
    answers, build = caching.Answers(), Counted()
    tag = answers.remembered(request(), SNAP, build).headers["etag"]
    again = answers.remembered(request(tag=f'"x", {tag}'), SNAP, build)
    assert (again.status_code, again.body, build.calls) == (304, b"", 1)


def test_plain_and_compressed_callers_do_not_get_each_others_bytes(clock):
    answers, build = caching.Answers(), Counted()
    for _ in range(2):
        packed, plain = (answers.remembered(request(one), SNAP, build) for one in ("gzip", ""))
        assert packed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
        assert json.loads(gzip.decompress(packed.body))["filling"] == json.loads(plain.body)["filling"]
    assert build.calls == 2


def test_a_small_answer_is_never_compressed(clock):
    answers, build = caching.Answers(), Counted(size=10)
    for one in ("gzip", "", "gzip"):
        assert "content-encoding" not in answers.remembered(request(one), SNAP, build).headers
    assert build.calls == 1


def test_a_new_state_is_a_new_answer(clock):
    from dataclasses import replace

    answers, build = caching.Answers(), Counted()
    first = answers.remembered(request(), SNAP, build)
    second = answers.remembered(request(), replace(SNAP, versions={"market": "2"}), build)
    assert first.headers["etag"] != second.headers["etag"]
    assert build.calls == 2
