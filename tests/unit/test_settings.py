"""How settings are put together: file, ``.env``, environment, defaults; and that secrets stay hidden."""

import json
import re
import subprocess
import sys
import traceback
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError

from regimes_dagster import schemas, vocabulary
from regimes_dagster.configuration.reading import key_lines
from regimes_dagster.settings import Settings, SettingsError, load_settings

ROOT = Path(__file__).resolve().parents[2]
TODAY = date(2026, 1, 1)


def load(tmp_path: Path, text: str = "", **environ: str) -> Settings:
    (tmp_path / "regimes.toml").write_text(text)
    return load_settings(environ, tmp_path, today=TODAY)


def test_without_a_file_everything_is_at_its_default(tmp_path: Path) -> None:
    settings = load_settings({}, tmp_path)
    assert settings.config_file is None
    assert settings.symbols == ("BTC/USDT", "ETH/USDT", "SOL/USDT")
    assert settings.home == tmp_path / ".regimes"
    assert settings.origin("symbols") == "default"
    assert settings.endpoints == ()


def test_the_file_of_the_project_changes_nothing_but_venue_options(tmp_path: Path) -> None:
    shipped, default = load_settings({}, ROOT), load_settings({}, tmp_path)
    for name in Settings.model_fields:
        if name not in ("home", "sources"):
            assert getattr(shipped, name) == getattr(default, name), name
    for kind in vocabulary.VENUES:
        assert shipped.sources.of(kind) == default.sources.of(kind)
    assert shipped.sources.ccxt_options("binanceus") == {"rateLimit": 150}


@pytest.mark.parametrize(
    ("lists", "minutes"),
    [
        ({}, ("binance", "binanceus", "coinbaseexchange")),
        ({"REGIMES_SOURCES__OHLCV": '["coinbaseexchange", "kraken"]'}, ("coinbaseexchange",)),
        ({"REGIMES_SOURCES__OHLCV": '["kraken"]'}, ()),
        ({"REGIMES_SOURCES__OHLCV": '["simulated"]'}, ("simulated",)),
        ({"REGIMES_SOURCES__OHLCV": '["files"]', "REGIMES_SOURCES__FILES__PATH": "."}, ()),
        ({"REGIMES_SOURCES__MINUTE_BARS": "[]"}, ()),
        ({"REGIMES_SOURCES__MINUTE_BARS": '["binanceus"]'}, ("binanceus",)),
    ],
)
def test_minute_bars_come_from_venues_that_are_listed_anyway(
    tmp_path: Path, lists: dict[str, str], minutes: tuple[str, ...]
) -> None:
    assert load_settings(lists, tmp_path).sources.of("minute_bars") == minutes


def test_default_sources_serve_the_kind_they_are_listed_for(tmp_path: Path) -> None:
    sources = load_settings({}, tmp_path).sources
    for kind, venues in vocabulary.VENUES.items():
        assert set(sources.of(kind)) <= {*venues, *vocabulary.OFFLINE_SOURCES}


def test_regimes_config_names_another_file_and_its_folder_counts_for_paths(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "my.toml").write_text('home = "data"\n[sources.files]\npath = "history/"\n')
    settings = load_settings({"REGIMES_CONFIG": "elsewhere/my.toml"}, tmp_path)
    assert settings.home == folder / "data"
    assert settings.sources.files.path == folder / "history"
    assert settings.dagster_home == folder / "data" / "dagster"
    assert settings.archive_cache == folder / "data" / "archive"


def test_a_variable_wins_over_the_file_and_is_named_as_origin(tmp_path: Path) -> None:
    text = "[liquidation]\ncascade_threshold_usd = 1\ncooldown_h = 5\n"
    settings = load(tmp_path, text, REGIMES_LIQUIDATION__CASCADE_THRESHOLD_USD="750_000")
    assert settings.liquidation.cascade_threshold_usd == 750_000
    assert settings.liquidation.cooldown_h == 5
    assert settings.origin("liquidation", "cascade_threshold_usd") == "REGIMES_LIQUIDATION__CASCADE_THRESHOLD_USD"
    assert settings.origin("liquidation", "cooldown_h") == "regimes.toml:3"
    assert settings.origin("liquidation", "off_ratio") == "default"


