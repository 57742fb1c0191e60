"""Passwords: argon2id hashes (RFC 9106) and nothing else. Pure: no database, no clock.

Hashing takes a tenth of a second on purpose, so it is done outside of transactions.
"""

from __future__ import annotations

import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from crowdfund.errors import UserError
from crowdfund.sentences import Sentence

PASSWORD_MIN = 10
PASSWORD_LIMIT = 1000
NO_PASSWORD = ""  # what an account has in place of a hash where its owner uses passkeys only

_hasher = PasswordHasher()


def hashed(password: str) -> str:
    """The hash to keep. Raises UserError where the password is too short or too long."""
    if not PASSWORD_MIN <= len(password) <= PASSWORD_LIMIT:
        told = Sentence("Use a password of at least {least} characters; a short sentence is good.", least=PASSWORD_MIN)
        raise UserError(told, "password")
    return _hasher.hash(password)


def fits(kept: str | None, password: str) -> bool:
    """Is it the password of this hash? Takes as long where there is no hash at all."""
    try:
        _hasher.verify(kept or _nobody(), password[:PASSWORD_LIMIT])
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False
    return bool(kept)


def outdated(kept: str) -> bool:
    """Was this hash made with other costs than new ones are?"""
    return bool(kept) and _hasher.check_needs_rehash(kept)


@cache
def _nobody() -> str:
    return _hasher.hash(secrets.token_urlsafe(32))
