"""Passkeys, against an authenticator in software that lies in every way that one could."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from crowdfund.accounts import entering, history, passkeys, people, ways
from crowdfund.accounts.history import Visit
from crowdfund.accounts.models import Passkey, PasskeyChallenge
from crowdfund.accounts.passkeys import Asked, ClonedKey, Question, Site, counts_on, site_of
from crowdfund.db import Database
from crowdfund.errors import UserError
from support.passkeys import SoftKey, packed
from support.together import together

SITE = Site("localhost", "http://localhost:8000", "Seedbed")


def ask(database: Database, visit: Visit, purpose: str, creator_id: int | None = None) -> Question:
    with database.transaction() as session:
        if purpose in ("sign_up", "add"):
            return passkeys.ask_for_new(session, SITE, purpose, "Alice", creator_id, visit.now)
        return passkeys.ask_for_known(session, SITE, purpose, creator_id, visit.now)


def taken(database: Database, visit: Visit, purpose: str, creator_id: int | None = None) -> tuple[Asked, str]:
    question = ask(database, visit, purpose, creator_id)
    return passkeys.take_back(database, question.challenge, purpose, creator_id, visit.now), question.options


def added(database: Database, visit: Visit, creator_id: int, key: SoftKey, name: str = "Phone") -> int:
    asked, options = taken(database, visit, "add", creator_id)
    with database.transaction() as session:
        return passkeys.add(session, SITE, asked, creator_id, key.make(options), name, visit.now).id


@pytest.fixture
def key(database: Database, visit: Visit, alice: int) -> SoftKey:
    """Alice's passkey."""
    made = SoftKey()
    added(database, visit, alice, made)
    return made


def shown(database: Database, visit: Visit, key: SoftKey) -> int:
    asked, options = taken(database, visit, "log_in")
    return entering.by_passkey(database, SITE, asked, key.show(options), visit).creator_id


def events(database: Database, creator_id: int) -> list[str]:
    with database.reading() as session:
        return [e.kind for e in history.latest(session, creator_id)]


def test_a_passkey_names_its_account_itself(database: Database, visit: Visit, alice: int, key: SoftKey) -> None:
    later = replace(visit, now=visit.now + timedelta(days=1))
    assert shown(database, later, key) == alice
    with database.reading() as session:
        kept = session.scalars(select(Passkey)).one()
        assert (kept.name, kept.sign_count, kept.last_used_at) == ("Phone", 2, later.now)
    assert events(database, alice) == ["logged_in"]


def test_all_passkeys_of_an_account_know_it_by_one_handle(database: Database, visit: Visit, alice: int) -> None:
    first, second = SoftKey(), SoftKey()
    added(database, visit, alice, first)
    question = ask(database, visit, "add", alice)
    assert packed(first.credential_id) in question.options, "so that a device makes no second one"
    added(database, visit, alice, second, "Key ring")
    assert first.handle == second.handle and len(first.handle) == 32
    assert shown(database, visit, second) == alice


def test_what_is_asked_for_is_resident_and_knows_its_owner(database: Database, visit: Visit) -> None:
    new = json.loads(ask(database, visit, "sign_up").options)
    assert new["authenticatorSelection"]["residentKey"] == "required"
    assert new["authenticatorSelection"]["userVerification"] == "required"
    assert new["rp"]["id"] == "localhost" and new["attestation"] == "none"
    known = json.loads(ask(database, visit, "log_in").options)
    assert known["userVerification"] == "required" and known["allowCredentials"] == []


@pytest.mark.parametrize(
    "lie",
    [
        {"origin": "http://localhost:8001"},
        {"origin": "https://localhost:8000"},
        {"origin": "http://evil.example"},
        {"rp_id": "evil.example"},
        {"verifies": False},
    ],
    ids=str,
)
def test_a_passkey_of_elsewhere_or_without_its_owner_is_refused(
    database: Database, visit: Visit, alice: int, key: SoftKey, lie: dict[str, object]
) -> None:
    liar = replace(key, **lie)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="not accepted"):
        shown(database, visit, liar)
    with pytest.raises(UserError, match="not accepted"):
        added(database, visit, alice, replace(SoftKey(), **lie))  # type: ignore[arg-type]
    assert shown(database, visit, key) == alice


def test_a_copy_is_refused_and_its_owner_told(database: Database, visit: Visit, alice: int, key: SoftKey) -> None:
    copy = replace(key)
    assert [shown(database, visit, key) for _ in range(3)] == [alice] * 3
    with pytest.raises(ClonedKey, match="counter went back"):
        shown(database, visit, copy)
    assert "passkey_refused" in events(database, alice)
    with database.reading() as session:
        assert session.scalars(select(Passkey.sign_count)).one() == 4, "what was refused moves nothing"
    stranger = replace(copy, key=SoftKey().key)
    with pytest.raises(UserError, match="not accepted") as refused:
        shown(database, visit, stranger)
    assert not isinstance(refused.value, ClonedKey), "a wrong signature writes no alarm"


