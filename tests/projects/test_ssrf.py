"""Nobody uses us to look into our own network: every address here must be refused before anything is connected."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from crowdfund.errors import UserError, WorldError
from crowdfund.projects.fetching import Fetcher, system_resolver
from crowdfund.projects.pinned_http import tcp
from crowdfund.projects.reach import LOOPBACK, Address
from crowdfund.projects.urls import LOCAL, NoFile, Rules
from support.internet import Internet, Server, http, redirect, saying, serving

CONTEXT = ssl.create_default_context()  # takes longer than a test
PUBLIC, OTHER = "93.184.215.14", "151.101.1.69"

# address -> why it must be refused, as it stands
WRITTEN = {
    "": "nothing",
    "funding.json": "no address at all",
    "//example.org/x": "no scheme",
    "https:/example.org/x": "one slash: some programs read a host there",
    "https:example.org": "no slash",
    "https:///example.org/x": "no host",
    "https://": "no host",
    "https://?x": "no host",
    "https://#example.org": "no host",
    "http://example.org/x": "not encrypted, and reaches services that speak no TLS",
    "HTTP://example.org/x": "the same, loud",
    "ftp://example.org/x": "another protocol",
    "file:///etc/passwd": "a file of ours",
    "file://localhost/etc/passwd": "a file of ours",
    "gopher://127.0.0.1:6379/_INFO": "says anything to any service",
    "dict://127.0.0.1:11211/stats": "another protocol",
    "ldap://127.0.0.1/x": "another protocol",
    "jar:https://example.org!/x": "another protocol",
    "data:text/plain,x": "no host",
    "javascript:alert(1)": "no host",
    "https://user@example.org/": "a user name: hides the host from who reads",
    "https://user:secret@example.org/": "a password, which we would send",
    "https://example.org@127.0.0.1/": "the host is behind the sign",
    "https://127.0.0.1@example.org/": "is read in two ways",
    "https://127.0.0.1#@example.org/": "is read in two ways",
    "https://example.org\\@127.0.0.1/": "browsers take the backslash for a slash",
    "https://127.0.0.1\\.example.org/": "browsers take the backslash for a slash",
    "https:\\\\127.0.0.1\\x": "browsers take the backslash for a slash",
    "https://example.org:22/": "the port of another service",
    "https://example.org:80/": "the port of another protocol",
    "https://example.org:8443/": "not the standard port",
    "https://example.org:6379/": "the port of another service",
    "https://example.org:0/": "no port",
    "https://example.org:99999/": "no port",
    "https://example.org:-1/": "no port",
    "https://example.org:x/": "no port",
    "https://127.0.0.1:443:80/": "two ports",
    "https://example.org\r\nHost: x/": "ends the line of the request",
    "https://example.org/\r\nX-Y: z": "adds a line to the request",
    "https://example.org/a b": "a space ends the path in the request",
    "https://example.org/\tx": "a tab, which some programs leave out",
    "https://exam\nple.org/": "a line feed, which some programs leave out",
    "https://example.org/\x00": "a null ends the text in some programs",
    "https://example.org/\u2028x": "a line separator",
    "https://ex ample.org/": "a space in the host",
    "https://127.0.0.1/": "this machine",
    "https://127.0.0.1./": "this machine, with a last dot",
    "https://127.1/": "this machine, two parts",
    "https://127.0.1/": "this machine, three parts",
    "https://127.255.255.254/": "this machine, at another of its addresses",
    "https://2130706433/": "this machine, one decimal number",
    "https://0x7f000001/": "this machine, one hexadecimal number",
    "https://0X7F000001/": "this machine, one loud hexadecimal number",
    "https://017700000001/": "this machine, one octal number",
    "https://0x7f.1/": "this machine, hexadecimal and short",
    "https://0177.0.0.01/": "this machine, octal parts",
    "https://0x7f.0x0.0x0.0x1/": "this machine, hexadecimal parts",
    "https://00000000177.0.0.1/": "this machine, with leading noughts",
    "https://0x/": "nought, which is this machine",
    "https://0/": "nought, which is this machine",
    "https://0.0.0.0/": "nought, which is this machine",
    "https://4294967297/": "this machine for programs that overflow",
    "https://256.256.256.256/": "no address",
    "https://1.2.3.4.5/": "no address",
    "https://127.0.0.1.1/": "no address",
    "https://08.0.0.1/": "octal with an eight",
    "https://%31%32%37.0.0.1/": "this machine, percent-encoded",
    "https://127%2e0%2e0%2e1/": "this machine, percent-encoded",
    "https://\uff11\uff12\uff17.0.0.1/": "this machine in wide digits",
    "https://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/": "this machine in circled digits",
    "https://127\u30020\u30020\u30021/": "this machine with ideographic full stops",
    "https://127\uff0e0\uff0e0\uff0e1/": "this machine with wide full stops",
    "https://\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54/": "localhost in wide letters",
    "https://example\u2044org/": "a sign that looks like a slash",
    "https://example.org\uff0f.127.0.0.1/": "a sign that becomes a slash",
    "https://example.com\u2100.org/": "a sign that becomes a slash",
    "https://10.0.0.1/": "a private network",
    "https://172.16.0.1/": "a private network",
    "https://192.168.0.1/": "a private network",
    "https://169.254.169.254/latest/meta-data/": "the inner services of clouds",
    "https://0xa9fea9fe/": "the inner services of clouds",
    "https://2852039166/": "the inner services of clouds",
    "https://100.100.100.200/": "the inner services of a cloud, shared space",
    "https://168.63.129.16/": "the inner services of a cloud, at a public address",
    "https://8.8.8.8/": "public, but no name that a certificate could hold",
    "https://[::1]/": "this machine",
    "https://[0:0:0:0:0:0:0:1]/": "this machine, at length",
    "https://[::]/": "nought, which is this machine",
    "https://[::ffff:127.0.0.1]/": "this machine, mapped",
    "https://[::ffff:7f00:1]/": "this machine, mapped, in hexadecimal",
    "https://[::127.0.0.1]/": "this machine, compatible",
    "https://[64:ff9b::7f00:1]/": "this machine through NAT64",
    "https://[2002:7f00:1::]/": "this machine through 6to4",
    "https://[2001:0:4136:e378:8000:63bf:80ff:fffe]/": "this machine through Teredo",
    "https://[fe80::1]/": "the local link",
    "https://[fe80::1%25eth0]/": "an interface of ours",
    "https://[fe80::1%eth0]/": "an interface of ours",
    "https://[fd00:ec2::254]/": "the inner services of a cloud",
    "https://[fec0::1]/": "site-local",
    "https://[ff02::1]/": "multicast",
    "https://[::1/": "a bracket that does not close",
    "https://[::1]x/": "more behind the bracket",
    "https://[v1.a]/": "an address of the future",
    "https://[]/": "nothing in brackets",
    "https://[127.0.0.1]/": "IPv4 in brackets",
    "https://localhost/": "this machine",
    "https://LOCALHOST/": "this machine",
    "https://localhost./": "this machine",
    "https://foo.localhost/": "this machine, by RFC 6761",
    "https://localhost.localdomain/": "this machine",
    "https://intranet/": "a name without a dot belongs to our own network",
    "https://printer.local/": "a name of our own network",
    "https://metadata.google.internal/": "the inner services of a cloud",
    "https://router.home.arpa/": "a name of our own network",
    "https://db.corp/": "a name of our own network",
    "https://1.0.0.127.in-addr.arpa/": "no host has such a name",
    "https://hidden.onion/": "not on this internet",
    "https://.example.org/": "an empty label",
    "https://example..org/": "an empty label",
    "https://example.org../": "two last dots",
    "https://-example.org/": "no label begins so",
    "https://exa_mple.org/": "no host has that sign",
    "https://exa*mple.org/": "no host has that sign",
    "https://*.example.org/": "no host has that sign",
    f"https://{'a' * 64}.org/": "a label that is too long",
    f"https://{'a.' * 130}org/": "a name that is too long",
    f"https://example.org/{'a' * 2000}": "an address that is too long",
    "https://xn--a.org/": "no proper IDNA",
    "https://xn--/": "no proper IDNA",
    "https://\u00ad/": "nothing is left of a soft hyphen",
    "https://example.org:443@127.0.0.1/": "the port is a user name",
    "https://[::1]:443@example.org/": "the host is a user name",
}

# what a name resolves to -> why nothing may be connected
RESOLVED = {
    "127.0.0.1": "this machine",
    "127.8.8.8": "this machine",
    "0.0.0.0": "this machine",
    "0.1.2.3": "this network",
    "10.1.2.3": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "shared between customers of a provider",
    "100.100.100.200": "inner services of a cloud",
    "169.254.169.254": "inner services of clouds",
    "168.63.129.16": "inner services of a cloud",
    "192.0.0.192": "inner services of a cloud",
    "192.0.0.9": "answered by a device nearby",
    "192.0.0.10": "answered by a device nearby",
    "192.0.2.1": "for documents",
    "198.51.100.1": "for documents",
    "203.0.113.1": "for documents",
    "198.18.0.1": "for measurements",
    "192.31.196.1": "AS112",
    "192.52.193.1": "relay of multicast",
    "192.88.99.1": "relay of 6to4",
    "192.175.48.1": "AS112",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "never handed out",
    "255.255.255.255": "broadcast",
    "::": "this machine",
    "::1": "this machine",
    "::ffff:127.0.0.1": "mapped",
    "::ffff:169.254.169.254": "mapped",
    "::ffff:8.8.8.8": "mapped: nobody has a website there",
    "::7f00:1": "compatible",
    "::ffff:0:7f00:1": "translated",
    "64:ff9b::7f00:1": "NAT64 of this machine",
    "64:ff9b::a9fe:a9fe": "NAT64 of inner services",
    "64:ff9b::a00:1": "NAT64 of a private address",
    "64:ff9b:1::7f00:1": "NAT64 of our own network",
    "100::1": "discarded",
    "100:0:0:1::1": "a dummy",
    "2001::7f00:1": "Teredo",
    "2001:0:4136:e378:8000:63bf:80ff:fffe": "Teredo",
    "2001:2::1": "for measurements",
    "2001:4:112::1": "AS112",
    "2001:10::1": "ORCHID",
    "2001:20::1": "ORCHID",
    "2001:db8::1": "for documents",
    "2002:7f00:1::1": "6to4 of this machine",
    "2002:a9fe:a9fe::1": "6to4 of inner services",
    "2002:808:808::1": "6to4: nobody has a website there",
    "2620:4f:8000::1": "AS112",
    "2a00:1450:4001:81b:0:5efe:7f00:1": "ISATAP of this machine",
    "2a00:1450:4001:81b:200:5efe:a00:1": "ISATAP of a private address",
    "3ffe::1": "an old experiment",
    "3fff::1": "for documents",
    "4000::1": "never handed out",
    "5f00::1": "segments of a network",
    "fc00::1": "private",
    "fd00:ec2::254": "inner services of a cloud",
    "fd20:ce::254": "inner services of a cloud",
    "fe80::1": "the local link",
    "fe80::1%eth0": "the local link",
    "2a00:1450:4001:81b::1%eth0": "an interface of ours",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "ff0e::1": "multicast",
}

SAME = (
    "We cannot get a file from {}. See that the address is public and opens in a browser, or upload the file instead."
)


def fetcher(net: Internet, rules: Rules | None = None) -> Fetcher:
    return Fetcher(rules or Rules(), resolve=net.resolve, connect=net.connect, context=CONTEXT, timeout_s=3)


@pytest.fixture
def net() -> Internet:
    made = Internet()
    made.name("example.org", PUBLIC)
    return made


def test_there_are_many() -> None:
    assert len(WRITTEN) + len(RESOLVED) > 180


@pytest.mark.parametrize("url", WRITTEN, ids=[repr(url)[:60] for url in WRITTEN])
def test_an_address_is_refused_as_it_is_written(url: str, net: Internet) -> None:
    with pytest.raises(UserError) as refused:
        fetcher(net).fetch(url)
    assert (net.asked, net.connected) == ([], []), WRITTEN[url]
    assert refused.value.sentence.endswith(".") and "secret" not in refused.value.sentence


@pytest.mark.parametrize("address", RESOLVED)
def test_a_name_that_leads_there_is_not_connected_to(address: str, net: Internet) -> None:
    net.name("evil.example.org", address)
    with pytest.raises(WorldError) as refused:
        fetcher(net).fetch("https://evil.example.org/funding.json")
    assert (net.asked, net.connected) == (["evil.example.org"], []), RESOLVED[address]
    assert refused.value.sentence == SAME.format("evil.example.org")


@pytest.mark.parametrize("address", RESOLVED)
@pytest.mark.parametrize("place", [0, 1])
def test_one_such_address_among_public_ones_is_enough(address: str, place: int, net: Internet) -> None:
    net.name("evil.example.org", [PUBLIC, address] if place else [address, PUBLIC])
    with pytest.raises(WorldError):
        fetcher(net).fetch("https://evil.example.org/")
    assert net.connected == []


# A redirect is looked at as the address itself: all of the above again, but what is no address at all.
HOPS = [url for url in WRITTEN if "://" in url and url.isprintable() and len(url) < 1000 and url.startswith("http")]
# Allowed below, where the first hop is without TLS; a space in a Location is quoted and leads to the same host.
ONWARD = ("http://example.org/x", "HTTP://example.org/x", "https://example.org/a b")


@pytest.mark.parametrize("url", [u for u in HOPS if u not in ONWARD], ids=repr)
def test_a_redirect_there_is_not_followed(url: str, net: Internet) -> None:
    location = url.encode("utf-8").decode("latin-1")
    with serving(saying(redirect(location))) as server:
        net.at(PUBLIC, server)
        with pytest.raises((NoFile, WorldError)):
            fetcher(net, Rules(http=True)).fetch("http://example.org/funding.json")
    assert set(net.connected) == {PUBLIC}, "only the first host, which may be asked, was connected to"
    assert server.hits <= 4


@pytest.mark.parametrize("address", RESOLVED)
def test_a_redirect_to_a_name_that_leads_there_is_not_followed(address: str, net: Internet) -> None:
    net.name("evil.example.org", address)
    with serving(saying(redirect("http://evil.example.org/"))) as server:
        net.at(PUBLIC, server)
        with pytest.raises(WorldError) as refused:
            fetcher(net, Rules(http=True)).fetch("http://example.org/")
    assert net.connected == [PUBLIC]
    assert refused.value.sentence == SAME.format("evil.example.org")


def test_a_redirect_may_not_leave_encryption(net: Internet) -> None:
    with pytest.raises(UserError, match=r"begin with https"):
        fetcher(net).fetch("http://example.org/x")
    assert net.connected == []


@pytest.fixture
def inner() -> Iterator[Server]:
    """A service of this very machine that answers everything. It must never be hit."""
    with serving(saying(http(b"the keys of the house"))) as server:
        yield server


def test_a_name_that_changes_its_mind_is_asked_once(net: Internet, inner: Server) -> None:
    net.name("rebind.example.org", PUBLIC, "127.0.0.1")
    with serving(saying(http(b"harmless"))) as outer:
        net.at(PUBLIC, outer)
        net.at("127.0.0.1", inner)
        found = fetcher(net, Rules(http=True)).fetch("http://rebind.example.org/x")
        assert found.body == b"harmless"
        assert (net.asked, net.connected, inner.hits) == (["rebind.example.org"], [PUBLIC], 0)
        with pytest.raises(WorldError):  # its second mind: refused
            fetcher(net, Rules(http=True)).fetch("http://rebind.example.org/x")
    assert (net.connected, inner.hits) == ([PUBLIC], 0)


def test_a_name_that_changes_its_mind_between_two_hops_is_looked_at_anew(net: Internet, inner: Server) -> None:
    net.name("rebind.example.org", PUBLIC, "127.0.0.1")
    with serving(saying(redirect("/again"))) as outer:
        net.at(PUBLIC, outer)
        net.at("127.0.0.1", inner)
        with pytest.raises(WorldError):
            fetcher(net, Rules(http=True)).fetch("http://rebind.example.org/x")
    assert (net.connected, inner.hits) == ([PUBLIC], 0)


def test_the_real_resolver_is_asked_once_and_the_real_socket_gets_a_number(
    inner: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing put in place of our own code but the system's resolver, which rebinds; and all sockets noted."""
    answers = [PUBLIC, "127.0.0.1", "127.0.0.1"]
    asked: list[object] = []
    tried: list[object] = []

    def getaddrinfo(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), 0))]

    class Watched(socket.socket):
        def connect(self, address: object) -> None:
            tried.append(address)
            raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "socket", Watched)
    with pytest.raises(WorldError):
        Fetcher(Rules(http=True, any_port=True)).fetch(f"http://rebind.example.org:{inner.port}/")
    assert asked == ["rebind.example.org."], "once, and with a last dot: no search in domains of ours"
    assert (tried, inner.hits) == ([(PUBLIC, inner.port)], 0)
    with pytest.raises(WorldError):
        Fetcher(Rules(http=True, any_port=True)).fetch(f"http://rebind.example.org:{inner.port}/")
    assert (len(tried), inner.hits) == (1, 0)


