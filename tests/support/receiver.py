"""A program of a creator's, as a real HTTP server that behaves as it is told."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass
class Receiver:
    """Use as a context manager. `status` is what it answers, `hangs_s` how long it thinks first, `location` where it
    sends the caller; `got` are bodies with their headers."""

    status: int = 200
    hangs_s: float = 0
    location: str = ""
    body: bytes = b"thank you"
    trickle: bool = False
    got: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                receiver.got.append((self.rfile.read(length), dict(self.headers)))
                time.sleep(receiver.hangs_s)
                with suppress(OSError):
                    self._answer()

            def _answer(self) -> None:
                self.send_response(receiver.status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", str(len(receiver.body)))
                self.end_headers()
                for start in range(len(receiver.body)) if receiver.trickle else ():
                    self.wfile.write(receiver.body[start : start + 1])
                    time.sleep(0.1)
                if not receiver.trickle:
                    self.wfile.write(receiver.body)

            def log_message(self, format: str, *args: object) -> None:
                """Silence."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}/hook?x=1"