@pytest.mark.parametrize(
    ("before", "now", "honest"),
    [(0, 0, True), (0, 1, True), (1, 2, True), (1, 1, False), (2, 1, False), (1, 0, False), (4294967295, 0, False)],
)
def test_counters(before: int, now: int, honest: bool) -> None:
    assert counts_on(before, now) is honest


def test_an_authenticator_that_does_not_count_is_let_in(database: Database, visit: Visit, alice: int) -> None:
    still = SoftKey(count=0, step=0)
    added(database, visit, alice, still)
    assert [shown(database, visit, still) for _ in range(2)] == [alice] * 2


def test_a_question_is_answered_once_in_time_and_for_its_purpose(database: Database, visit: Visit, alice: int) -> None:
    late = visit.now + passkeys.CHALLENGE_LIFE
    for purpose, creator_id, now in (
        ("add", alice, visit.now), ("log_in", alice, visit.now), ("confirm", None, visit.now), ("log_in", None, late),
    ):  # fmt: skip
        challenge = ask(database, visit, "log_in").challenge
        with pytest.raises(UserError, match="too long, or was sent twice"):
            passkeys.take_back(database, challenge, purpose, creator_id, now)
        with pytest.raises(UserError, match="too long, or was sent twice"):  # the wrong answer has used it up
            passkeys.take_back(database, challenge, "log_in", None, visit.now)
    for challenge in (b"", b"x" * 32):
        with pytest.raises(UserError):
            passkeys.take_back(database, challenge, "log_in", None, visit.now)


def test_eight_threads_answer_a_question_once(database: Database, visit: Visit) -> None:
    challenge = ask(database, visit, "log_in").challenge

    def answer(_: int) -> bool:
        try:
            passkeys.take_back(database, challenge, "log_in", None, visit.now)
        except UserError:
            return False
        return True

    assert sum(together(answer)) == 1


def test_an_answer_to_another_question_is_refused(database: Database, visit: Visit, alice: int, key: SoftKey) -> None:
    old = ask(database, visit, "log_in").options
    asked, _ = taken(database, visit, "log_in")
    with pytest.raises(UserError, match="not accepted"):
        entering.by_passkey(database, SITE, asked, key.show(old), visit)


def test_anothers_passkey_confirms_nothing(database: Database, visit: Visit, alice: int, key: SoftKey) -> None:
    with database.transaction() as session:
        bob = people.sign_up(session, "Bob", "correct horse battery", visit.now).id
    asked, options = taken(database, visit, "confirm", bob)
    with pytest.raises(UserError, match="not accepted"), database.transaction() as session:
        passkeys.show(session, SITE, asked, key.show(options), visit.now)
    asked, options = taken(database, visit, "log_in")
    handle = {"userHandle": packed(b"x" * 32)}
    with pytest.raises(UserError, match="not accepted"):
        entering.by_passkey(database, SITE, asked, key.show(options, **handle), visit)


def test_a_credential_belongs_to_one_account(database: Database, visit: Visit, alice: int, key: SoftKey) -> None:
    with database.transaction() as session:
        bob = people.sign_up(session, "Bob", "correct horse battery", visit.now).id
    with pytest.raises(UserError, match="known already"):
        added(database, visit, bob, key)


def test_the_last_way_in_stays(database: Database, visit: Visit, alice: int, key: SoftKey) -> None:
    with database.transaction() as session:
        ways.remove_password(session, alice, visit)
    only = added_id(database)
    with pytest.raises(UserError, match="last way"), database.transaction() as session:
        ways.remove_passkey(session, alice, only, visit)
    with pytest.raises(IntegrityError), database.transaction() as session:  # by hand neither
        session.delete(session.get_one(Passkey, only))
    second = added(database, visit, alice, SoftKey(), "Key ring")
    with database.transaction() as session:
        ways.remove_passkey(session, alice, only, visit)
    with pytest.raises(UserError, match="last way"), database.transaction() as session:
        ways.remove_passkey(session, alice, second, visit)


def test_of_two_ways_removed_at_once_one_stays(database: Database, visit: Visit, alice: int, key: SoftKey) -> None:
    only = added_id(database)

    def remove(number: int) -> bool:
        try:
            with database.transaction() as session:
                if number % 2:
                    ways.remove_passkey(session, alice, only, visit)
                else:
                    ways.remove_password(session, alice, visit)
        except UserError:
            return False
        return True

    assert sum(together(remove)) == 1
    with database.reading() as session:
        assert ways.of_creator(session, alice).count == 1