def test_what_an_asker_hears_tells_nothing_about_our_network(net: Internet, inner: Server) -> None:
    """Refused here, closed, filtered, unknown, empty, a resolver that breaks: one and the same sentence."""

    def broken(host: str) -> list[Address]:
        raise RuntimeError(host)

    def filtered(*_: object) -> socket.socket:
        raise TimeoutError

    net.at("127.0.0.1", inner)
    net.name("open.example.net", "127.0.0.1")
    net.name("shut.example.net", "10.0.0.1")
    net.name("closed.example.net", OTHER)
    net.name("empty.example.net", [])
    heard = set()
    ways = [
        *((host, fetcher(net)) for host in ("open", "shut", "closed", "empty", "unknown")),
        ("closed", Fetcher(resolve=net.resolve, connect=filtered)),
        ("closed", Fetcher(resolve=broken, connect=net.connect)),
        ("closed", Fetcher(resolve=slow_resolver, connect=net.connect, timeout_s=0.2)),
    ]
    for host, asking in ways:
        with pytest.raises(WorldError) as refused:
            asking.fetch(f"https://{host}.example.net/")
        assert refused.value.retryable
        heard.add(refused.value.sentence.replace(f"{host}.example.net", "{}"))
    assert heard == {SAME}
    assert inner.hits == 0


