"""The terms of a campaign: a frozen value, its canonical JSON and its hash. Pure.

The SHA-256 of the canonical JSON is part of every address of the campaign, so the terms cannot change once the
first address is given out. Canonical means RFC 8785 as far as we need it: keys sorted, no spaces, UTF-8, and only
strings, integers and objects.

Terms of versions 1 and 2 stay as they were, to the byte: what came later is no part of their text.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from crowdfund.errors import UserError
from crowdfund.wallet.amounts import MAX_MONEY_SATS
from crowdfund.wallet.cancellation import RULE
from crowdfund.wallet.fees import transaction_vsize

VERSION = 3
ADDED = {
    2: ("cap_sats", "receipt_key", "timelock_height", "timelock_feerate_sat_vb"),
    3: ("details_sha256", "cancellable"),
}
"""Version -> the keys that came with it; the text of older terms is without them."""
VERSIONS = (1, 2, VERSION)

# A refund bears its own fee. Up to this feerate that must leave the backer at least half, even where the refund is a
# transaction of its own and pays the longest usual script.
REFUND_FEERATE_SAT_VB = 40
REFUND_FEE_PERCENT = 50
REFUND_VSIZE = transaction_vsize(1, [bytes(34)])
ROUND_SATS = 1_000

# A time-locked refund is signed today for a day that nobody knows. Its fee need not be the best one: its only output
# is the backer's own, so that they can spend it at a higher feerate and pull it along (CPFP).
TIMELOCK_FEERATE_SAT_VB = 10
BLOCK_SPACING = timedelta(minutes=10)


def refundable_up_to_sat_vb(pledge_sats: int) -> int:
    """The highest feerate in sat/vB at which a refund of one coin of `pledge_sats` still returns at least half."""
    return pledge_sats * REFUND_FEE_PERCENT // (100 * REFUND_VSIZE)


def smallest_pledge_sats(feerate_sat_vb: int) -> int:
    """The smallest round pledge whose refund returns at least half at this feerate."""
    least_sats = -(-REFUND_VSIZE * feerate_sat_vb * 100 // REFUND_FEE_PERCENT)
    return -(-least_sats // ROUND_SATS) * ROUND_SATS


def refund_promise(pledge_sats: int) -> str:
    """Why a pledge is not smaller than this, in half a sentence."""
    return (
        f"at network fees of up to {refundable_up_to_sat_vb(pledge_sats)} sat/vB, a refund still returns at least half"
    )


MIN_GOAL_SATS = 20_000
MIN_PLEDGE_SATS = smallest_pledge_sats(REFUND_FEERATE_SAT_VB)
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

    `cap_sats`: once coins of this much count, later ones do not and are refunded; 0 is no cap. `receipt_key`: the
    compressed public key that signs receipts, in hex; "" where none are given. `timelock_height`: the block from which
    on refunds signed ahead of time are valid, 0 where there are none; `timelock_feerate_sat_vb`: what they pay.
    `details_sha256`: of the text that `details` has the form of, in hex. `cancellable`: the rule by which the creator
    can end the campaign before its deadline (see wallet/cancellation.py); "" where that cannot be done.
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
    cap_sats: int = 0
    receipt_key: str = ""
    timelock_height: int = 0
    timelock_feerate_sat_vb: int = 0
    details_sha256: str = ""
    cancellable: str = ""
    version: int = VERSION

    def __post_init__(self) -> None:
        """Raises ValueError for a value that the text of this version has no place for: it would not be hashed."""
        if any(getattr(self, name) != type(self).__dict__[name] for name in self._missing_keys()):
            raise ValueError(f"terms of version {self.version} have no such part")

    def canonical(self) -> str:
        """The JSON text whose UTF-8 bytes are hashed."""
        missing = self._missing_keys()
        return canonical_json({name: value for name, value in asdict(self).items() if name not in missing})

    def _missing_keys(self) -> set[str]:
        return {name for version, names in ADDED.items() if version > self.version for name in names}

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
        if terms.version not in VERSIONS or not same or not _has_right_types(terms):
            raise ValueError("not in canonical form, or of another version")
        if terms.cap_sats and terms.cap_sats < terms.goal_sats:
            raise ValueError("the cap is below the goal, so that it could never be reached")
        if terms.cancellable not in ("", RULE):
            raise ValueError("cancelled by a rule that nobody knows")
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


def check_cap(cap_sats: int, goal_sats: int) -> None:
    """Raise UserError if the cap would keep the goal from being reached. 0 is no cap."""
    if cap_sats and not goal_sats <= cap_sats:
        raise UserError("The most that you accept must be at least the goal; leave it empty to accept any sum.", "cap")
    if cap_sats > MAX_MONEY_SATS:
        raise UserError("The most that you accept is more than the 21 million BTC that can ever exist.", "cap")


def timelock_height(opened_height: int, opened_at: datetime, deadline: datetime, margin_blocks: int) -> int:
    """The block from which on time-locked refunds are valid.

    `opened_at` is the median time past of the block at `opened_height`. Blocks until the deadline are expected every
    ten minutes, with a tenth more of them, as miners are at times faster; then the margin, for settling in peace.
    """
    expected = -(11 * (opened_at - deadline) // (10 * BLOCK_SPACING))
    return opened_height + expected + margin_blocks


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
