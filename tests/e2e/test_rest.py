"""The REST interface over a real server: answers, problems, caching, exports, and a fuzzer over its own document."""

import csv
import io
import json
import re
from datetime import timedelta

import httpx
import pandas as pd
import pytest
import sqlalchemy as sa
from jsonschema import Draft202012Validator

from tests.e2e.conftest import SYMBOLS

PRESENT = ("features", "cascades", "volatility", "regimes", "funding", "correlation", "alerts")


@pytest.fixture(scope="module")
def api(served):
    with httpx.Client(base_url=served.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def document(api):
    return api.get("/api/openapi.json").json()


@pytest.mark.parametrize("name", PRESENT)
def test_an_answer_fits_its_schema_in_the_document(api, document, name):
    answer = api.get(f"/api/{name}")
    assert answer.status_code == 200
    reference = document["paths"][f"/api/{name}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({**reference, "components": document["components"]}).validate(answer.json())
    assert answer.json()["is_simulated"] is True
    assert answer.json()["state"] == "LIVE"


def test_features_hold_the_newest_row_of_every_table(api, rows):
    items = {item["symbol"]: item for item in api.get("/api/features").json()["items"]}
    assert set(items) == set(SYMBOLS)
    for symbol in SYMBOLS:
        newest = rows["volatility_features"].query("symbol == @symbol").iloc[-1]
        assert items[symbol]["volatility"]["volatility"] == pytest.approx(newest["volatility"])
        assert items[symbol]["volatility"]["regime"] == newest["regime"]
        assert items[symbol]["freshness"]["state"] == "LIVE"


def test_features_at_a_past_moment_hold_the_rows_of_that_hour(api, rows, served):
    at = served.newest - timedelta(days=10, minutes=-25)
    item = api.get("/api/features", params={"at": at.isoformat(), "symbol": "ETH/USDT"}).json()["items"][0]
    market = rows["market_metrics"].query("symbol == 'ETH/USDT'")
    newest = market[market["ts"] <= at].iloc[-1]
    assert item["market"]["close"] == pytest.approx(newest["close"])
    assert pd.Timestamp(item["ts"]) == newest["ts"]


def test_cascades_are_the_open_rows_of_the_alerts_newest_first(api, rows, served):
    answer = api.get("/api/cascades", params={"hours": 24 * 30, "symbol": "BTC/USDT"}).json()
    alerts = rows["alerts"]
    since = served.newest - timedelta(days=30)
    expected = alerts[
        (alerts["event_type"] == "LIQUIDATION_CASCADE") & (alerts["symbol"] == "BTC/USDT") & (alerts["ts"] > since)
    ]
    assert answer["count"] == len(expected) > 0
    stamps = [item["timestamp"] for item in answer["items"]]
    assert stamps == sorted(stamps, reverse=True)
    assert set(answer["items"][0]["data"]) >= {"total_liquidated_usd", "velocity_usd_per_hour", "side_bias", "severity"}


def test_the_same_question_costs_a_304(api):
    first = api.get("/api/regimes")
    again = api.get("/api/regimes", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = api.get("/api/regimes", params={"symbol": "BTC/USDT"}, headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/cascades?hours=0", 422, "hours"),
        ("/api/cascades?hours=lots", 422, "hours"),
        ("/api/features?at=tomorrow", 422, "at"),
        ("/api/features?at=0001-01-01", 422, "between the years"),
        ("/api/features?symbol=DOGE/USDT", 404, "DOGE/USDT"),
        ("/api/history/passwords", 422, "market_metrics"),
        ("/api/history/regimes?columns=ts,colour", 422, "confidence"),
        ("/api/history/regimes?from=2024-02-01&to=2024-01-01", 422, "before to"),
        ("/api/history/correlation_features?symbol=BTC/USDT", 422, "asset_pair"),
        ("/api/alerts?min_severity=LOUD", 422, "CRITICAL"),
        ("/api/nothing", 404, "not found"),
        ("/_dash-reload-hash", 404, "not found"),
    ],
)
def test_a_wrong_question_gets_a_problem_document_that_says_what_is_allowed(api, path, status, words):
    answer = api.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert words.lower() in json.dumps(body).lower()
    assert "Traceback" not in answer.text


def test_history_comes_in_pages(api, rows, served):
    query = {
        "symbol": "SOL/USDT",
        "from": (served.newest - timedelta(hours=50)).isoformat(),
        "columns": "ts,close",
        "limit": 20,
    }
    pages, offset = [], 0
    while offset is not None:
        page = api.get("/api/history/market_metrics", params={**query, "offset": offset}).json()
        pages.append(page)
        offset = page["next_offset"]
    assert [page["count"] for page in pages] == [20, 20, 10]
    closes = [row[1] for page in pages for row in page["rows"]]
    expected = rows["market_metrics"].query("symbol == 'SOL/USDT'")["close"].tail(50)
    assert closes == pytest.approx(expected.tolist())


def test_csv_and_parquet_hold_the_same_rows(api, rows):
    query = {"symbol": "BTC/USDT", "from": "2000-01-01", "format": "csv"}
    text = api.get("/api/history/funding_features", params=query)
    assert text.headers["content-disposition"] == 'attachment; filename="funding_features.csv"'
    lines = list(csv.DictReader(io.StringIO(text.text)))
    frame = pd.read_parquet(
        io.BytesIO(api.get("/api/history/funding_features", params={**query, "format": "parquet"}).content)
    )
    expected = rows["funding_features"].query("symbol == 'BTC/USDT'")
    assert len(lines) == len(frame) == len(expected)
    assert frame["funding_rate_8h"].tolist() == pytest.approx(expected["funding_rate_8h"].tolist())
    assert [float(line["funding_rate_8h"]) for line in lines] == frame["funding_rate_8h"].tolist()
    assert str(frame["ts"].dtype) == "datetime64[us, UTC]"
    assert json.loads(lines[-1]["reasons"]) == expected["reasons"].iloc[-1]


def test_a_year_streams_without_growing_memory(serve):
    """An export of a year of one symbol (and of the whole table) must not be held in the server's memory."""
    own = serve()
    with own.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO market_metrics (symbol, ts, open, high, low, close, is_simulated) "
                "SELECT 'BTC/USDT', ts, 1, 1, 1, 1, true FROM generate_series(timestamptz '2020-01-01', "
                "timestamptz '2024-12-31 23:00', interval '1 hour') ts"
            )
        )
    with httpx.Client(base_url=own.url, timeout=60) as client:

        def resident() -> float:
            lines = client.get("/metrics").text.splitlines()
            return float(
                next(line for line in lines if line.startswith("regimes_dashboard_resident_bytes ")).split()[1]
            )

        def export(form: str) -> int:
            size = 0
            with client.stream(
                "GET",
                "/api/history/market_metrics",
                params={"symbol": "BTC/USDT", "from": "2020-01-01", "format": form},
            ) as answer:
                assert answer.status_code == 200
                for chunk in answer.iter_bytes():
                    size += len(chunk)
            return size

        assert export("csv") > 2_000_000
        assert export("parquet") > 50_000
        before = resident()
        for form in ("csv", "parquet", "csv", "parquet"):
            export(form)
        assert resident() - before < 25_000_000


