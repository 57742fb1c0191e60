"""Coming in: by password, by passkey, with a second factor, with a recovery code. Every failure is told alike.

A wrong attempt costs the same work whether the account exists or not: one password is hashed, one transaction
written. What may be tried how often is `limits`' business, before anything here is called.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from crowdfund.accounts import history, limits, passkeys, passwords, people, second, sessions, ways
from crowdfund.accounts.history import Visit
from crowdfund.accounts.models import WebSession
from crowdfund.accounts.passkeys import Asked, ClonedKey, Site
from crowdfund.campaigns.models import Creator
from crowdfund.db import Database
from crowdfund.errors import UserError

WRONG_CODE = "This code is not right, or was used before. Wait for the next one, or use a recovery code."
WRONG_CONFIRMATION = "That does not fit. Nothing has changed."
WRONG_RECOVERY = "These do not fit together. Check each of them; a recovery code is good once."


@dataclass(frozen=True)
class Entered:
    """A session that has begun: its token, whose it is, and whether it still owes a second factor."""

    token: str
    creator_id: int
    second_due: bool = False


def by_password(database: Database, name: str, password: str, visit: Visit) -> Entered:
    """A session, half one where the account asks for more. Raises UserError with one sentence for every failure."""
    creator = right_password(database, name, password)
    with database.transaction() as session:
        if creator is None:
            _note_failure(session, name, "failed", visit)
        else:
            return _half_or_whole(session, creator, visit)
    raise UserError(people.WRONG, "password")


def right_password(database: Database, name: str, password: str) -> Creator | None:
    """The creator of this name if the password is right; a hash of other costs than today's is made anew."""
    with database.reading() as session:
        creator = people.find(session, name)
    kept = creator.password_hash if creator else None
    if not passwords.fits(kept, password) or creator is None:
        return None
    if passwords.outdated(creator.password_hash):
        _hash_anew(database, creator, password)
    return creator


def by_passkey(database: Database, site: Site, asked: Asked, credential: str, visit: Visit) -> Entered:
    """A session. Raises UserError; a counter that went back is noted in the log of its account."""
    try:
        with database.transaction() as session:
            passkey = passkeys.show(session, site, asked, credential, visit.now)
            history.note(session, passkey.creator_id, "logged_in", visit, f"passkey {passkey.name}")
            return Entered(sessions.begin(session, passkey.creator_id, "passkey", visit), passkey.creator_id)
    except ClonedKey as cloned:
        _note_clone(database, cloned, visit)
        raise


def finish_with_app(database: Database, half: WebSession, code: str, visit: Visit) -> Entered:
    """A whole session in place of the half one. Raises UserError."""
    with database.transaction() as session:
        if second.use_app(session, half.creator_id, code, visit.now):
            return _whole(session, half, visit, "password and app")
        history.note(session, half.creator_id, "second_failed", visit)
    raise UserError(WRONG_CODE, "code")


def finish_with_passkey(
    database: Database, site: Site, half: WebSession, asked: Asked, credential: str, visit: Visit
) -> Entered:
    """A whole session in place of the half one. Raises UserError."""
    try:
        with database.transaction() as session:
            passkey = passkeys.show(session, site, asked, credential, visit.now)
            return _whole(session, half, visit, f"password and passkey {passkey.name}")
    except ClonedKey as cloned:
        _note_clone(database, cloned, visit)
        raise


def recover(
    database: Database, name: str, password: str, app_code: str, code: str, visit: Visit, half: WebSession | None = None
) -> Entered:
    """A session by a recovery code, which stands in for one thing that was lost.

    Where an account asks for two things, the other one must still be shown: the password (which a half session has
    shown already) or a code of the app. Nothing is removed. Raises UserError.
    """
    shown = half is not None or right_password(database, name, password) is not None
    with database.transaction() as session:
        found = session.get(Creator, half.creator_id) if half else people.find(session, name)
        if found is not None and _recovers(session, found.id, shown, app_code, code, visit):
            return _recovered(session, found.id, half, visit)
        _note_failure(session, name, "recovery_failed", visit, found)
    raise UserError(WRONG_RECOVERY, "recovery_code")


def confirm_by_password(
    database: Database, row: WebSession, name: str, password: str, app_code: str, visit: Visit
) -> str:
    """Show the password once more, and a code of the app where there is one; returns the session's new token.

    Raises UserError; also where the account asks for a passkey beside the password, and so for a passkey alone.
    """
    right = right_password(database, name, password) is not None
    with database.transaction() as session:
        found = ways.of_creator(session, row.creator_id)
        if right and (not found.two_steps or second.use_app(session, row.creator_id, app_code, visit.now)):
            return sessions.rotate(session, row.id, visit.now, proven=True)
        history.note(session, row.creator_id, "confirm_failed", visit)
    raise UserError(WRONG_CONFIRMATION, "password")


def confirm_by_passkey(
    database: Database, site: Site, row: WebSession, asked: Asked, credential: str, visit: Visit
) -> str:
    """Show a passkey once more; returns the session's new token. Raises UserError."""
    try:
        with database.transaction() as session:
            passkeys.show(session, site, asked, credential, visit.now)
            return sessions.rotate(session, row.id, visit.now, proven=True)
    except ClonedKey as cloned:
        _note_clone(database, cloned, visit)
        raise


def _recovers(session: Session, creator_id: int, shown: bool, app_code: str, code: str, visit: Visit) -> bool:
    enough = shown or not ways.of_creator(session, creator_id).two_steps
    enough = enough or second.use_app(session, creator_id, app_code, visit.now)
    return enough and second.use_code(session, creator_id, code, visit.now)


def _recovered(session: Session, creator_id: int, half: WebSession | None, visit: Visit) -> Entered:
    if half is not None:
        sessions.end(session, half.creator_id, half.id)
    left = second.codes_left(session, creator_id)
    history.note(session, creator_id, "recovered", visit, f"{left} codes left")
    return Entered(sessions.begin(session, creator_id, "recovery", visit), creator_id)


def _half_or_whole(session: Session, creator: Creator, visit: Visit) -> Entered:
    due = ways.of_creator(session, creator.id).two_steps
    if not due:
        history.note(session, creator.id, "logged_in", visit, "password")
    return Entered(sessions.begin(session, creator.id, "password", visit, due), creator.id, due)


def _whole(session: Session, half: WebSession, visit: Visit, how: str) -> Entered:
    """The half session must still be there: of two that would finish it, one comes too late."""
    sessions.end(session, half.creator_id, half.id)
    history.note(session, half.creator_id, "logged_in", visit, how)
    return Entered(sessions.begin(session, half.creator_id, "password", visit), half.creator_id)


def _hash_anew(database: Database, creator: Creator, password: str) -> None:
    fresh = passwords.hashed(password)
    with database.transaction() as session:
        row = session.get_one(Creator, creator.id)
        if row.password_hash == creator.password_hash:  # it may have been changed meanwhile
            row.password_hash = fresh


def _note_failure(session: Session, name: str, kind: str, visit: Visit, found: Creator | None = None) -> None:
    limits.count(session, limits.FAILED, people.key_of(name.strip()), visit.now)
    creator = found or people.find(session, name)
    if creator is not None:
        history.note(session, creator.id, kind, visit)


def _note_clone(database: Database, cloned: ClonedKey, visit: Visit) -> None:
    with database.transaction() as session:
        history.note(session, cloned.creator_id, "passkey_refused", visit, cloned.name)