@pytest.mark.parametrize(
    ("variable", "text", "path", "value"),
    [
        ("REGIMES_SYMBOLS", "BTC/USDT, ETH/USDT", ("symbols",), ("BTC/USDT", "ETH/USDT")),
        ("REGIMES_SYMBOLS", '["BTC/USDT"]', ("symbols",), ("BTC/USDT",)),
        ("REGIMES_HISTORY_START", "2023-05-01", ("history_start",), date(2023, 5, 1)),
        ("REGIMES_ALERTS__EMIT_CLOSE", "yes", ("alerts", "emit_close"), True),
        ("REGIMES_ALERTS__EMIT_CLOSE", "0", ("alerts", "emit_close"), False),
        ("REGIMES_ALERTS__REPEAT_HOURS", "12", ("alerts", "repeat_hours"), 12.0),
        ("REGIMES_LIQUIDATION__WINDOWS_H", "1,4", ("liquidation", "windows_h"), (1, 4)),
        ("REGIMES_DAGSTER__PORT", "3001", ("dagster", "port"), 3001),
        ("REGIMES_VOLATILITY__THRESHOLD_SCALE", '{"SOL/USDT": 2}', ("volatility", "threshold_scale"), {"SOL/USDT": 2}),
        ("WEBHOOKS_ENABLED", "0", ("alerts", "enabled"), False),
        (
            "REGIMES_CORRELATION__PAIRS",
            '[["BTC/USDT","SOL/USDT"]]',
            ("correlation", "pairs"),
            (("BTC/USDT", "SOL/USDT"),),
        ),
    ],
)
def test_the_text_of_a_variable_becomes_the_type_of_its_key(
    tmp_path: Path, variable: str, text: str, path: tuple[str, ...], value: object
) -> None:
    found: object = load(tmp_path, **{variable: text})
    for part in path:
        found = getattr(found, part)
    assert found == value


def test_one_key_of_a_table_is_set_by_a_variable_in_capitals(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        REGIMES_ALERTS__MIN_SEVERITY__FUNDING_ANOMALY="CRITICAL",
        REGIMES_VOLATILITY__RISK_MULTIPLIERS='{"STABLE":0.5,"HIGH_VOL":1.2,"EXPLOSIVE":1.8,"EXTREME":3}',
        REGIMES_SOURCES__CCXT__BINANCEUS__rateLimit="200",
    )
    # The usual severity of events that are not named stays.
    assert settings.alerts.min_severity == {"FUNDING_ANOMALY": "CRITICAL", "VOLATILITY_REGIME_CHANGE": "WARNING"}
    assert settings.volatility.risk_multipliers["EXTREME"] == 3
    assert settings.sources.ccxt_options("binanceus") == {"rateLimit": 200}


def test_an_empty_variable_counts_as_unset_and_none_clears_a_key(tmp_path: Path) -> None:
    text = 'db_url = "postgresql://u:p@host/db"\n'
    assert load(tmp_path, text, DB_URL="").db_url is not None
    assert load(tmp_path, text, DB_URL="none").db_url is None


def test_a_dotenv_file_is_read_and_real_variables_win(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        'export DB_URL="postgresql://u:file@host/db"\nWEBHOOKS_ALL=https://example.com/a\nREGIMES_DAGSTER__PORT=3005\n'
    )
    settings = load(tmp_path, DB_URL="postgresql://u:real@host/db")
    assert settings.db_url == SecretStr("postgresql://u:real@host/db")
    assert settings.dagster.port == 3005
    assert settings.origin("dagster", "port") == ".env: REGIMES_DAGSTER__PORT"
    assert [endpoint.origins for endpoint in settings.endpoints] == [(".env: WEBHOOKS_ALL",)]


