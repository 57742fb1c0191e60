"""What the pages of accounts share: who is at the door, how often they may try, and a browser's passkey.

A browser that has been in before holds a signed cookie that says so. Its attempts are counted by themselves, so that
nobody who tries passwords from elsewhere can keep the owner out.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import Any

from flask import after_this_request, current_app, request, session
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.wrappers import Response

from crowdfund.accounts import limits, passkeys, people
from crowdfund.accounts.history import TEXT_LIMIT, Visit
from crowdfund.accounts.limits import Hit, Rule
from crowdfund.accounts.passkeys import Asked, Question
from crowdfund.campaigns.models import Creator
from crowdfund.errors import UserError
from crowdfund.web.site import begin_session, here

COOKIE = "known"
COOKIE_LIFE_S = 400 * 86_400  # the longest that browsers keep one
NO_PASSKEYS = "Passkeys cannot be used at this site’s address; it would need a name of its own and HTTPS."


def visit() -> Visit:
    """Who is here, for the log."""
    agent = "".join(c for c in request.user_agent.string if c.isprintable())
    return Visit((request.remote_addr or limits.UNKNOWN)[:64], agent[:TEXT_LIMIT], datetime.now(UTC))


def limit(*hits: Hit) -> None:
    """Count this attempt. Raises TooMany."""
    limits.take(here().database, hits, datetime.now(UTC), here().settings.limit_factor)


def limit_address(rule: Rule, what: str = "") -> None:
    """Count it against the address alone, each kind of thing by itself. Raises TooMany."""
    limit((rule, f"{_network()} {what}".strip()))


def limit_name(pair: Rule, address: Rule, name: str) -> None:
    """Count an attempt to come in as `name`, whether there is such an account or not. Raises TooMany."""
    key = people.key_of(name.strip())
    device = _known_device(key)
    if device is not None:
        limit((limits.DEVICE, f"{pair.name} {device}"))
    else:
        limit((pair, f"{_network()} {key}"), (address, _network()), (limits.ACCOUNT, f"{pair.name} {key}"))


def limit_second(creator_id: int) -> None:
    """Count an attempt at a second factor: who is here has shown the password. Raises TooMany."""
    with here().database.reading() as db:
        key = db.get_one(Creator, creator_id).key
    device = _known_device(key)
    if device is not None:
        limit((limits.DEVICE, f"second {device}"))
    else:
        limit((limits.SECOND, str(creator_id)), (limits.SECOND_DAY, str(creator_id)))


def let_in(token: str, name: str) -> None:
    """Begin the session, and let this browser be known as one that `name` uses."""
    begin_session(token)
    value = _signer().dumps([people.key_of(name), secrets.token_urlsafe(16)])
    secure = bool(current_app.config["SESSION_COOKIE_SECURE"])

    @after_this_request
    def remember(response: Response) -> Response:
        response.set_cookie(COOKIE, value, COOKIE_LIFE_S, secure=secure, httponly=True, samesite="Lax")
        return response


def offered() -> passkeys.Site:
    """Where passkeys are good. Raises UserError where they are not offered."""
    found = here().passkeys
    if found is None:
        raise UserError(NO_PASSKEYS)
    return found


def remember_question(question: Question) -> None:
    """Only this browser may answer it."""
    session["challenge"] = b64encode(question.challenge).decode()


def answered(purpose: str, creator_id: int | None = None) -> Asked:
    """The question that this browser was asked; it cannot be answered again. Raises UserError."""
    challenge = b64decode(session.pop("challenge", ""))
    return passkeys.take_back(here().database, challenge, purpose, creator_id, datetime.now(UTC))


def _known_device(key: str) -> str | None:
    """This browser's number if it has been in as the name with this key."""
    try:
        held: Any = _signer().loads(request.cookies.get(COOKIE, ""), max_age=COOKIE_LIFE_S)
    except BadData:
        return None
    return str(held[1]) if held[0] == key else None


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.secret_key or "", salt="known browser")


def _network() -> str:
    return limits.network_of(request.remote_addr)
