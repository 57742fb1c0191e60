"""Live updates: one stream of server-sent events a page, which says only that something changed.

One thread for the whole process watches the counter that the worker moves; every stream waits on it, so that a
thousand viewers cost one query. The page then fetches itself. All of this is optional.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from flask import Blueprint, Response, abort, current_app, request
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from crowdfund.campaigns.models import ChainView
from crowdfund.db import Database
from crowdfund.web.site import here

LOOK_EVERY_S = 0.25
HEARTBEAT_S = 15
LIFETIME_S = 600
MAX_STREAMS = 32
SCOPES = ("site", "campaign")

pages = Blueprint("live", __name__)


class Changes:
    """The counter, as many threads may wait for it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._moved = threading.Condition()
        self._count = -1
        self._streams = threading.BoundedSemaphore(MAX_STREAMS)
        self._started = False

    def listen(self, since: int | None) -> Iterator[str] | None:
        """Events for one viewer, who knows of all changes up to `since`, or of all until now.

        None if there are too many viewers (their pages then poll).
        """
        if not self._streams.acquire(blocking=False):
            return None
        self._start()
        return self._events(self._count if since is None else since)

    def leave(self) -> None:
        """One viewer less."""
        self._streams.release()

    def _events(self, seen: int) -> Iterator[str]:
        yield "retry: 3000\n\n"
        end = time.monotonic() + LIFETIME_S
        while time.monotonic() < end:
            seen, before = self._wait_beyond(seen), seen
            yield ": still here\n\n" if seen == before else f"event: changed\nid: {seen}\ndata: {seen}\n\n"

    def _wait_beyond(self, seen: int) -> int:
        """The counter once it is beyond `seen`, or `seen` after a heartbeat."""
        with self._moved:
            self._moved.wait_for(lambda: self._count > seen, HEARTBEAT_S)
            return max(self._count, seen)

    def _start(self) -> None:
        with self._moved:
            if not self._started:
                self._started = True
                self._count = self._read()
                threading.Thread(target=self._watch, name="live", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_EVERY_S)
            count = self._read()
            if count != self._count:
                with self._moved:
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
    events = _changes().listen(_since())
    if events is None:
        abort(503)
    response = Response(events, content_type="text/event-stream")
    response.call_on_close(_changes().leave)  # also where nobody ever reads from it, as with HEAD
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _since() -> int | None:
    """What the page knows: the last event where the stream was cut, else what the page itself was made from."""
    text = request.headers.get("Last-Event-ID") or request.args.get("since") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _changes() -> Changes:
    held = current_app.extensions.setdefault("crowdfund-live", Changes(here().database))
    assert isinstance(held, Changes)
    return held