def test_a_configuration_of_none_reads_neither_the_file_nor_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WEBHOOKS_ALL=https://example.com/live\n")
    text = 'db_url = "postgresql://u:p@live/db"\n[[alerts.webhook]]\nurl = "https://example.com/live"\n'
    settings = load(tmp_path, text, REGIMES_CONFIG="none")
    assert settings.db_url is None
    assert settings.endpoints == ()
    assert settings.root == tmp_path


def test_overrides_of_a_command_win_over_everything(tmp_path: Path) -> None:
    (tmp_path / "regimes.toml").write_text('symbols = ["BTC/USDT"]\n')
    settings = load_settings(
        {"REGIMES_SYMBOLS": "ETH/USDT"}, tmp_path, overrides={"symbols": ["SOL/USDT"], "dagster": {"port": 3010}}
    )
    assert settings.symbols == ("SOL/USDT",)
    assert settings.dagster.port == 3010
    assert settings.origin("symbols") == "command line"


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load(tmp_path)
    with pytest.raises(ValidationError):
        settings.symbols = ("XRP/USDT",)  # type: ignore[misc]
    options = settings.sources.ccxt_options("binanceus")
    options["rateLimit"] = 1
    assert settings.sources.ccxt_options("binanceus") == {}


def test_options_handed_out_are_copies_all_the_way_down(tmp_path: Path) -> None:
    settings = load(tmp_path, "[sources.ccxt.kraken]\nurls = {api = {public = 'http://127.0.0.1:1'}}\n")
    settings.sources.ccxt_options("kraken")["urls"]["api"]["public"] = "changed"
    assert settings.sources.ccxt_options("kraken")["urls"]["api"]["public"] == "http://127.0.0.1:1"


def leaves(settings: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name in type(settings).model_fields:  # type: ignore[attr-defined]
        value = getattr(settings, name)
        found += leaves(value, (*path, name)) if isinstance(value, BaseModel) else [(*path, name)]
    return found


def default_of(path: tuple[str, ...]) -> Any:
    value = Settings().model_dump(mode="json")
    for part in path:
        value = value[part]
    return value


EVERY_KEY_WITH_A_DEFAULT = [path for path in leaves(Settings()) if default_of(path) is not None]


@pytest.mark.parametrize("path", EVERY_KEY_WITH_A_DEFAULT, ids=".".join)
def test_every_key_can_be_set_by_its_variable_which_wins_over_the_file(tmp_path: Path, path: tuple[str, ...]) -> None:
    usual = default_of(path)
    # The file is wrong on purpose: only a variable that wins makes the settings load.
    header = f"[{'.'.join(path[:-1])}]\n" if path[:-1] else ""
    wrong = "1979-05-27" if not isinstance(usual, str) else "7"
    name = "REGIMES_" + "__".join(path).upper()
    text = usual if isinstance(usual, str) else json.dumps(usual)
    settings = load(tmp_path, f"{header}{path[-1]} = {wrong}\n", **{name: text})
    assert settings.origin(*path) == name
    found: object = settings
    expected: object = load_settings({}, tmp_path / "nowhere")
    for part in path:
        found, expected = getattr(found, part), getattr(expected, part)
    assert found == (tmp_path / ".regimes" if path == ("home",) else expected)


SECRETS = {
    "DB_URL": "postgresql://user:sesame-db@host:5432/crypto",
    "DASHBOARD_DB_URL": "postgresql://user:sesame-dash@host:5432/crypto",
    "WEBHOOKS_ALL": "https://discord.com/api/webhooks/1234/sesame-hook",
    "DESK_SECRET": "whsec_" + "c2VzYW1l" * 4,
    "REGIMES_SOURCES__CCXT__KRAKEN": '{"secret": "sesame-api", "apiKey": "sesame-key"}',
}


def test_secrets_show_in_no_form_of_the_settings(tmp_path: Path) -> None:
    text = '[[alerts.webhook]]\nurl = "https://example.com/sesame-file"\nsecret_env = "DESK_SECRET"\n'
    settings = load(tmp_path, text, **SECRETS)
    forms = [repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())]
    forms += [repr(settings.endpoints), repr(settings.sources), json.dumps(settings.model_dump(mode="json"))]
    for form in forms:
        assert not re.search(r"sesame|c2VzYW1l", form)
    assert settings.db_url is not None
    assert "sesame-db" in settings.db_url.get_secret_value()


