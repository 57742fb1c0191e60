"""Headers, CSRF and error pages: what must hold for every answer, in one place."""

from __future__ import annotations

import logging
import secrets
from types import TracebackType

from flask import Flask, Response, g, render_template, request
from flask_babel import gettext as _
from flask_wtf.csrf import CSRFError, CSRFProtect
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException

from crowdfund.errors import NotFound, Problems, TooMany, UserError, WorldError
from crowdfund.projects.pictures import MAX_BYTES
from crowdfund.sentences import N_
from crowdfund.web import door, problems
from crowdfund.web.i18n import said
from crowdfund.web.site import current_creator

protect = CSRFProtect()

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
# Of the card that other sites show in a frame: the only page that may be in one, so it has no form and no script.
EMBED_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors *",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
# Pages that are for one person alone ask programs not to list them. They may come by to hear that: an address that they
# may not open would be listed without its words, and some of these are secrets.
UNLISTED = ("/p/", "/mail/", "/login", "/signup", "/join/")
TITLES = {
    400: N_("That did not work"),
    401: N_("Not without a token"),
    403: N_("Not with this token"),
    404: N_("Nothing here"),
    405: N_("Not this way"),
    409: N_("Not twice at once"),
    413: N_("Too large"),
    415: N_("Not this kind of content"),
    422: N_("Not with this key"),
    429: N_("Too often"),
    500: N_("Our mistake"),
    501: N_("Not made here"),
    503: N_("Not just now"),
}
SENTENCES = {
    404: N_("There is no page at this address. A link may have been cut off when it was copied."),
    405: N_("This address does not take that kind of request."),
    413: N_("What was sent is too large. Nothing was kept; shorten it and send it again."),
    500: N_("Something went wrong on our side. No money moves because of it; please try again."),
}
EXPIRED = N_("This page had been open for too long or came from elsewhere. Go back, reload it, send again.")
MISTAKE_ID_BYTES = 6
MISTAKE_LINE = "If you tell whoever runs this site, name the mistake: {}."
EXPOSED = "Link, Retry-After, RateLimit, RateLimit-Policy"
AWAY_S = 5
RECORDS_AWAY = "Our records cannot be reached at the moment. No money moves because of it; please try again soon."

# Four times the largest picture: what cameras and phones make.
PICTURE_REQUEST_BYTES = 4 * MAX_BYTES
WITH_FILES = frozenset(("pictures.add", "wizard.start", "importing.draft"))

log = logging.getLogger(__name__)


def install(app: Flask) -> None:
    """Put everything in place."""
    app.before_request(_room_for_a_file)  # before the form is read, which is what the next line does
    protect.init_app(app)
    app.after_request(_headers)
    app.register_error_handler(UserError, _user_error)
    app.register_error_handler(WorldError, _world_error)
    app.register_error_handler(CSRFError, _csrf_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(OperationalError, _records_away)
    app.log_exception = _log_mistake  # type: ignore[method-assign]


def _room_for_a_file() -> None:
    """Who is logged in may send more where a file is asked for: enough that one too large gets its sentence there,
    beside what was typed."""
    if request.endpoint in WITH_FILES and current_creator() is not None:
        request.max_content_length = PICTURE_REQUEST_BYTES


def _headers(response: Response) -> Response:
    if response.status_code == 429 and "retry_after_s" in g:
        response.headers["Retry-After"] = str(g.retry_after_s)
    if is_api():
        _headers_for_programs(response)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.path.startswith(UNLISTED):
        response.headers.setdefault("X-Robots-Tag", "noindex")
    if not request.path.startswith("/static/") or response.status_code >= 400:
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def is_api() -> bool:
    """Is it for programs?"""
    return request.path.startswith("/api/v1")


def _headers_for_programs(response: Response) -> None:
    """How often they may come, and that pages of anybody may read what everybody may read: nothing here goes by
    cookies, so a browser adds no right of its own."""
    for name, value in door.rate_headers().items():
        response.headers[name] = value
    if response.status_code == 503:
        response.headers.setdefault("Retry-After", str(AWAY_S))
    if request.method in ("GET", "HEAD") and "Authorization" not in request.headers:
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Access-Control-Expose-Headers"] = EXPOSED


def code_of(error: UserError, usual: int = 422) -> int:
    """The status of a form that is shown again with what is wrong in it. One tried too often says when to come back."""
    if isinstance(error, TooMany):
        g.retry_after_s = error.retry_after_s
        return 429
    return usual


def _user_error(error: UserError) -> tuple[str | Response, int]:
    fields = error.by_field if isinstance(error, Problems) else {error.field: error.sentence} if error.field else {}
    return _answer(404 if isinstance(error, NotFound) else code_of(error, 400), error.sentence, fields)


def _world_error(error: WorldError) -> tuple[str | Response, int]:
    return _answer(503, error.sentence)


def _csrf_error(_error: CSRFError) -> tuple[str | Response, int]:
    return _answer(400, EXPIRED)


def _log_mistake(
    exc_info: tuple[type, BaseException, TracebackType] | tuple[None, None, None],
) -> None:
    """A mistake of ours, with an id that its page shows, too: so that what somebody saw can be found in the log.

    The log has the kind of the address and not the address itself: that of a pledge is a secret.
    """
    g.mistake_id = secrets.token_hex(MISTAKE_ID_BYTES)
    log.error("Mistake %s at %s %s", g.mistake_id, request.method, request.url_rule, exc_info=exc_info)


def _http_error(error: HTTPException) -> tuple[str | Response, int] | HTTPException:
    if error.code is None or error.code < 400:  # a redirection that werkzeug raises
        return error
    if error.code == 500 and "mistake_id" in g:
        return _mistake()
    return _answer(error.code, SENTENCES.get(error.code, error.description or ""), error=error)


def _mistake() -> tuple[str | Response, int]:
    """The page for a mistake of ours. Where what every page needs is what fails, it is plain text."""
    try:
        return _answer(500, SENTENCES[500])
    except Exception as error:  # whatever it is, the visitor gets an answer, and the log has both
        log.error("Mistake %s, and its page failed: %r", g.mistake_id, error)
        text = f"{SENTENCES[500]}\n{MISTAKE_LINE.format(g.mistake_id)}\n"
        return Response(text, content_type="text/plain; charset=utf-8"), 500


def _records_away(error: OperationalError) -> tuple[str | Response, int]:
    """The database is away, or locked for too long. Every page of ours is made with it, so this is plain text."""
    log.warning("The database cannot be used: %s", error.orig)
    if is_api():
        return _answer(503, RECORDS_AWAY)
    return Response(f"{RECORDS_AWAY}\n", content_type="text/plain; charset=utf-8"), 503


def _answer(
    code: int, sentence: str, fields: dict[str, str] | None = None, error: HTTPException | None = None
) -> tuple[str | Response, int]:
    """A page for people, a problem document (RFC 9457) for programs."""
    title = TITLES.get(code, TITLES[400 if code < 500 else 500])
    if not is_api():
        try:
            told = {"title": _(title), "sentence": said(sentence), "mistake": g.get("mistake_id")}
            page = render_template("error.html", code=code, **told)
            return page, code
        except OperationalError as away:
            return _records_away(away)
    return problems.document(code, title, sentence, fields or {}, error), code
