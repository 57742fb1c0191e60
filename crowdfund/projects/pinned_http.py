"""One GET at one address that was chosen before. Nothing is resolved, no proxy is asked, no cookie is kept.

http.client reads the answer. Its every byte is under one clock and one count, so that neither a drip nor a flood keeps
us, wherever in the answer it comes. May not judge what was answered.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from crowdfund.projects.reach import Address
from crowdfund.projects.urls import PORTS, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

# Room for the head of an answer beside its body.
HEAD_BYTES = 64 * 1024
HEADERS = {
    "User-Agent": "crowdfund",
    "Accept": "text/plain, application/json, application/yaml, application/toml, */*;q=0.1",
    "Accept-Encoding": "identity",
    "Connection": "close",
}

# (address, port, seconds) -> a connection. Raises OSError.
Connect = Callable[[Address, int, float], socket.socket]


class TooMuch(OSError):
    """More bytes than anybody asked for."""


class Clock:
    """When everything must be over, on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds, more than none. Raises TimeoutError."""
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is over")
        return left


def tcp(address: Address, port: int, timeout_s: float) -> socket.socket:
    """A connection to exactly this address."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.connect((str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock


@contextmanager
def answer_of(
    target: Target, sock: socket.socket, context: ssl.SSLContext, clock: Clock, limit: int
) -> Iterator[http.client.HTTPResponse]:
    """Ask for `target` over `sock` and read the head of the answer; closes the connection at the end.

    Raises TimeoutError, TooMuch, ssl.SSLCertVerificationError, and OSError or HTTPException for what is no answer.
    """
    connection = _Pinned(target, sock, context, clock, limit + HEAD_BYTES)
    try:
        connection.request("GET", target.path, headers=HEADERS)
        with connection.getresponse() as response:
            yield response
    finally:
        connection.close()
        sock.close()


class _Pinned(http.client.HTTPConnection):
    """A connection that is there already. The host is only what is said, in the Host line and by TLS."""

    def __init__(
        self, target: Target, plain: socket.socket, context: ssl.SSLContext, clock: Clock, budget: int
    ) -> None:
        super().__init__(str(target.host), target.port)
        self.default_port = PORTS[target.scheme]  # which http.client leaves out of the Host line
        self._target, self._plain, self._context = target, plain, context
        self._clock, self._budget = clock, budget

    def connect(self) -> None:
        sock = self._plain
        sock.settimeout(self._clock.left())
        if self._target.scheme == "https":
            sock = self._context.wrap_socket(sock, server_hostname=str(self._target.host))
        self.sock = _BoundedSocket(sock, self._clock, self._budget)


class _BoundedSocket:
    """What http.client needs of a socket. A socket's own timeout starts anew with each byte; this one does not."""

    def __init__(self, sock: socket.socket, clock: Clock, budget: int) -> None:
        self._sock, self._clock, self._budget = sock, clock, budget

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._clock.left())
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_BoundedFile(self._sock, self._clock, self._budget))

    def close(self) -> None:
        self._sock.close()


class _BoundedFile(io.RawIOBase):
    """Reads from the socket as long as clock and budget allow."""

    def __init__(self, sock: socket.socket, clock: Clock, budget: int) -> None:
        super().__init__()
        self._file = sock.makefile("rb", buffering=0)
        self._sock, self._clock, self._budget = sock, clock, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        self._sock.settimeout(self._clock.left())
        count = self._file.readinto(buffer)
        self._budget -= count or 0
        if self._budget < 0:
            raise TooMuch("more than the limit")
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
