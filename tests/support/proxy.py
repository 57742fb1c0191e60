"""A line between a backend and its server that fails in every way a line can, as a seed says.

It passes on what the client asks, cuts what the server says into answers (HTTP messages, or lines of JSON), and now and
then does something to one of them. The same questions in the same order meet the same faults. May not touch what the
server holds: a request goes through whole or not at all.
"""

from __future__ import annotations

import random
import re
import select
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

PIECE = 1 << 16
REMEMBERED = 60
PIECES_OF_A_DRIP = 12
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
NUMBER = re.compile(rb'"id": ?(\d+)')
HEX = re.compile(rb"[0-9a-f]")


class Fault(StrEnum):
    """What can happen to a question or its answer."""

    NEVER_ASKED = "dropped before the question went through"
    LOST = "answer lost after the question was acted upon"
    DELAYED = "answer delayed"
    TOO_LATE = "answer delayed past the time-out"
    DRIPPED = "answer dripped"
    TRUNCATED = "answer truncated"
    FLIPPED = "a bit of the answer flipped"
    CHANGED = "digits of the answer changed"
    TWICE = "answer sent twice"
    ANOTHER = "an old answer to another question in its place"
    SILENT = "no answer"
    OUTAGE = "everything refused for a while"


# Those that cost a time-out are rarer, so that much happens in little time.
WEIGHTS = dict.fromkeys(Fault, 4) | {Fault.TOO_LATE: 1, Fault.SILENT: 1, Fault.OUTAGE: 1, Fault.CHANGED: 12}
WEIGHTS[Fault.ANOTHER] = 8


@dataclass
class FaultyProxy:
    """`with FaultyProxy(url, seed) as proxy:` listens at `proxy.url`. `rate` is the share of answers that something
    happens to, and may be changed at any time; `timeout_s` is how long the client waits."""

    target: str
    seed: int
    rate: float = 0.05
    timeout_s: float = 0.5
    counts: Counter[Fault] = field(default_factory=Counter)
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=12))
    _out_until: float = 0.0

    def __post_init__(self) -> None:
        self._parts = urlsplit(self.target)
        self._cut = cut_http if self._parts.scheme == "http" else cut_lines
        self._chance = random.Random(self.seed)
        self._old: deque[bytes] = deque(maxlen=REMEMBERED)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        port = self._listener.getsockname()[1]
        self.url = urlunsplit(self._parts._replace(netloc=f"127.0.0.1:{port}"))
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def calm(self) -> None:
        """No more faults from now on."""
        with self._lock:
            self.rate, self._out_until = 0, 0

    def _start(self, work: Callable[[], None]) -> None:
        self._threads = [t for t in self._threads if t.is_alive()]
        self._threads.append(threading.Thread(target=work, name="faulty proxy", daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            with suppress(TimeoutError):
                client, _ = self._listener.accept()
                self._start(partial(self._serve, client))

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if time.monotonic() < self._out_until:
                return
            with socket.create_connection((self._parts.hostname, self._parts.port or 80)) as server:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pass_on(client, server)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        buffer = bytearray()
        while not self._closing.is_set():
            ready, _, _ = select.select([client, server], [], [], 0.1)
            if time.monotonic() < self._out_until:
                return
            if client in ready:
                asked = client.recv(PIECE)
                if not asked or self._drawn((Fault.NEVER_ASKED,)):
                    return
                server.sendall(asked)
            if server in ready:
                told = server.recv(PIECE)
                buffer += told
                if not told or not all(self._hand_over(client, answer) for answer in self._cut(buffer)):
                    return

    def _drawn(self, faults: tuple[Fault, ...]) -> Fault | None:
        """Whether one of these happens now."""
        with self._lock:
            if self._chance.random() >= self.rate * sum(WEIGHTS[f] for f in faults) / sum(WEIGHTS.values()):
                return None
            fault = self._chance.choices(faults, [WEIGHTS[f] for f in faults])[0]
            self.counts[fault] += 1
            return fault

    def _hand_over(self, client: socket.socket, answer: bytes) -> bool:
        """Send an answer, or what a fault makes of it; False where the connection ends with it."""
        fault = self._drawn(tuple(f for f in Fault if f is not Fault.NEVER_ASKED))
        if fault is not None:
            self.recent.append(f"{fault}: {answer[-80:]!r}")
        old = self._chance.choice(self._old) if self._old else answer
        self._old.append(answer)
        if fault in (Fault.LOST, Fault.OUTAGE):
            self._out_until = time.monotonic() + (self._chance.uniform(0.2, 1.5) if fault is Fault.OUTAGE else 0)
            return False
        if fault is Fault.SILENT:
            self._closing.wait(1.5 * self.timeout_s)
            return False
        if fault in (Fault.DELAYED, Fault.TOO_LATE):
            self._closing.wait(self.timeout_s * (1.2 if fault is Fault.TOO_LATE else self._chance.uniform(0.02, 0.3)))
        if fault is Fault.DRIPPED:
            self._drip(client, answer)
            return True
        client.sendall(self._changed(fault, answer, old))
        return fault is not Fault.TRUNCATED

    def _changed(self, fault: Fault | None, answer: bytes, old: bytes) -> bytes:
        if fault is Fault.TRUNCATED:
            return answer[: self._chance.randrange(len(answer))]
        if fault is Fault.TWICE:
            return answer * 2
        if fault is Fault.ANOTHER:
            number = NUMBER.search(answer)  # of a line: as a confused server would, under the number asked for
            return NUMBER.sub(number[0], old, 1) if number and self._cut is cut_lines else old
        if fault is Fault.FLIPPED:
            place = self._chance.randrange(len(answer))
            return answer[:place] + bytes([answer[place] ^ 1 << self._chance.randrange(8)]) + answer[place + 1 :]
        return self._with_other_digits(answer) if fault is Fault.CHANGED else answer

    def _with_other_digits(self, answer: bytes) -> bytes:
        """One or two hex digits of the body are others; a wrong length in the head would only cost time."""
        body_at = answer.find(b"\r\n\r\n") + 4 if self._cut is cut_http else 0
        places = [m.start() for m in HEX.finditer(answer, body_at)]
        changed = bytearray(answer)
        for place in self._chance.sample(places, min(len(places), self._chance.randint(1, 2))):
            others = b"0123456789" if chr(changed[place]).isdigit() and self._chance.random() < 0.8 else b"abcdef"
            changed[place] = self._chance.choice(others)
        return bytes(changed)

    def _drip(self, client: socket.socket, answer: bytes) -> None:
        step = max(1, len(answer) // PIECES_OF_A_DRIP)
        pause_s = self.timeout_s * self._chance.choice((0.01, 0.01, 0.2))
        for at in range(0, len(answer), step):
            client.sendall(answer[at : at + step])
            self._closing.wait(pause_s)


def cut_lines(buffer: bytearray) -> Iterator[bytes]:
    """Take whole lines out of `buffer`."""
    while (end := buffer.find(b"\n") + 1) > 0:
        yield bytes(buffer[:end])
        del buffer[:end]


def cut_http(buffer: bytearray) -> Iterator[bytes]:
    """Take whole messages out of `buffer`, each with the length that its head tells."""
    while (body_at := buffer.find(b"\r\n\r\n") + 4) > 3:
        told = LENGTH.search(buffer[:body_at])
        end = body_at + (int(told[1]) if told else 0)
        if len(buffer) < end:
            return
        yield bytes(buffer[:end])
        del buffer[:end]