def test_health_readiness_and_metrics(api):
    assert api.get("/healthz").json() == {"status": "alive"}
    ready = api.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    text = api.get("/metrics").text
    for name in (
        "regimes_dashboard_requests_total{",
        "regimes_dashboard_database_up 1",
        'regimes_data_age_seconds{stage="market"}',
        "regimes_open_episodes",
        "regimes_alert_deliveries_waiting",
        "regimes_alert_oldest_due_seconds",
    ):
        assert name in text


def test_every_answer_carries_the_security_headers(api):
    for path in ("/", "/api/features", "/healthz", "/api/nothing", "/api/docs"):
        headers = api.get(path).headers
        policy = headers["content-security-policy"]
        assert "unsafe-eval" not in policy
        assert "script-src 'self' 'sha256-" in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "server" not in headers


def test_a_request_from_another_site_changes_nothing(api):
    body = {"kind": "TEST", "args": {}}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = api.post("/api/alerts/requests", json=body, headers=headers)
        assert answer.status_code == 403
        assert answer.json()["title"] == "cross-origin request"


def test_the_sensor_is_not_flooded(serve):
    own = serve()
    with httpx.Client(base_url=own.url, timeout=30) as client:
        statuses = [
            client.post("/api/alerts/requests", json={"kind": "TEST", "args": {}}).status_code for _ in range(22)
        ]
        last = client.post("/api/alerts/requests", json={"kind": "TEST", "args": {}})
    assert statuses[0] == 202
    assert last.status_code == 429
    assert last.headers["retry-after"]


