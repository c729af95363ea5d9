"""The doctor on a real database: what it finds when something is wrong, and that it changes nothing."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from regimes_dagster import cli, tables
from regimes_dagster.doctor import Finding, data, examine, running, server, sources
from regimes_dagster.settings import Settings, load_settings

NOW = datetime(2026, 3, 10, 12, 20, tzinfo=UTC)
HOUR = NOW.replace(minute=0)
SYMBOLS = ("BTC/USDT", "ETH/USDT")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "regimes.toml").write_text(
        'symbols = ["BTC/USDT", "ETH/USDT"]\nhistory_start = "2026-03-01"\n[sources]\nfunding = ["deribit"]\n'
    )
    return load_settings({"WEBHOOKS_ALL": "https://example.com/token"}, tmp_path)


def by_check(findings: object) -> Mapping[str, Finding]:
    found = [findings] if isinstance(findings, Finding) else list(findings)  # type: ignore[call-overload]
    return {finding.check: finding for finding in found}


def join_hours(engine: sa.Engine, symbol: str, hours: int, last: datetime = HOUR, **columns: object) -> None:
    usual = {"close": 100.0, "funding_settled_ts": last - timedelta(hours=2), "funding_interval_hours": 8.0}
    rows = [
        {"symbol": symbol, "ts": last - timedelta(hours=back), "is_simulated": False, "liq_coverage": 1.0, **usual}
        | columns
        for back in range(hours)
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(tables.table("market_metrics")), rows)


def test_fresh_data_is_in_order(engine: sa.Engine, settings: Settings) -> None:
    for symbol in SYMBOLS:
        join_hours(engine, symbol, 24)
    with engine.connect() as connection:
        found = by_check(data.freshness(connection, settings, NOW))
    assert {finding.status for finding in found.values()} == {"OK"}
    assert set(found) == {f"{stage} {symbol}" for stage in ("bars", "funding", "liquidations") for symbol in SYMBOLS}


def test_late_bars_warn_then_fail_and_other_stages_only_warn(engine: sa.Engine, settings: Settings) -> None:
    join_hours(engine, "BTC/USDT", 24, last=HOUR - timedelta(hours=1))
    join_hours(engine, "ETH/USDT", 24, last=HOUR - timedelta(hours=20), liq_coverage=0.0)
    with engine.connect() as connection:
        found = by_check(data.freshness(connection, settings, NOW))
    assert found["bars BTC/USDT"] == Finding(
        "bars BTC/USDT", "WARN", "DELAYED, 80 min old", "Is `regimes up` running? `regimes probe` asks the venues."
    )
    assert found["bars ETH/USDT"].status == "FAIL"
    assert "DATA_GAP is raised" in (found["bars ETH/USDT"].action or "")
    assert found["funding ETH/USDT"].status == "WARN"
    assert found["liquidations ETH/USDT"].message == "NO DATA, no row"
    assert found["liquidations ETH/USDT"].status == "WARN"


def test_a_symbol_without_any_row_is_not_called_stale(engine: sa.Engine, settings: Settings) -> None:
    join_hours(engine, "ETH/USDT", 2, last=HOUR - timedelta(days=50))
    with engine.connect() as connection:
        found = by_check(data.freshness(connection, settings, NOW))
    assert found["freshness BTC/USDT"].status == "SKIP"
    assert found["freshness ETH/USDT"].status == "FAIL"


def test_history_says_how_much_there_is_and_what_is_missing(engine: sa.Engine, settings: Settings) -> None:
    join_hours(engine, "BTC/USDT", 30)
    with engine.connect() as connection:
        found = by_check(data.history(connection, settings))
    assert found["history BTC/USDT"].status == "WARN"
    assert found["history BTC/USDT"].action == "Run: regimes backfill --from 2026-03-01 (or it was listed later)"
    assert found["history ETH/USDT"].message == "none yet"


def test_full_history_with_many_holes_names_the_cure(engine: sa.Engine, settings: Settings) -> None:
    join_hours(engine, "BTC/USDT", 220)
    join_hours(engine, "ETH/USDT", 100)
    join_hours(engine, "ETH/USDT", 120, last=HOUR - timedelta(hours=100), close=None)
    with engine.connect() as connection:
        found = by_check(data.history(connection, settings))
    assert found["history BTC/USDT"].status == "OK"
    assert found["history BTC/USDT"].message.endswith("220 bars, 0 hours missing")
    assert found["history ETH/USDT"].status == "WARN"
    assert "120 hours missing" in found["history ETH/USDT"].message


def test_features_behind_the_joined_rows_are_named(engine: sa.Engine, settings: Settings) -> None:
    with engine.connect() as connection:
        assert by_check(data.features(connection, settings))["features"].status == "SKIP"
    join_hours(engine, "BTC/USDT", 3)
    with engine.connect() as connection:
        found = by_check(data.features(connection, settings))["features"]
    assert found.status == "WARN"
    assert "volatility_features is empty" in found.message


def test_stale_months_are_counted(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        assert data.stale_months(connection).status == "OK"
    rows = [
        {"table_name": "regimes", "partition_key": f"2026-0{month}-01", "reason": "inputs", "marked_at": NOW}
        for month in (1, 2)
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(tables.table("stale_partitions")), rows)
        found = data.stale_months(connection)
    assert found.status == "WARN"
    assert "regimes 2" in found.message
    assert found.action == "Run: regimes backfill --stale"


def test_absent_perpetual_volume_names_the_mode(engine: sa.Engine, settings: Settings) -> None:
    row = {"venue": "deribit", "symbol": "BTC/USDT", "ts": HOUR, "volume_usd": 1e9}
    not_listed = {"venue": "okx", "symbol": "ETH/USDT", "ts": HOUR, "volume_usd": 1e9}
    with engine.begin() as connection:
        connection.execute(sa.insert(tables.table("perp_volume_usd")), [row, not_listed])
        (found,) = data.perp_volume(connection, settings, NOW)
    assert found.status == "WARN"
    assert found.message.startswith("none for ETH/USDT: after 168 h")
    assert "ADAPTIVE" in found.message


def test_a_clock_that_a_demo_left_behind_fails_on_a_live_installation(engine: sa.Engine, settings: Settings) -> None:
    with engine.begin() as connection:
        assert list(data.declared_clock(connection, settings)) == []
        connection.execute(
            sa.insert(tables.table("platform_clock")), {"name": "platform", "now_ts": NOW, "set_by": "demo"}
        )
        (found,) = data.declared_clock(connection, settings)
    assert found.status == "FAIL"
    assert "demo declares 2026-03-10 12:20" in found.message


def test_what_sources_answered_last_is_told_for_configured_ones(engine: sa.Engine, settings: Settings) -> None:
    def status(venue: str, state: str, in_use: bool, symbol: str = "BTC/USDT", kind: str = "ohlcv") -> dict[str, Any]:
        return {"kind": kind, "venue": venue, "symbol": symbol, "state": state, "in_use": in_use, "message": "HTTP 451"}

    rows = [
        status("binanceus", "GEO_BLOCKED", False),
        status("coinbaseexchange", "OK", True),
        status("kraken", "OUTAGE", False),  # not configured any more
        status("deribit", "OUTAGE", False, kind="funding"),
        status("binance", "OUTAGE", False, symbol="XRP/USDT"),  # not followed any more
    ]
    with engine.begin() as connection:
        assert [finding.status for finding in sources.source_states(connection, settings)] == ["SKIP"]
        connection.execute(sa.insert(tables.table("source_status")), rows)
        found = list(sources.source_states(connection, settings))
    assert [(finding.status, finding.message, finding.action) for finding in found] == [
        ("WARN", "deribit funding BTC/USDT: OUTAGE HTTP 451", "Run: regimes probe; or change sources.funding."),
        ("WARN", "binanceus ohlcv BTC/USDT: GEO_BLOCKED HTTP 451", "Another source serves."),
    ]


def test_a_machine_without_a_network_gets_one_finding_and_not_one_per_venue_and_symbol(
    engine: sa.Engine, settings: Settings
) -> None:
    """29 findings of a screen each said that nobody answers."""
    rows = [
        {
            "kind": kind,
            "venue": venue,
            "symbol": symbol,
            "state": "OUTAGE",
            "message": f"{symbol}?x={n}",
            "in_use": False,
        }
        for n, (kind, venue) in enumerate([("ohlcv", "binanceus"), ("ohlcv", "binance"), ("funding", "deribit")])
        for symbol in SYMBOLS
    ]
    status = tables.table("source_status")
    with engine.begin() as connection:
        connection.execute(sa.insert(status), rows)
        (found,) = sources.source_states(connection, settings)
        assert found.status == "WARN"
        assert found.message == "nobody answers: deribit, binance, binanceus"
        assert "online" in str(found.action)
        connection.execute(sa.update(status).where(status.c.venue == "binance").values(state="OK", in_use=True))
        told = [finding.message for finding in sources.source_states(connection, settings)]
        assert [message.split(":")[0] for message in told] == [
            "deribit funding BTC/USDT, ETH/USDT",
            "binanceus ohlcv BTC/USDT, ETH/USDT",
        ]


def test_the_daemon_is_missing_silent_or_beating(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        assert "never run" in running.daemon(connection, NOW, "beats").message
        connection.execute(sa.text("CREATE SCHEMA beats"))
        connection.execute(
            sa.text(
                "CREATE TABLE beats.daemon_heartbeats "
                "(id serial, daemon_type text UNIQUE, daemon_id text, timestamp timestamp, body text)"
            )
        )
        assert "never run" in running.daemon(connection, NOW, "beats").message
        beat = sa.text("INSERT INTO beats.daemon_heartbeats (daemon_type, timestamp) VALUES (:kind, :at)")
        for kind in running.DAEMONS:
            connection.execute(beat, {"kind": kind, "at": NOW.replace(tzinfo=None) - timedelta(seconds=40)})
        assert running.daemon(connection, NOW, "beats").status == "OK"
        late = running.daemon(connection, NOW + timedelta(minutes=6), "beats")
        assert late.status == "WARN"
        assert "SENSOR" in late.message


def test_dagsters_own_tables_have_the_columns_that_are_read() -> None:
    from dagster._core.storage.runs.schema import DaemonHeartbeatsTable, RunsTable

    assert {"daemon_type", "timestamp"} <= set(DaemonHeartbeatsTable.columns.keys())
    assert {"id", "run_id", "pipeline_name", "status", "update_timestamp"} <= set(RunsTable.columns.keys())


def test_a_failed_last_run_is_named(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        assert running.last_run(connection, "ran").status == "SKIP"
        connection.execute(sa.text("CREATE SCHEMA ran"))
        connection.execute(
            sa.text(
                "CREATE TABLE ran.runs (id serial, run_id text, pipeline_name text, status text, "
                "update_timestamp timestamp DEFAULT now())"
            )
        )
        insert = sa.text("INSERT INTO ran.runs (run_id, pipeline_name, status) VALUES (:run, 'hourly', :status)")
        for run, status in (("aaaaaaaabb", "SUCCESS"), ("ccccccccdd", "FAILURE"), ("eeeeeeeeff", "STARTED")):
            connection.execute(insert, {"run": run, "status": status})
        found = running.last_run(connection, "ran")
    assert found.status == "WARN"
    assert found.message.startswith("hourly cccccccc: FAILURE")


def insert(connection: sa.Connection, into: str, **values: object) -> None:
    """A row with an empty value in every column that must have one and is not given."""
    empty: dict[type, object] = {str: "x", int: 0, float: 0.0, bool: False, dict: {}, datetime: NOW}
    table = tables.table(into)
    for column in table.columns:
        if not column.nullable and column.name not in values:
            kind = dict if isinstance(column.type, sa.JSON) else column.type.python_type
            values[column.name] = empty[kind]
    connection.execute(sa.insert(table), values)


def test_late_and_dead_deliveries_and_switched_off_endpoints_are_told(engine: sa.Engine, settings: Settings) -> None:
    (endpoint,) = settings.endpoints
    with engine.begin() as connection:
        assert [finding.status for finding in running.deliveries(connection, settings, NOW)] == ["OK"]
        for state, due in (("RETRYING", 16), ("DEAD", 60), ("PENDING", 1)):
            words = {"event_type": "DATA_GAP", "severity": "INFO", "phase": "OPEN", "level": 1, "schema_version": 1}
            insert(connection, "alerts", alert_id=state, **words)
            values = {"alert_id": state, "endpoint": endpoint.id, "state": state}
            insert(connection, "alert_deliveries", **values, next_attempt_at=NOW - timedelta(minutes=due))
        values = {"name": "WEBHOOKS_ALL", "host": endpoint.host, "format": "json", "state_reason": "410"}
        insert(connection, "webhook_endpoints", endpoint=endpoint.id, state="DISABLED", **values)
        found = list(running.deliveries(connection, settings, NOW))
    assert [(finding.status, finding.message) for finding in found] == [
        ("WARN", "WEBHOOKS_ALL (example.com) is DISABLED: 410"),
        ("FAIL", "1 due for more than 15 minutes"),
        ("WARN", "1 given up"),
    ]


def test_the_servers_clock_version_and_role_are_looked_at(engine: sa.Engine, settings: Settings) -> None:
    with engine.connect() as connection:
        theirs = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
        found = by_check(server.server(connection, settings, theirs))
        ahead = server.clock_skew(connection, theirs + timedelta(minutes=2))
        slight = server.clock_skew(connection, theirs - timedelta(seconds=20))
    assert {finding.status for finding in found.values()} == {"OK"}
    assert found["database version"].message.startswith("PostgreSQL 1")
    assert ahead.status == "FAIL"
    assert slight.status == "WARN"


def test_the_whole_examination_reads_and_writes_nothing(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "regimes.toml").write_text("[dashboard]\nport = 18050\n[dagster]\nport = 13000\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DB_URL", database_url)
    monkeypatch.delenv("REGIMES_CONFIG", raising=False)
    before = sorted(path.name for path in tmp_path.iterdir())
    code = cli.run(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    status = {row["check"]: row["status"] for row in found}
    assert status["database"] == "OK"
    assert status["database schema"] == "OK"
    assert status["history BTC/USDT"] == "WARN"
    assert status["freshness BTC/USDT"] == "SKIP"
    assert code == (1 if "FAIL" in status.values() else 0)
    assert not [row for row in found if "could not be looked at" in row["message"]]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_wrong_settings_end_the_examination_with_every_mistake(tmp_path: Path) -> None:
    (tmp_path / "regimes.toml").write_text("[alerts]\nmax_age_hours = 0\nnothing = 1\n")
    found = [finding for finding in examine({}, tmp_path) if finding.check == "settings"]
    assert [finding.status for finding in found] == ["FAIL", "FAIL"]


def test_a_server_that_does_not_answer_fails_without_its_password(tmp_path: Path) -> None:
    environ = {"DB_URL": "postgresql://user:sesame@127.0.0.1:1/db"}
    found = [finding for finding in examine(environ, tmp_path) if finding.check == "database"]
    assert [finding.status for finding in found] == ["FAIL"]
    assert "sesame" not in found[0].message


def test_before_the_first_start_the_database_is_not_made(tmp_path: Path) -> None:
    found = [finding for finding in examine({}, tmp_path) if finding.check == "database"]
    assert [(finding.status, finding.message) for finding in found] == [("WARN", "not made yet")]
    assert not (tmp_path / ".regimes").exists()


def test_an_empty_database_asks_for_the_upgrade(empty_database_url: str, tmp_path: Path) -> None:
    found = by_check(examine({"DB_URL": empty_database_url}, tmp_path))
    assert found["database schema"].status == "WARN"
    assert found["database schema"].action == "Run: regimes db upgrade (every start does it as well)."
    assert found["data"].status == "SKIP"
