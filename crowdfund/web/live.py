"""Live updates: one stream of server-sent events a page, which says only that something changed.

One thread for the whole process waits for commits while anybody listens, and reads the counter that the worker
moves; every stream waits on it, so that a thousand viewers cost one query. The page then fetches itself. All of
this is optional.
"""

from __future__ import annotations

import select as sockets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import Blueprint, Response, abort, current_app, request
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from crowdfund.campaigns.models import ChainView
from crowdfund.db import Database
from crowdfund.errors import WorldError
from crowdfund.web.site import here

HEARTBEAT_S = 15
LIFETIME_S = 600
MAX_STREAMS = 32
# How soon it is noticed that a viewer has left, and that nobody listens any more.
PRESENCE_S = 0.5
SCOPES = ("site", "campaign")

pages = Blueprint("live", __name__)


class Changes:
    """The counter, as many threads may wait for it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._moved = threading.Condition()
        self._count = -1
        self._viewers = 0
        self._watched = False

    def listen(self, since: int | None, has_left: Callable[[], bool]) -> Iterator[str] | None:
        """Events for one viewer, who knows of all changes up to `since`, or of all until now.

        None if there are too many viewers (their pages then poll).
        """
        with self._moved:
            if self._viewers >= MAX_STREAMS:
                return None
            self._viewers += 1
        self._look()
        self._start()
        return self._events(self._count if since is None else since, has_left)

    def leave(self) -> None:
        """One viewer less."""
        with self._moved:
            self._viewers -= 1

    def _events(self, seen: int, has_left: Callable[[], bool]) -> Iterator[str]:
        yield "retry: 3000\n\n"
        end, beat = time.monotonic() + LIFETIME_S, time.monotonic() + HEARTBEAT_S
        while time.monotonic() < end and not has_left():
            seen, before = self._wait_beyond(seen), seen
            if seen != before:
                yield f"event: changed\nid: {seen}\ndata: {seen}\n\n"
            elif time.monotonic() >= beat:
                yield ": still here\n\n"
            else:
                continue
            beat = time.monotonic() + HEARTBEAT_S

    def _wait_beyond(self, seen: int) -> int:
        """The counter once it is beyond `seen`, or `seen` after a moment."""
        with self._moved:
            self._moved.wait_for(lambda: self._count > seen, PRESENCE_S)
            return max(self._count, seen)

    def _start(self) -> None:
        with self._moved:
            if not self._watched:
                self._watched = True
                threading.Thread(target=self._watch, name="live", daemon=True).start()

    def _watch(self) -> None:
        """Until nobody listens. A database that fails for a moment is tried again."""
        while self._wanted():
            try:
                with self._database.watching() as commits:
                    self._look()  # what was committed before the watch began
                    while self._wanted():
                        if commits.wait(PRESENCE_S):
                            self._look()
                    return
            except (SQLAlchemyError, WorldError):
                time.sleep(PRESENCE_S)

    def _wanted(self) -> bool:
        """Does anybody listen? If not, the thread ends, and the next viewer starts another."""
        with self._moved:
            self._watched = self._viewers > 0
            return self._watched

    def _look(self) -> None:
        """Read the counter and wake those whom it concerns."""
        count = self._read()
        with self._moved:
            if count > self._count:
                self._count = count
                self._moved.notify_all()

    def _read(self) -> int:
        try:
            with self._database.reading() as db:
                return db.scalar(select(ChainView.changes)) or 0
        except SQLAlchemyError:
            return self._count


@pages.get("/live/<scope>/<key>")
def stream(scope: str, key: str) -> Response:
    """The stream. What it says is no secret, so any key will do."""
    if scope not in SCOPES or not key:
        abort(404)
    events = _changes().listen(_since(), _departure(request.environ.get("gunicorn.socket")))
    if events is None:
        abort(503)
    response = Response(events, content_type="text/event-stream")
    response.call_on_close(_changes().leave)  # also where nobody ever reads from it, as with HEAD
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _departure(socket: Any) -> Callable[[], bool]:
    """Whether the other end has closed the connection, where the server lets us see it: a viewer who has left then
    keeps no thread until the next event."""
    if socket is None:
        return lambda: False
    ends = sockets.poll()
    ends.register(socket, getattr(sockets, "POLLRDHUP", 0))  # a hang-up and an error are told in any case
    return lambda: bool(ends.poll(0))


def _since() -> int | None:
    """What the page knows: the last event where the stream was cut, else what the page itself was made from."""
    text = request.headers.get("Last-Event-ID") or request.args.get("since") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _changes() -> Changes:
    held = current_app.extensions.setdefault("crowdfund-live", Changes(here().database))
    assert isinstance(held, Changes)
    return held
