"""What every request needs: settings, database, who is logged in, how the chain stands."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from flask import Flask, current_app, g, redirect, request, session, url_for
from sqlalchemy.orm import Session
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import IntegerConverter, Map
from werkzeug.wrappers import Response

from crowdfund.accounts import passkeys, sessions
from crowdfund.accounts.models import WebSession
from crowdfund.campaigns.models import ChainView, Creator
from crowdfund.campaigns.tip import chain_tip
from crowdfund.config import Settings
from crowdfund.db import Database
from crowdfund.errors import NotFound, UserError
from crowdfund.web import words
from crowdfund.web.i18n import at_the_desk

ASLEEP = (
    "You were away for more than twelve hours. Open “Account” and “Show that it is you” in another tab, then send this "
    "again; what you typed is still here."
)
# The worker writes every ten seconds that it is alive; a silence longer than this is told to visitors.
SILENCE = timedelta(seconds=40)
# Far above the longest story that fits, so that one too long comes back with its sentence and all that was typed.
MAX_REQUEST_BYTES = 2 * 1024 * 1024

P = ParamSpec("P")
R = TypeVar("R")


class Number(IntegerConverter):
    """A whole number in an address, such as every database can hold; anything else is no address of ours."""

    def __init__(self, map_: Map) -> None:
        super().__init__(map_, max=2**31 - 1)


@dataclass(frozen=True)
class Site:
    """The installation."""

    settings: Settings
    database: Database

    @property
    def name(self) -> str:
        """The site's name."""
        return self.settings.site_name

    @property
    def network(self) -> str:
        """The bitcoin network that it works on."""
        return self.settings.network

    @property
    def passkeys(self) -> passkeys.Site | None:
        """Where passkeys are good; None where they cannot be offered."""
        return passkeys.site_of(self.settings.base_url, self.name)

    @property
    def source_url(self) -> str:
        """Where the source of this very installation can be had."""
        return self.settings.source_url or url_for("public.source")


@dataclass(frozen=True)
class AsOf:
    """The chain as the pages show it, how it is watched (`state`) and why decisions wait (`pause`, or empty)."""

    height: int
    block_hash: str
    median_time_past: datetime
    state: str
    ok: bool
    feerate_sat_vb: int
    seen_at: datetime
    pause: str


def here() -> Site:
    """The site that serves this request."""
    found = current_app.extensions["crowdfund"]
    assert isinstance(found, Site)
    return found


def as_of(db: Session) -> AsOf | None:
    """How the chain stands; None before the first block was read."""
    tip, view = chain_tip(db), db.get(ChainView, 1)
    if tip is None or view is None:
        return None
    state = view.state
    if datetime.now(UTC) - view.seen_at > SILENCE:
        state = f"watching stopped since {view.seen_at:%Y-%m-%d %H:%M} UTC"
    mtp = datetime.fromtimestamp(tip.median_time_past, UTC)
    g.setdefault("changes", view.changes)  # of the first reading: the page must not claim to know what came after
    return AsOf(tip.height, tip.hash, mtp, state, state == "live", view.feerate_sat_vb, view.seen_at, view.pause)


def current_session() -> WebSession | None:
    """The session of this browser; it may be half in, or asleep."""
    if "account_session" not in g:
        now, token = datetime.now(UTC), session.get("token")
        with here().database.reading() as db:
            row = sessions.find(db, token, now)
        if row is not None and sessions.needs_touch(row, now):
            with here().database.transaction() as db:
                sessions.touch(db, row.id, now)
        g.account_session = row
    found: WebSession | None = g.account_session
    return found


def current_creator() -> Creator | None:
    """Who is logged in, with all that it takes."""
    if "creator" not in g:
        row = current_session()
        with here().database.reading() as db:
            g.creator = db.get(Creator, row.creator_id) if row is not None and not row.second_due else None
    found: Creator | None = g.creator
    return found


def begin_session(token: str) -> None:
    """This browser has a session from now on: nothing of the one before is kept."""
    leave()
    keep_token(token)


