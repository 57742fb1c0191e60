"""The site in the test's own process, behind a real socket: for browsers, where no node and no worker is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from threading import Thread
from typing import Any

from flask import Flask
from werkzeug.serving import make_server

from crowdfund.web.site import Site


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """The address at which the application answers, until the end; then its database is closed."""
    server = make_server("127.0.0.1", 0, reading_files(app), threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        site: Site = app.extensions["crowdfund"]
        site.database.close()


def reading_files(app: Flask) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """The application, whose files are read at once: this server never closes one whose reader has gone away."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body: Any = app(environ, start_response)
        if not environ["PATH_INFO"].startswith("/static/"):
            return body  # type: ignore[no-any-return]
        with closing(body):
            return [b"".join(body)]

    return answer
