"""Live updates: one stream of server-sent events a page, which says only that something changed.

One thread for the whole process waits for commits while anybody listens, and reads the counter that the worker
moves; another one (`streams`) tells all viewers, so that a thousand of them cost one query and no thread. The page
then fetches itself. All of this is optional.
"""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address

from flask import Blueprint, Flask, Response, abort, current_app, request
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from crowdfund.accounts import limits
from crowdfund.campaigns.models import ChainView
from crowdfund.db import Database
from crowdfund.errors import WorldError
from crowdfund.web import streams
from crowdfund.web.streams import Streams

# How soon it is noticed that nobody listens any more.
PRESENCE_S = 0.5
SCOPES = ("site", "campaign")
# Set in the environment of a request by a server that hands connections over (`server`).
HANDS_OVER = "crowdfund.hands_over"
# Under another server each viewer holds one of its threads.
MAX_WITH_THREADS = 32
# Open files that are kept for pages, the database and everything else.
OTHER_FILES = 500

pages = Blueprint("live", __name__)


class Changes:
    """The counter, as many viewers may wait for it."""

    def __init__(self, database: Database) -> None:
        self.streams = Streams()
        self._database = database
        self._lock = threading.Lock()
        self._watched = False

    def attend(self) -> None:
        """Somebody listens now: have the database watched."""
        with self._lock:
            if not self._watched:
                self._watched = True
                threading.Thread(target=self._watch, name="live", daemon=True).start()

    def now(self) -> int:
        """The counter; -1 while it cannot be read."""
        try:
            with self._database.reading() as db:
                return db.scalar(select(ChainView.changes)) or 0
        except SQLAlchemyError:
            return -1

    def _watch(self) -> None:
        """Until nobody listens. A database that fails for a moment is tried again."""
        while self._wanted():
            try:
                with self._database.watching() as commits:
                    self.streams.tell(self.now())  # what was committed before the watch began
                    while self._wanted():
                        if commits.wait(PRESENCE_S):
                            self.streams.tell(self.now())
                    return
            except (SQLAlchemyError, WorldError):
                time.sleep(PRESENCE_S)

    def _wanted(self) -> bool:
        """Does anybody listen? If not, the thread ends, and the next viewer starts another."""
        with self._lock:
            self._watched = self.streams.viewers > 0
            return self._watched


class Seat:
    """The body of a stream's answer, which its viewer gets from `Streams`, by the connection itself where the server
    hands it over. Any other server reads it here, from the other end of a line of our own, by a thread that waits."""

    def __init__(self, changes: Changes, network: str, seen: int) -> None:
        self._changes = changes
        self._network = network
        self._seen = seen
        self._end: socket.socket | None = None

    def hand_over(self, line: socket.socket, head: bytes) -> None:
        """Serve the viewer at this connection, from the head of the answer on."""
        self._changes.streams.add(line, head, self._network, self._seen)
        self._changes.attend()

    def __iter__(self) -> Iterator[bytes]:
        """All that the viewer is told, as it is told."""
        self._end, line = socket.socketpair()
        self.hand_over(line, b"")
        while piece := self._end.recv(4_096):
            yield piece

    def close(self) -> None:
        """The viewer has left."""
        if self._end is not None:
            self._end.close()


@pages.get("/live/<scope>/<key>")
def stream(scope: str, key: str) -> Response:
    """The stream. What it says is no secret, so any key will do."""
    if scope not in SCOPES or not key:
        abort(404)
    changes, network = changes_here(), _network(request.remote_addr)
    if not changes.streams.has_place(network, _most()):
        abort(503)
    since = _since()
    seat = Seat(changes, network, changes.now() if since is None else since)
    response = Response(() if request.method == "HEAD" else seat, content_type="text/event-stream")
    response.direct_passthrough = True  # the server is to see the seat itself
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _most() -> int:
    """How many may listen in all: as many as there may be threads, or open files."""
    if HANDS_OVER not in request.environ:
        return MAX_WITH_THREADS
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return streams.MAX_STREAMS if allowed == resource.RLIM_INFINITY else min(streams.MAX_STREAMS, allowed - OTHER_FILES)


def _network(address: str | None) -> str:
    """How the viewer's address is counted. Empty for this machine itself, and so for a proxy here that says nothing of
    whom it speaks for: all of its visitors would be one."""
    network = limits.network_of(address)
    if network != limits.UNKNOWN and address and ip_address(address.partition("%")[0]).is_loopback:
        return ""
    return network


def _since() -> int | None:
    """What the page knows: the last event where the stream was cut, else what the page itself was made from."""
    text = request.headers.get("Last-Event-ID") or request.args.get("since") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def install(app: Flask, database: Database) -> None:
    """Let the application have live updates."""
    app.extensions["crowdfund-live"] = Changes(database)


def changes_here() -> Changes:
    """The counter of the site that serves this request."""
    held = current_app.extensions["crowdfund-live"]
    assert isinstance(held, Changes)
    return held