def keep_token(token: str) -> None:
    """The session goes on under another token."""
    session["token"] = token
    session.permanent = True
    forget_who()


def leave() -> None:
    """End the session of this browser, if it has one."""
    row = current_session()
    if row is not None:
        with here().database.transaction() as db, suppress(NotFound):
            sessions.end(db, row.creator_id, row.id)
    session.clear()
    forget_who()


def forget_who() -> None:
    """Look anew at who is logged in, within this request."""
    g.pop("creator", None)
    g.pop("account_session", None)


def local_path(path: str | None) -> str | None:
    """The path if it stays on this site, else None."""
    if path and path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable():
        return path
    return None


def creators_only(view: Callable[P, R]) -> Callable[P, R | Response]:
    """Send visitors to the log-in page first."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | Response:
        return view(*args, **kwargs) if current_creator() else _by_way_of("creators.login")

    return at_the_desk(guarded)


def awake_only(view: Callable[P, R]) -> Callable[P, R | Response]:
    """For what binds: send on whoever was away for long, to show a way in once more."""
    return _guarded(view, sessions.awake)


def fresh_only(view: Callable[P, R]) -> Callable[P, R | Response]:
    """For changing the ways in: a way in must have been shown just now."""
    return _guarded(view, sessions.fresh)


def _guarded(view: Callable[P, R], enough: Callable[[WebSession, datetime], bool]) -> Callable[P, R | Response]:
    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | Response:
        row = current_session()
        if row is None or current_creator() is None:
            return _by_way_of("creators.login")
        return view(*args, **kwargs) if enough(row, datetime.now(UTC)) else _by_way_of("accounts.confirm")

    return at_the_desk(guarded)


def refuse_asleep() -> None:
    """For what binds and is typed, so that a redirection would lose it. Raises UserError after a long absence."""
    row = current_session()
    if row is not None and not sessions.awake(row, datetime.now(UTC)):
        raise UserError(ASLEEP)


def _by_way_of(endpoint: str) -> Response:
    """To that page, and back here; or, from what can only be posted, back to the page that it was sent from."""
    readable = request.url_rule is not None and "GET" in (request.url_rule.methods or ())
    return redirect(url_for(endpoint, next=request.path if readable else _page_before()), 303)


def _page_before() -> str | None:
    """The page of this site that a form was sent from, where the browser says so."""
    before = urlsplit(request.referrer or "")
    return local_path(before.path) if before.netloc == request.host else None


def install(app: Flask, settings: Settings, database: Database) -> None:
    """Give the application its site, its secret and the variables of every template."""
    site = Site(settings, database)
    app.extensions["crowdfund"] = site
    app.secret_key = settings.secret_key or _kept_secret(settings.data_dir / "secret_key")
    secure = settings.base_url.startswith("https://")
    app.config.update(
        # Under such a name browsers take it from this very host alone: no other one of the domain can put in its own.
        SESSION_COOKIE_NAME="__Host-session" if secure else "session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=secure,
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=sessions.LIFE,
        MAX_CONTENT_LENGTH=MAX_REQUEST_BYTES,
        MAX_FORM_MEMORY_SIZE=MAX_REQUEST_BYTES,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=False,
    )

    if settings.trusted_proxies:
        proxied = ProxyFix(app.wsgi_app, x_for=settings.trusted_proxies, x_proto=0)
        app.wsgi_app = proxied  # type: ignore[method-assign]

    @app.context_processor
    def everywhere() -> dict[str, Any]:
        with database.reading() as db:
            view = as_of(db)
        return {
            "site": site,
            "as_of": view,
            "watching": words.watching_sentence(view.state) if view and not view.ok else "",
            "creator": current_creator(),
            "bench": settings.test_bench,
            "changes": g.get("changes", 0),
            "mail": bool(settings.mail_from),
        }


def _kept_secret(path: Path) -> str:
    """The key that signs sessions: made once, readable by us alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)  # whole or not at all, and the first process wins
        draft.unlink()
    return path.read_text()
