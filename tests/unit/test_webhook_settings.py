"""Webhook entries: from the guide's variables and the file to one endpoint per address (decision 23)."""

import base64
import ipaddress
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimes_dagster.configuration.addresses import (
    endpoint_id,
    guessed_format,
    normalise_url,
    secret_mistake,
    url_mistake,
)
from regimes_dagster.configuration.webhooks import Filter
from regimes_dagster.settings import Endpoint, SettingsError, load_settings

LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]


def whsec(length: int, fill: bytes = b"k") -> str:
    return "whsec_" + base64.b64encode(fill * length).decode()


def endpoints(folder: Path, text: str = "", **environ: str) -> tuple[Endpoint, ...]:
    (folder / "regimes.toml").write_text(text)
    return load_settings(environ, folder, today=date(2026, 1, 1)).endpoints


def mistakes(folder: Path, text: str = "", **environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        endpoints(folder, text, **environ)
    return [str(problem) for problem in caught.value.problems]


def test_each_variable_of_the_guide_stands_for_its_events(tmp_path: Path) -> None:
    found = endpoints(
        tmp_path,
        WEBHOOKS_CASCADE="https://a.example/1, https://a.example/2",
        WEBHOOKS_FUNDING="https://a.example/3",
        WEBHOOKS_REGIME="https://a.example/4",
        WEBHOOKS_ALL="https://a.example/5",
    )
    by_path = {endpoint.url.get_secret_value().rpartition("/")[2]: endpoint for endpoint in found}
    assert by_path["1"].filters == by_path["2"].filters == (Filter(events=frozenset({"LIQUIDATION_CASCADE"})),)
    assert by_path["3"].filters == (Filter(events=frozenset({"FUNDING_ANOMALY", "FUNDING_REVERSAL"})),)
    assert by_path["4"].filters == (Filter(events=frozenset({"REGIME_CONFIRMED"})),)
    assert by_path["5"].filters == (Filter(),)
    assert by_path["2"].name == "WEBHOOKS_CASCADE #2"
    assert by_path["5"].name == "WEBHOOKS_ALL"


def test_one_address_named_twice_is_one_endpoint_with_both_filters(tmp_path: Path) -> None:
    text = f"""
    [[alerts.webhook]]
    name = "desk"
    url = "https://EXAMPLE.com:443/hook"
    events = ["CASCADE"]
    symbols = ["BTC/USDT"]
    min_severity = "WARNING"
    secret = "{whsec(32)}"
    """
    (endpoint,) = endpoints(tmp_path, text, WEBHOOKS_FUNDING="https://example.com/hook")
    assert endpoint.name == "WEBHOOKS_FUNDING, desk"
    assert endpoint.filters == (
        Filter(events=frozenset({"FUNDING_ANOMALY", "FUNDING_REVERSAL"})),
        Filter(frozenset({"LIQUIDATION_CASCADE"}), frozenset({"BTC/USDT"}), "WARNING"),
    )
    # The variable cannot name a secret; the one of the file holds for the address.
    assert [secret.get_secret_value() for secret in endpoint.secrets] == [whsec(32)]
    assert endpoint.origins == ("WEBHOOKS_FUNDING", "regimes.toml:4")


def test_one_address_with_two_formats_or_two_secrets_is_a_mistake(tmp_path: Path) -> None:
    text = f"""
    [[alerts.webhook]]
    name = "a"
    url = "https://example.com/hook"
    format = "json"
    secret = "{whsec(32)}"
    [[alerts.webhook]]
    name = "b"
    url = "https://example.com/hook"
    format = "slack"
    secret = "{whsec(32, b"x")}"
    """
    found = mistakes(tmp_path, text)
    assert len(found) == 2
    assert "alerts.webhook[1].url: names the address of a (regimes.toml:4) with format slack" in found[0]
    assert "another secret" in found[1]


def test_secrets_come_from_variables_and_two_are_a_rotation(tmp_path: Path) -> None:
    text = """
    [[alerts.webhook]]
    url_env = "DESK_HOOK"
    secret_env = ["NEW", "OLD"]
    """
    (endpoint,) = endpoints(tmp_path, text, DESK_HOOK="https://example.com/x", NEW=whsec(24), OLD=whsec(64))
    assert [secret.get_secret_value() for secret in endpoint.secrets] == [whsec(24), whsec(64)]
    assert endpoint.name == "webhook 1"


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ('name = "x"', ["alerts.webhook[0]: needs `url` or `url_env`."]),
        ('url = "https://a.example"\nurl_env = "HOOK"', ["alerts.webhook[0]: has both"]),
        (
            'url_env = "NO_HOOK"',
            ["alerts.webhook[0].url_env: names the environment variable NO_HOOK, which is not set."],
        ),
        ('url = "https://a.example"\nsecret_env = "EMPTY"', ["secret_env", "EMPTY, which is empty."]),
        ('url = "https://a.example"\nsecret_env = "HOOK"\nsecret = "whsec_x"', ["has both `secret` and `secret_env`"]),
        ('url = "https://a.example"\nsecret = ["a", "b", "c"]', ["at most two"]),
        ('url = "https://a.example"\nevents = []', ["events: is empty, so nothing is ever sent"]),
        ('url = "https://a.example"\nevents = ["CASCAD"]', ["events[0]", 'Did you mean "CASCADE"?']),
        ('url = "https://a.example"\nsymbols = ["BTC/USD"]', ["symbols", 'Did you mean "BTC/USDT"?']),
        ('url = "https://a.example"\nmin_severity = "HIGH"', ["min_severity", '"INFO", "WARNING", "CRITICAL"']),
        ('url = "https://a.example"\nformat = "mail"', ["format", '"discord"']),
        ('url = "https://a.example"\nsecrets = "x"', ["secrets", 'Did you mean "secret"?']),
    ],
)
def test_a_mistake_in_an_entry_names_its_key_and_line(tmp_path: Path, lines: str, parts: list[str]) -> None:
    found = mistakes(tmp_path, f"[[alerts.webhook]]\n{lines}\n", HOOK="https://b.example", EMPTY="")
    assert found[0].startswith("regimes.toml:")
    for part in parts:
        assert part in found[0]