#: Put together here, so that a traceback, which quotes this file, holds it only where it leaks.
WORD = "".join(["ses", "ame"])


def test_secrets_show_in_no_error_and_no_traceback(tmp_path: Path) -> None:
    text = f"""
    db_url = "mysql://user:{WORD}@host/db"
    [alerts]
    max_age_hours = -1
    [[alerts.webhook]]
    url = "ftp://example.com/{WORD}"
    secret = "{WORD}"
    [[alerts.webhook]]
    url = ["https://example.com/{WORD}"]
    secret = 7
    [[alerts.webhook]]
    url = "https://user:{WORD}@example.com/"
    [sources.ccxt.kraken2]
    secret = "{WORD}"
    [dashboard]
    password_hash = "{WORD}"
    auth = "basic"
    """
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text, WEBHOOKS_FUNDING=f"http://192.168.1.1/{WORD}, //{WORD}", REGIMES_DASHBOARD__DB_URL=WORD)
    error = caught.value
    assert len(error.problems) >= 9
    shown = str(error) + repr(error) + "".join(traceback.format_exception(error))
    assert WORD not in shown


def test_a_key_that_toml_cannot_read_does_not_show_its_secret(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, "db_url = postgresql://user:sesame@host/db\n")
    assert "sesame" not in str(caught.value)
    assert "regimes.toml:1:" in str(caught.value)


def test_event_names_are_those_of_the_tables() -> None:
    assert vocabulary.EVENT_TYPES == schemas.EVENT_TYPES
    assert vocabulary.OPERATIONAL_EVENT_TYPES == schemas.OPERATIONAL_EVENT_TYPES
    assert vocabulary.SEVERITIES == schemas.SEVERITIES
    assert tuple(vocabulary.VENUES) == schemas.KINDS


def test_reading_the_settings_loads_neither_pandas_nor_dagster(tmp_path: Path) -> None:
    code = (
        "import sys; from regimes_dagster.settings import load_settings; load_settings({}, sys.argv[1]);"
        "print([name for name in ('pandas', 'numpy', 'dagster', 'sqlalchemy', 'ccxt') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_every_key_of_a_file_knows_its_line() -> None:
    text = (
        'a = 1 # [not]\n"b c" = """x\n[y]\nz = 1\n"""\n\n[s.t]\nk = [\n 1, # ]\n "]",\n]\nd.e = {f = "}"}\n'
        "[[s.u]]\nn = 'it''s'\n[[s.u]]\nn = 2\n[s.u.v]\nw = 3\n"
    )
    text = text.replace("'it''s'", "'its'")
    lines = key_lines(text)
    assert lines[("a",)] == 1
    assert lines[("b c",)] == 2
    assert lines[("s", "t", "k")] == 8
    assert lines[("s", "t", "d", "e")] == 12
    assert lines[("s", "u", 0, "n")] == 14
    assert lines[("s", "u", 1, "n")] == 16
    assert lines[("s", "u", 1, "v", "w")] == 18
    assert not any("z" in path or "[y]" in path for path in lines)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["k", "key-2", '"q.q"', "'l'", "d.e"]),
            st.sampled_from(
                ['"a # b"', "'''x\n\n]'''", "[1,\n[2],\n]", "{x = 1, y = [2]}", "1979-05-27", '"\\""', "true"]
            ),
        ),
        unique_by=lambda pair: pair[0],
    ),
    st.integers(0, 3),
)
def test_the_line_found_is_the_line_on_which_the_key_stands(pairs: list[tuple[str, str]], blank: int) -> None:
    text = "\n" * blank + "".join(f"{key} = {value} # c\n" for key, value in pairs)
    expected = blank + 1
    lines = key_lines(text)
    for key, value in pairs:
        path = tuple(key.split(".")) if key == "d.e" else (key.strip("\"'"),)
        assert lines[path] == expected
        expected += value.count("\n") + 1