def slow_resolver(_host: str) -> list[Address]:
    time.sleep(1)
    return []


def test_the_private_network_opens_this_machine_and_nothing_else(inner: Server) -> None:
    local = Fetcher(LOCAL, also=LOOPBACK, timeout_s=3)
    for host in ("127.0.0.1", "localhost", "0x7f.1"):
        assert local.fetch(f"http://{host}:{inner.port}/").body == b"the keys of the house"
    tried: list[str] = []

    def noted(address: Address, port: int, timeout_s: float) -> socket.socket:
        tried.append(str(address))
        raise ConnectionRefusedError

    for host in ("10.0.0.1", "192.168.0.1", "169.254.169.254", "[fe80::1]", "0.0.0.0", "[::ffff:127.0.0.1]"):
        with pytest.raises(WorldError):
            Fetcher(LOCAL, also=LOOPBACK, connect=noted, context=CONTEXT).fetch(f"http://{host}/")
    assert tried == []


def test_a_connection_goes_to_a_number(inner: Server) -> None:
    with tcp(ipaddress.ip_address("127.0.0.1"), inner.port, 2) as sock:
        assert sock.getpeername() == ("127.0.0.1", inner.port)
    assert {str(one) for one in system_resolver("localhost")} <= {"127.0.0.1", "::1"}
