"""Every satoshi in exactly one named bucket, and every movement between two of them on record. Pure.

A confirmed coin is counted, maturing (freshly mined), late, over the cap, dust or unclaimed while it lies at its
address, in settlement while a plan spends it, and split into paid out or refunded and miner fee once that transaction
is in a block. The buckets always sum to what the chain has ever confirmed to the campaign's addresses. The last bucket
should stay empty for ever: it holds what somebody else spent, and anything in it is an alarm.

A coin's place is where the rules put it now; its transfers say where it was put so far. What is on record is never
changed: what a reorganisation undoes is undone by a contra transfer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256

from crowdfund.campaigns.lifecycle import UNCONFIRMED, Kind, Outcome, Standing
from crowdfund.sentences import N_
from crowdfund.wallet.fees import largest_remainder

OUTSIDE = "outside"
FIRST_PREV_HASH = "0" * 64


class Bucket(StrEnum):
    """Where a satoshi can be."""

    COUNTED = "counted"
    MATURING = "maturing"
    LATE = "late"
    OVER_CAP = "over_cap"
    DUST = "dust"
    IN_SETTLEMENT = "in_settlement"
    PAID_OUT = "paid_out"
    REFUNDED = "refunded"
    MINER_FEE = "miner_fee"
    UNCLAIMED = "unclaimed"
    FOREIGN_SPEND = "foreign_spend"


LABELS = {
    Bucket.COUNTED: N_("Counted for the goal"),
    Bucket.MATURING: N_("Freshly mined, counts after 100 blocks"),
    Bucket.LATE: N_("Late, will be refunded"),
    Bucket.OVER_CAP: N_("Above the most accepted, will be refunded"),
    Bucket.DUST: N_("Dust, too small to count"),
    Bucket.IN_SETTLEMENT: N_("In settlement, on its way"),
    Bucket.PAID_OUT: N_("Paid out to the project"),
    Bucket.REFUNDED: N_("Refunded to backers"),
    Bucket.MINER_FEE: N_("Network fees"),
    Bucket.UNCLAIMED: N_("Unclaimed, not worth its fee today"),
    Bucket.FOREIGN_SPEND: N_("Spent by a transaction that is not ours"),
}


AT_ADDRESS = frozenset(Bucket) - {Bucket.PAID_OUT, Bucket.REFUNDED, Bucket.MINER_FEE, Bucket.FOREIGN_SPEND}
_UNDONE = "undone: a reorganisation took its block away"
_WHAT = {
    Bucket.IN_SETTLEMENT: "planned to be spent by a settlement",
    Bucket.PAID_OUT: "paid out to the project",
    Bucket.REFUNDED: "paid back to the backer",
    Bucket.MINER_FEE: "network fee of the settlement",
    Bucket.UNCLAIMED: "left behind by the plan, not worth its fee",
    Bucket.FOREIGN_SPEND: "spent by a transaction that is not ours",
}


@dataclass(frozen=True, slots=True)
class Settled:
    """Where a settlement in a block has taken a coin, and the coin's share of its fee."""

    kind: Kind
    fee_sats: int


@dataclass(frozen=True, slots=True)
class Posted:
    """A transfer of a coin, as the ledger holds it."""

    id: int
    from_account: str
    to_account: str
    amount_sats: int
    height: int
    block_hash: str
    reverses: int | None


@dataclass(frozen=True, slots=True)
class Movement:
    """A transfer to be posted. `undoes`: the one that it reverses."""

    from_account: str
    to_account: str
    amount_sats: int
    undoes: Posted | None = None

    @property
    def what(self) -> str:
        """In words."""
        if self.undoes is not None:
            return _UNDONE
        if self.from_account == OUTSIDE:
            return f"confirmed in a block: {self.to_account}"
        return next((words for bucket, words in _WHAT.items() if bucket == self.to_account), f"now {self.to_account}")