def test_two_entries_of_one_name_are_a_mistake(tmp_path: Path) -> None:
    entry = '[[alerts.webhook]]\nname = "desk"\nurl = "https://a.example/%d"\n'
    assert 'alerts.webhook[1].name: is "desk"' in mistakes(tmp_path, entry % 1 + entry % 2)[0]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook",
        "https://example.com:8443/hook?token=1",
        "https://8.8.8.8/hook",
        "https://[2606:4700::1111]/hook",
        "https://bücher.example/hook",
    ],
)
def test_a_public_https_address_is_accepted(url: str) -> None:
    assert url_mistake(url, []) is None


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("http://example.com/hook", "must be https"),
        ("ftp://example.com/hook", "scheme ftp"),
        ("example.com/hook", "scheme (none)"),
        ("https:///hook", "without a host"),
        ("https://user@example.com/", "user name or password"),
        ("https://user:pw@example.com/", "user name or password"),
        ("https://example.com:0/", "port 0"),
        ("https://example.com:70000/", "port"),
        ("https://example.com:port/", "port"),
        ("https://example.com/#part", "# part"),
        ("https://example.com/a b", "blank"),
        ("https://example.com/\n", "blank"),
        ("https://127.0.0.1/", "not a public address"),
        ("https://localhost/", "not a public address"),
        ("https://10.1.2.3/", 'allow_networks = ["10.1.2.3/32"]'),
        ("https://169.254.169.254/latest", "not a public address"),
        ("https://[::1]/", "not a public address"),
        ("https://[fe80::1%25eth0]/", "not a public address"),
        ("https://[::ffff:127.0.0.1]/", "not a public address"),
        ("https://2130706433/", "not a valid name"),
        ("https://127.1/", "not a valid name"),
        ("https://[::1/", "cannot be read"),
    ],
)
def test_an_address_that_must_not_be_posted_to_is_refused_without_quoting_it(url: str, part: str) -> None:
    message = url_mistake(url, [])
    assert message is not None
    assert part in message
    assert "hook" not in message
    assert "pw" not in message


def test_a_network_of_ones_own_may_be_posted_to_over_http() -> None:
    assert url_mistake("http://127.0.0.1:8099/", LOOPBACK) is None
    assert url_mistake("http://localhost:8099/", LOOPBACK) is None
    assert url_mistake("http://receiver.internal/", LOOPBACK) is None  # vetted again when it is resolved
    assert url_mistake("http://10.0.0.1/", LOOPBACK) is not None


@pytest.mark.parametrize(
    ("secret", "part"),
    [
        ("", "does not start with whsec_"),
        (base64.b64encode(b"k" * 32).decode(), "does not start with whsec_"),
        (whsec(23), "of 23 bytes"),
        (whsec(65), "of 65 bytes"),
        ("whsec_not base64", "not base64"),
        ("whsec_" + "A" * 33, "not base64"),
        (whsec(32).replace("a", "-", 1) + "\n", "not base64"),
    ],
)
def test_a_secret_outside_the_specification_is_refused_without_quoting_it(secret: str, part: str) -> None:
    message = secret_mistake(secret)
    assert message is not None
    assert part in message
    assert len(secret) < 10 or secret not in message


@given(st.binary(min_size=24, max_size=64))
def test_every_secret_of_24_to_64_bytes_is_accepted(raw: bytes) -> None:
    assert secret_mistake("whsec_" + base64.b64encode(raw).decode()) is None


@given(
    st.sampled_from(["https", "HTTPS"]), st.sampled_from(["Example.com", "example.COM", "example.com."]), st.booleans()
)
def test_spellings_of_one_address_have_one_id(scheme: str, host: str, port: bool) -> None:
    url = f"{scheme}://{host}{':443' if port else ''}/Hook?A=b"
    assert normalise_url(url) == "https://example.com/Hook?A=b"
    assert (
        endpoint_id(url) == endpoint_id("https://example.com/Hook?A=b") != endpoint_id("https://example.com/hook?A=b")
    )


@pytest.mark.parametrize(
    ("host", "form"),
    [
        ("discord.com", "discord"),
        ("canary.discord.com", "discord"),
        ("discordapp.com", "discord"),
        ("notdiscord.com", "json"),
        ("hooks.slack.com", "slack"),
        ("api.telegram.org", "telegram"),
        ("example.com", "json"),
    ],
)
def test_the_format_is_guessed_from_the_host(host: str, form: str) -> None:
    assert guessed_format(host) == form


def test_people_are_shown_host_and_four_characters(tmp_path: Path) -> None:
    (endpoint,) = endpoints(tmp_path, WEBHOOKS_ALL="https://example.com/token")
    assert endpoint.label == f"example.com ({endpoint.id[:4]})"
    assert "token" not in repr(endpoint)
