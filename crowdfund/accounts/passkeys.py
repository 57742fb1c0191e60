"""Passkeys (WebAuthn level 3): asking for one, and judging what a browser brings. The library checks signatures.

Each question is random, belongs to one purpose, may be answered once within five minutes, and only by the browser that
was asked (the pages keep it in that browser's signed cookie). A passkey must know its owner (user verification), and
be found without a name (resident), so that nobody need say who they are before.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

import webauthn
from sqlalchemy import delete, select
from sqlalchemy.orm import Session
from webauthn.helpers import (
    base64url_to_bytes,
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    exceptions,
    structs,
)

from crowdfund.accounts.models import Passkey, PasskeyChallenge
from crowdfund.db import Database
from crowdfund.errors import UserError

CHALLENGE_LIFE = timedelta(minutes=5)
MOST = 20
NAME_LIMIT = 40
CREDENTIAL_LIMIT = 20_000  # characters of JSON; those of real authenticators are a tenth of it
# What the library runs into where an answer is of another form than any authenticator's.
UNREADABLE = (exceptions.WebAuthnException, ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
ID_BYTES, KEY_BYTES = (16, 1023), (32, 4096)
REFUSED = "This passkey was not accepted. Nothing has changed; please try again."
CLONED = (
    "This passkey was refused: its counter went back, as that of a copy does. Come in by another way, and remove it "
    "if you cannot explain that."
)


class ClonedKey(UserError):
    """A rightly signed answer whose counter is not higher than before, of a passkey of this account."""

    def __init__(self, passkey: Passkey) -> None:
        super().__init__(CLONED)
        self.creator_id, self.name = passkey.creator_id, passkey.name


@dataclass(frozen=True)
class Site:
    """What passkeys are bound to: the domain (`rp_id`) and the exact origin of the pages."""

    rp_id: str
    origin: str
    name: str


@dataclass(frozen=True)
class Question:
    """What a browser is asked: the options in JSON, and the challenge in them."""

    options: str
    challenge: bytes


@dataclass(frozen=True)
class Asked:
    """A challenge that was given out, taken back: it cannot be taken again."""

    challenge: bytes
    creator_id: int | None
    user_handle: bytes | None


def site_of(base_url: str, name: str) -> Site | None:
    """Where passkeys are good, by the address of the site; None where browsers allow none (a bare IP address).

    A site on this machine's own address is reached as `localhost`, which they do allow.
    """
    parts = urlsplit(base_url)
    host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    try:
        if not ip_address(host).is_loopback:
            return None
        host = "localhost"
    except ValueError:
        pass
    if parts.scheme != "https" and host != "localhost":
        return None
    return Site(host, f"{parts.scheme}://{host}{port}", name)


def ask_for_new(
    session: Session, site: Site, purpose: str, name: str, creator_id: int | None, now: datetime
) -> Question:
    """Ask for a passkey to be made for `name`: a new account (`sign_up`), or one more of an account (`add`)."""
    known = of_creator(session, creator_id) if creator_id else []
    if len(known) >= MOST:
        raise UserError(f"An account has at most {MOST} passkeys; remove one that you do not use.")
    handle = known[0].user_handle if known else secrets.token_bytes(32)
    challenge = _give_out(session, purpose, creator_id, handle, now)
    options = webauthn.generate_registration_options(
        rp_id=site.rp_id,
        rp_name=site.name,
        user_name=name,
        user_id=handle,
        challenge=challenge,
        exclude_credentials=[structs.PublicKeyCredentialDescriptor(id=k.credential_id) for k in known],
        authenticator_selection=structs.AuthenticatorSelectionCriteria(
            resident_key=structs.ResidentKeyRequirement.REQUIRED,
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        ),
    )
    return Question(webauthn.options_to_json(options), challenge)


def ask_for_known(session: Session, site: Site, purpose: str, creator_id: int | None, now: datetime) -> Question:
    """Ask for a passkey that the site knows: any (`log_in`), or one of this account (`second`, `confirm`)."""
    challenge = _give_out(session, purpose, creator_id, None, now)
    known = of_creator(session, creator_id) if creator_id else []
    options = webauthn.generate_authentication_options(
        rp_id=site.rp_id,
        challenge=challenge,
        allow_credentials=[structs.PublicKeyCredentialDescriptor(id=k.credential_id) for k in known],
        user_verification=structs.UserVerificationRequirement.REQUIRED,
    )
    return Question(webauthn.options_to_json(options), challenge)


def take_back(database: Database, challenge: bytes, purpose: str, creator_id: int | None, now: datetime) -> Asked:
    """Take a challenge out of circulation. Raises UserError unless it was given out for this, and not long ago.

    A transaction of its own: the answer may still be wrong, and then the challenge is gone all the same.
    """
    gone = delete(PasskeyChallenge).where(PasskeyChallenge.challenge == challenge)
    columns = (PasskeyChallenge.purpose, PasskeyChallenge.creator_id, PasskeyChallenge.expires_at)
    with database.transaction() as session:
        row = session.execute(gone.returning(*columns, PasskeyChallenge.user_handle)).one_or_none()
    if row is None or (row.purpose, row.creator_id) != (purpose, creator_id) or row.expires_at <= now:
        raise UserError("That took too long, or was sent twice. Please try again.")
    return Asked(challenge, row.creator_id, row.user_handle)


def add(
    session: Session, site: Site, asked: Asked, creator_id: int, credential: str, name: str, now: datetime
) -> Passkey:
    """Keep the passkey that a browser has made. Raises UserError for all but an honest answer to what was asked."""
    name = clean_name(name)
    try:
        made = webauthn.verify_registration_response(
            credential=_credential(credential),
            expected_challenge=asked.challenge,
            expected_rp_id=site.rp_id,
            expected_origin=site.origin,
            require_user_verification=True,
        )
        _check_key(made.credential_id, made.credential_public_key)
    except UNREADABLE as error:
        raise UserError(REFUSED) from error
    if session.scalar(select(Passkey.id).where(Passkey.credential_id == made.credential_id)) is not None:
        raise UserError("This passkey is known already.")
    passkey = Passkey(
        creator_id=creator_id,
        credential_id=made.credential_id,
        public_key=made.credential_public_key,
        user_handle=asked.user_handle,
        sign_count=made.sign_count,
        name=name,
        created_at=now,
    )
    session.add(passkey)
    session.flush()
    return passkey


def show(session: Session, site: Site, asked: Asked, credential: str, now: datetime) -> Passkey:
    """The passkey that was shown, whose use is noted. Raises UserError; ClonedKey where its counter went back."""
    answer = _credential(credential)
    passkey = _named(session, answer)
    if passkey is None or asked.creator_id not in (None, passkey.creator_id):
        raise UserError(REFUSED)
    try:
        shown = webauthn.verify_authentication_response(
            credential=answer,
            expected_challenge=asked.challenge,
            expected_rp_id=site.rp_id,
            expected_origin=site.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=0,  # judged below, where the signature is known to be right
            require_user_verification=True,
        )
    except UNREADABLE as error:
        raise UserError(REFUSED) from error
    if not counts_on(passkey.sign_count, shown.new_sign_count):
        raise ClonedKey(passkey)
    passkey.sign_count, passkey.last_used_at = shown.new_sign_count, now
    session.flush()
    return passkey


def counts_on(before: int, now: int) -> bool:
    """Does a counter go on as an honest one does? One that stays 0 counts nothing."""
    return now > before or before == now == 0


def of_creator(session: Session, creator_id: int) -> list[Passkey]:
    """All passkeys of an account, the oldest first."""
    return list(session.scalars(select(Passkey).where(Passkey.creator_id == creator_id).order_by(Passkey.id)))


def clean_name(name: str) -> str:
    """What a person calls a passkey. Raises UserError."""
    name = name.strip() or "Passkey"
    if len(name) > NAME_LIMIT or not name.isprintable():
        raise UserError(f"A passkey’s name has at most {NAME_LIMIT} visible characters.", "passkey_name")
    return name


def _give_out(
    session: Session, purpose: str, creator_id: int | None, user_handle: bytes | None, now: datetime
) -> bytes:
    session.execute(delete(PasskeyChallenge).where(PasskeyChallenge.expires_at < now))
    row = PasskeyChallenge(challenge=secrets.token_bytes(32), purpose=purpose, creator_id=creator_id)
    row.user_handle, row.expires_at = user_handle, now + CHALLENGE_LIFE
    session.add(row)
    session.flush()
    return row.challenge


def _check_key(credential_id: bytes, public_key: bytes) -> None:
    """A key that no signature can ever be checked with is no way in. Raises one of UNREADABLE."""
    decoded_public_key_to_cryptography(decode_credential_public_key(public_key))
    for part, (low, high) in ((credential_id, ID_BYTES), (public_key, KEY_BYTES)):
        if not low <= len(part) <= high:
            raise ValueError("too short or too long")


def _credential(text: str) -> dict[str, object]:
    try:
        found = json.loads(text) if len(text) <= CREDENTIAL_LIMIT else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError("No passkey was sent. Your browser needs JavaScript for that.")
    return found


def _named(session: Session, answer: dict[str, object]) -> Passkey | None:
    """The passkey that an answer claims to be of; its user handle, where it has one, must be the account's."""
    response = answer.get("response")
    handle = response.get("userHandle") if isinstance(response, dict) else None
    try:
        credential_id = base64url_to_bytes(str(answer.get("id")))
        named = base64url_to_bytes(str(handle)) if handle else None
    except ValueError:
        return None
    passkey = session.scalar(select(Passkey).where(Passkey.credential_id == credential_id))
    return passkey if passkey is not None and named in (None, passkey.user_handle) else None