def coin_bucket(coin_standing: Standing, outcome: Outcome | None, planned: bool) -> Bucket | None:
    """The bucket of a confirmed coin that still lies at its address; None while it is unconfirmed or gone.

    After a decision, a coin that counted and that no plan spends was not worth its fee.
    """
    if coin_standing in UNCONFIRMED:
        return None
    if planned:
        return Bucket.IN_SETTLEMENT
    if coin_standing is not Standing.COUNTED:
        return Bucket(coin_standing)
    return Bucket.COUNTED if outcome is None else Bucket.UNCLAIMED


def coin_place(value_sats: int, bucket: Bucket | None, settled: Settled | None) -> dict[str, int]:
    """Account -> satoshi for one coin; empty while nothing of it is in a block, or it is worth nothing.

    `settled` where a settlement of ours has spent it, else `bucket` says where it lies.
    """
    if settled is not None:
        went = Bucket.PAID_OUT if settled.kind is Kind.RELEASE else Bucket.REFUNDED
        parts = {went: value_sats - settled.fee_sats, Bucket.MINER_FEE: settled.fee_sats}
    else:
        parts = {} if bucket is None else {bucket: value_sats}
    return {account.value: sats for account, sats in parts.items() if sats}


def fee_shares(values_sats: Sequence[int], back_sats: int) -> list[int]:
    """How the fee of coins that gave `back_sats` together falls on each: in proportion to its value, to the satoshi."""
    return largest_remainder(sum(values_sats) - back_sats, values_sats)


def standing_transfers(transfers: Sequence[Posted]) -> list[Posted]:
    """Those of a coin that no contra transfer has undone, in their order."""
    undone = {t.reverses for t in transfers}
    return [t for t in transfers if t.reverses is None and t.id not in undone]


def place_of(transfers: Sequence[Posted]) -> dict[str, int]:
    """Account -> satoshi where transfers of one coin have put it; what is outside goes without saying."""
    held: dict[str, int] = {}
    for each in transfers:
        held[each.from_account] = held.get(each.from_account, 0) - each.amount_sats
        held[each.to_account] = held.get(each.to_account, 0) + each.amount_sats
    return {account: sats for account, sats in held.items() if sats and account != OUTSIDE}


def movements(transfers: Sequence[Posted], place: Mapping[str, int], block_hash: str | None) -> list[Movement]:
    """What brings a coin to `place`, from where its `transfers` have put it. None if it is there.

    Only a reorganisation leads back to where a coin has been: those steps are undone, the last first. A coin that is in
    another block than the one that brought it in (`block_hash`) is taken out and comes in anew.
    """
    steps = standing_transfers(transfers)
    same_block = bool(steps) and steps[0].block_hash == block_hash
    been = (n for n in range(len(steps), 0, -1) if place_of(steps[:n]) == place) if same_block else iter(())
    kept = next(been, len(steps) if same_block and place else 0)
    undone = [Movement(t.to_account, t.from_account, t.amount_sats, undoes=t) for t in reversed(steps[kept:])]
    return undone + _onward(place_of(steps[:kept]), place)


def seal(content: Mapping[str, object]) -> str:
    """The hash of a transfer: SHA-256 of its columns in canonical JSON, that of the transfer before it among them."""
    return sha256(_CANONICAL.encode(content).encode()).hexdigest()


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"a transfer has no column of {type(value)}")


# Made once: there may be a hundred thousand transfers to seal.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_plain)


def _onward(held: Mapping[str, int], place: Mapping[str, int]) -> list[Movement]:
    """The fewest transfers from one to the other; what comes in or goes out does so from or to outside."""
    change = {account: place.get(account, 0) - held.get(account, 0) for account in {*held, *place}}
    change[OUTSIDE] = -sum(change.values())
    givers = [(account, -sats) for account, sats in sorted(change.items()) if sats < 0]
    found = []
    for taker, wanted_sats in sorted(change.items()):
        while wanted_sats > 0:
            giver, left_sats = givers.pop(0)
            found.append(Movement(giver, taker, min(left_sats, wanted_sats)))
            wanted_sats -= found[-1].amount_sats
            if left_sats > found[-1].amount_sats:
                givers.insert(0, (giver, left_sats - found[-1].amount_sats))
    return found
