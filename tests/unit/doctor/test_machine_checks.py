"""The doctor's checks of the machine and of the configured sources."""

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from regimes_dagster.commands.doctor import lines, summary
from regimes_dagster.doctor import Finding, machine, server, sources, worst
from regimes_dagster.doctor.running import webhooks
from regimes_dagster.settings import load_settings

DAGSTER_YAML = """
storage:
  custom:
    module: regimes_dagster.dagster_storage
    class: KeptConnections
    config:
      postgres_url:
        env: REGIMES_PG_URL
python_logs:
  managed_python_loggers: [regimes_dagster]
"""


def load(folder: Path, text: str = "", **environ: str):  # type: ignore[no-untyped-def]
    (folder / "regimes.toml").write_text(text)
    return load_settings(environ, folder)


def test_an_old_python_fails() -> None:
    assert machine.python_version((3, 10, 4, "final", 0)).status == "FAIL"
    assert machine.python_version((3, 11, 0, "final", 0)) == Finding("Python", "OK", "3.11.0")


def test_a_home_that_others_may_read_is_a_warning_and_passing_through_is_not(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert [finding.status for finding in machine.home_folder(home)] == ["OK"]
    home.mkdir(mode=0o700)
    assert [finding.status for finding in machine.home_folder(home)] == ["OK"]
    home.chmod(0o711)
    assert [finding.status for finding in machine.home_folder(home)] == ["OK"]
    home.chmod(0o755)
    (finding,) = machine.home_folder(home)
    assert finding.status == "WARN"
    assert finding.action == f"Run: chmod go-rw {home}"


def test_a_home_that_is_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    assert [finding.status for finding in machine.home_folder(tmp_path / "home")] == ["FAIL"]


def test_secrets_in_a_readable_file_are_a_warning(tmp_path: Path) -> None:
    settings = load(tmp_path, '[[alerts.webhook]]\nurl = "https://example.com/x"\n')
    (tmp_path / "regimes.toml").chmod(0o644)
    (tmp_path / ".env").write_text("DB_URL=postgresql://u:p@h/d\n")
    (tmp_path / ".env").chmod(0o600)
    found = {finding.message: finding.status for finding in machine.secret_files(settings, tmp_path / ".env")}
    assert found == {
        ".env is closed to other users": "OK",
        "regimes.toml holds secrets and can be read by other users": "WARN",
    }


def test_a_readable_file_without_secrets_is_no_matter(tmp_path: Path) -> None:
    settings = load(tmp_path, '[[alerts.webhook]]\nurl_env = "HOOK"\n', HOOK="https://example.com/x")
    (tmp_path / "regimes.toml").chmod(0o644)
    assert list(machine.secret_files(settings, tmp_path / ".env")) == []


@pytest.mark.parametrize(
    ("free", "status"), [(machine.NO_SPACE - 1, "FAIL"), (machine.NO_SPACE, "WARN"), (machine.LITTLE_SPACE, "OK")]
)
def test_little_disk_space_warns_and_none_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str
) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    assert machine.disk_space(tmp_path / "not" / "yet").status == status


@pytest.fixture
def web() -> Iterator[int]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield served.server_address[1]
    served.shutdown()
    served.server_close()


def test_a_port_is_free_ours_or_somebody_elses(web: int) -> None:
    assert machine.port("the dashboard", "127.0.0.1", web, "/healthz", "[dashboard] port").message == (
        "taken by the dashboard, here or of another installation"
    )
    taken = machine.port("Dagster", "127.0.0.1", web, "/server_info", "[dagster] port")
    assert taken.status == "FAIL"
    assert taken.action == "Stop it, or set [dagster] port."
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        number = silent.getsockname()[1]
        assert machine.port("the dashboard", "127.0.0.1", number, "/healthz", "x").status == "FAIL"
    assert machine.port("the dashboard", "127.0.0.1", number, "/healthz", "x").status == "OK"


