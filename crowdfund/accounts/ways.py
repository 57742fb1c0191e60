"""The ways into an account, and changing them. The last one cannot be removed; a trigger says the same.

A password alone is enough only while there is nothing else: an account with a password and an authenticator app or a
passkey asks for both. A passkey is enough by itself, as it knows its owner.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from crowdfund.accounts import history, passkeys, passwords, second, sessions
from crowdfund.accounts.history import Visit
from crowdfund.accounts.models import Authenticator, Passkey
from crowdfund.campaigns.models import Creator
from crowdfund.errors import NotFound, UserError

LAST_WAY = "This is the last way into your account, so it cannot be removed. Add another one first."


@dataclass(frozen=True)
class Ways:
    """What an account has."""

    password: bool
    app: bool
    passkeys: int
    codes: int

    @property
    def two_steps(self) -> bool:
        """Does a password need something beside it here?"""
        return self.password and (self.app or self.passkeys > 0)

    @property
    def count(self) -> int:
        """How many ways in there are that are complete by themselves."""
        return self.passkeys + self.password


def of_creator(session: Session, creator_id: int) -> Ways:
    """The ways into this account."""
    return Ways(
        password=bool(session.get_one(Creator, creator_id).password_hash),
        app=second.app_of(session, creator_id) is not None,
        passkeys=len(passkeys.of_creator(session, creator_id)),
        codes=second.codes_left(session, creator_id),
    )


def set_password(session: Session, creator_id: int, session_id: int, password_hash: str, visit: Visit) -> int:
    """Set or change the password and end all other sessions; returns how many those were."""
    session.get_one(Creator, creator_id).password_hash = password_hash
    ended = sessions.end_others(session, creator_id, session_id)
    history.note(session, creator_id, "password_set", visit)
    session.flush()
    return ended


def remove_password(session: Session, creator_id: int, visit: Visit) -> None:
    """Go without a password, and so without an authenticator app beside it. Raises UserError for the last way in."""
    ways = of_creator(session, creator_id)
    if not ways.password:
        raise UserError("This account has no password.")
    if ways.count < 2:
        raise UserError(LAST_WAY)
    session.get_one(Creator, creator_id).password_hash = passwords.NO_PASSWORD
    history.note(session, creator_id, "password_removed", visit)
    if ways.app:
        remove_app(session, creator_id, visit)
    session.flush()


def remove_app(session: Session, creator_id: int, visit: Visit) -> None:
    """Go without the authenticator app. Raises NotFound where there is none."""
    app = session.get(Authenticator, creator_id)
    if app is None:
        raise NotFound("No authenticator app is set up.")
    if app.confirmed_at is not None:
        history.note(session, creator_id, "app_removed", visit)
    session.delete(app)
    session.flush()


def rename_passkey(session: Session, creator_id: int, passkey_id: int, name: str, visit: Visit) -> None:
    """Call a passkey something else. Raises UserError, NotFound."""
    passkey, name = _own(session, creator_id, passkey_id), passkeys.clean_name(name)
    history.note(session, creator_id, "passkey_renamed", visit, f"{passkey.name} → {name}")
    passkey.name = name
    session.flush()


def remove_passkey(session: Session, creator_id: int, passkey_id: int, visit: Visit) -> None:
    """Forget a passkey. Raises UserError for the last way in, NotFound for another's."""
    passkey = _own(session, creator_id, passkey_id)
    if of_creator(session, creator_id).count < 2:
        raise UserError(LAST_WAY)
    history.note(session, creator_id, "passkey_removed", visit, passkey.name)
    session.delete(passkey)
    session.flush()


def _own(session: Session, creator_id: int, passkey_id: int) -> Passkey:
    passkey = session.get(Passkey, passkey_id)
    if passkey is None or passkey.creator_id != creator_id:
        raise NotFound("There is no such passkey among yours.")
    return passkey
