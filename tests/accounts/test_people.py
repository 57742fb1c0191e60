"""Creators: names that nobody can imitate, passwords that are kept as hashes, tokens that open one door."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from argon2 import extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY
from sqlalchemy import select
from sqlalchemy.orm import Session

from crowdfund.accounts import passwords, people, tokens
from crowdfund.campaigns.models import ApiToken, Creator
from crowdfund.db import Database
from crowdfund.errors import UserError
from support import fresh
from support.fresh import CHEAP_HASHER, PRODUCTION_HASHER

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PASSWORD = "correct horse battery"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = fresh.database(database_url)
    yield made
    made.close()


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.transaction() as opened:
        yield opened


def test_a_guess_at_a_password_costs_what_the_rfc_asks_for() -> None:
    costs = extract_parameters(PRODUCTION_HASHER.hash(PASSWORD))
    assert costs == RFC_9106_LOW_MEMORY
    assert not CHEAP_HASHER.check_needs_rehash(CHEAP_HASHER.hash(PASSWORD)), "the other tests take this one"


def test_signing_up_and_logging_in(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_hasher", PRODUCTION_HASHER)
    made = people.sign_up(session, " Alice ", PASSWORD, NOW)
    assert made.name == "Alice" and made.password_hash.startswith("$argon2id$")
    assert PASSWORD not in made.password_hash
    for name in ("alice", "ALICE", " Alice "):
        assert people.log_in(session, name, PASSWORD).id == made.id


@pytest.mark.parametrize("name", ["alice", "ALICE", " Alice\t", "\uff21lice", "\u24d0lice"])
def test_a_name_that_looks_the_same_is_taken(name: str, database: Database) -> None:
    with database.transaction() as session:
        people.sign_up(session, "Alice", PASSWORD, NOW)
    with pytest.raises(UserError, match="taken"), database.transaction() as session:
        people.sign_up(session, name, PASSWORD, NOW)
    with database.reading() as session:
        assert len(session.scalars(select(Creator)).all()) == 1


@pytest.mark.parametrize("name", ["", " ", "a", "a" * 41, "a\x00b", "a\nb", "a\u202eb", "a\u200bb", "a\ud800b"])
def test_unusable_names_are_refused(name: str, session: Session) -> None:
    with pytest.raises(UserError, match="visible characters") as refused:
        people.sign_up(session, name, PASSWORD, NOW)
    assert refused.value.field == "name"


@pytest.mark.parametrize("password", ["", "short", "x" * 9, "x" * 1_001])
def test_passwords_have_ten_characters_or_more(password: str, session: Session) -> None:
    with pytest.raises(UserError, match="at least 10") as refused:
        people.sign_up(session, "Alice", password, NOW)
    assert refused.value.field == "password"


@pytest.mark.parametrize(
    ("name", "password"),
    [("Alice", "wrong password"), ("Alice", ""), ("Bob", PASSWORD), ("", ""), ("Alice", PASSWORD + " "), ("%", "%")],
)
def test_every_failure_to_log_in_is_told_alike(name: str, password: str, session: Session) -> None:
    people.sign_up(session, "Alice", PASSWORD, NOW)
    with pytest.raises(UserError) as refused:
        people.log_in(session, name, password)
    assert refused.value.sentence == "Name and password do not fit together."


def test_a_token_is_kept_as_its_hash_alone(session: Session) -> None:
    token = people.create_token(session, "Alice", NOW)
    other = people.create_token(session, "alice", NOW)
    assert token != other and len(token) >= 40
    mine, also_mine = tokens.caller(session, token, NOW), tokens.caller(session, other, NOW)
    assert mine is not None and also_mine is not None and mine.creator == also_mine.creator
    assert mine.creator.name == "Alice" and mine.scopes == set(tokens.SCOPES)
    kept = session.scalars(select(ApiToken.token_sha256)).all()
    assert len(set(kept)) == 2 and token not in kept
    for wrong in ("", token[:-1], token + "x", kept[0], token.swapcase()):
        assert tokens.caller(session, wrong, NOW) is None


def test_a_creator_made_for_a_token_has_no_password_to_guess(session: Session) -> None:
    people.create_token(session, "robot", NOW)
    with pytest.raises(UserError, match="do not fit"):
        people.log_in(session, "robot", "")