def test_immutable_files_are_compressed_and_kept_by_the_browser(api):
    page = api.get("/").text
    names = [part.split('"')[0] for part in page.split('src="')[1:]]
    assert len(names) > 8
    total = 0
    for name in names:
        answer = api.get(name, headers={"Accept-Encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert "immutable" in answer.headers["cache-control"]
        total += int(answer.headers["content-length"])
    assert total < 1_000_000


@pytest.mark.parametrize(
    "path",
    [
        "/static/x/%00",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/abcdef/style.css",
        "/_dash-component-suites/dash/../../etc/passwd",
        "/_dash-component-suites/dash/dcc/%00.js",
        "/_dash-component-suites/os/x.js",
    ],
)
def test_a_file_that_is_not_ours_is_not_found(api, path):
    assert api.get(path).status_code == 404


def test_a_file_without_a_fingerprint_is_asked_for_again_after_an_upgrade(api):
    """Kept for a year, the parts that Dash loads later would be mixed with those of another version."""
    first = api.get("/_dash-component-suites/dash/dcc/async-graph.js")
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-cache")
    again = api.get("/_dash-component-suites/dash/dcc/async-graph.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/api/features", "/api/history/regimes", "/_dash-layout"])
def test_an_answer_is_compressed_for_those_who_take_it_and_says_the_same(api, path):
    packed, plain = (api.get(path, headers={"Accept-Encoding": one}) for one in ("gzip", "identity"))
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert "Accept-Encoding" in packed.headers["vary"]
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2
    left, right = (re.sub(r'"(as_of|age_seconds)":[^,}]+', "", one.text) for one in (packed, plain))
    assert left == right


def test_the_dashboard_may_read_but_not_write(served):
    from dash_app.reader import Reader, ReadError

    reader = Reader(served.database_url)
    assert reader.rows(sa.text("SELECT count(*) AS n FROM alerts"))[0]["n"] > 0
    assert reader.mode == "role"
    for statement in (
        "DELETE FROM alerts",
        "UPDATE regimes SET heat = 0",
        "CREATE TABLE mine (a int)",
        "SELECT pg_sleep(20)",
    ):
        with pytest.raises(ReadError, match=r"permission|read-only|took longer"):
            reader.rows(sa.text(statement))
    reader.close()


def test_no_wrong_question_brings_the_server_down(served):
    """Schemathesis asks what the document allows and what it forbids; every answer is one that the document names."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    schema = schemathesis.openapi.from_url(f"{served.url}/api/openapi.json")
    asked = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            try:
                strategy = operation.as_strategy(generation_mode=mode)
            except Exception:
                continue

            @settings(
                max_examples=12,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
                derandomize=True,
            )
            @given(case=strategy)
            def ask(case: schemathesis.Case) -> None:
                nonlocal asked
                asked += 1
                case.call_and_validate(
                    checks=[
                        not_a_server_error,
                        content_type_conformance,
                        response_schema_conformance,
                        status_code_conformance,
                    ]
                )

            ask()
    assert asked > 100