@pytest.mark.parametrize(
    ("text", "status", "part"),
    [
        (DAGSTER_YAML, "OK", "dagster.yaml"),
        ("storage:\n  sqlite:\n    base_dir: x\n", "WARN", "elsewhere"),
        ("storage:\n  postgres:\n    postgres_url:\n      env: REGIMES_PG_URL\n", "WARN", "every statement"),
        ("storage:\n  custom:\n    config:\n      postgres_url: here\n", "WARN", "elsewhere"),
        ("storage: 5\n", "WARN", "elsewhere"),
        (DAGSTER_YAML.replace("[regimes_dagster]", "[root]"), "WARN", "every library"),
        ("storage: [", "FAIL", "not valid YAML"),
        ("just text", "WARN", "elsewhere"),
    ],
)
def test_dagster_yaml_must_use_the_platforms_database(tmp_path: Path, text: str, status: str, part: str) -> None:
    (tmp_path / "dagster.yaml").write_text(text)
    found = machine.dagster_file([tmp_path / "nowhere.yaml", tmp_path / "dagster.yaml"])
    assert found.status == status
    assert part in found.message


def test_without_dagster_yaml_nothing_runs(tmp_path: Path) -> None:
    assert machine.dagster_file([tmp_path / "dagster.yaml"]).status == "FAIL"


def test_a_venue_that_cannot_serve_a_kind_is_named(tmp_path: Path) -> None:
    settings = load(tmp_path, '[sources]\nfunding = ["binanceus", "deribit"]\nliquidations = []\n')
    found = {finding.check: finding for finding in sources.configured_sources(settings)}
    assert found["sources.ohlcv"].status == "OK"
    assert found["sources.funding"].status == "WARN"
    assert "binanceus serves no funding" in found["sources.funding"].message
    assert found["sources.liquidations"].message == "no source"


def test_own_files_are_looked_for(tmp_path: Path) -> None:
    text = '[sources]\nohlcv = ["files"]\nfunding = ["files"]\n[sources.files]\npath = "history"\n'
    settings = load(tmp_path, text)
    assert [finding.status for finding in sources.files_folder(settings)] == ["FAIL"]
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "ohlcv.csv.gz").touch()
    found = {finding.message.split(" ")[0]: finding.status for finding in sources.files_folder(settings)}
    assert found["ohlcv"] == "OK"
    assert "WARN" in found.values()


def test_ccxt_knows_every_venue_that_may_be_named(tmp_path: Path) -> None:
    import ccxt

    from regimes_dagster.vocabulary import VENUES

    assert [venue for venues in VENUES.values() for venue in venues if not hasattr(ccxt, venue)] == []


def test_the_installed_ccxt_serves_the_default_sources(tmp_path: Path) -> None:
    found = list(sources.ccxt_venues(load(tmp_path)))
    assert [finding.status for finding in found] == ["OK"]


def test_webhooks_are_shown_without_their_addresses(tmp_path: Path) -> None:
    settings = load(tmp_path, WEBHOOKS_ALL="https://example.com/token", WEBHOOKS_ENABLED="0")
    found = list(webhooks(settings))
    assert [finding.status for finding in found] == ["WARN", "OK"]
    assert "example.com (" in found[1].message
    assert not any("token" in finding.message for finding in found)


@pytest.mark.parametrize(("found", "status"), [("0002", "OK"), ("0001", "WARN"), (None, "WARN"), ("0003", "FAIL")])
def test_the_schema_is_older_equal_or_newer(found: str | None, status: str) -> None:
    assert server.schema_revision(found, ("0001", "0002"), "0002").status == status


def test_the_worst_finding_decides() -> None:
    findings = [Finding("a", "OK", ""), Finding("b", "SKIP", ""), Finding("c", "WARN", "")]
    assert worst(findings) == "WARN"
    assert worst([*findings, Finding("d", "FAIL", "")]) == "FAIL"
    assert worst([]) == "OK"
    assert summary(findings) == "1 to look at, of 3 checks."
    assert summary(findings[:1]) == "Everything is in order."


def test_a_line_of_the_table_says_what_to_do_unless_all_is_well() -> None:
    assert any("-> do this" in line for line in lines(Finding("a", "WARN", "found", "do this")))
    assert not any("do this" in line for line in lines(Finding("a", "OK", "found", "do this")))
