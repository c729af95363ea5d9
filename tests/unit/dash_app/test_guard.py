"""Who may look: binds, log-ins, proxies, origins."""

import base64
import hashlib

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from dash_app.guard import Guard, RefusedBind, check_bind, content_policy, verify
from regimes_dagster.configuration.sections import DashboardSection


def _hash(password: str) -> str:
    salt = "abcdefgh"
    return f"scrypt:1024:8:1${salt}${hashlib.scrypt(password.encode(), salt=salt.encode(), n=1024, r=8, p=1).hex()}"


def _client(address: str = "10.1.2.3", **section: object) -> TestClient:
    async def answer(_request):
        return PlainTextResponse("secret")

    inner = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    guarded = Guard(inner, DashboardSection.model_validate(section), content_policy(["'sha256-x'"]))
    return TestClient(guarded, client=(address, 5555), base_url="http://board.example")


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "board.example"])
def test_without_a_log_in_only_this_machine_is_served(host):
    with pytest.raises(RefusedBind, match="does not listen"):
        check_bind(DashboardSection(), host)
    check_bind(DashboardSection(auth="basic", user="u", password_hash=_hash("p")), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_log_in(host):
    check_bind(DashboardSection(), host)


def test_every_path_but_healthz_asks_for_the_password():
    client = _client(auth="basic", user="desk", password_hash=_hash("open sesame"))
    for path in ("/", "/api/features", "/static/x/style.css", "/_dash-layout", "/metrics", "/healthz/../api/features"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"][:5]) == (401, "Basic"), path
    assert client.get("/healthz").status_code == 200
    assert client.get("/api/features", headers=_basic("desk", "open sesame")).text == "secret"
    assert client.get("/api/features", headers=_basic("desk", "open sesame")).text == "secret"
    for wrong in (
        _basic("desk", "nope"),
        _basic("other", "open sesame"),
        {"Authorization": "Basic ???"},
        {"Authorization": "Bearer x"},
    ):
        assert client.get("/api/features", headers=wrong).status_code == 401


def test_a_proxy_is_believed_only_from_its_own_address():
    section = {"auth": "proxy", "trusted_proxies": ["10.1.0.0/16"], "user_header": "X-User"}
    assert _client("10.1.2.3", **section).get("/", headers={"X-User": "ann"}).status_code == 200
    assert _client("10.1.2.3", **section).get("/").status_code == 401
    assert _client("10.9.2.3", **section).get("/", headers={"X-User": "ann"}).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://board.example"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Referer": "https://evil.example/x"}, 403),
        ({}, 200),
    ],
)
def test_unsafe_methods_come_from_our_own_pages(headers, status):
    client = _client(public_url="http://board.example")
    assert client.post("/api/alerts/requests", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("host", "status"), [("localhost:8050", 200), ("127.0.0.1:8050", 200), ("[::1]:8050", 200), ("evil.example", 403)]
)
def test_a_foreign_name_for_this_machine_changes_nothing_without_a_log_in(host, status):
    """DNS rebinding: the foreign page is of the same origin as the dashboard it reaches."""
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert _client().post("/api/alerts/requests", headers=headers).status_code == status


def test_refusals_carry_the_security_headers_too():
    answer = _client(auth="basic", user="u", password_hash=_hash("p")).get("/")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_broken_hash_lets_nobody_in():
    assert verify("p", _hash("p"))
    for stored in ("", "scrypt:1024:8:1$salt", "md5:1$a$b", "scrypt:x:8:1$a$00"):
        assert not verify("p", stored)
