"""A database of the test's own, once of each kind, and somebody with an account."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy.orm import Session

from crowdfund.accounts import people
from crowdfund.accounts.history import Visit
from crowdfund.db import Database
from support import fresh

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


@pytest.fixture
def alice(database: Database) -> int:
    """Alice's account, with a password."""
    with database.transaction() as opened:
        return people.sign_up(opened, "Alice", PASSWORD, NOW).id


@pytest.fixture
def visit() -> Visit:
    """Somebody at the door."""
    return Visit("192.0.2.7", "Firefox/140", NOW)
