"""One connection to an Electrum server: lines of JSON, many questions at once, and the notices in between.

May talk to the one server it was given. Believes nothing: each answer must belong to a question, once. After any
trouble the connection is of no more use; whoever holds it makes a new one. Numbers are int or Decimal, never float.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from crowdfund.chain.port import Unreachable, WrongAnswer
from crowdfund.wallet.merkle import is_hash

Call = tuple[str, list[object]]
"""(method, its parameters)."""

IN_FLIGHT = 500
PORTION = 100  # sent at once; some servers hold back the last answers until more follow
LINE_BYTES = 32 * 1024 * 1024
PIECE = 1 << 16
MOST_NOTICES = 1_000_000
SCRIPT_NOTICE = "blockchain.scripthash.subscribe"


class Refused(WrongAnswer):
    """The server understood and said no. The connection stays good. `message` is what the server wrote."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"The {name} refused: {' '.join(message.split())[:200].rstrip('.')}.")
        self.message = message


@dataclass(frozen=True)
class Server:
    """Where a server is and how to reach it. `timeout_s` is how long it has for each question."""

    host: str
    port: int
    tls: bool
    ca_file: Path | None
    timeout_s: float

    @property
    def name(self) -> str:
        """How sentences call it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"Electrum server at {host}:{self.port}"


class Connection:
    """An open connection. For one thread at a time.

    `notices` are the statuses told meanwhile: script hash -> the latest one (None: no history). Who uses them takes
    them out.
    """

    def __init__(self, server: Server) -> None:
        self._name = server.name
        self._timeout_s = server.timeout_s
        self._socket = _connect(server)
        self._buffer = bytearray()
        self._searched = 0
        self._last_id = 0
        self._waiting: dict[int, int] = {}
        self._answers: list[Any] = []
        self.notices: dict[str, str | None] = {}

    def ask(self, calls: Sequence[Call], progress: Callable[[int, int], None] | None = None) -> list[Any]:
        """The results in the order of the calls, a `Refused` where the server gave an error.

        At most 500 are under way at once, and for every 500 answers the server has its time-out. `progress` hears
        (done, all). Raises Unreachable, WrongAnswer.
        """
        self._answers = [None] * len(calls)
        sent = done = 0
        due, deadline = IN_FLIGHT, time.monotonic() + self._timeout_s
        while done < len(calls):
            if sent < len(calls) and len(self._waiting) <= IN_FLIGHT - PORTION:
                self._send(calls[sent : sent + PORTION], sent)
                sent = min(sent + PORTION, len(calls))
                continue
            self._receive(deadline)
            done = sent - len(self._waiting)
            if done >= due:
                due, deadline = done + IN_FLIGHT, time.monotonic() + self._timeout_s
            if progress is not None:
                progress(done, len(calls))
        return self._answers

    def drain(self) -> bool:
        """Read what has come unasked, without waiting; False if the server has closed the connection."""
        deadline = time.monotonic() + self._timeout_s
        try:
            self._socket.settimeout(0)
            while piece := self._socket.recv(PIECE):
                self._take(piece)
                if time.monotonic() > deadline:
                    raise WrongAnswer(f"The {self._name} does not stop talking.")
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close it, whatever state it is in."""
        with suppress(OSError):
            self._socket.close()

    def _send(self, calls: Sequence[Call], first_place: int) -> None:
        lines = []
        for place, (method, params) in enumerate(calls, first_place):
            self._last_id += 1
            self._waiting[self._last_id] = place
            lines.append(_line(self._last_id, method, params))
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(b"".join(lines))
        except OSError as error:
            raise Unreachable(f"The {self._name} does not answer.") from error

    def _receive(self, deadline: float) -> None:
        """Read once. A server that sends little by little does not get more time for it."""
        try:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            piece = self._socket.recv(PIECE)
        except OSError as error:
            raise Unreachable(f"The {self._name} does not answer.") from error
        if not piece:
            raise Unreachable(f"The {self._name} closed the connection.")
        self._take(piece)
        if self._waiting and time.monotonic() > deadline:
            raise Unreachable(f"The {self._name} does not answer in time.")

    def _take(self, piece: bytes) -> None:
        """Cut what has come into lines and read each."""
        self._buffer += piece
        while (end := self._buffer.find(b"\n", self._searched)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            self._read(line)
        self._searched = len(self._buffer)
        if self._searched > LINE_BYTES:
            raise WrongAnswer(f"The {self._name} sends a line that has no end.")

    def _read(self, line: bytes) -> None:
        try:
            message = json.loads(line, parse_float=Decimal, parse_constant=_no_number)
            if "method" in message:
                self._note(message["method"], message["params"])
                return
            number = message["id"]
            place = self._waiting.pop(number) if type(number) is int else -1
            if place < 0:
                raise KeyError(number)
            error = message.get("error")
            self._answers[place] = message["result"] if error is None else self._refusal(error)
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise WrongAnswer(f"The {self._name} sent a line that answers nothing it was asked.") from error

    def _note(self, method: str, params: list[Any]) -> None:
        """Keep a script's new status. Other notices are hints that nobody here needs."""
        if method != SCRIPT_NOTICE:
            return
        scripthash, status = params
        if not is_hash(scripthash) or not (status is None or is_hash(status)) or len(self.notices) >= MOST_NOTICES:
            raise ValueError("not a notice of a script's status")
        self.notices[scripthash] = status

    def _refusal(self, error: Any) -> Refused:
        return Refused(self._name, error if isinstance(error, str) else str(error["message"]))


def _line(number: int, method: str, params: list[object]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _connect(server: Server) -> socket.socket:
    try:
        plain = socket.create_connection((server.host, server.port), timeout=server.timeout_s)
    except OSError as error:
        raise Unreachable(f"The {server.name} cannot be reached ({error.strerror or 'no answer'}).") from error
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not server.tls:
        return plain
    try:
        return _context(server.ca_file).wrap_socket(plain, server_hostname=server.host)
    except ssl.SSLCertVerificationError as error:
        plain.close()
        sentence = f"The certificate of the {server.name} is not trusted ({error.verify_message.rstrip('.')})"
        raise Unreachable(f"{sentence}; name a CA file that holds it or its authority's.") from error
    except OSError as error:
        plain.close()
        silent = isinstance(error, TimeoutError)
        raise Unreachable(f"The {server.name} does not {'answer' if silent else 'speak TLS as it should'}.") from error
    except BaseException:
        plain.close()
        raise


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:
        raise Unreachable(f"The CA file {ca_file} cannot be read as certificates.", retryable=False) from error
