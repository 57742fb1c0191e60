"""Which language a page speaks, and where its sentences are looked up.

Programs are always answered in English: the API, feeds and files. So is the desk of those who run a campaign, for now.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import urlencode

from babel import Locale
from babel.support import NullTranslations
from flask import Flask, Response, current_app, has_request_context, request
from flask_babel import Babel, Domain, force_locale, get_locale, lazy_gettext

from crowdfund import languages
from crowdfund.languages import ASKED, LANGUAGES, NAMES
from crowdfund.web.pseudo import PseudoTranslations

# A language that nobody speaks, written from right to left: it shows which sentences cannot be translated, and what
# looks wrong once they are long and begin on the right. Only where the application is told to offer it.
PSEUDO, PSEUDO_LOCALE = "ar-XB", "ar_001"
OFFER_PSEUDO = "OFFER_PSEUDO_LANGUAGE"
OWN_ADDRESS = "OWN_ADDRESS"
COOKIE, DESK = "lang", "at_the_desk"
YEAR_S = 365 * 24 * 3600
# What is not for reading on this site: for programs, or shown on other sites, where nothing was chosen.
ENGLISH = ("/api/", "/embed/", "/static/")
# Pages that are made for one person, or that ask not to be found.
NOT_LISTED = ("/p/", "/mail/", "/login", "/signup", "/join/", "/account", "/dashboard", "/drafts/", "/unit/")

_PSEUDO = PseudoTranslations()

View = TypeVar("View", bound=Callable[..., Any])


class Choice(NamedTuple):
    """A language that a reader may choose: its code, its own name for itself, the address of this page in it."""

    code: str
    name: str
    address: str


def offered() -> tuple[str, ...]:
    """The languages that this installation speaks."""
    return (*LANGUAGES, PSEUDO) if current_app.config.get(OFFER_PSEUDO) else LANGUAGES


def language() -> str:
    """The language of this request, as pages name it: by the address, else as it was chosen before, else as the browser
    asks for it."""
    if not has_request_context() or request.path.startswith(ENGLISH):
        return LANGUAGES[0]
    chosen = request.cookies.get(COOKIE)
    return asked_for() or (chosen if chosen in offered() else None) or browsers_language()


def asked_for() -> str | None:
    """The language that the address of this request names, whoever asks; None where it names none that we speak."""
    asked = request.args.get(ASKED)
    return asked if asked in offered() else None


def in_links() -> str | None:
    """What a link to something that everybody gets alike has to name, for it to be in the language of this page."""
    found = language()
    return None if found == LANGUAGES[0] else found


def linked(address: str) -> str:
    """The address of a page of ours, with the language of this page in it where it is not the first."""
    found = in_links()
    return f"{address}?{ASKED}={found}" if found else address


def browsers_language() -> str:
    """The first language that the browser asks for and this site speaks, whatever its country: de-AT is German."""
    for asked, _quality in request.accept_languages:
        spoken = asked.lower().replace("_", "-").split("-")[0]
        if spoken in LANGUAGES:
            return spoken
    return LANGUAGES[0]


def locale() -> str:
    """The language in which dates and sentences of this request are looked up."""
    if has_request_context() and is_desk():
        return LANGUAGES[0]
    return _locale_of(language())


def direction(code: str = "") -> str:
    """Into which direction the page is written, or a language: ltr or rtl."""
    return languages.direction(_locale_of(code or language()))


def at_the_desk(view: View) -> View:
    """Marks a view whose page is for those who run a campaign or write programs, and is not translated."""
    setattr(view, DESK, True)
    return view


def is_desk() -> bool:
    """Is this page marked so?"""
    return getattr(current_app.view_functions.get(request.endpoint or ""), DESK, False)


def in_page_language(caller: Callable[[], str]) -> str:
    """What stands around such a page, in the reader's language."""
    with speaking(language()):
        return caller()


def speaking(code: str) -> AbstractContextManager[None]:
    """Inside, everything is in this language, whatever the request asks for."""
    return force_locale(_locale_of(code))


def choices() -> list[Choice]:
    """This page in each language; empty for the answer to a form, which a link would lose."""
    if request.method != "GET":
        return []
    return [Choice(code, NAMES.get(code, code), _here_in(code)) for code in offered()]


def alternates() -> list[tuple[str, str]]:
    """The other languages of a page for those who list pages, each with its whole address."""
    if request.method != "GET" or request.url_rule is None or request.path.startswith(NOT_LISTED):
        return []
    if len(LANGUAGES) == 1:
        return []
    return [(code, current_app.config[OWN_ADDRESS] + _here_in(code)) for code in LANGUAGES]


def later(text: str) -> str:
    """A text that is looked up whenever it is shown: for labels of forms, which are made before anybody asks."""
    return cast(str, lazy_gettext(text))


def said(text: str) -> str:
    """A sentence of the parts below the web, in the reader's language."""
    found = str(get_locale() or LANGUAGES[0])
    return languages.said(text, found, catalogue(found))


def catalogue(name: str) -> NullTranslations:
    """The sentences of a language. Raises OSError where its catalogue is not there."""
    return _PSEUDO if name == PSEUDO_LOCALE else languages.catalogue(name)


class _Sentences(Domain):
    """Looks sentences up in what `catalogue` keeps."""

    def get_translations(self) -> NullTranslations:
        found = get_locale()
        return catalogue(LANGUAGES[0] if found is None else str(found))


class _Babel(Babel):
    @cached_property
    def domain_instance(self) -> Domain:
        return _Sentences()


def install(app: Flask, base_url: str) -> None:
    """Give every template `_`, `ngettext` and what it has to know of its language. `base_url` is where the site is."""
    app.config[OWN_ADDRESS] = base_url
    _Babel(app, locale_selector=lambda: Locale.parse(locale()))
    languages.read_all()
    app.jinja_env.filters.update(said=said)
    app.jinja_env.globals.update(
        page_language=language, page_direction=direction, languages=choices, alternates=alternates,
        at_the_desk=is_desk, in_page_language=in_page_language, in_links=in_links, linked=linked,
    )  # fmt: skip
    app.after_request(_answered)


def _answered(response: Response) -> Response:
    """Keep what was chosen by the address; and say that pages are not the same for everybody."""
    if response.mimetype != "text/html" or request.path.startswith(ENGLISH):
        return response
    response.vary.update(("Cookie", "Accept-Language"))
    asked = asked_for()
    if asked and asked != request.cookies.get(COOKIE):
        secure = request.is_secure or current_app.config["SESSION_COOKIE_SECURE"]
        response.set_cookie(COOKIE, asked, max_age=YEAR_S, secure=secure, httponly=True, samesite="Lax")
    return response


def _locale_of(code: str) -> str:
    return PSEUDO_LOCALE if code == PSEUDO else code


def _here_in(code: str) -> str:
    """This very page, and what is asked of it, in another language."""
    asked = [(name, value) for name, value in request.args.items(multi=True) if name != ASKED]
    return f"{request.path}?{urlencode([*asked, (ASKED, code)])}"
