"""Questions to one HTTP server that may be slow, broken or hostile.

Every answer has a deadline, a limit of bytes and a status that says what it is. Redirects are not followed. May not
know what is asked, or take a broken connection for an answer.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from crowdfund.chain.port import Unreachable, WrongAnswer
from crowdfund.errors import UserError, WorldError

SLOWEST_BYTES_S = 250_000
HEADERS = {"User-Agent": "crowdfund", "Accept": "*/*"}
BUSY = 429
REFUSALS = (401, 403, 407)


@dataclass(frozen=True)
class Reply:
    """A status below 300 or from 400 on, and the whole body."""

    status: int
    body: bytes


class BoundedHttp:
    """One server. One connection a thread, kept from question to question.

    An answer must be there within `timeout_s`, and a little later for each byte of its body that has come: a big answer
    may take as long as `SLOWEST_BYTES_S` needs, but no trickle keeps us, and no head without end (by RFC 9110 a server
    may say 100 Continue as often as it likes).
    """

    def __init__(self, url: str, called: str, ca_file: Path | None = None, timeout_s: float = 20) -> None:
        """`called` is how sentences call the server, in front of its host: "Esplora server". With `ca_file` only the
        authorities in that file are trusted. Raises UserError for a URL that is none, WorldError for a bad file."""
        parts = _checked(url)
        self._host, self._port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        self._prefix = parts.path.rstrip("/")
        self._context = _context(ca_file) if parts.scheme == "https" else None
        self._timeout_s = timeout_s
        self._local = threading.local()
        self.name = f"{called} at {self._host}" + (f":{parts.port}" if parts.port else "")

    def get(self, path: str, limit: int) -> Reply:
        """Ask once, and once more on a fresh connection if the connection broke.

        Raises Unreachable where no answer comes or the server has no time for us, WrongAnswer for a body of more than
        `limit` bytes or a redirect.
        """
        ends_at = time.monotonic() + self._timeout_s
        try:
            return self._ask("GET", path, None, limit, ends_at)
        except (TimeoutError, ssl.SSLCertVerificationError) as error:
            raise self._unreachable(error) from error
        except (http.client.HTTPException, OSError):
            self.close()
        return self._last_try("GET", path, None, limit, ends_at)

    def post(self, path: str, body: bytes, limit: int) -> Reply:
        """Send once, on a fresh connection, since nobody knows what became of a request that broke.

        Raises as `get` does; Unreachable says nothing about whether the server acted upon it.
        """
        self.close()
        return self._last_try("POST", path, body, limit, time.monotonic() + self._timeout_s)

    def close(self) -> None:
        """Close this thread's connection."""
        held: Line | None = getattr(self._local, "line", None)
        if held is not None:
            self._local.line = None
            held.close()

    def _last_try(self, verb: str, path: str, body: bytes | None, limit: int, ends_at: float) -> Reply:
        try:
            return self._ask(verb, path, body, limit, ends_at)
        except (http.client.HTTPException, OSError) as error:
            raise self._unreachable(error) from error

    def _ask(self, verb: str, path: str, body: bytes | None, limit: int, ends_at: float) -> Reply:
        line: Line | None = getattr(self._local, "line", None)
        if line is not None and line.is_stale():
            self.close()
            line = None
        if line is None:
            line = self._local.line = Line(self._host, self._port, self._context)
        line.clock.ends_at = ends_at
        response = None
        try:
            response = line.send(verb, self._prefix + path, body)
            self._judge(response.status)
            return Reply(response.status, self._read(response, limit))
        except BaseException:  # what is left of the answer must not be taken for the next one
            if response is not None:
                response.close()
            self.close()
            raise

    def _judge(self, status: int) -> None:
        """Raise for every status that is no answer to the question."""
        if status == BUSY or status >= 500:
            why = "has had too many questions from us" if status == BUSY else "is out of order"
            raise Unreachable(f"The {self.name} {why} (status {status}); we ask again later.")
        if status in REFUSALS:
            raise Unreachable(f"The {self.name} does not let us in (status {status}); check its URL.")
        if 300 <= status < 400:
            raise WrongAnswer(f"The {self.name} sends us to another address (status {status}); check its URL.")

    def _read(self, response: http.client.HTTPResponse, limit: int) -> bytes:
        """The whole body. A length that was promised is kept, or http.client raises IncompleteRead."""
        known = response.length is not None
        if not known or (response.length or 0) <= limit:
            body = response.read() if known else response.read(limit + 1)
            if len(body) <= limit:
                return body
        raise WrongAnswer(f"The {self.name} sent an answer of more than {limit:,} bytes; it is not read.")

    def _unreachable(self, error: Exception) -> Unreachable:
        self.close()
        if isinstance(error, TimeoutError):
            return Unreachable(f"The {self.name} did not answer within {self._timeout_s:g} seconds.")
        if isinstance(error, ssl.SSLCertVerificationError):
            return Unreachable(f"The {self.name} shows a certificate that we do not trust ({error.verify_message}).")
        if isinstance(error, ConnectionRefusedError | socket.gaierror):
            return Unreachable(f"The {self.name} cannot be reached; check its URL and the network.")
        return Unreachable(f"The {self.name} broke the connection off before its answer was whole.")


