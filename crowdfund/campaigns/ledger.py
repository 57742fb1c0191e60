"""Every satoshi in exactly one named bucket. Pure.

A confirmed coin is counted, maturing (freshly mined), late, over the cap, dust or unclaimed while it lies at its
address, in settlement while a plan spends it, and split into paid out or refunded and miner fee once that transaction
is in a block. The buckets always sum to what the chain has ever confirmed to the campaign's addresses. The last bucket
should stay empty for ever: it holds what somebody else spent, and anything in it is an alarm.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from crowdfund.campaigns.lifecycle import UNCONFIRMED, Kind, Outcome, Standing


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
    Bucket.COUNTED: "Counted for the goal",
    Bucket.MATURING: "Freshly mined, counts after 100 blocks",
    Bucket.LATE: "Late, will be refunded",
    Bucket.OVER_CAP: "Above the most accepted, will be refunded",
    Bucket.DUST: "Dust, too small to count",
    Bucket.IN_SETTLEMENT: "In settlement, on its way",
    Bucket.PAID_OUT: "Paid out to the project",
    Bucket.REFUNDED: "Refunded to backers",
    Bucket.MINER_FEE: "Network fees",
    Bucket.UNCLAIMED: "Unclaimed, not worth its fee today",
    Bucket.FOREIGN_SPEND: "Spent by a transaction that is not ours",
}


@dataclass(frozen=True)
class SettledBatch:
    """A batch whose transaction is in a block."""

    kind: Kind
    output_sats: int
    fee_sats: int


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


def buckets(lying: Iterable[tuple[Bucket, int]], settled: Iterable[SettledBatch]) -> dict[Bucket, int]:
    """Sum coins at their addresses and confirmed batches into all buckets, zeros included."""
    sums = dict.fromkeys(Bucket, 0)
    for bucket, value_sats in lying:
        sums[bucket] += value_sats
    for batch in settled:
        sums[Bucket.PAID_OUT if batch.kind is Kind.RELEASE else Bucket.REFUNDED] += batch.output_sats
        sums[Bucket.MINER_FEE] += batch.fee_sats
    return sums
