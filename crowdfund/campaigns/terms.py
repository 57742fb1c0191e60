"""The terms of a campaign: a frozen value, its canonical JSON and its hash. Pure.

The SHA-256 of the canonical JSON is part of every address of the campaign, so the terms cannot change once the
first address is given out. Canonical means RFC 8785 as far as we need it: keys sorted, no spaces, UTF-8, and only
strings, integers and objects.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from crowdfund.errors import UserError
from crowdfund.wallet.amounts import MAX_MONEY_SATS

VERSION = 1

MIN_GOAL_SATS = 20_000
MIN_PLEDGE_SATS = 10_000
MIN_COIN_SATS = 1_000
MIN_DURATION = timedelta(hours=2)
MAX_DURATION = timedelta(days=366)

TITLE_LIMIT = 80
SUMMARY_LIMIT = 200
STORY_LIMIT = 50_000


@dataclass(frozen=True)
class CampaignTerms:
    """What creator and backers agree on. Amounts in satoshi; `deadline_at` is RFC 3339 in UTC.

    `min_coin_sats`: outputs below it are dust and never count. `confirmations`: depth of the closing block at
    which the outcome is decided. `opened_height` and `opened_hash` name a block that existed when the terms were
    frozen, so that an auditor need not look at anything older.
    """

    network: str
    creator: str
    title: str
    summary: str
    story_sha256: str
    project_url: str
    license: str
    goal_sats: int
    deadline_at: str
    payout_address: str
    payout_script: str
    min_pledge_sats: int
    min_coin_sats: int
    confirmations: int
    opened_height: int
    opened_hash: str
    version: int = VERSION

    def canonical(self) -> str:
        """The JSON text whose UTF-8 bytes are hashed."""
        return canonical_json(asdict(self))

    @property
    def hash(self) -> bytes:
        """SHA-256 of the canonical JSON, 32 bytes."""
        return sha256(self.canonical().encode()).digest()

    @property
    def deadline(self) -> datetime:
        """The deadline as an aware datetime in UTC."""
        return parse_time(self.deadline_at)

    @classmethod
    def parse(cls, text: str) -> CampaignTerms:
        """Read canonical JSON back. Raises ValueError where it is not exactly that of some terms."""
        try:
            terms = cls(**json.loads(text))
            same = terms.canonical() == text
        except (TypeError, RecursionError) as error:
            raise ValueError(f"not the terms of a campaign: {error}") from error
        if terms.version != VERSION or not same or not _has_right_types(terms):
            raise ValueError("not in canonical form, or of another version")
        return terms


def canonical_json(value: object) -> str:
    """Keys sorted, no spaces, no escapes beyond what JSON needs; refuses floats."""
    _refuse_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def format_time(moment: datetime) -> str:
    """An aware datetime as RFC 3339 in UTC, whole seconds: 2026-12-01T18:00:00Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """RFC 3339 text with an offset to an aware datetime in UTC, whole seconds. Raises ValueError otherwise."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs an offset such as Z")
    try:
        return moment.astimezone(UTC).replace(microsecond=0)
    except OverflowError as error:
        raise ValueError("a time before the year 1 or after the year 9999") from error


def check_deadline(deadline: datetime, now: datetime) -> None:
    """Raise UserError if the deadline is past, too near or too far. `now` is the chain's time on regtest."""
    if deadline <= now:
        raise UserError("The deadline is in the past.", "deadline")
    if deadline < now + MIN_DURATION:
        raise UserError("The deadline must be at least two hours away, so that payments can confirm.", "deadline")
    if deadline > now + MAX_DURATION:
        raise UserError("The deadline must be within a year: backers' money waits until then.", "deadline")


def check_goal(goal_sats: int) -> None:
    """Raise UserError if the goal is smaller than can sensibly be paid out."""
    if goal_sats < MIN_GOAL_SATS:
        raise UserError(f"The goal must be at least {MIN_GOAL_SATS} sat: less would be eaten by network fees.", "goal")
    if goal_sats > MAX_MONEY_SATS:
        raise UserError("The goal is more than the 21 million BTC that can ever exist.", "goal")


def _has_right_types(terms: CampaignTerms) -> bool:
    """Text where text belongs, whole numbers where they do: canonical form alone says nothing of that."""
    wanted = {field.name: {"str": str, "int": int}[str(field.type)] for field in fields(terms)}
    return all(type(getattr(terms, name)) is kind for name, kind in wanted.items())


def _refuse_floats(value: object) -> None:
    if isinstance(value, float):
        raise TypeError("no floats in terms")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_floats(item)
