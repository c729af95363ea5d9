"""Every mistake in the configuration gets one clear message with key, origin, value, what is allowed, nearest name."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from regimes_dagster.configuration.environment import plain_type
from regimes_dagster.configuration.problems import Problem, nearest
from regimes_dagster.settings import Settings, SettingsError, load_settings

TODAY = date(2026, 1, 1)


def mistakes(folder: Path, text: str = "", **environ: str) -> list[str]:
    (folder / "regimes.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(environ, folder, today=TODAY)
    assert all(str(problem) in str(caught.value) for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


BAD_FILES: list[tuple[str, str, list[str]]] = [
    (
        "unknown section",
        "[volatilty]\nx = 1",
        ["regimes.toml:1: volatilty:", "not a section", 'Did you mean "volatility"?'],
    ),
    (
        "unknown key",
        "[volatility]\nstable_treshold = 0.01",
        [
            "regimes.toml:2: volatility.stable_treshold:",
            "not a key of [volatility]",
            'Did you mean "stable_threshold"?',
        ],
    ),
    (
        "key of another section",
        "cascade_threshold_usd = 5",
        ["regimes.toml:1: cascade_threshold_usd:", "It belongs to [liquidation]."],
    ),
    (
        "top-level key below a section",
        '[sources]\nsymbols = ["BTC/USDT"]',
        ["sources.symbols", "the top, before the first [section]"],
    ),
    (
        "wrong type: string",
        '[liquidation]\ncascade_threshold_usd = "500000"',
        ["regimes.toml:2: liquidation.cascade_threshold_usd:", 'the string "500000"', "must be a number"],
    ),
    (
        "wrong type: list where a string is expected",
        '[dashboard]\nhost = ["127.0.0.1"]',
        ["dashboard.host:", 'the list ["127.0.0.1"]', "must be a string in quotes"],
    ),
    (
        "wrong type: string where a list is expected",
        '[sources]\nfunding = "deribit"',
        ["sources.funding:", 'the string "deribit"', "must be a list"],
    ),
    (
        "wrong type: fraction",
        "[liquidation]\ncooldown_h = 1.5",
        ["liquidation.cooldown_h", "1.5", "must be a whole number"],
    ),
    ("wrong type: truth value", "[alerts]\nmax_age_hours = true", ["alerts.max_age_hours", "must be a number"]),
    ("wrong type: number for truth", "[alerts]\nemit_close = 1", ["alerts.emit_close", "must be true or false"]),
    (
        "wrong type: table for number",
        "[alerts.max_age_hours]\nx = 1",
        ["alerts.max_age_hours", "is a table", "a number"],
    ),
    ("wrong type: number for section", "volatility = 3", ["volatility:", "must be a section of keys and values"]),
    (
        "negative threshold",
        "[liquidation]\ncascade_threshold_usd = -1",
        ["regimes.toml:2: liquidation.cascade_threshold_usd: is -1, must be more than 0."],
    ),
    ("zero", "[liquidation]\nvelocity_window = 0", ["liquidation.velocity_window: is 0, must be more than 0."]),
    ("above the range", "[dashboard]\nport = 70000", ["dashboard.port: is 70000, must be at most 65535."]),
    ("share above one", "[liquidation]\noff_ratio = 1.5", ["liquidation.off_ratio: is 1.5, must be at most 1."]),
    (
        "positive where negative is needed",
        "[correlation]\nbreak_z = 2.5",
        ["correlation.break_z: is 2.5, must be less than 0."],
    ),
    ("infinite", "[liquidation]\ncascade_threshold_usd = inf", ["liquidation.cascade_threshold_usd", "finite number"]),
    ("not a number", "[funding]\nsd_floor = nan", ["funding.sd_floor", "finite number"]),
    (
        "unknown choice",
        '[volatility]\nestimator = "yangzhang"',
        ["volatility.estimator:", '"yangzhang"', '"parkinson"', 'Did you mean "yang_zhang"?'],
    ),
    (
        "unknown venue",
        '[sources]\nohlcv = ["binanceuss"]',
        ["regimes.toml:2: sources.ohlcv[0]:", '"binanceuss"', "coinbaseexchange", 'Did you mean "binanceus"?'],
    ),
    (
        "options for an unknown venue",
        "[sources.ccxt.krakn]\nrateLimit = 1",
        ["regimes.toml:1: sources.ccxt.krakn:", "not a known venue", 'Did you mean "kraken"?'],
    ),
    ("source twice", '[sources]\nfunding = ["deribit", "deribit"]', ['sources.funding: names "deribit" twice']),
    (
        "real minutes for a simulated market",
        '[sources]\nohlcv = ["simulated"]\nminute_bars = ["binance"]',
        ["sources.minute_bars:", "invented"],
    ),
    ("simulated among real ones", '[sources]\nohlcv = ["simulated", "kraken"]', ["sources.ohlcv:", "mixes"]),
    ("files without a folder", '[sources]\nohlcv = ["files"]', ["sources.ohlcv:", "sources.files.path is not set"]),
    ("no candles", "[sources]\nohlcv = []", ["sources.ohlcv: is empty"]),
    (
        "duplicate symbol",
        'symbols = ["BTC/USDT", "ETH/USDT", "BTC/USDT"]',
        ['regimes.toml:1: symbols: names "BTC/USDT" twice'],
    ),
    ("malformed symbol: case", 'symbols = ["btc/usdt"]', ["symbols[0]:", '"btc/usdt"', 'Did you mean "BTC/USDT"?']),
    ("malformed symbol: joined", 'symbols = ["ETHUSDC"]', ['Did you mean "ETH/USDC"?']),
    ("malformed symbol: dash", 'symbols = ["SOL-USD"]', ['Did you mean "SOL/USD"?']),
    ("malformed symbol: contract", 'symbols = ["BTC/USDT:USDT"]', ['Did you mean "BTC/USDT"?']),
    ("malformed symbol: base only", 'symbols = ["BTC"]', ['"BTC"', 'such as "BTC/USDT"']),
    ("no symbols", "symbols = []", ["symbols: is empty; name at least one symbol."]),
    ("future", "history_start = 2030-01-01", ["regimes.toml:1: history_start: is 2030-01-01", "future", "2026-01-01"]),
    ("before any exchange", "history_start = 1970-01-01", ["history_start: is 1970-01-01", "2010-01-01"]),
    ("no date", 'history_start = "January"', ["history_start:", '"January"', 'a date such as "2024-01-01"']),
    ("impossible date", 'history_start = "2024-02-30"', ["history_start:", '"2024-02-30"', "a date such as"]),
    (
        "pair with an unknown symbol",
        '[correlation]\npairs = [["BTC/USDT", "ETH/USD"]]',
        ["regimes.toml:2: correlation.pairs[0]:", '"ETH/USD"', 'Did you mean "ETH/USDT"?'],
    ),
    ("pair of three", '[correlation]\npairs = [["BTC/USDT", "ETH/USDT", "SOL/USDT"]]', ["correlation.pairs[0]"]),
    ("pair with itself", '[correlation]\npairs = [["BTC/USDT", "BTC/USDT"]]', ["correlation.pairs[0]", "with itself"]),
    (
        "pair twice",
        '[correlation]\npairs = [["BTC/USDT", "ETH/USDT"], ["ETH/USDT", "BTC/USDT"]]',
        ["correlation.pairs[1]", "twice"],
    ),
    ("unknown benchmark", '[correlation]\nbenchmark = "XRP/USDT"', ["correlation.benchmark:", '"XRP/USDT"', "symbols"]),
    (
        "scale of an unknown symbol",
        '[volatility]\nthreshold_scale = {"SOL/USD" = 2}',
        ['volatility.threshold_scale."SOL/USD":', 'Did you mean "SOL/USDT"?'],
    ),
    (
        "negative scale",
        '[volatility.threshold_scale]\n"SOL/USDT" = -2',
        ['regimes.toml:2: volatility.threshold_scale."SOL/USDT": is -2'],
    ),
    (
        "edges not rising",
        "[volatility]\nstable_threshold = 0.2",
        ["volatility:", "stable_threshold < high_vol_threshold"],
    ),
    (
        "unknown regime",
        "[volatility.risk_multipliers]\nSTABEL = 1",
        ["volatility.risk_multipliers.STABEL:", "EXPLOSIVE", 'Did you mean "STABLE"?'],
    ),
    ("windows do not fit", "[liquidation]\nvelocity_window = 8", ["liquidation:", "velocity_window"]),
    (
        "classifier without function",
        '[multi_timeframe]\nclassifier = "my_rules"',
        ['must name a function as "module:function"'],
    ),
    (
        "label without meaning",
        "[multi_timeframe.labels.CALM]\nemoji = 'x'",
        ["multi_timeframe.labels.CALM.family: is missing", "multi_timeframe.labels.CALM.long_bias: is missing"],
    ),
    (
        "label UNKNOWN",
        "[multi_timeframe.labels.UNKNOWN]\nemoji='x'\nfamily=0\nlong_bias=0\nrisk_multiplier=1",
        ["multi_timeframe.labels.UNKNOWN:", "cannot be changed"],
    ),
    (
        "unknown event",
        '[alerts.min_severity]\nFUNDING_ANOMLY = "INFO"',
        ["regimes.toml:2: alerts.min_severity.FUNDING_ANOMLY:", "not an event", 'Did you mean "FUNDING_ANOMALY"?'],
    ),
    (
        "unknown severity",
        '[alerts.min_severity]\nDATA_GAP = "WARN"',
        ["alerts.min_severity.DATA_GAP:", '"WARN"', '"CRITICAL"', 'Did you mean "WARNING"?'],
    ),
    ("network with host bits", '[alerts]\nallow_networks = ["10.0.0.1/8"]', ["alerts.allow_networks[0]", "10.0.0.1/8"]),
    ("network without quotes", "[alerts]\nallow_networks = [10]", ["alerts.allow_networks[0]: is 10", "in quotes"]),
    ("open dashboard without log-in", '[dashboard]\nhost = "0.0.0.0"', ["dashboard.auth", '"0.0.0.0"', '"basic"']),
    (
        "basic without user",
        '[dashboard]\nauth = "basic"',
        ["dashboard.user: is not set", "dashboard.password_hash: is not set"],
    ),
    ("plain password", '[dashboard]\npassword_hash = "hunter2"', ["dashboard.password_hash: is not a scrypt hash"]),
    ("proxy without addresses", '[dashboard]\nauth = "proxy"', ["dashboard.trusted_proxies: is empty"]),
    ("one port for both", "[dashboard]\nport = 3000", ["dashboard.port: is 3000", "dagster.port"]),
    ("another database", 'db_url = "mysql://u:p@h/db"', ["db_url:", "mysql", "only PostgreSQL"]),
    (
        "password in the archive's address",
        '[sources.archive]\nbase_url = "https://u:p@host/"',
        ["sources.archive.base_url"],
    ),
    ("bad TOML: no quotes", "home = data", ["regimes.toml:1:8: is not valid TOML", '"data"']),
    ("bad TOML: colon", "[alerts]\nemit_close: true", ["regimes.toml:2:11:", "not by a colon"]),
    ("bad TOML: python truth", "[alerts]\nemit_close = True", ["regimes.toml:2:", "true and false"]),
    ("bad TOML: key twice", "home = 'a'\nhome = 'b'", ["regimes.toml:2:", "Cannot overwrite"]),
    ("bad TOML: not closed", 'symbols = ["BTC/USDT"', ["regimes.toml:1", "is not valid TOML"]),
]


@pytest.mark.parametrize(("text", "parts"), [pytest.param(t, p, id=name) for name, t, p in BAD_FILES])
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, parts: list[str]) -> None:
    found = "\n".join(mistakes(tmp_path, text))
    for part in parts:
        assert part in found


@pytest.mark.parametrize(("text", "parts"), [pytest.param(t, p, id=name) for name, t, p in BAD_FILES])
def test_one_mistake_is_one_message(tmp_path: Path, text: str, parts: list[str]) -> None:
    several = ("label without meaning", "basic without user")
    name = next(name for name, known, _ in BAD_FILES if known == text)
    assert name in several or len(mistakes(tmp_path, text)) == 1


BAD_VARIABLES: list[tuple[str, str, list[str]]] = [
    ("REGIMES_LIQUIDTION__COOLDOWN_H", "1", ["names no setting", "Did you mean REGIMES_LIQUIDATION"]),
    ("REGIMES_LIQUIDATION__COOLDOWN", "1", ["[liquidation]", "Did you mean REGIMES_LIQUIDATION__COOLDOWN_H?"]),
    ("REGIMES_LIQUIDATION__COOLDOWN_H__X", "1", ["one level too deep"]),
    ("REGIMES_SYMBOL", "BTC/USDT", ["Did you mean REGIMES_SYMBOLS?"]),
    ("REGIMES_CONFG", "x", ["Did you mean REGIMES_CONFIG?"]),
    ("REGIMES_FUNDING__CRITICAL_Z", "high", ["funding.critical_z", '"high"', "must be a number"]),
    ("REGIMES_FUNDING__CRITICAL_Z", "-3", ["funding.critical_z", "is -3, must be more than 0"]),
    ("REGIMES_ALERTS__EMIT_CLOSE", "maybe", ["alerts.emit_close", '"maybe"', "true or false"]),
    ("REGIMES_ALERTS__MIN_SEVERITY__FUNDING", "INFO", ["alerts.min_severity", "FUNDING_ANOMALY"]),
    ("REGIMES_SYMBOLS", "BTC/USDT,ETH", ["symbols[1]", '"ETH"']),
    ("REGIMES_SYMBOLS", '["BTC/USDT"', ["symbols", "must be a list"]),
    ("WEBHOOKS_CASCAD", "https://example.com", ["Did you mean", "WEBHOOKS_CASCADE"]),
    ("WEBHOOKS_ENABLED", "perhaps", ["alerts.enabled", "true or false"]),
    ("WEBHOOKS_ALL", "example.com/hook", ["scheme (none)", "https://host/path"]),
    ("DB_URL", "localhost:5432", ["db_url", "only PostgreSQL"]),
    ("REGIMES_CONFIG", "missing.toml", ["REGIMES_CONFIG", "missing.toml", "does not exist"]),
]


@pytest.mark.parametrize(("name", "value", "parts"), BAD_VARIABLES)
def test_a_mistake_in_a_variable_names_the_variable(tmp_path: Path, name: str, value: str, parts: list[str]) -> None:
    found = mistakes(tmp_path, **{name: value})
    assert len(found) == 1
    assert found[0].startswith(f"{name}: ")
    for part in parts:
        assert part in found[0]


def test_two_variables_for_one_key_must_agree(tmp_path: Path) -> None:
    found = mistakes(tmp_path, WEBHOOKS_ENABLED="0", REGIMES_ALERTS__ENABLED="1")
    assert len(found) == 1
    assert "WEBHOOKS_ENABLED" in found[0]
    assert "REGIMES_ALERTS__ENABLED" in found[0]


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "\n".join(
        [
            'symbols = ["BTC/USDT", "BTC/USDT"]',
            "[correlation]",
            'benchmark = "XRP/USDT"',
            "break_z = 1",
            "[alerts]",
            "max_age_hours = 0",
            "[[alerts.webhook]]",
            'url = "http://example.com/x"',
            'events = ["NOTHING"]',
            'secret = "short"',
        ]
    )
    found = mistakes(tmp_path, text, REGIMES_NOTHING="1", WEBHOOKS_ALL="ftp://example.com")
    lines = [message.split(":")[1] for message in found if message.startswith("regimes.toml:")]
    assert lines == ["1", "3", "4", "6", "8", "9", "10"]
    assert len(found) == 9


def _keys(model: type[BaseModel], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], str]]:
    found = []
    for name, info in model.model_fields.items():
        base = plain_type(info.annotation)
        if isinstance(base, type) and issubclass(base, BaseModel):
            found.extend(_keys(base, (*path, name)))
        else:
            found.append((path, name))
    return found


ALL_KEYS = _keys(Settings)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(ALL_KEYS), st.data())
def test_any_single_misspelling_names_the_nearest_key(
    tmp_path: Path, key: tuple[tuple[str, ...], str], data: st.DataObject
) -> None:
    section, name = key
    place = data.draw(st.integers(0, len(name) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz"))
    wrong = data.draw(
        st.sampled_from(
            [
                name[:place] + name[place + 1 :],
                name[:place] + letter + name[place:],
                name[:place] + letter + name[place + 1 :],
            ]
        )
    )
    siblings = [other for where, other in ALL_KEYS if where == section]
    sections = [part for path, _ in ALL_KEYS for part in path[len(section) :][:1] if path[: len(section)] == section]
    assume(wrong and wrong not in siblings and wrong not in sections)
    assume(all(wrong != other for _, other in ALL_KEYS))
    # A short name with one letter changed may be as near to a sibling; the nearest valid name is what is asked for.
    expected = nearest(wrong, [*siblings, *sections])
    assume(expected is not None)
    header = f"[{'.'.join(section)}]\n" if section else ""
    found = mistakes(tmp_path, f"{header}{wrong} = 1\n")
    assert f'Did you mean "{expected}"?' in found[0]
    if len(name) >= 5:
        assert expected == name or len([s for s in siblings if nearest(wrong, [s])]) > 1


def problems_of(environ: dict[str, str], folder: Path, **more: Any) -> tuple[Problem, ...]:
    """What is wrong; anything but a ``SettingsError`` is a bug and comes out."""
    try:
        load_settings(environ, folder, today=TODAY, **more)
    except SettingsError as error:
        return error.problems
    return ()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**12) | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from([(*path, name) for path, name in ALL_KEYS]), ANYTHING, max_size=4))
def test_whatever_is_written_is_accepted_or_refused_with_messages(
    tmp_path: Path, values: dict[tuple[str, ...], object]
) -> None:
    tree: dict[str, object] = {}
    for path, value in values.items():
        here = tree
        for part in path[:-1]:
            here = here.setdefault(part, {})  # type: ignore[assignment]
        here[path[-1]] = value
    problems = problems_of({}, tmp_path, overrides=tree)
    assert all(str(problem).strip() and len(str(problem)) < 2000 for problem in problems)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_no_text_of_a_variable_breaks_the_reading(text: str) -> None:
    for name in ("DB_URL", "WEBHOOKS_ALL", "REGIMES_SYMBOLS", "REGIMES_ALERTS__WEBHOOK", "REGIMES_SOURCES__CCXT"):
        problems = problems_of({name: text, "REGIMES_CONFIG": "none"}, Path.cwd())
        assert all(name in str(problem) for problem in problems)
