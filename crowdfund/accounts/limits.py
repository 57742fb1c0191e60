"""How often something may be tried: windows of fixed length, counted in the database, so that all processes agree.

Nobody can be locked out for ever by a stranger: what is limited tightly is the pair of address and account, and a
browser that this account has used before is counted by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from sqlalchemy import delete
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from crowdfund.accounts.models import AttemptWindow
from crowdfund.db import Database
from crowdfund.errors import TooMany

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Rule:
    """At most `most` in `seconds`."""

    name: str
    most: int
    seconds: int


PAIR = Rule("log_in_pair", 10, 900)
DEVICE = Rule("log_in_device", 10, 900)
ADDRESS = Rule("log_in_address", 60, 900)
ACCOUNT = Rule("log_in_account", 100, 3_600)
FAILED = Rule("failed", 1_000_000_000, 3_600)
SIGN_UP = Rule("sign_up", 10, 3_600)
CHALLENGE = Rule("challenge", 60, 900)
SECOND = Rule("second", 10, 900)
SECOND_DAY = Rule("second_day", 40, 86_400)  # three codes in a million are right: years of guessing
RECOVERY_PAIR = Rule("recovery_pair", 10, 3_600)
RECOVERY_ADDRESS = Rule("recovery_address", 30, 3_600)
PLEDGE = Rule("pledge", 30, 600)
READDRESS = Rule("readdress", 30, 600)
WORDS = Rule("words", 30, 600)
LOOK = Rule("look", 30, 600)
# A reward of which there are only so many is kept for two days for whoever asks, and asking costs nothing: so one
# address keeps few, and all of them together take no campaign's rewards in a minute.
RESERVE = Rule("reserve", 5, 172_800)
RESERVE_ALL = Rule("reserve_all", 60, 600)

Hit = tuple[Rule, str]


@dataclass(frozen=True)
class Standing:
    """How one rule stands for somebody: `left` of `most` in the window of `seconds` that ends in `reset_s`."""

    name: str
    most: int
    seconds: int
    left: int
    reset_s: int


def take(database: Database, hits: Sequence[Hit], now: datetime, factor: int = 1) -> None:
    """Count one attempt for each. Raises TooMany, and counts none, where one has none left.

    `factor` multiplies what is allowed; 0 is no limit. A full window is seen by reading: it costs nobody a write.
    """
    if factor == 0:
        return
    with database.reading() as session:
        for rule, subject in hits:
            if _attempts(session, rule, subject, now) >= rule.most * factor:
                raise _too_many(rule, now)
    with database.transaction() as session:
        session.execute(delete(AttemptWindow).where(AttemptWindow.ends_at < now))
        take_within(session, hits, now, factor)


def take_within(session: Session, hits: Sequence[Hit], now: datetime, factor: int = 1) -> None:
    """The same as a part of a transaction: what is undone was not counted. Raises TooMany."""
    for rule, subject in hits:
        if factor and count(session, rule, subject, now) > rule.most * factor:
            raise _too_many(rule, now)


def count(session: Session, rule: Rule, subject: str, now: datetime) -> int:
    """One more in the window that holds `now`; returns how many there are."""
    began_at = _window(rule, now)
    insert = (postgresql if session.get_bind().dialect.name == "postgresql" else sqlite).insert(AttemptWindow)
    one = insert.values(
        rule=rule.name,
        subject_sha256=_digest(subject),
        began_at=began_at,
        ends_at=began_at + timedelta(seconds=rule.seconds),
        attempts=1,
    )
    key = [AttemptWindow.rule, AttemptWindow.subject_sha256, AttemptWindow.began_at]
    more = one.on_conflict_do_update(index_elements=key, set_={"attempts": AttemptWindow.attempts + 1})
    return int(session.execute(more.returning(AttemptWindow.attempts)).scalar_one())


def standings(database: Database, hits: Sequence[Hit], now: datetime, factor: int = 1) -> list[Standing]:
    """How the rules of these hits stand; none where there is no limit."""
    if factor == 0:
        return []
    with database.reading() as session:
        tried = [(rule, _attempts(session, rule, subject, now)) for rule, subject in hits]
    return [
        Standing(rule.name, rule.most * factor, rule.seconds, max(0, rule.most * factor - many), _rest_s(rule, now))
        for rule, many in tried
    ]


def network_of(address: str | None) -> str:
    """An address as it is counted: one of IPv6 with all others of its /64, which one person has."""
    try:
        found: IPv4Address | IPv6Address = ip_address((address or "").partition("%")[0])
    except ValueError:
        return UNKNOWN
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or ip_network((found, 64), strict=False))
    return str(found)


def _attempts(session: Session, rule: Rule, subject: str, now: datetime) -> int:
    row = session.get(AttemptWindow, (rule.name, _digest(subject), _window(rule, now)))
    return row.attempts if row else 0


def _window(rule: Rule, now: datetime) -> datetime:
    seconds = int(now.timestamp())
    return datetime.fromtimestamp(seconds - seconds % rule.seconds, UTC)


def _too_many(rule: Rule, now: datetime) -> TooMany:
    return TooMany(_rest_s(rule, now))


def _rest_s(rule: Rule, now: datetime) -> int:
    """Until this window ends."""
    wait = _window(rule, now) + timedelta(seconds=rule.seconds) - now
    return max(1, -(-wait // timedelta(seconds=1)))


def _digest(subject: str) -> str:
    return sha256(subject.encode(errors="surrogatepass")).hexdigest()
