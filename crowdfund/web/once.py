"""What a program makes by POST is made once, however often it asks: the header Idempotency-Key.

The draft of the IETF (draft-ietf-httpapi-idempotency-key-header) says how: same key and same request, same answer; same
key and another request, 422. A key belongs to a token, or, for those who have none, to an address of the network and
the address that is asked. What was refused is not kept: it has made nothing, and may be mended under the same key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from flask import Response, request
from sqlalchemy.orm import Session

from crowdfund.accounts.kept_answers import InProgress, Keyed, KeyUsed
from crowdfund.accounts.limits import network_of
from crowdfund.accounts.models import KeptAnswer
from crowdfund.web import callers
from crowdfund.web.problems import Refusal
from crowdfund.web.site import here

# A text of Structured Fields (RFC 9651) in quotes, or the same without them.
KEY = re.compile(r'"([\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x5b\x5d-\x7e]{1,255})')

T = TypeVar("T")


class Answered(Exception):
    """While this was being done, the same request was answered already."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class Once:
    """One request that makes something. Raises Refusal where its key is none."""

    def __init__(self, code: int = 201) -> None:
        self._code = code
        self._keyed = _keyed()

    def before(self) -> Response | None:
        """The answer that was given before, None if this is the first time. Raises Refusal."""
        if self._keyed is None:
            return None
        with here().database.reading() as db:
            return self._found(db)

    def begin(self) -> Response | None:
        """For what takes more than one transaction: the answer that was given before, or None, and whoever comes with
        the same meanwhile is told to come back. Raises Refusal."""
        if self._keyed is None:
            return None
        with here().database.transaction() as db:
            found = self._found(db)
            if found is None:
                self._keyed.begin(db, datetime.now(UTC))
        return found

    def give_up(self, session: Session) -> None:
        """It was begun and came to nothing: it may be tried again under the same key."""
        if self._keyed is not None:
            self._keyed.give_up(session)

    def refuse_again(self, session: Session) -> None:
        """Inside of the transaction that makes it. Raises Answered, Refusal."""
        found = self._found(session)
        if found is not None:
            raise Answered(found)

    def keep(self, session: Session, told: dict[str, Any]) -> Response:
        """The answer, kept with what was made."""
        text = json.dumps(told)
        if self._keyed is not None:
            self._keyed.keep(session, self._code, text, datetime.now(UTC))
        return _response(self._code, text)

    def _found(self, session: Session) -> Response | None:
        if self._keyed is None:
            return None
        try:
            found: KeptAnswer | None = self._keyed.find(session, datetime.now(UTC))
        except KeyUsed as error:
            raise Refusal(422, "idempotency", error.sentence) from error
        except InProgress as error:
            raise Refusal(409, "idempotency", error.sentence, told={"Retry-After": "1"}) from error
        if found is None:
            return None
        response = _response(found.status, found.body)
        response.headers["Idempotency-Replayed"] = "true"
        return response


def made(
    make: Callable[[Session], T],
    tell: Callable[[Session, T], dict[str, Any]],
    first: Callable[[], None] | None = None,
    code: int = 201,
) -> Response:
    """Make it and tell it, in one transaction. `first` counts attempts; to ask again for the same is none."""
    once = Once(code)
    given = once.before()
    if given is not None:
        return given
    if first is not None:
        first()
    try:
        with here().database.transaction() as db:
            once.refuse_again(db)
            return once.keep(db, tell(db, make(db)))
    except Answered as again:
        return again.response


def _keyed() -> Keyed | None:
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return None
    found = KEY.fullmatch(given.strip())
    if found is None:
        raise Refusal(400, "idempotency", "An Idempotency-Key has 1 to 255 visible characters, in quotes or without.")
    caller = callers.caller()
    owner = f"token {caller.token_id}" if caller else f"address {network_of(request.remote_addr)} {request.path}"
    said = f"{request.method} {request.path}\n".encode() + request.get_data()
    return Keyed(owner, found[1] or found[2], said)


def _response(code: int, text: str) -> Response:
    return Response(text + "\n", code, content_type="application/json")
