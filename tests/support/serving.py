"""The site in the test's own process, behind a real socket: for browsers, where no node and no worker is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from flask import Flask
from werkzeug.serving import make_server

from crowdfund.web.site import Site


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """The address at which the application answers, until the end; then its database is closed."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
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