def _has_unread(sock: socket.socket) -> bool:
    """Does something lie in the socket, be it the end of the connection? Asked before a question, that is no answer."""
    if sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class _Clock:
    """When the answer that is under way must be whole; later for each byte once the head `is_read`."""

    ends_at = 0.0
    is_read = False

    def left(self) -> float:
        """Seconds. Raises TimeoutError if there are none."""
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline is over")
        return left


class Line:
    """A connection whose every byte is under one clock."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self.clock = _Clock()
        if context is None:
            self._connection = http.client.HTTPConnection(host, port)
        else:
            self._connection = http.client.HTTPSConnection(host, port, context=context)

    def send(
        self, verb: str, path: str, body: bytes | None, headers: Mapping[str, str] = HEADERS
    ) -> http.client.HTTPResponse:
        """Send, and read the answer's head."""
        self.clock.is_read = False
        if self._connection.sock is None:
            self._connect()
        self._connection.request(verb, path, body, dict(headers))
        response = self._connection.getresponse()
        self.clock.is_read = True
        return response

    def _connect(self) -> None:
        self._connection.timeout = self.clock.left()
        self._connection.connect()
        self._connection.sock = _TimedSocket(self._connection.sock, self.clock)

    def is_stale(self) -> bool:
        """Does something lie there that nobody asked for? It would be taken for the next answer."""
        return self._connection.sock is not None and _has_unread(self._connection.sock)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


class _TimedSocket:
    """What http.client needs of a socket. A socket's own timeout starts anew with each byte; this one does not."""

    def __init__(self, sock: socket.socket, clock: _Clock) -> None:
        self._sock = sock
        self._clock = clock

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._clock.left())
        self._sock.sendall(data)

    def fileno(self) -> int:
        return self._sock.fileno()

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedFile(self._sock, self._clock))

    def close(self) -> None:
        self._sock.close()


class _TimedFile(io.RawIOBase):
    """Keeps the socket open until it is closed itself, as a socket's own file does."""

    def __init__(self, sock: socket.socket, clock: _Clock) -> None:
        super().__init__()
        self._sock = sock
        self._file = sock.makefile("rb", buffering=0)
        self._clock = clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        self._sock.settimeout(self._clock.left())
        count = self._file.readinto(buffer)
        if self._clock.is_read:
            self._clock.ends_at += (count or 0) / SLOWEST_BYTES_S
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:
        good = False
    if not good or parts.username or parts.query or parts.fragment or not url.isascii() or not url.isprintable():
        raise UserError(f"{url!r} is not a server's URL; write it like https://host/api.")
    if " " in url:
        raise UserError(f"{url!r} has a space in it; write it like https://host/api.")
    return parts


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:
        raise WorldError(f"The certificates in {ca_file} cannot be read; see that it is a PEM file.") from error
