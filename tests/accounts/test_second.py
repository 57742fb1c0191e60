"""Codes that are typed: each is good once, also where eight threads type it at the same moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crowdfund.accounts import second
from crowdfund.accounts.models import Authenticator, RecoveryCode
from crowdfund.db import Database
from crowdfund.errors import UserError
from support.together import THREADS, together

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
STEP = timedelta(seconds=30)
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # that of the RFC


@pytest.fixture
def app(database: Database, alice: int) -> pyotp.TOTP:
    """Alice's app, set up a minute ago."""
    with database.transaction() as session:
        made = pyotp.TOTP(second.begin_app(session, alice, NOW).secret)
        second.confirm_app(session, alice, made.at(NOW - 2 * STEP), NOW - 2 * STEP)
    return made


@pytest.mark.parametrize(
    ("seconds", "code"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")]
)
def test_codes_are_those_of_the_rfc(seconds: int, code: str) -> None:
    assert second.step_of(SECRET, code, datetime.fromtimestamp(seconds, UTC)) == seconds // 30


@given(st.integers(30, 4_000_000_000), st.integers(-4, 4))
def test_a_clock_may_be_one_step_off(seconds: int, drift: int) -> None:
    code = pyotp.TOTP(SECRET).generate_otp(max(0, seconds // 30 + drift))
    found = second.step_of(SECRET, f" {code[:3]} {code[3:]}", datetime.fromtimestamp(seconds, UTC))
    if abs(drift) <= 1:
        assert found is not None and pyotp.TOTP(SECRET).generate_otp(found) == code
    elif found is not None:  # one in some three hundred thousand: another step has the same code
        assert pyotp.TOTP(SECRET).generate_otp(found) == code and abs(found - seconds // 30) <= 1


def test_a_code_is_good_once_and_none_before_it_is_afterwards(session: Session, alice: int, app: pyotp.TOTP) -> None:
    for code, good in (
        ("000000", False), (app.at(NOW), True), (app.at(NOW), False), (app.at(NOW - STEP), False),
        (app.at(NOW + STEP), True), (app.at(NOW), False), (app.at(NOW + 2 * STEP), False), ("", False),
        ("\u0661" * 6, False),
    ):  # fmt: skip
        assert second.use_app(session, alice, code, NOW) is good


def test_the_code_that_set_the_app_up_lets_nobody_in(session: Session, alice: int, app: pyotp.TOTP) -> None:
    assert not second.use_app(session, alice, app.at(NOW - 2 * STEP), NOW - 2 * STEP)


def test_an_app_is_good_for_nothing_before_it_has_shown_a_code(session: Session, alice: int) -> None:
    secret = second.begin_app(session, alice, NOW).secret
    code = pyotp.TOTP(secret).at(NOW)
    assert second.app_of(session, alice) is None and not second.use_app(session, alice, code, NOW)
    assert second.begin_app(session, alice, NOW).secret != secret, "one not taken into use is replaced"
    with pytest.raises(UserError, match="not the code"):
        second.confirm_app(session, alice, code, NOW)


def test_an_app_in_use_is_not_replaced(session: Session, alice: int, app: pyotp.TOTP) -> None:
    with pytest.raises(UserError, match="set up already"):
        second.begin_app(session, alice, NOW)
    with pytest.raises(UserError, match="not the code"):
        second.confirm_app(session, alice, app.at(NOW), NOW)


def test_eight_threads_use_a_code_of_the_app_once(database: Database, alice: int, app: pyotp.TOTP) -> None:
    def use(_: int) -> bool:
        with database.transaction() as session:
            return second.use_app(session, alice, app.at(NOW), NOW)

    assert sorted(together(use)) == [False] * (THREADS - 1) + [True]


def ready(database: Database, creator_id: int) -> list[str]:
    with database.transaction() as session:
        codes = second.new_codes(session, creator_id, NOW)
        second.activate_codes(session, creator_id, codes[3])
    return codes


def test_eight_threads_use_a_recovery_code_once(database: Database, alice: int) -> None:
    code = ready(database, alice)[0]

    def use(_: int) -> bool:
        with database.transaction() as session:
            return second.use_code(session, alice, code, NOW)

    assert sorted(together(use)) == [False] * (THREADS - 1) + [True]
    with database.reading() as session:
        assert second.codes_left(session, alice) == 9


def test_new_codes_are_good_once_one_was_asked_back(session: Session, alice: int) -> None:
    old = second.new_codes(session, alice, NOW)
    assert len(set(old)) == 10 and second.codes_waiting(session, alice)
    assert not second.use_code(session, alice, old[0], NOW)
    second.activate_codes(session, alice, old[0].upper().replace("-", " "))
    new = second.new_codes(session, alice, NOW)
    assert second.use_code(session, alice, old[1], NOW), "the paper that is at hand stays good until the new one is"
    for wrong in ("", old[2], new[0][:-1], "x" * 16):
        with pytest.raises(UserError, match="none of the ten"):
            second.activate_codes(session, alice, wrong)
    second.activate_codes(session, alice, new[9])
    assert second.codes_left(session, alice) == 10 and not second.codes_waiting(session, alice)
    assert not second.use_code(session, alice, old[2], NOW)
    assert [second.use_code(session, alice, code, NOW) for code in new] == [True] * 10
    assert second.codes_left(session, alice) == 0


def test_codes_are_kept_as_hashes_and_open_one_account_only(database: Database, alice: int) -> None:
    codes = ready(database, alice)
    with database.transaction() as session:
        kept = session.scalars(select(RecoveryCode.code_sha256)).all()
        assert not [c for c in codes if second.plain_code(c) in "".join(kept)]
        assert not second.use_code(session, alice + 1, codes[0], NOW)


@given(st.text(alphabet=second.CODE_LETTERS, min_size=16, max_size=16))
def test_a_code_is_read_however_it_was_written(code: str) -> None:
    written = code.upper().replace("O", "0").replace("L", "1").replace("B", "8")
    for shown in (code, written, " ".join(written), f"{code[:4]}-{code[4:8]} {code[8:]}"):
        assert second.plain_code(shown) == code


def test_the_tables_refuse_to_use_anything_twice(database: Database, alice: int, app: pyotp.TOTP) -> None:
    ready(database, alice)
    with database.transaction() as session:
        second.use_app(session, alice, app.at(NOW), NOW)
        row = session.scalars(select(RecoveryCode)).first()
        assert row is not None
        row.used_at = NOW
    for change in (
        {Authenticator.last_step: 1}, {Authenticator.secret: SECRET}, {Authenticator.confirmed_at: None},
        {RecoveryCode.active: False}, {RecoveryCode.used_at: None}, {RecoveryCode.code_sha256: "0" * 64},
    ):  # fmt: skip
        with pytest.raises(IntegrityError), database.transaction() as session:
            session.query(next(iter(change)).class_).update(change)  # type: ignore[arg-type]
