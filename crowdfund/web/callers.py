"""Who calls the API: the bearer token of a request, and what it may do. Sessions and cookies count for nothing here."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import g, request

from crowdfund.accounts import tokens
from crowdfund.accounts.tokens import Caller
from crowdfund.campaigns.models import Creator
from crowdfund.web.problems import Refusal
from crowdfund.web.site import here

NO_TOKEN = (
    "Send a creator's token: Authorization: Bearer TOKEN. The account page makes one, and so does "
    "`crowdfund token create NAME`."
)


def caller() -> Caller | None:
    """Who calls, None if nobody's token came with the request. The use is noted."""
    if "caller" not in g:
        g.caller = _look()
    found: Caller | None = g.caller
    return found


def creator(scope: str) -> Creator:
    """Who calls, with a token that may do this. Raises Refusal."""
    found = caller()
    if found is None:
        raise Refusal(401, "token", NO_TOKEN, told={"WWW-Authenticate": "Bearer"})
    if scope not in found.scopes:
        sentence = f"This token lacks the scope “{scope}”, which lets a program {tokens.SCOPES[scope]}."
        told = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'}
        raise Refusal(403, "scope", sentence, {"scope": scope}, told)
    return found.creator


def reader() -> Creator | None:
    """Who calls and may read what is not for everybody; None for all others, who are told what everybody is."""
    found = caller()
    return found.creator if found is not None and "read" in found.scopes else None


def _look() -> Caller | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token, now = token.strip(), datetime.now(UTC)
    if scheme.lower() != "bearer" or not token:
        return None
    with here().database.reading() as db:
        found = tokens.caller(db, token, now)
        due = found is not None and tokens.needs_touch(db, found.token_id, now)
    if due:
        with here().database.transaction() as db:
            tokens.touch(db, token, now)
    return found
