"""However an address is spelled, it is read in one way; and what stands for an IP address is never taken for a name."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crowdfund.errors import UserError
from crowdfund.projects.reach import Address, is_public
from crowdfund.projects.urls import LOCAL, STRICT, Target, host_of, target_of

ADDRESSES_4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
ADDRESSES_6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)
NOT_PUBLIC_4 = ["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"]
NOT_PUBLIC_4 += ["192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3"]
INNER_4 = st.sampled_from([ipaddress.IPv4Network(net) for net in NOT_PUBLIC_4]).flatmap(
    lambda net: st.integers(int(net[0]), int(net[-1])).map(ipaddress.IPv4Address)
)


@st.composite
def spelled(draw: st.DrawFn, addresses: st.SearchStrategy[ipaddress.IPv4Address]) -> tuple[str, ipaddress.IPv4Address]:
    """An IPv4 address in any of the ways in which programs read one."""
    address = draw(addresses)
    parts = draw(st.integers(1, 4))
    octets = list(address.packed)
    numbers = [*octets[: parts - 1], int.from_bytes(octets[parts - 1 :], "big")]
    text = draw(st.sampled_from([".", "\u3002", "\uff0e", "\uff61"])).join(_number(draw, n) for n in numbers)
    if draw(st.booleans()):
        text = "".join(_wide(draw, sign) for sign in text)
    return text + draw(st.sampled_from(["", ".", "\u3002"])), address


def _number(draw: st.DrawFn, number: int) -> str:
    noughts = "0" * draw(st.integers(0, 5))
    form = draw(st.sampled_from(["{}", "0{n}{:o}", "0x{n}{:x}", "0X{n}{:X}"]))
    return form.format(number, n=noughts)


def _wide(draw: st.DrawFn, sign: str) -> str:
    return chr(ord(sign) + 0xFEE0) if sign.isascii() and sign.isalnum() and draw(st.booleans()) else sign


@given(spelled(ADDRESSES_4))
@example(("0x7f.1", ipaddress.IPv4Address("127.0.0.1")))
@example(("2130706433", ipaddress.IPv4Address("127.0.0.1")))
@example(("017700000001", ipaddress.IPv4Address("127.0.0.1")))
@example(("0x", ipaddress.IPv4Address("0.0.0.0")))
def test_every_spelling_of_an_ipv4_address_is_that_address(case: tuple[str, ipaddress.IPv4Address]) -> None:
    text, address = case
    assert host_of(text) == address
    with pytest.raises(UserError, match="not a number"):
        target_of(f"https://{text}/", STRICT)


@given(spelled(INNER_4))
def test_no_spelling_makes_an_inner_address_public(case: tuple[str, ipaddress.IPv4Address]) -> None:
    host = host_of(case[0])
    assert not isinstance(host, str) and not is_public(host)


@given(INNER_4, st.integers(0, 2**32 - 1))
def test_an_inner_address_within_ipv6_is_not_public(inner: ipaddress.IPv4Address, rest: int) -> None:
    low = int(inner)
    for number in (
        low,  # compatible
        0xFFFF << 32 | low,  # mapped
        0xFFFF << 48 | low,  # translated
        0x64_FF9B << 96 | low,  # NAT64
        0x64_FF9B_0001 << 80 | low,  # NAT64 of one's own
        0x2002 << 112 | low << 80 | rest,  # 6to4
        0x2001_0000 << 96 | rest << 64 | (low ^ 0xFFFF_FFFF),  # Teredo, a client
        0x2001_0000 << 96 | low << 64 | rest,  # Teredo, a server
        0x2A00_1450_4001_081B << 64 | 0x5EFE << 32 | low,  # ISATAP
        0x2A00_1450_4001_081B << 64 | 0x0200_5EFE << 32 | low,
    ):
        assert not is_public(ipaddress.IPv6Address(number))


@given(ADDRESSES_4 | ADDRESSES_6)
def test_what_is_public_is_global_too(address: Address) -> None:
    assert not is_public(address) or (address.is_global and not address.is_multicast and not address.is_reserved)


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "93.184.215.14", "2606:2800:220:1::1", "2a00:1450:4001:81b::200e", "64:ff9b::808:808"]
)
def test_ordinary_addresses_are_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@given(ADDRESSES_6, st.booleans())
def test_every_spelling_of_an_ipv6_address_is_that_address(address: ipaddress.IPv6Address, loud: bool) -> None:
    for text in (address.compressed, address.exploded):
        assert host_of(f"[{text.upper() if loud else text}]") == address


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


@given(st.lists(LABEL, min_size=1, max_size=4).map(".".join) | st.text(max_size=30))
def test_any_host_is_a_name_or_an_address_or_gets_a_sentence(text: str) -> None:
    try:
        host = host_of(text)
    except UserError as error:
        assert error.sentence.endswith(".")
        return
    if not isinstance(host, str):
        return
    assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", host)
    assert not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.split(".")[-1]), "no resolver may take it for a number"
    assert host_of(host) == host, "read again, it is the same"


@given(st.text(max_size=60) | st.text("htps:/@#?[]%\\.0127xeample-org", max_size=40).map("https://".__add__))
def test_any_text_is_an_address_or_gets_a_sentence(text: str) -> None:
    for rules in (STRICT, LOCAL):
        try:
            target = target_of(text, rules)
        except UserError as error:
            assert error.sentence.endswith(".")
            continue
        assert target.url.isascii() and target.url.isprintable() and " " not in target.url
        assert target_of(target.url, rules) == target, "read again, it is the same"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://Example.ORG", "https://example.org/"),
        (" https://example.org./x ", "https://example.org/x"),
        ("HTTPS://example.org:443/x", "https://example.org/x"),
        ("https://b\u00fccher.example.org/\u00fc?q=\u00fc#part", "https://xn--bcher-kva.example.org/%C3%BC?q=%C3%BC"),
        ("https://XN--BCHER-KVA.example.org/", "https://xn--bcher-kva.example.org/"),
        ("https://example.org/a%20b/~c/@d;e=1", "https://example.org/a%20b/~c/@d;e=1"),
        ("https://example.org?x", "https://example.org/?x"),
        ("https://example.org/..%2f/../x", "https://example.org/..%2f/../x"),
    ],
)
def test_an_address_has_one_spelling(text: str, url: str) -> None:
    assert target_of(text).url == url


def test_the_private_network_may_use_more() -> None:
    assert target_of("http://127.0.0.1:8000/x", LOCAL) == Target("http", ipaddress.ip_address("127.0.0.1"), 8000, "/x")
    assert target_of("http://[::1]:8000", LOCAL).url == "http://[::1]:8000/"
    assert target_of("http://localhost", LOCAL).origin == "http://localhost"
