"""Limits: never more than allowed in a window, whoever asks at the same moment, and never for longer than that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from crowdfund.accounts import limits
from crowdfund.accounts.limits import Rule, network_of, take
from crowdfund.accounts.models import AttemptWindow
from crowdfund.db import Database
from crowdfund.errors import TooMany
from support.together import THREADS, together

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
RULE, WIDE = Rule("narrow", 3, 60), Rule("wide", 5, 3_600)


def tries(database: Database, times: int, *hits: limits.Hit, now: datetime = NOW, factor: int = 1) -> int:
    """How many of so many attempts were allowed."""
    allowed = 0
    for _ in range(times):
        try:
            take(database, hits, now, factor)
            allowed += 1
        except TooMany:
            pass
    return allowed


def test_a_window_has_room_for_so_many_and_then_says_how_long_to_wait(database: Database) -> None:
    assert tries(database, 5, (RULE, "a"), now=NOW + timedelta(seconds=20)) == 3
    with pytest.raises(TooMany, match="wait a minute") as refused:
        take(database, [(RULE, "a")], NOW + timedelta(seconds=20.5))
    assert refused.value.retry_after_s == 40
    assert tries(database, 1, (RULE, "b")) == 1, "somebody else is not kept out"
    assert tries(database, 5, (RULE, "a"), now=NOW + timedelta(seconds=60)) == 3, "nor anybody for longer"


def test_what_is_refused_by_one_rule_counts_for_none(database: Database) -> None:
    assert tries(database, 20, (WIDE, "who"), (RULE, "pair")) == 3
    assert tries(database, 20, (WIDE, "who"), (RULE, "another pair")) == 2
    assert tries(database, 1, (WIDE, "who")) == 0


def test_a_factor_widens_and_zero_is_no_limit(database: Database) -> None:
    assert tries(database, 10, (RULE, "a"), factor=2) == 6
    assert tries(database, 10, (RULE, "b"), factor=0) == 10


def test_eight_at_once_get_no_more_than_one_after_the_other(database: Database) -> None:
    rule = Rule("together", 2 * THREADS - 3, 60)
    allowed = together(lambda _: tries(database, 2, (rule, "a")))
    assert sum(allowed) == rule.most
    with database.reading() as session:
        assert session.scalars(select(AttemptWindow.attempts)).all() == [rule.most]


def test_old_windows_go(database: Database) -> None:
    for number in range(5):
        take(database, [(RULE, str(number))], NOW)
    take(database, [(RULE, "late")], NOW + timedelta(minutes=2))
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(AttemptWindow)) == 1


def test_addresses_are_kept_as_hashes(database: Database) -> None:
    take(database, [(RULE, "192.0.2.7 alice \ud800")], NOW)
    with database.reading() as session:
        row = session.scalars(select(AttemptWindow)).one()
        assert len(row.subject_sha256) == 64 and "192" not in row.subject_sha256[:3] + row.rule


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        (None, "unknown"),
        ("evil, 192.0.2.7", "unknown"),
    ],
)
def test_one_persons_addresses_are_counted_as_one(address: str | None, network: str) -> None:
    assert network_of(address) == network


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_nobody_gets_room_by_moving_within_a_network(address: object, host: int) -> None:
    value = int(address)  # type: ignore[call-overload]
    other = type(address)((value >> 64 << 64) | host)  # type: ignore[call-arg]
    if getattr(address, "ipv4_mapped", None) is None and getattr(other, "ipv4_mapped", None) is None:
        assert network_of(str(address)) == network_of(str(other))
