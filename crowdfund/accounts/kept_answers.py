"""Answers that are given again: a request that comes twice with the same key is done once.

The row is written in the transaction that makes the thing. So after a crash there is either both or neither, and of two
requests at once the second one waits for the first and then finds its answer; the primary key sees to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from crowdfund.accounts.models import KeptAnswer
from crowdfund.errors import TooMany, UserError

KEPT = timedelta(hours=24)
MOST = 1_000


class KeyUsed(UserError):
    """The key came with another request before."""


@dataclass(frozen=True)
class Keyed:
    """One request with a key: whose key it is, the key, and all that the request says."""

    owner: str
    key: str
    request: bytes

    def find(self, session: Session, now: datetime) -> KeptAnswer | None:
        """The answer that was given. Raises KeyUsed if that was to another request."""
        found = session.get(KeptAnswer, (_digest(self.owner.encode()), _digest(self.key.encode())))
        if found is None or found.expires_at <= now:
            return None
        if found.request_sha256 != _digest(self.request):
            raise KeyUsed("This Idempotency-Key was used for another request already; use a new one for each.")
        return found

    def keep(self, session: Session, status: int, body: str, now: datetime) -> None:
        """Keep the answer for a day, and forget those that are older. Raises TooMany where there are too many."""
        session.execute(delete(KeptAnswer).where(KeptAnswer.expires_at <= now))
        owner = _digest(self.owner.encode())
        held = select(func.count(), func.min(KeptAnswer.expires_at)).where(KeptAnswer.owner_sha256 == owner)
        many, first = session.execute(held).one()
        if many >= MOST:
            raise TooMany(max(1, int((first - now).total_seconds()) + 1))
        session.add(
            KeptAnswer(
                owner_sha256=owner, key_sha256=_digest(self.key.encode()), request_sha256=_digest(self.request),
                status=status, body=body, expires_at=now + KEPT,
            )
        )  # fmt: skip
        session.flush()


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()
