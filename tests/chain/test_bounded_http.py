"""Servers that are slow, broken or no servers at all, as the Esplora backend meets them."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from crowdfund.chain.esplora import EsploraBackend
from crowdfund.chain.port import Unreachable, WrongAnswer
from crowdfund.errors import UserError, WorldError
from support.electrumx import make_certificate

HASH = "ab" * 32
Talk = Callable[[socket.socket, int], None]


@contextmanager
def raw_server(talk: Talk, certificate: Path | None = None) -> Iterator[str]:
    """A URL where each connection is handed, with its number, to `talk` once a request has come; then it is closed.

    With TLS, if there is a folder with a `certificate`.
    """
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(plain: socket.socket, number: int) -> None:
        plain.settimeout(5)
        try:
            with plain if context is None else context.wrap_socket(plain, server_side=True) as connection:
                while b"\r\n\r\n" not in connection.recv(65_536):
                    pass
                talk(connection, number)
        except OSError:
            plain.close()

    def accept() -> None:
        number = 0
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection, number), daemon=True).start()
            number += 1

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def http(body: bytes, status: str = "200 OK", length: int | None = None, more: str = "") -> bytes:
    length = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n".encode() + body


def drip(connection: socket.socket, data: bytes) -> None:
    for n in range(len(data)):
        connection.sendall(data[n : n + 1])
        time.sleep(0.02)


ANSWER = http(HASH.encode())


def body_by_bytes(connection: socket.socket, _: int) -> None:
    connection.sendall(http(b"", length=900))
    drip(connection, b"a" * 900)


def chunk_by_chunk(connection: socket.socket, _: int) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    drip(connection, b"1\r\na\r\n" * 200)


def flood(connection: socket.socket, _: int) -> None:
    ends_at = time.monotonic() + 2
    while time.monotonic() < ends_at:
        connection.sendall(b"HTTP/1.1 100 C\r\n\r\n" * 5_000)


SLOW: dict[str, Talk] = {
    "nothing": lambda c, _: time.sleep(2),
    "head by bytes": lambda c, _: drip(c, ANSWER + b" " * 200),
    "body by bytes": body_by_bytes,
    "chunks": chunk_by_chunk,
    "continue in a flood": flood,
    "continue for ever": lambda c, _: drip(c, b"HTTP/1.1 100 C\r\n\r\n" * 99),
}


@pytest.mark.parametrize("kind", SLOW)
def test_a_server_that_drips_is_left_at_the_deadline(kind: str) -> None:
    with raw_server(SLOW[kind]) as url:
        backend = EsploraBackend(url, "regtest", timeout_s=0.4)
        for question in (lambda: backend.block_hash(1), lambda: backend.broadcast(b"\x00")):
            start = time.monotonic()
            with pytest.raises(Unreachable, match=r"within 0.4 seconds"):
                question()
            assert 0.3 < time.monotonic() - start < 1
        backend.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        http(HASH.encode()[:10], length=64),
        http(b"", length=60_000) + b"x" * 5_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
    ],
    ids=lambda raw: repr(raw[:30]),
)
def test_an_answer_that_breaks_off_is_none(answer: bytes) -> None:
    with raw_server(lambda c, _: c.sendall(answer)) as url:
        backend = EsploraBackend(url, "regtest", timeout_s=3)
        questions: list[Callable[[], object]] = [lambda: backend.block(HASH), lambda: backend.broadcast(b"\x00")]
        for question in questions:
            with pytest.raises(Unreachable, match="broke the connection off"):
                question()
        backend.close()


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (http(b"<html>login</html>"), WrongAnswer, "something else"),
        (http(b"busy", "429 Too Many Requests"), Unreachable, "too many questions"),
        (http(b"<html>" * 50_000, "503 Service Unavailable"), Unreachable, "out of order"),
        (http(b"", "403 Forbidden"), Unreachable, "let us in"),
        (http(b"", "301 Moved", more="Location: http://127.0.0.1:1/\r\n"), WrongAnswer, "another address"),
        (http(b"\x1b[31mno\r\nway", "400 Bad Request"), WrongAnswer, r"status 400: \[31mno way\."),
        (http(b"", "204 No Content"), WrongAnswer, "204"),
        (http(b"a" * 200_000), WrongAnswer, "more than"),
        (http(b"", length=10**15), WrongAnswer, "more than"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b"a" * 200_000, WrongAnswer, "more than"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffff\r\n" + b"a" * 200_000,
            WrongAnswer,
            "more than",
        ),
    ],
    ids=range(11),
)
def test_what_is_no_answer_is_told_by_its_kind(answer: bytes, error: type[WorldError], words: str) -> None:
    with raw_server(lambda c, _: c.sendall(answer)) as url:
        backend = EsploraBackend(url, "regtest", timeout_s=3)
        for question in (lambda: backend.block_hash(1), backend.status):
            with pytest.raises(error, match=words) as trouble:
                question()
            assert trouble.value.retryable and trouble.value.sentence.endswith(".")
        backend.close()


def test_a_huge_block_is_not_read() -> None:
    sent = []

    def talk(connection: socket.socket, _: int) -> None:
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        for _ in range(1_000):
            sent.append(connection.send(b"x" * 100_000))

    with raw_server(talk) as url:
        backend = EsploraBackend(url, "regtest", timeout_s=5)
        with pytest.raises(WrongAnswer, match="more than 4,100,000 bytes"):
            backend.block(HASH)
        backend.close()
    time.sleep(0.05)
    assert sum(sent) < 20_000_000, "we hung up"


def test_a_kept_connection_that_broke_is_opened_again_for_a_question_and_never_for_a_broadcast() -> None:
    seen = []

    def talk(connection: socket.socket, number: int) -> None:
        seen.append(number)
        if number != 1:
            connection.sendall(http(HASH.encode()))  # and hang up without a word about it

    with raw_server(talk) as url:
        backend = EsploraBackend(url, "regtest", timeout_s=3)
        assert backend.block_hash(1) == HASH and seen == [0]
        with pytest.raises(Unreachable, match="broke"):
            backend.broadcast(b"\x00")
        assert seen == [0, 1], "sent once"
        assert backend.block_hash(1) == backend.block_hash(2) == HASH and seen == [0, 1, 2, 3]
        backend.close()


def test_one_connection_a_thread_is_kept() -> None:
    seen: list[tuple[int, int]] = []

    def talk(connection: socket.socket, number: int) -> None:
        for n in range(3):
            seen.append((number, n))
            connection.sendall(http(f"{number:032x}{n:032x}".encode()))
            if not connection.recv(65_536):
                return

    def work() -> None:
        backend.block_hash(1)
        barrier.wait(5)
        told = [backend.block_hash(h) for h in (2, 3)]
        assert len({str(t)[:32] for t in told}) == 1 and [int(str(t)[32:], 16) for t in told] == [1, 2]
        backend.close()

    barrier = threading.Barrier(4)
    with raw_server(talk) as url, ThreadPoolExecutor(4) as pool:
        backend = EsploraBackend(url, "regtest", timeout_s=3)
        for work_done in [pool.submit(work) for _ in range(4)]:
            work_done.result(5)
    assert sorted(seen) == [(number, n) for number in range(4) for n in range(3)]


def test_a_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}/api", f"https://127.0.0.1:{port}"):
        with pytest.raises(Unreachable, match="check its URL and the network"):
            EsploraBackend(url, "mainnet").status()


def test_a_certificate_is_trusted_where_its_file_is_given(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    with raw_server(lambda c, _: c.sendall(ANSWER), tmp_path) as url:
        backend = EsploraBackend(url, "regtest", tmp_path / "certificate.pem", timeout_s=3)
        assert backend.block_hash(1) == backend.block_hash(2) == HASH
        backend.close()
        with pytest.raises(Unreachable, match="certificate that we do not trust"):
            EsploraBackend(url, "regtest", timeout_s=3).block_hash(1)
    with raw_server(lambda c, _: drip(c, ANSWER + b" " * 200), tmp_path) as url:
        backend = EsploraBackend(url, "regtest", tmp_path / "certificate.pem", timeout_s=0.4)
        with pytest.raises(Unreachable, match=r"within 0.4 seconds"):
            backend.block_hash(1)


def test_what_speaks_no_tls_is_not_trusted() -> None:
    with raw_server(lambda c, _: c.sendall(ANSWER)) as url:
        backend = EsploraBackend(url.replace("http:", "https:"), "regtest", timeout_s=0.5)
        with pytest.raises(Unreachable):
            backend.status()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "ftp://host",
        "http://",
        "http://h:0",
        "http://h:x",
        "http://h/a b",
        "http://u:p@h",
        "http://h?x",
        "http://h\n",
    ],
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="write it like"):
        EsploraBackend(url, "regtest")


def test_a_file_of_authorities_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(WorldError, match="PEM"):
            EsploraBackend("https://host", "regtest", tmp_path / name)
