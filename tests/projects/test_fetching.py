"""Real servers over real TLS: what is fetched, and how slow, endless, packed, lying and forged answers end."""

from __future__ import annotations

import gzip
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from crowdfund.config import Settings
from crowdfund.errors import UserError, WorldError
from crowdfund.projects.fetching import AT_ONCE, Fetcher, fetcher_of
from crowdfund.projects.urls import Fetched, NoFile
from support.internet import Authority, Internet, Server, Talk, http, redirect, saying, serving

PUBLIC, OTHER, THIRD = "93.184.215.14", "151.101.1.69", "2606:2800:220:1::1"
BODY = b'{"version": "v1.0.0"}\n'
LIMIT = 10_000


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def shown(authority: Authority) -> ssl.SSLContext:
    """The certificate of example.org and what is below it."""
    return authority.server("example.org", "*.example.org")


@pytest.fixture
def net() -> Internet:
    made = Internet()
    made.name("example.org", PUBLIC)
    made.name("www.example.org", OTHER)
    return made


Ask = Callable[..., Fetched]


@pytest.fixture
def ask(net: Internet, authority: Authority, shown: ssl.SSLContext) -> Iterator[Ask]:
    """Start a server that talks so at example.org, and fetch a file from it."""
    opened: list[Server] = []

    def asking(talk: Talk, url: str = "https://example.org/funding.json", timeout_s: float = 5) -> Fetched:
        opened.append(Server(talk, shown))
        net.at(PUBLIC, opened[-1])
        return fetcher(net, authority, timeout_s).fetch(url)

    yield asking
    for server in opened:
        server.close()


def fetcher(net: Internet, authority: Authority, timeout_s: float = 5) -> Fetcher:
    return Fetcher(
        resolve=net.resolve, connect=net.connect, context=authority.client(), timeout_s=timeout_s, limit=LIMIT
    )


def test_a_file_comes_whole(net: Internet, authority: Authority, shown: ssl.SSLContext) -> None:
    answer = http(BODY, more="Content-Type: application/json; charset=utf-8\r\nSet-Cookie: id=1\r\n")
    with serving(saying(answer), shown) as server:
        net.at(PUBLIC, server)
        asking = fetcher(net, authority)
        found = asking.fetch("https://Example.org:443/a%20b/funding.json?v=1#top")
        asking.fetch("https://example.org/")
    assert found == Fetched("https://example.org/a%20b/funding.json?v=1", (), "application/json", BODY)
    assert found.sha256 == hashlib.sha256(BODY).hexdigest()
    first, second = server.requests
    assert first.startswith("GET /a%20b/funding.json?v=1 HTTP/1.1\r\nHost: example.org\r\n")
    assert "\r\nAccept-Encoding: identity\r\n" in first
    assert "cookie" not in second.lower() and "authorization" not in second.lower()


def test_what_the_environment_says_of_proxies_and_netrc_is_not_heard(
    ask: Ask, net: Internet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine example.org login x password y\n")
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ask(saying(http(BODY))).body == BODY
    assert net.connected == [PUBLIC]


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "text/x-yaml", "Text/Markdown; charset=x", "application/json", "application/ld+json",
     "application/yaml", "application/x-yaml", "application/toml", "application/octet-stream"],
)  # fmt: skip
def test_files_of_text_are_taken(ask: Ask, kind: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + (f"Content-Type: {kind}\r\n".encode() if kind else b"")
    found = ask(saying(head + b"\r\nok"))
    assert (found.body, found.content_type) == (b"ok", kind.partition(";")[0].lower() or "application/octet-stream")


@pytest.mark.parametrize("kind", ["text/html", "image/png", "application/xhtml+xml", "application/zip", "x", ";", "é"])
def test_other_files_are_not(ask: Ask, kind: str) -> None:
    with pytest.raises(NoFile, match=r"web page|something else"):
        ask(saying(http(b"<p>", more=f"Content-Type: {kind}\r\n")))


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (http(b"", "404 Not Found"), NoFile, "no public file"),
        (http(b"", "403 Forbidden"), NoFile, "no public file"),
        (http(b"", "401 Unauthorized"), NoFile, "no public file"),
        (http(b"", "204 No Content"), NoFile, "no public file"),
        (http(BODY, "206 Partial Content"), NoFile, "no public file"),
        (http(b"", "304 Not Modified"), NoFile, "no public file"),
        (http(b"", "429 Slow"), WorldError, "has no time"),
        (http(b"", "503 Away"), WorldError, "has no time"),
        (http(gzip.compress(BODY), more="Content-Encoding: gzip\r\n"), NoFile, "packed"),
        (http(BODY, more="Content-Encoding: identity, br\r\n"), NoFile, "packed"),
        (http(BODY, more="Transfer-Encoding: gzip, chunked\r\n"), NoFile, "form that we do not read"),
        (http(BODY, length=len(BODY) + 1), WorldError, "broke off"),
        (http(BODY, length=LIMIT + 1), NoFile, "too large"),
        (http(BODY, length=10**18), NoFile, "too large"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (LIMIT + 1), NoFile, "too large"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", WorldError, "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", WorldError, "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", WorldError, "broke off"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n", WorldError, "broke off"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, WorldError, "broke off"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", WorldError, "broke off"),
        (b"HTTP/1.1", WorldError, "broke off"),
        (b"", WorldError, "broke off"),
        (http(b"", "302 Found"), NoFile, "without saying where"),
        (redirect("https://[::1"), NoFile, "no address"),
    ],
    ids=lambda value: repr(value)[:50] if isinstance(value, bytes) else "",
)
def test_an_answer_that_is_no_file_gets_a_sentence(ask: Ask, answer: bytes, kind: type[Exception], says: str) -> None:
    with pytest.raises((UserError, WorldError), match=says) as refused:
        ask(saying(answer))
    assert type(refused.value) is kind


