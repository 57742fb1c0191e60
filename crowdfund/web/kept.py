"""Public pages that many people ask for at once: rendered once, and kept for a moment for visitors whom nobody knows.

A kept page is as old as the last commit of any process, and two seconds at the most, as pages also tell of time. It is
never shown to somebody who is logged in or is being told something, and holds no token: where a form needs one, each
visitor's own is put in. All that such a page varies by stands in `_key`, and nowhere else.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import wraps
from hashlib import sha256
from secrets import token_hex
from typing import ParamSpec, Protocol

from flask import Flask, Response, current_app, g, make_response, request, session
from flask_wtf.csrf import generate_csrf
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from crowdfund.db import CommitWatch, Database
from crowdfund.errors import WorldError
from crowdfund.web.i18n import language
from crowdfund.web.live import changes_here
from crowdfund.web.packing import pack

KEPT_S = 2.0
MAX_PAGES = 256
MAX_LETTERS = 32 * 1024 * 1024
MAX_KEY = 1_000
# A visitor's session in which there is nothing else is that of somebody whom nobody knows: a form was looked at.
EMPTY_SESSION = {"csrf_token", "_permanent"}
# What a page was made from is no part of what it shows: if only that has moved on, it is the same page.
MADE_FROM = re.compile(r' data-changes="\d+"')
# Stands where a visitor's own token belongs, and nobody outside this process can write it.
TOKEN_MARK = f"token-{token_hex(16)}"

P = ParamSpec("P")
Key = tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """A page, its validator (empty where it has forms), and when it was rendered: after which commit, and after which
    change that open pages are told of."""

    text: str
    etag: str
    moment: int
    changes: int
    made_at: float


@dataclass
class Rendering:
    """Somebody renders the page, others wait. `page` stays None where it cannot be shared."""

    moment: int
    done: threading.Event = field(default_factory=threading.Event)
    page: Page | None = None


class Clock(Protocol):
    """Says whether anything was written."""

    def now(self) -> int | None:
        """A number that grows with every commit; None while nobody can tell."""


class Moments:
    """A number that grows with every commit to the database, of whatever process: two readings that are equal mean that
    nothing was written in between."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._held: AbstractContextManager[CommitWatch] | None = None
        self._watch: CommitWatch | None = None
        self._number = 0
        event.listen(database.engine, "engine_disposed", lambda _: self.close())

    def now(self) -> int | None:
        """The number; None while the database cannot be watched."""
        with self._lock:
            try:
                if self._watch is None:
                    self._held = self._database.watching()
                    self._watch = self._held.__enter__()
                    self._number += 1
                elif self._watch.wait(0):
                    self._number += 1
            except (SQLAlchemyError, WorldError):
                self._let_go()
                return None
            return self._number

    def close(self) -> None:
        """Watch no more, until somebody asks again; as when the database is closed."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        held, self._held, self._watch = self._held, None, None
        if held is not None:
            held.__exit__(None, None, None)


class KeptPages:
    """The pages, by all that they vary by; those that were used last stay."""

    def __init__(self, moments: Clock) -> None:
        self.moments = moments
        self._lock = threading.Lock()
        self._pages: OrderedDict[Key, Page] = OrderedDict()
        self._letters = 0
        self._under_way: dict[Key, Rendering] = {}

    def get(self, key: Key, told: int, render: Callable[[int], Page | None]) -> Page | None:
        """The page as it is now; it knows of every change that viewers were told of, `told` being the last. Only one of
        those who ask at once renders it. None where it cannot be shared, or where nobody can say what has been written
        meanwhile: then each renders their own."""
        while True:
            moment = self.moments.now()
            if moment is None:
                return None
            with self._lock:
                page = self._fresh(key, moment, told)
                if page is not None:
                    return page
                rendering = self._under_way.get(key)
                if rendering is None:
                    mine = self._under_way[key] = Rendering(moment)
                    break
            rendering.done.wait()
            found = rendering.page
            if rendering.moment >= moment and (found is None or found.changes >= told):
                return found  # it was begun after all that we have to see
        return self._render(key, mine, render)

    def _render(self, key: Key, mine: Rendering, render: Callable[[int], Page | None]) -> Page | None:
        try:
            mine.page = render(mine.moment)
        finally:
            with self._lock:
                del self._under_way[key]
                if mine.page is not None:
                    self._keep(key, mine.page)
            mine.done.set()
        return mine.page

    def _fresh(self, key: Key, moment: int, told: int) -> Page | None:
        page = self._pages.get(key)
        if page is None or page.moment != moment or page.changes < told or time.monotonic() - page.made_at > KEPT_S:
            return None
        self._pages.move_to_end(key)
        return page

    def _keep(self, key: Key, page: Page) -> None:
        before = self._pages.pop(key, None)
        self._pages[key] = page
        self._letters += len(page.text) - (len(before.text) if before else 0)
        while len(self._pages) > MAX_PAGES or self._letters > MAX_LETTERS:
            _, old = self._pages.popitem(last=False)
            self._letters -= len(old.text)


def install(app: Flask, database: Database) -> None:
    """Let the application keep pages."""
    app.extensions["crowdfund-kept"] = KeptPages(Moments(database))


def kept_here() -> KeptPages:
    """The pages that the site serving this request keeps."""
    found = current_app.extensions["crowdfund-kept"]
    assert isinstance(found, KeptPages)
    return found


def kept(view: Callable[P, str]) -> Callable[P, str | Response]:
    """For a view that reads the database and shows everybody the same."""

    @wraps(view)
    def answered(*args: P.args, **kwargs: P.kwargs) -> str | Response:
        key, own = _key(), list[str]()

        def render(moment: int) -> Page | None:
            began = time.monotonic()
            own.append(_without_token(lambda: view(*args, **kwargs)))
            return _page(own[0], moment, began)

        page = kept_here().get(key, changes_here().streams.count, render) if key else None
        if page is not None:
            return _answer(page)
        return _with_token(own[0]) if own else view(*args, **kwargs)

    return answered


def _without_token(view: Callable[[], str]) -> str:
    """What the view makes, with a mark wherever the token of a form would stand."""
    g.csrf_token = TOKEN_MARK  # what templates and forms take for the token of this request
    try:
        return view()
    finally:
        del g.csrf_token


def _with_token(text: str) -> str:
    """The text with this visitor's own token in its forms."""
    return text.replace(TOKEN_MARK, generate_csrf()) if TOKEN_MARK in text else text


