"""Where a post may go: refused networks, lying resolvers, and the user's own networks."""

import asyncio
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimes_dagster.alerts.addresses import (
    RefusedAddressError,
    UnknownHostError,
    refusal,
    vet,
)

OWN = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("fd00::/8"))

REFUSED = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8",
    "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:127.0.0.1",
    "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1",
    "2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
    "4000::1", "e000::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_public_is_refused(text: str) -> None:
    assert refusal(ipaddress.ip_address(text), ()) is not None


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_public_is_let_through(text: str) -> None:
    assert refusal(ipaddress.ip_address(text), ()) is None


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_is_let_through_that_python_itself_calls_private(address) -> None:
    if refusal(address, ()) is None:
        assert address.is_global
        assert not any((address.is_multicast, address.is_loopback, address.is_link_local, address.is_reserved))


def test_a_network_of_the_users_own_is_open_also_in_its_mapped_form() -> None:
    for text in ("127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1", "fd00::5"):
        assert refusal(ipaddress.ip_address(text), OWN) is None
    for text in ("10.0.0.1", "::ffff:10.0.0.1", "::1", "fc00::1"):
        assert refusal(ipaddress.ip_address(text), OWN) is not None


def answering(*texts: str):
    async def resolve(_host: str, _port: int) -> list[str]:
        resolve.calls += 1
        return list(texts)

    resolve.calls = 0
    return resolve


def vetted(url: str, resolver, allow=()):
    return asyncio.run(vet(url, resolver=resolver, allow=allow))


def test_one_refused_address_among_public_ones_refuses_the_host() -> None:
    with pytest.raises(RefusedAddressError, match="loopback"):
        vetted("https://a.example/x", answering("8.8.8.8", "127.0.0.1"))


def test_a_public_host_is_resolved_once_and_kept_with_its_name() -> None:
    resolver = answering("8.8.8.8", "2606:4700::1111", "8.8.8.8")
    target = vetted("https://a.example:8443/x?y=1", resolver)
    assert resolver.calls == 1
    assert [str(address) for address in target.addresses] == ["8.8.8.8", "2606:4700::1111"]
    assert target.url(target.addresses[0]) == "https://8.8.8.8:8443/x?y=1"
    assert target.url(target.addresses[1]) == "https://[2606:4700::1111]:8443/x?y=1"
    assert (target.host, target.host_header) == ("a.example", "a.example:8443")


def test_http_is_refused_outside_the_users_own_networks() -> None:
    with pytest.raises(RefusedAddressError, match="http outside"):
        vetted("http://a.example/", answering("8.8.8.8"), OWN)
    assert vetted("http://a.example/", answering("127.0.0.1"), OWN).port == 80


@pytest.mark.parametrize("text", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "localhost"])
def test_odd_spellings_of_loopback_are_what_they_resolve_to(text: str) -> None:
    from regimes_dagster.alerts.addresses import SystemResolver

    resolver = SystemResolver()
    try:
        with pytest.raises((RefusedAddressError, UnknownHostError)):
            vetted(f"https://{text}/", resolver)
    finally:
        resolver.close()


@pytest.mark.parametrize("texts", [(), ("not an address",), ("8.8.8.8", "garbage")])
def test_a_resolver_that_answers_nothing_or_garbage_gives_no_target(texts) -> None:
    with pytest.raises(UnknownHostError):
        vetted("https://a.example/", answering(*texts))


@pytest.mark.parametrize("url", ["ftp://a.example/", "https:///x", "https://u:p@a.example/", "a.example"])
def test_a_url_that_is_none_is_refused_before_any_look_up(url: str) -> None:
    resolver = answering("8.8.8.8")
    with pytest.raises(ValueError, match="not an http"):
        vetted(url, resolver)
    assert resolver.calls == 0
