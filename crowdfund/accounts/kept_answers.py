"""Answers that are given again: a request that comes twice with the same key is done once.

The row is written in the transaction that makes the thing. So after a crash there is either both or neither, and of two
requests at once the second one waits for the first and then finds its answer; the primary key sees to it. What takes
more than one transaction begins with a row that says so, and whoever comes meanwhile is told to come back; after a
crash that row is worth nothing within a minute.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from crowdfund.accounts.models import KeptAnswer
from crowdfund.errors import TooMany, UserError

KEPT = timedelta(hours=24)
AT_WORK = timedelta(seconds=60)
WORKING = 102
"""The status of a row whose answer is not there yet; its body says who is at work."""
MOST = 1_000


class KeyUsed(UserError):
    """The key came with another request before."""


class InProgress(UserError):
    """The same request is being answered just now."""


@dataclass(frozen=True)
class Keyed:
    """One request with a key: whose key it is, the key, all that the request says, and a name for who answers it."""

    owner: str
    key: str
    request: bytes
    worker: str = field(default_factory=lambda: secrets.token_hex(16))

    def find(self, session: Session, now: datetime) -> KeptAnswer | None:
        """The answer that was given. Raises KeyUsed if that was to another request."""
        found = session.get(KeptAnswer, (_digest(self.owner.encode()), _digest(self.key.encode())))
        if found is None or found.expires_at <= now or found.body == self.worker:
            return None
        if found.request_sha256 != _digest(self.request):
            raise KeyUsed("This Idempotency-Key was used for another request already; use a new one for each.")
        if found.status == WORKING:
            raise InProgress("The same request is being answered just now. Please ask again in a moment.")
        return found

    def begin(self, session: Session, now: datetime) -> None:
        """Say that this request is being answered. Raises TooMany."""
        self._write(session, WORKING, self.worker, now, AT_WORK)

    def keep(self, session: Session, status: int, body: str, now: datetime) -> None:
        """Keep the answer for a day, and forget those that are older. Raises TooMany where there are too many."""
        self.give_up(session)
        self._write(session, status, body, now, KEPT)

    def give_up(self, session: Session) -> None:
        """This request is not being answered any more."""
        session.execute(delete(KeptAnswer).where(KeptAnswer.body == self.worker, *self._mine()))

    def _mine(self) -> tuple[ColumnElement[bool], ...]:
        owner, key = _digest(self.owner.encode()), _digest(self.key.encode())
        return KeptAnswer.owner_sha256 == owner, KeptAnswer.key_sha256 == key

    def _write(self, session: Session, status: int, body: str, now: datetime, life: timedelta) -> None:
        session.execute(delete(KeptAnswer).where(KeptAnswer.expires_at <= now))
        owner = _digest(self.owner.encode())
        held = select(func.count(), func.min(KeptAnswer.expires_at)).where(KeptAnswer.owner_sha256 == owner)
        many, first = session.execute(held).one()
        if many >= MOST:
            raise TooMany(max(1, int((first - now).total_seconds()) + 1))
        session.add(
            KeptAnswer(
                owner_sha256=owner, key_sha256=_digest(self.key.encode()), request_sha256=_digest(self.request),
                status=status, body=body, expires_at=now + life,
            )
        )  # fmt: skip
        session.flush()


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()
