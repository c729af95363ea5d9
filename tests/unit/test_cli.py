"""The console script: quick, lazy, and clear about what went wrong."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from regimes_dagster import __version__, cli
from regimes_dagster.commands.config import scrypt_text
from regimes_dagster.configuration.addresses import secret_mistake
from regimes_dagster.configuration.sections import scrypt_hash
from regimes_dagster.settings import load_settings
from regimes_dagster.sources.protocol import SourceError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("REGIMES_CONFIG", "DB_URL", "WEBHOOKS_ALL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_help_lists_every_command_without_loading_what_they_need() -> None:
    code = (
        "import sys; from regimes_dagster.cli import run; code = run(['--help']);"
        "print([n for n in ('pandas', 'numpy', 'dagster', 'sqlalchemy', 'ccxt', 'dash') if n in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[] 0"
    for name in cli.COMMANDS:
        assert f"  {name} " in done.stdout


def test_python_m_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "regimes_dagster", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == f"regimes, version {__version__}"


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_of_the_list_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        command = cli.load_command(name)
    except cli.CommandNotBuilt as missing:
        pytest.skip(str(missing))
    assert command.name == name
    assert command.help


def test_a_misspelt_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["backfil"]) == 2
    assert "Did you mean `regimes backfill`?" in capsys.readouterr().err


def test_a_missing_module_is_a_message_not_a_crash(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "probe", ("no_such_module", "x"))
    assert cli.run(["probe"]) == 1
    assert "`regimes probe` is not part of this installation" in capsys.readouterr().err


def test_mistakes_in_the_settings_are_listed_with_exit_code_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "regimes.toml").write_text("[volatility]\nstable_treshold = 1\n[alerts]\nmax_age_hours = 0\n")
    assert cli.run(["config", "check"]) == 2
    error = capsys.readouterr().err
    assert "The configuration has 2 mistakes:" in error
    assert "regimes.toml:2: volatility.stable_treshold" in error


def test_the_config_option_reaches_child_processes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGIMES_CONFIG", "")
    (folder / "other.toml").write_text('symbols = ["BTC/USDT"]\n')
    assert cli.run(["--config", "other.toml", "config", "check"]) == 0
    assert cli.os.environ["REGIMES_CONFIG"] == str(folder / "other.toml")


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (SourceError("kraken", "XRP/USDT", "no such symbol"), 1, "no such symbol"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (click.Abort(), 130, "Interrupted"),
        (click.ClickException("say why"), 1, "say why"),
        (FileNotFoundError(2, "No such file or directory", "history.csv"), 1, "history.csv"),
    ],
)
def test_known_failures_are_one_message_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, part: str
) -> None:
    @click.command("probe")
    def failing() -> None:
        raise error

    monkeypatch.setattr(cli, "load_command", lambda name: failing)
    assert cli.run(["probe"]) == code
    shown = capsys.readouterr().err
    assert part in shown
    assert "Traceback" not in shown


def test_a_database_error_hides_the_password() -> None:
    import sqlalchemy as sa

    engine = sa.create_engine("postgresql+psycopg://user:sesame@127.0.0.1:1/db?connect_timeout=2")
    with pytest.raises(sa.exc.OperationalError) as caught:
        engine.connect()
    message = cli.known_failure(caught.value)
    assert message is not None
    assert "regimes doctor" in message
    assert "sesame" not in message


def test_an_unknown_failure_is_a_bug_and_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command("probe")
    def failing() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "load_command", lambda name: failing)
    with pytest.raises(ZeroDivisionError):
        cli.run(["probe"])


def test_config_show_names_values_and_origins_and_hides_secrets(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "regimes.toml").write_text(
        '[[alerts.webhook]]\nurl = "https://example.com/sesame"\n'
        '[sources.ccxt.kraken]\nsecret = "sesame"\nrateLimit = 5\n'
        '[volatility.threshold_scale]\n"SOL/USDT" = 2\n'
    )
    monkeypatch.setenv("DB_URL", "postgresql://u:sesame@host/db")
    monkeypatch.setenv("WEBHOOKS_ALL", "https://discord.com/api/webhooks/1/sesame")
    assert cli.run(["config", "show", "--json"]) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["db_url"]["value"] == "postgresql://u:***@host/db"
    assert rows["db_url"]["origin"] == "DB_URL"
    assert rows["sources.ccxt.kraken.rateLimit"]["value"] == 5
    assert rows["sources.ccxt.kraken.secret"]["value"] == "(hidden)"
    assert rows['volatility.threshold_scale."SOL/USDT"']["origin"] == "regimes.toml:7"
    assert rows["alerts.group_threshold"] == {"key": "alerts.group_threshold", "value": 10, "origin": "default"}
    assert "sesame" not in json.dumps(rows)
    assert cli.run(["config", "show", "--set"]) == 0
    text = capsys.readouterr().out
    assert "sesame" not in text
    assert "posts to discord.com (" in text
    assert "group_threshold" not in text


def test_config_reference_is_what_docs_configure_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["config", "reference"]) == 0
    written = (ROOT / "docs" / "configure.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == written, "run: regimes config reference --write docs/configure.md"


def test_every_key_stands_in_the_reference_with_its_variable() -> None:
    text = (ROOT / "docs" / "configure.md").read_text(encoding="utf-8")
    for variable in (
        "REGIMES_LIQUIDATION__CASCADE_THRESHOLD_USD",
        "WEBHOOKS_REGIME",
        "DB_URL",
        "REGIMES_DAGSTER__PORT",
    ):
        assert f"`{variable}`" in text
    assert "## [[alerts.webhook]]" in text


def test_a_made_secret_and_a_made_password_hash_are_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["config", "secret"]) == 0
    assert secret_mistake(capsys.readouterr().out.strip()) is None
    assert scrypt_hash(scrypt_text("sesame", "salt"))
    assert cli.run(["config", "hash-password", "--password", "sesame"]) == 0
    method, salt, digest = capsys.readouterr().out.strip().split("$")
    _, n, r, p = method.split(":")
    again = hashlib.scrypt(b"sesame", salt=salt.encode(), n=int(n), r=int(r), p=int(p), maxmem=2**26)
    assert again.hex() == digest


def test_the_dashboard_listens_openly_with_a_made_hash(folder: Path) -> None:
    settings = load_settings(
        {
            "REGIMES_DASHBOARD__HOST": "0.0.0.0",
            "REGIMES_DASHBOARD__AUTH": "basic",
            "REGIMES_DASHBOARD__USER": "me",
            "REGIMES_DASHBOARD__PASSWORD_HASH": scrypt_text("sesame", "salt"),
        },
        folder,
    )
    assert not settings.dashboard.is_loopback


def test_demo_asks_the_simulated_market_and_leaves_the_live_one_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside a running demo `regimes alerts list` looked at the empty live installation and found no alert."""
    monkeypatch.setenv("DB_URL", "postgresql://me@live.example/crypto")
    monkeypatch.setenv("WEBHOOKS_CASCADE", "https://desk.example/hook")
    for name in ("REGIMES_CONFIG", "REGIMES_HOME"):
        monkeypatch.setenv(name, "")
    before = dict(os.environ)
    try:
        assert cli.run(["--demo", "config", "show"]) == 0
        shown = capsys.readouterr().out
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert "simulated" in shown
    assert "live.example" not in shown
    assert str(folder / ".regimes" / "demo") in shown
    assert cli.run(["--demo", "--config", "x.toml", "doctor"]) == 2
