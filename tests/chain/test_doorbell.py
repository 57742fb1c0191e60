"""The wake-up call: of a real node, and of a publisher that says whatever it likes."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator

import pytest
import zmq

from crowdfund.chain import doorbell
from crowdfund.chain.doorbell import MAX_HEARD, TOPIC, Doorbell
from crowdfund.chain.regtest import RegtestNode
from support.node import new_address

PATIENCE_S = 20


class Publisher:
    """Somebody who publishes as a node does; waits for its first subscriber."""

    def __init__(self, url: str = "tcp://127.0.0.1:*") -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.linger = 0
        self._socket.sndhwm = 0
        self._socket.bind(url)
        self.url = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._count = 0

    def await_subscriber(self) -> None:
        """Until somebody listens; fails if nobody does."""
        assert self._socket.poll(PATIENCE_S * 1000), "nobody listens"
        assert self._socket.recv() == b"\x01" + TOPIC

    def say(self, *parts: bytes) -> None:
        """A message of these parts."""
        self._socket.send_multipart(parts)

    def notice(self, txid: str, label: bytes = b"A", gap: int = 0) -> None:
        """A notice as a node writes it; the count of messages leaves out `gap`."""
        self._count += 1 + gap
        body = bytes.fromhex(txid) + label + struct.pack("<Q", self._count)
        self.say(TOPIC, body, struct.pack("<I", self._count & 0xFFFFFFFF))

    def close(self) -> None:
        """Fall silent."""
        self._socket.close()
        self._context.term()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    made = Publisher()
    yield made
    made.close()


@pytest.fixture
def bell(publisher: Publisher) -> Iterator[Doorbell]:
    made = Doorbell(publisher.url)
    publisher.await_subscriber()
    yield made
    made.close()


def heard_until(bell: Doorbell, txid: str) -> set[str]:
    """All that was heard up to the notice of `txid`."""
    heard: set[str] = set()
    give_up = time.monotonic() + PATIENCE_S
    while txid not in heard:
        assert time.monotonic() < give_up, "it was never heard"
        heard |= bell.wait(1)
    return heard


def name(number: int) -> str:
    return f"{number:064x}"


def test_a_real_node_rings_for_a_payment_and_for_a_block(node: RegtestNode) -> None:
    bell = Doorbell(node.zmq_url)
    give_up = time.monotonic() + PATIENCE_S
    while not bell.wait(0.5):  # a subscription takes a moment
        assert time.monotonic() < give_up, "the node never rings"
        node.pay(new_address(node), 20_000)
    txid = node.pay(new_address(node), 30_000)
    assert txid in heard_until(bell, txid)
    while bell.wait(0.3):
        pass
    started = time.monotonic()
    node.mine()
    assert bell.wait(PATIENCE_S) == frozenset(), "a block is no payment"
    assert time.monotonic() - started < PATIENCE_S
    bell.close()


def test_what_is_added_is_told_and_what_else_happens_only_rings(publisher: Publisher, bell: Doorbell) -> None:
    for number, label in enumerate((b"R", b"C", b"D", b"a", b"\x00")):
        publisher.notice(name(number), label)
    publisher.notice(name(9))
    assert heard_until(bell, name(9)) == {name(9)}


def test_notices_that_were_lost_or_come_twice_are_no_trouble(publisher: Publisher, bell: Doorbell) -> None:
    for number in (1, 2, 2, 5, 3):
        publisher.notice(name(number), gap=number * 1_000)
    publisher.notice(name(3), gap=-4_000)
    publisher.notice(name(7))
    assert heard_until(bell, name(7)) == {name(n) for n in (1, 2, 3, 5, 7)}


@pytest.mark.parametrize(
    "parts",
    [
        [TOPIC],
        [TOPIC, b""],
        [TOPIC, b"A"],
        [TOPIC, b"A" * 32],
        [TOPIC, b"\x00" * 33],
        [TOPIC, b"\xff" * 100_000],
        [TOPIC, b"", b"", b"", b"", b""],
        [TOPIC + b"s of another kind", b"R" * 41],
        [TOPIC, *[b"x"] * 200],
    ],
    ids=range(9),
)
def test_garbage_rings_and_says_nothing(parts: list[bytes], publisher: Publisher, bell: Doorbell) -> None:
    publisher.say(*parts)
    assert bell.wait(PATIENCE_S) == frozenset()
    publisher.notice(name(1))
    assert heard_until(bell, name(1)) == {name(1)}, "and the next one is heard"


def test_other_topics_are_not_heard(publisher: Publisher, bell: Doorbell) -> None:
    publisher.say(b"rawtx", b"\x00" * 32 + b"A")
    publisher.say(b"", b"\x00" * 32 + b"A")
    publisher.notice(name(1))
    assert bell.wait(PATIENCE_S) == {name(1)}


def test_a_flood_is_cut_off_and_the_bell_still_rings(publisher: Publisher, bell: Doorbell) -> None:
    for number in range(3 * MAX_HEARD):
        publisher.notice(name(number))
    time.sleep(1)
    first = bell.wait(PATIENCE_S)
    assert 0 < len(first) <= MAX_HEARD
    while bell.wait(1):
        pass
    publisher.notice(name(10**9))
    assert heard_until(bell, name(10**9)) == {name(10**9)}


def test_a_single_thread_cannot_be_made_to_remember_without_end() -> None:
    bell = Doorbell()
    for number in range(MAX_HEARD + 50):
        bell.ring(name(number))
    assert len(bell.wait(0)) == MAX_HEARD
    assert bell.wait(0) == frozenset()
    bell.ring(name(1))
    assert bell.wait(0) == {name(1)}


def test_who_waits_is_woken_at_once_and_a_ring_before_is_not_lost() -> None:
    bell = Doorbell()
    threading.Timer(0.1, bell.ring).start()
    started = time.monotonic()
    assert bell.wait(PATIENCE_S) == frozenset()
    assert 0.05 < time.monotonic() - started < PATIENCE_S / 2
    bell.ring(name(4))
    bell.ring()
    started = time.monotonic()
    assert bell.wait(PATIENCE_S) == {name(4)}
    assert time.monotonic() - started < 1
    started = time.monotonic()
    assert bell.wait(0.2) == frozenset(), "once is once"
    assert time.monotonic() - started >= 0.2
    bell.close()


def test_a_node_that_falls_silent_and_comes_back() -> None:
    first = Publisher()
    bell = Doorbell(first.url)
    first.await_subscriber()
    first.notice(name(1))
    heard_until(bell, name(1))
    first.close()
    assert bell.wait(0.2) == frozenset()
    again = Publisher(first.url)
    again.await_subscriber()
    again.notice(name(2))
    assert heard_until(bell, name(2)) == {name(2)}
    bell.close()
    again.close()


@pytest.mark.parametrize("url", ["", "tcp://127.0.0.1:1", "tcp://nobody.invalid:28332"])
def test_where_nobody_rings_waiting_ends_by_itself(url: str) -> None:
    bell = Doorbell(url)
    assert bell.wait(0.3) == frozenset()
    bell.ring()
    started = time.monotonic()
    assert bell.wait(PATIENCE_S) == frozenset() and time.monotonic() - started < 5
    bell.close()
    assert not [t for t in threading.enumerate() if t.name == "doorbell"]


def test_after_closing_nobody_listens(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "LISTEN_MS", 20)
    bell = Doorbell(publisher.url)
    publisher.await_subscriber()
    started = time.monotonic()
    bell.close()
    assert time.monotonic() - started < 5
    publisher.notice(name(1))
    assert bell.wait(0.3) == frozenset()
    bell.close()