def test_names_of_passkeys(database: Database, visit: Visit, alice: int, key: SoftKey) -> None:
    with database.transaction() as session:
        ways.rename_passkey(session, alice, added_id(database), "  Blue key ", visit)
        assert [k.name for k in passkeys.of_creator(session, alice)] == ["Blue key"]
    for name in ("x" * 41, "a\nb", "a\u202eb"):
        with pytest.raises(UserError, match="40 visible"):
            passkeys.clean_name(name)
    with pytest.raises(UserError, match="no such passkey"), database.transaction() as session:
        ways.rename_passkey(session, alice + 1, added_id(database), "mine", visit)


def added_id(database: Database) -> int:
    with database.reading() as session:
        return session.scalars(select(Passkey.id).order_by(Passkey.id)).all()[0]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.binary(max_size=40).map(packed),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["id", "rawId", "type", "response", "clientDataJSON", "attestationObject", "authenticatorData", "signature",
         "userHandle"]), inner, max_size=9),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=JUNK, cut=st.integers(0, 900))
def test_junk_is_refused_with_a_sentence(database: Database, visit: Visit, alice: int, junk: object, cut: int) -> None:
    key = SoftKey()
    asked, options = taken(database, visit, "add", alice)
    honest = json.loads(key.make(options))
    mixed = {**honest, "response": junk}
    bent = {**honest, "response": {**honest["response"], "attestationObject": bend(honest, cut)}}
    for text in (json.dumps(junk), json.dumps(mixed), json.dumps(bent), "{", "[" * 9_000, "x" * 30_000):
        with pytest.raises(UserError), database.transaction() as session:
            passkeys.add(session, SITE, asked, alice, text, "", visit.now)
        with pytest.raises(UserError), database.transaction() as session:
            passkeys.show(session, SITE, Asked(asked.challenge, None, None), text, visit.now)


COORDINATES = {-2: b"x" * 32, -3: b"y" * 32}


@pytest.mark.parametrize(
    "public_key",
    [
        {1: 2, 3: -7, -1: 1, -2: b"x", -3: b"y"},
        {1: 2, 3: -7, -1: 1, -2: 5, -3: 6},
        {1: 2, 3: -7, -1: 1, -2: b"x" * 5_000, -3: b"y" * 5_000},
        {1: 2, 3: -7, -1: 1, **COORDINATES},  # no point of the curve
        {1: 2, 3: -7, -1: 99, **COORDINATES},
        {1: 3, 3: -257, -1: b"n" * 4_500, -2: b"\1\0\1"},
        {},
        [1],
        5,
        "x",
    ],
    ids=str,
)
def test_a_key_that_checks_nothing_is_no_way_in(
    database: Database, visit: Visit, alice: int, public_key: object
) -> None:
    def bent(key: SoftKey) -> bytes:
        name = len(key.credential_id).to_bytes(2, "big") + key.credential_id
        return bytes(16) + name + bytes(cbor2.dumps(public_key))

    assert refused_as(database, visit, alice, SoftKey(), bent)


@pytest.mark.parametrize("length", [0, 15, 1_024, 2_000])
def test_ids_of_no_length_that_authenticators_give_are_refused(
    database: Database, visit: Visit, alice: int, length: int
) -> None:
    assert refused_as(database, visit, alice, SoftKey(credential_id=b"c" * length), lambda key: key.public())


def refused_as(
    database: Database, visit: Visit, alice: int, key: SoftKey, attested: Callable[[SoftKey], bytes]
) -> bool:
    """Is what was made with such facts refused in a sentence?"""
    asked, options = taken(database, visit, "add", alice)
    text = key.make(options, attested(key))
    with pytest.raises(UserError, match="not accepted"), database.transaction() as session:
        passkeys.add(session, SITE, asked, alice, text, "", visit.now)
    return True


def bend(honest: dict[str, dict[str, str]], cut: int) -> str:
    """The attestation cut short."""
    whole = honest["response"]["attestationObject"]
    return whole[: cut % len(whole)]


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://seedbed.example", ("seedbed.example", "https://seedbed.example")),
        ("https://seedbed.example:8443", ("seedbed.example", "https://seedbed.example:8443")),
        ("http://127.0.0.1:8000", ("localhost", "http://localhost:8000")),
        ("http://[::1]:8000", ("localhost", "http://localhost:8000")),
        ("http://localhost", ("localhost", "http://localhost")),
        ("http://seedbed.example", None),
        ("https://192.0.2.7", None),
    ],
)
def test_where_passkeys_are_good(url: str, found: tuple[str, str] | None) -> None:
    site = site_of(url, "Seedbed")
    assert (site and (site.rp_id, site.origin)) == found


def test_old_questions_go(database: Database, visit: Visit) -> None:
    ask(database, visit, "log_in")
    ask(database, replace(visit, now=visit.now + timedelta(hours=1)), "log_in")
    with database.reading() as session:
        assert len(session.scalars(select(PasskeyChallenge)).all()) == 1


def test_a_handle_is_written_as_browsers_write_it() -> None:
    assert packed(b"\xff" * 3) == urlsafe_b64encode(b"\xff" * 3).decode()
