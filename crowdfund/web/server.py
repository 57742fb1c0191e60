"""The web process: gunicorn with threads for pages. The connection of a live stream leaves gunicorn's hands, and its
thread is free again (see `streams`): viewers can never take the threads that pages need.
"""

from __future__ import annotations

import errno
import gc
import resource
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.workers.gthread import TConn, ThreadWorker

from crowdfund import create_app
from crowdfund.config import Settings
from crowdfund.web.live import HANDS_OVER, Seat
from crowdfund.web.streams import MAX_STREAMS

# One for each viewer, and as many again for their page requests, the database and everything else.
OPEN_FILES = 2 * MAX_STREAMS + 1_000

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class HandedOver(ConnectionError):
    """Not a fault: this connection is somebody else's now. Gunicorn takes it for one that the client has closed."""

    def __init__(self) -> None:
        super().__init__(errno.EPIPE, "handed over")


class _Worker(ThreadWorker):
    """Gunicorn's worker with threads, which lets a connection go that was handed over, and in whose main thread nobody
    waits until a client has closed its end."""

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """After each request, in the main thread."""
        if conn.sock.fileno() == -1:
            self.nr_conns -= 1
        elif self.alive and _is_over(fs):
            self.nr_conns -= 1
            self.tpool.submit(conn.close, graceful=True)
        else:
            super().finish_request(conn, fs)


def _is_over(request: Future[Any]) -> bool:
    """Is the connection to be closed?"""
    return request.cancelled() or request.exception() is not None or not request.result()


class _Server(BaseApplication):
    """Gunicorn without its own command line and configuration files."""

    def __init__(self, settings: Settings, options: dict[str, Any]) -> None:
        self._settings = settings
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        """Take the options given."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Make the application in the worker process, after the fork: database connections do not cross one."""
        app = handing_over(create_app(self._settings))
        gc.collect()
        gc.freeze()  # what is here stays: to look through it again and again took a third of the time of a large page
        return app


def handing_over(app: Application) -> Application:
    """The application, whose streams are handed over together with the connection that gunicorn has them on."""

    def serve_one(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        head: list[Any] = []

        def note(*answer: Any) -> Any:
            head[:] = answer
            return start_response(*answer)

        line = environ.get("gunicorn.socket")
        if type(line) is not socket.socket:  # under TLS there is more to a connection than its socket
            return app(environ, start_response)
        environ[HANDS_OVER] = True
        body = app(environ, note)
        if not isinstance(body, Seat):
            return body
        body.hand_over(socket.socket(fileno=line.detach()), _head_bytes(head[0], head[1]))
        raise HandedOver

    return serve_one


def _head_bytes(status: str, headers: list[tuple[str, str]]) -> bytes:
    """The head of an answer that ends with its connection."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")


def allow_open_files() -> None:
    """Every viewer is an open file: take as many as we are allowed, up to what we can use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def serve(settings: Settings, host: str, port: int, threads: int) -> None:
    """Serve until told to stop."""
    allow_open_files()
    _Server(
        settings,
        {
            "bind": f"{host}:{port}",
            "workers": 1,
            "worker_class": _Worker,
            "threads": threads,
            "worker_connections": MAX_STREAMS,
            "timeout": 60,
            "graceful_timeout": 3,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
            "control_socket_disable": True,
        },
    ).run()
