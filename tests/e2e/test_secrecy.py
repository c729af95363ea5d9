"""Webhook addresses, tokens, signing secrets and passwords appear on no page and in no answer of the dashboard."""

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pandas as pd
import pytest
import sqlalchemy as sa
from playwright.sync_api import Response

from dash_app.view import PAGES
from regimes_dagster.alerts.tick import tick
from regimes_dagster.settings import load_settings
from tests.e2e.conftest import SYMBOLS, settled

pytestmark = pytest.mark.browser

TOKEN, QUERY = "tok-3n-s3cr3t", "qu3ry-s3cr3t"
SIGNING = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
USER, PASSWORD, SALT = "desk", "open-s3same", "s4ltys4lt"
DIGEST = hashlib.scrypt(PASSWORD.encode(), salt=SALT.encode(), n=1024, r=8, p=1).hex()
NEEDLES = (TOKEN, QUERY, SIGNING, PASSWORD, SALT, DIGEST, "bot123:tok")
REST = ("features", "cascades", "volatility", "regimes", "funding", "correlation", "alerts", "openapi.json", "docs")


FILE = f"""
symbols = {list(SYMBOLS)}
[dashboard]
refresh_seconds = 5
snapshot_seconds = 1
auth = "basic"
user = "{USER}"
password_hash = "scrypt:1024:8:1${SALT}${DIGEST}"
[alerts]
allow_networks = ["127.0.0.0/8"]
[[alerts.webhook]]
name = "closed"
url = "http://127.0.0.1:1/api/webhooks/1/{TOKEN}?key={QUERY}"
secret = "whsec_{SIGNING}"
[[alerts.webhook]]
name = "chat"
url = "http://127.0.0.1:1/bot123:tok/sendMessage?chat_id=5"
format = "telegram"
"""


def test_no_page_and_no_answer_holds_a_secret(serve, watch, tmp_path):
    (tmp_path / "regimes.toml").write_text(FILE)
    settings = load_settings({}, cwd=tmp_path)
    own = serve(settings=settings)
    now = own.newest + timedelta(minutes=5)
    with own.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM alert_deliveries"))
        for endpoint in settings.endpoints:
            connection.execute(
                sa.text(
                    "INSERT INTO alert_deliveries (alert_id, endpoint, series, state, attempts, tries, history, "
                    "next_attempt_at, created_at) SELECT alert_id, :endpoint, 0, 'PENDING', 0, 0, '[]', :now, :now "
                    "FROM alerts ORDER BY ts DESC LIMIT 1"
                ),
                {"endpoint": endpoint.id, "now": now - timedelta(minutes=1)},
            )
    with ThreadPoolExecutor(1) as thread:  # the browser keeps an event loop in this one
        thread.submit(tick, own.engine, settings, pd.Timestamp(now), budget_s=4).result()
    with own.engine.connect() as connection:
        tried = connection.execute(sa.text("SELECT alert_id FROM alert_deliveries WHERE attempts > 0")).scalars().all()
    assert tried, "the addresses were in use"

    bodies: list[tuple[str, str]] = []
    watched = watch(http_credentials={"username": USER, "password": PASSWORD})
    page = watched.page
    answers: list[Response] = []
    page.on("response", lambda one: answers.append(one))
    for path in (*PAGES, f"/alerts?alert={tried[0]}"):
        answers.clear()
        page.goto(own.url + path)
        settled(page)
        bodies += [(one.url, one.text()) for one in answers if "/static/" not in one.url and one.status == 200]
        bodies.append((path, page.content()))
    with httpx.Client(base_url=own.url, auth=(USER, PASSWORD), timeout=30) as client:
        for name in REST:
            bodies.append((name, client.get(f"/api/{name}").text))
        for table in ("alerts", "signal_evidence"):
            bodies.append((table, client.get(f"/api/history/{table}", params={"format": "csv"}).text))
        for path in ("/readyz", "/metrics", "/api/history/webhook_endpoints", "/api/history/alert_deliveries"):
            bodies.append((path, client.get(path).text))
    assert any("closed" in body for _, body in bodies), "the endpoint's name is shown"
    assert len(bodies) > 40
    for needle in NEEDLES:
        for where, body in bodies:
            assert needle not in body, f"{needle[:3]}... on {re.sub('[?].*', '', where)}"