def test_more_than_was_promised_is_not_read(ask: Ask) -> None:
    assert ask(saying(http(BODY + b"and more", length=len(BODY)))).body == BODY


def test_a_bomb_is_not_unpacked(ask: Ask) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    with pytest.raises(NoFile, match="packed"):
        ask(saying(http(bomb, more="Content-Encoding: gzip\r\n")))
    assert ask(saying(http(bomb))).body == bomb, "as it is, and not one byte more"


def for_ever(piece: bytes, pause_s: float, first: bytes = b"") -> Talk:
    def talk(sock: socket.socket, _: str) -> None:
        sock.sendall(first)
        ends_at = time.monotonic() + 4
        with suppress(OSError):
            while time.monotonic() < ends_at:
                sock.sendall(piece)
                time.sleep(pause_s)

    return talk


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS: dict[str, Talk] = {
    "body": for_ever(b"x" * 1000, 0, b"HTTP/1.1 200 OK\r\n\r\n"),
    "chunks": for_ever(b"5\r\nhello\r\n", 0, CHUNKED),
    "a line of the head": for_ever(b"x" * 1000, 0, b"HTTP/1.1 200 OK\r\nX: "),
    "continue": for_ever(b"HTTP/1.1 100 Continue\r\n\r\n", 0),
    "the length of a chunk": for_ever(b"0" * 1000, 0, CHUNKED),
    "trailers": for_ever(b"X: y\r\n" * 100, 0, CHUNKED + b"0\r\n"),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_never_ends_is_left_at_the_limit(ask: Ask, kind: str) -> None:
    start = time.monotonic()
    with pytest.raises((NoFile, WorldError), match=r"too large|broke off"):
        ask(ENDLESS[kind])
    assert time.monotonic() - start < 2


def slow_redirect(sock: socket.socket, _: str) -> None:
    time.sleep(0.3)
    sock.sendall(redirect("/again"))


SLOW: dict[str, Talk] = {
    "nothing": lambda sock, _: time.sleep(2),
    "the head": for_ever(b"x", 0.02, b"HTTP/1.1 200 OK\r\nX: "),
    "the body": for_ever(b"x", 0.02, http(b"", length=900)),
    "chunks": for_ever(b"1\r\na\r\n", 0.02, CHUNKED),
    "continue": for_ever(b"HTTP/1.1 100 C\r\n\r\n", 0.02),
    "redirects": slow_redirect,
}


@pytest.mark.parametrize("kind", SLOW)
def test_a_drip_is_left_when_the_time_is_over(ask: Ask, kind: str) -> None:
    start = time.monotonic()
    with pytest.raises(WorldError, match=r"took too long|cannot get a file"):
        ask(SLOW[kind], timeout_s=0.5)
    assert 0.4 < time.monotonic() - start < 1.5


def test_a_handshake_by_bytes_is_left_when_the_time_is_over(net: Internet, authority: Authority) -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        with suppress(OSError):
            sock, _ = listening.accept()
            with sock:
                sock.sendall(b"\x16\x03\x03\x40\x00")
                for _ in range(300):
                    sock.sendall(b"\x02")
                    time.sleep(0.02)

    threading.Thread(target=drip, daemon=True).start()

    def connect(*_: object) -> socket.socket:
        return socket.create_connection(listening.getsockname())

    asking = Fetcher(resolve=net.resolve, connect=connect, context=authority.client(), timeout_s=0.5)
    start = time.monotonic()
    with pytest.raises(WorldError, match="took too long"):
        asking.fetch("https://example.org/")
    assert time.monotonic() - start < 1.5
    listening.close()


def test_redirects_are_followed_three_times_and_no_further(
    net: Internet, authority: Authority, shown: ssl.SSLContext
) -> None:
    def talk(sock: socket.socket, request: str) -> None:
        left = int(request.split()[1].strip("/"))
        sock.sendall(redirect(f"/{left - 1}") if left else http(BODY))

    with serving(talk, shown) as server:
        net.at(PUBLIC, server)
        found = fetcher(net, authority).fetch("https://example.org/3")
        assert found.body == BODY and found.url == "https://example.org/0"
        assert found.hops == tuple(f"https://example.org/{n}" for n in (3, 2, 1))
        with pytest.raises(NoFile, match="on and on"):
            fetcher(net, authority).fetch("https://example.org/4")
    assert server.hits == 8 and len(net.asked) == 8, "each hop is resolved anew, once"


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
def test_a_redirect_to_another_host_brings_its_name_and_nothing_of_the_first(
    net: Internet, authority: Authority, shown: ssl.SSLContext, status: str
) -> None:
    answer = redirect("https://www.example.org/\xfc", status).replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n")
    with serving(saying(answer), shown) as first, serving(saying(http(BODY)), shown) as second:
        net.at(PUBLIC, first)
        net.at(OTHER, second)
        found = fetcher(net, authority).fetch("https://example.org/x")
    assert (found.url, found.hops) == ("https://www.example.org/%FC", ("https://example.org/x",))
    assert "\r\nHost: www.example.org\r\n" in second.requests[0]
    assert "cookie" not in second.requests[0].lower() and "referer" not in second.requests[0].lower()


@pytest.mark.parametrize(
    "location",
    ["http://example.org/", "//example.org:8443/", "https://u:p@example.org/", "ftp://example.org/", "file:/x"],
)
def test_a_redirect_to_where_we_do_not_go_is_not_followed(ask: Ask, net: Internet, location: str) -> None:
    with pytest.raises(NoFile, match="where we do not go"):
        ask(saying(redirect(location)))
    assert net.connected == [PUBLIC]


def test_the_next_address_is_tried_and_sni_is_the_name(
    net: Internet, authority: Authority, shown: ssl.SSLContext
) -> None:
    names: list[str | None] = []
    shown.sni_callback = lambda _socket, name, _context: names.append(name)
    net.name("two.example.org", [THIRD, PUBLIC])
    with serving(saying(http(BODY)), shown) as server:
        net.at(PUBLIC, server)
        assert fetcher(net, authority).fetch("https://two.example.org/").body == BODY
    shown.sni_callback = None
    assert net.connected == [THIRD, PUBLIC]
    assert names == ["two.example.org"]


def test_a_certificate_must_be_valid_for_the_name(net: Internet, authority: Authority, tmp_path: Path) -> None:
    """Of another host; of the right host by an authority that nobody trusts; and what a wrong name would be shown."""
    stranger = Authority(tmp_path)
    plain = authority.server("default.example.net")
    good = authority.server("example.org")
    by_name = authority.server("default.example.net")

    def choose(sock: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name == "example.org":
            sock.context = good

    by_name.sni_callback = choose
    for context, fine in ((plain, False), (stranger.server("example.org"), False), (by_name, True), (good, True)):
        with serving(saying(http(BODY)), context) as server:
            net.at(PUBLIC, server)
            if fine:
                assert fetcher(net, authority).fetch("https://example.org/").body == BODY
                continue
            with pytest.raises(WorldError, match="certificate"):
                fetcher(net, authority).fetch("https://example.org/")
            assert server.requests == [], "nothing was asked of who showed the wrong one"


def test_old_versions_of_tls_and_no_tls_are_refused(net: Internet, authority: Authority) -> None:
    with serving(saying(http(BODY))) as server:
        net.at(PUBLIC, server)
        with pytest.raises(WorldError, match="took too long"):
            fetcher(net, authority, 1).fetch("https://example.org/")
    assert authority.client().minimum_version >= ssl.TLSVersion.TLSv1_2


def test_only_so_many_at_once(net: Internet, authority: Authority, shown: ssl.SSLContext) -> None:
    going, most, lock = 0, 0, threading.Lock()

    def talk(sock: socket.socket, _: str) -> None:
        nonlocal going, most
        with lock:
            going, most = going + 1, max(most, going + 1)
        time.sleep(0.05)
        with lock:
            going -= 1
        sock.sendall(http(BODY))

    with serving(talk, shown) as server:
        net.at(PUBLIC, server)
        asking = fetcher(net, authority)
        threads = [threading.Thread(target=asking.fetch, args=("https://example.org/",)) for _ in range(3 * AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert server.hits == 3 * AT_ONCE and 2 <= most <= AT_ONCE


def settings(**values: str) -> Settings:
    return Settings.from_env({"CROWDFUND_DATA_DIR": "/somewhere"} | {f"CROWDFUND_{k}": v for k, v in values.items()})


def test_the_setting_decides() -> None:
    with serving(saying(http(BODY))) as server:
        url = f"http://127.0.0.1:{server.port}/x"
        assert fetcher_of(settings(FETCHING="local"))(url).body == BODY
        for value in ("on", "off", ""):
            with pytest.raises(UserError) as refused:
                fetcher_of(settings(FETCHING=value))(url)
            assert ("upload" in refused.value.sentence) is (value == "off")
        assert server.hits == 1
    for network in ("mainnet", "signet", "testnet4"):
        assert settings(NETWORK=network).fetching == "on"
        with pytest.raises(UserError, match="regtest only"):
            settings(NETWORK=network, FETCHING="local")