def _key() -> Key | None:
    """All that a page varies by; None for whom no page is kept.

    The address holds scheme and host, which links on the page may name. Cookies are what a visitor has chosen; those
    with a line in front of their names are other programs', or say who it is, which `session` has answered.
    """
    if not session.keys() <= EMPTY_SESSION:
        return None
    chosen = sorted(f"{name}={value}" for name, value in request.cookies.items() if not name.startswith("_"))
    key = (request.url, language(), *(each for each in chosen if not each.startswith("session=")))
    return key if sum(map(len, key)) <= MAX_KEY else None


def _page(text: str, moment: int, began: float) -> Page | None:
    """What a view has made, if it is for everybody."""
    if session.modified:
        return None
    etag = "" if TOKEN_MARK in text else sha256(MADE_FROM.sub("", text, count=1).encode()).hexdigest()[:32]
    return Page(text, etag, moment, g.get("changes", 0), began)


def _answer(page: Page) -> Response:
    """The page, or that it is what the browser has already; that is not said of one with forms, whose token may be
    another one by now."""
    response = make_response(_with_token(page.text))
    response.vary.update(("Cookie", "Accept-Language"))
    if not page.etag:
        return response
    response.headers["Cache-Control"] = "private, no-cache"
    response.set_etag(page.etag, weak=True)
    response.make_conditional(request)
    return pack(response)
