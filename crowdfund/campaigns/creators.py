"""Creators' accounts: sign up, log in, tokens for the API. Passwords are kept as argon2id hashes (RFC 9106)."""

from __future__ import annotations

import secrets
import unicodedata
from datetime import datetime
from functools import cache
from hashlib import sha256

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crowdfund.campaigns.models import ApiToken, Creator
from crowdfund.errors import UserError

NAME_LIMIT = 40
PASSWORD_MIN = 10
PASSWORD_LIMIT = 1000

_hasher = PasswordHasher()


def sign_up(session: Session, name: str, password: str, now: datetime) -> Creator:
    """A new creator. Raises UserError if the name is taken or unusable, or the password too short."""
    name = clean_name(name)
    if not PASSWORD_MIN <= len(password) <= PASSWORD_LIMIT:
        raise UserError(f"Use a password of at least {PASSWORD_MIN} characters; a short sentence is good.", "password")
    creator = Creator(name=name, key=_key(name), password_hash=_hasher.hash(password), created_at=now)
    session.add(creator)
    try:
        session.flush()
    except IntegrityError as error:
        raise UserError("This name is taken; choose another one.", "name") from error
    return creator


def log_in(session: Session, name: str, password: str) -> Creator:
    """The creator with this name and password. Raises UserError with one sentence for every failure.

    A password is verified even where the name is unknown, so that the time taken tells nothing.
    """
    creator = session.scalar(select(Creator).where(Creator.key == _key(name.strip())))
    try:
        _hasher.verify(creator.password_hash if creator else _nobody(), password[:PASSWORD_LIMIT])
    except (VerificationError, InvalidHashError) as error:
        raise UserError("Name and password do not fit together.", "password") from error
    if creator is None:
        raise UserError("Name and password do not fit together.", "password")
    return creator


def create_token(session: Session, name: str, now: datetime) -> str:
    """A new bearer token of the creator `name`, who is made if unknown (without a usable password)."""
    creator = session.scalar(select(Creator).where(Creator.key == _key(name.strip())))
    if creator is None:
        creator = sign_up(session, name, secrets.token_urlsafe(32), now)
    token = secrets.token_urlsafe(32)
    session.add(ApiToken(creator_id=creator.id, token_sha256=_digest(token), created_at=now))
    return token


def creator_of_token(session: Session, token: str) -> Creator | None:
    """Whose token this is, None if nobody's."""
    return session.scalar(
        select(Creator).join(ApiToken, ApiToken.creator_id == Creator.id).where(ApiToken.token_sha256 == _digest(token))
    )


def clean_name(name: str) -> str:
    """A name fit to be shown: trimmed, composed, without control characters. Raises UserError otherwise."""
    name = unicodedata.normalize("NFC", name.strip())
    if not 2 <= len(name) <= NAME_LIMIT or not all(c.isprintable() for c in name):
        raise UserError(f"A name has 2 to {NAME_LIMIT} visible characters.", "name")
    return name


def _key(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


@cache
def _nobody() -> str:
    return _hasher.hash(secrets.token_urlsafe(32))
