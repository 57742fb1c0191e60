"""What the pages of accounts share: who is at the door, how often they may try, and a browser's passkey.

A browser that has been in before holds a signed cookie that says so. Its attempts are counted by themselves, so that
nobody who tries passwords from elsewhere can keep the owner out. The cookie names the account by its number, which is
nobody else's ever, and is worth nothing once the password is another one: else whoever once had the name, or the
password, would be let guess on.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from flask import after_this_request, current_app, g, request, session
from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from crowdfund.accounts import limits, passkeys, people
from crowdfund.accounts.history import TEXT_LIMIT, Visit
from crowdfund.accounts.limits import Hit, Rule
from crowdfund.accounts.passkeys import Asked, Question
from crowdfund.campaigns.models import Creator
from crowdfund.errors import TooMany, UserError
from crowdfund.sentences import N_
from crowdfund.web.site import begin_session, here

COOKIE = "known"
COOKIE_LIFE_S = 400 * 86_400  # the longest that browsers keep one
MANY_RESERVED = N_(
    "Many rewards of this campaign are being reserved, so no more of those that are limited are given out to you just "
    "now. Choose another reward or none, or wait {wait} and try again."
)
NO_PASSKEYS = "Passkeys cannot be used at this site’s address; it would need a name of its own and HTTPS."


def visit() -> Visit:
    """Who is here, for the log."""
    agent = "".join(c for c in request.user_agent.string if c.isprintable())
    return Visit((request.remote_addr or limits.UNKNOWN)[:64], agent[:TEXT_LIMIT], datetime.now(UTC))


def limit(*hits: Hit) -> None:
    """Count this attempt. Raises TooMany."""
    now, factor = datetime.now(UTC), here().settings.limit_factor
    try:
        limits.take(here().database, hits, now, factor)
    finally:
        if request.path.startswith("/api/v1"):
            g.standings = limits.standings(here().database, hits, now, factor)


def rate_headers() -> dict[str, str]:
    """How often the same may be done, and how often it still may, for programs: RateLimit-Policy and RateLimit."""
    held: list[limits.Standing] = g.get("standings", [])
    if not held:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{s.name}";q={s.most};w={s.seconds}' for s in held),
        "RateLimit": ", ".join(f'"{s.name}";r={s.left};t={s.reset_s}' for s in held),
    }


def limit_address(rule: Rule, what: str = "") -> None:
    """Count it against the address alone, each kind of thing by itself. Raises TooMany."""
    limit((rule, f"{_network()} {what}".strip()))


def limit_reserving(campaign_id: str) -> Callable[[Session], None]:
    """What counts a reward of which there are only so many, with the pledge that reserves it. Raises TooMany."""
    hits = [(limits.RESERVE, f"{_network()} {campaign_id}"), (limits.RESERVE_ALL, campaign_id)]

    def take(db: Session) -> None:
        try:
            limits.take_within(db, hits, datetime.now(UTC), here().settings.limit_factor)
        except TooMany as error:
            raise TooMany(error.retry_after_s, MANY_RESERVED, "reward") from error

    return take


def limit_name(pair: Rule, address: Rule, name: str) -> None:
    """Count an attempt to come in as `name`, whether there is such an account or not. Raises TooMany."""
    key, device = people.key_of(name.strip()), _known_device(name)
    if device is not None:
        limit((limits.DEVICE, f"{pair.name} {device}"))
    else:
        limit((pair, f"{_network()} {key}"), (address, _network()), (limits.ACCOUNT, f"{pair.name} {key}"))


def limit_second(creator_id: int) -> None:
    """Count an attempt at a second factor: who is here has shown the password. Raises TooMany."""
    device = _known_device(name_of(creator_id))
    if device is not None:
        limit((limits.DEVICE, f"second {device}"))
    else:
        limit((limits.SECOND, str(creator_id)), (limits.SECOND_DAY, str(creator_id)))


def let_in(token: str, creator_id: int) -> None:
    """Begin the session, and let this browser be known as one that its owner uses."""
    begin_session(token)
    remember(creator_id)


def remember(creator_id: int) -> None:
    """This browser is known to the account from now on; one that was known keeps its number, and its count."""
    with here().database.reading() as db:
        creator = db.get_one(Creator, creator_id)
    value = _signer().dumps([creator.id, _mark(creator), _known_device(creator.name) or secrets.token_urlsafe(16)])
    secure = bool(current_app.config["SESSION_COOKIE_SECURE"])

    @after_this_request
    def set_it(response: Response) -> Response:
        response.set_cookie(_cookie(), value, COOKIE_LIFE_S, secure=secure, httponly=True, samesite="Lax")
        return response


def name_of(creator_id: int) -> str:
    """The name of this account."""
    with here().database.reading() as db:
        return db.get_one(Creator, creator_id).name


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


def _known_device(name: str) -> str | None:
    """This browser's number if it has been in as whoever has this name, with the password of today."""
    try:
        held: Any = _signer().loads(request.cookies.get(_cookie(), ""), max_age=COOKIE_LIFE_S)
    except BadData:
        return None
    with here().database.reading() as db:
        creator = people.find(db, name)
    return str(held[2]) if creator is not None and held[:2] == [creator.id, _mark(creator)] else None


def _mark(creator: Creator) -> str:
    """What changes with the password, and tells nothing of it: the hash has a salt that nobody sees."""
    return sha256(creator.password_hash.encode()).hexdigest()[:32]


def _cookie() -> str:
    """Under a name that, where there is HTTPS, browsers take from this very host alone."""
    return f"__Host-{COOKIE}" if current_app.config["SESSION_COOKIE_SECURE"] else COOKIE


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.secret_key or "", salt="known browser")


def _network() -> str:
    return limits.network_of(request.remote_addr)
