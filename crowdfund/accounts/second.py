"""Second factors that are typed: codes of an authenticator app (RFC 6238), and recovery codes. Each is good once.

Whoever counts on "once" calls these inside a transaction that writes: the database lets one such in at a time.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest

import pyotp
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from crowdfund.accounts.models import Authenticator, RecoveryCode
from crowdfund.errors import UserError

STEP = timedelta(seconds=30)
DRIFT = (0, -1, 1)  # steps that a clock may be off
CODES = 10
CODE_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"  # base32: 5 bits each
CODE_LENGTH = 16
_MISREAD = str.maketrans("018", "olb")  # digits that are no letters of base32, as what they were read for


def begin_app(session: Session, creator_id: int, now: datetime) -> Authenticator:
    """A new secret, good for nothing before a code of it was typed. Raises UserError where an app is in use."""
    found = session.get(Authenticator, creator_id)
    if found is not None and found.confirmed_at is not None:
        raise UserError("An authenticator app is set up already; remove it first.")
    session.execute(delete(Authenticator).where(Authenticator.creator_id == creator_id))
    made = Authenticator(creator_id=creator_id, secret=pyotp.random_base32(32), last_step=0, created_at=now)
    session.add(made)
    session.flush()
    return made


def app_of(session: Session, creator_id: int) -> Authenticator | None:
    """The authenticator app in use, if any."""
    found = session.get(Authenticator, creator_id)
    return found if found is not None and found.confirmed_at is not None else None


def setup_uri(secret: str, name: str, site_name: str) -> str:
    """What an app reads from the QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=site_name)


def confirm_app(session: Session, creator_id: int, code: str, now: datetime) -> None:
    """Take the app into use, now that it has shown a code. Raises UserError."""
    app = session.get(Authenticator, creator_id)
    if app is None or app.confirmed_at is not None or not _use(session, app, code, now):
        raise UserError(
            "This is not the code that the app should show now. Check that the clock of your device is right.", "code"
        )
    session.execute(update(Authenticator).where(Authenticator.creator_id == creator_id).values(confirmed_at=now))


def use_app(session: Session, creator_id: int, code: str, now: datetime) -> bool:
    """Is this a code that the app shows now, and that was not used before? Then it is used."""
    app = app_of(session, creator_id)
    return app is not None and _use(session, app, code, now)


def step_of(secret: str, code: str, now: datetime) -> int | None:
    """The time step whose code this is: the one of `now` or one beside it; None if of neither."""
    code = re.sub(r"\s", "", code)
    totp, here = pyotp.TOTP(secret), int(now.timestamp()) // int(STEP.total_seconds())
    for step in (here + drift for drift in DRIFT):
        if compare_digest(totp.generate_otp(step).encode(), code.encode(errors="replace")):
            return step
    return None


def new_codes(session: Session, creator_id: int, now: datetime) -> list[str]:
    """Ten new codes, to be shown once. The ones before stay good until one of these is asked back."""
    waiting = RecoveryCode.active.is_(False)
    session.execute(delete(RecoveryCode).where(RecoveryCode.creator_id == creator_id, waiting))
    codes = ["".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH)) for _ in range(CODES)]
    rows = [RecoveryCode(creator_id=creator_id, code_sha256=_digest(c), active=False, created_at=now) for c in codes]
    session.add_all(rows)
    session.flush()
    return ["-".join(re.findall("....", code)) for code in codes]


def activate_codes(session: Session, creator_id: int, code: str) -> None:
    """Make the new codes good and the old ones worthless, now that one of the new was typed. Raises UserError."""
    mine = RecoveryCode.creator_id == creator_id
    wanted = select(RecoveryCode.id).where(mine, RecoveryCode.active.is_(False))
    if session.scalar(wanted.where(RecoveryCode.code_sha256 == _digest(plain_code(code)))) is None:
        raise UserError("This is none of the ten new codes. Look at what you have written down.", "code")
    session.execute(delete(RecoveryCode).where(mine, RecoveryCode.active))
    session.execute(update(RecoveryCode).where(mine).values(active=True))


def use_code(session: Session, creator_id: int, code: str, now: datetime) -> bool:
    """Is this a recovery code that was not used before? Then it is used."""
    unused = RecoveryCode.active & RecoveryCode.used_at.is_(None)
    mine = (RecoveryCode.creator_id == creator_id) & (RecoveryCode.code_sha256 == _digest(plain_code(code)))
    used = update(RecoveryCode).where(mine, unused).values(used_at=now).returning(RecoveryCode.id)
    return session.scalar(used) is not None


def codes_left(session: Session, creator_id: int) -> int:
    """How many recovery codes are still good."""
    unused = select(func.count()).where(RecoveryCode.active, RecoveryCode.used_at.is_(None))
    return session.scalar(unused.where(RecoveryCode.creator_id == creator_id)) or 0


def codes_waiting(session: Session, creator_id: int) -> bool:
    """Were new codes shown, of which none was asked back yet?"""
    waiting = select(func.count()).where(RecoveryCode.active.is_(False), RecoveryCode.creator_id == creator_id)
    return bool(session.scalar(waiting))


def plain_code(text: str) -> str:
    """A recovery code as it is counted, however it was typed."""
    return re.sub(r"[\s-]", "", text).lower().translate(_MISREAD)


def _use(session: Session, app: Authenticator, code: str, now: datetime) -> bool:
    step = step_of(app.secret, code, now)
    if step is None:
        return False
    later = update(Authenticator).where(Authenticator.creator_id == app.creator_id, Authenticator.last_step < step)
    return session.scalar(later.values(last_step=step).returning(Authenticator.creator_id)) is not None


def _digest(code: str) -> str:
    return sha256(code.encode(errors="surrogatepass")).hexdigest()
