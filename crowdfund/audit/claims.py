"""The values that the checks compare: what a bundle claims. Pure, and without any rule of its own.

`Coin` also serves for what was found on the chain, so that the two compare field by field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crowdfund.campaigns.lifecycle import Kind, Outcome

Outpoint = tuple[str, int]


@dataclass(frozen=True)
class Coin:
    """A confirmed coin, claimed by the bundle or found on the chain. `index` is that of its address."""

    index: int
    txid: str
    vout: int
    value_sats: int
    height: int
    block_hash: str
    coinbase: bool
    spent_by: str | None
    spent_height: int | None

    @property
    def outpoint(self) -> Outpoint:
        """What names the coin."""
        return self.txid, self.vout


@dataclass(frozen=True)
class Output:
    """What a settlement pays; `index` names the address refunded, None for the payout."""

    script: bytes
    value_sats: int
    index: int | None


@dataclass(frozen=True)
class Settlement:
    """One transaction of a settlement. `height` is that of its block, None while it is only planned."""

    kind: Kind
    txid: str
    locktime: int
    height: int | None
    fee_sats: int
    inputs: tuple[Outpoint, ...]
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Cancellation:
    """What is said to have ended the campaign before its deadline. `spent` is the transaction that made the output
    which it spends, None where the site does not have it; `reason` is None where its text was never given."""

    txid: str
    height: int
    raw: bytes
    spent: bytes | None
    reason: str | None


@dataclass(frozen=True)
class SignedChange:
    """A change of a refund address: the text that its backer signed, and the signature."""

    text: str
    signature: str


@dataclass(frozen=True)
class AsOf:
    """The last block that the bundle speaks of; the median time past in unix seconds."""

    height: int
    block_hash: str
    median_time_past: int


@dataclass(frozen=True)
class Claims:
    """A bundle whose form is right. `labels` is the bucket named for each coin; `closing` is (height, hash).
    `details_text` is None in bundles of the first form, for terms that name no details."""

    network: str
    terms_text: str
    terms_hash: str
    descriptor: str
    issued: int
    as_of: AsOf
    coins: tuple[Coin, ...]
    labels: Mapping[Outpoint, str]
    closing: tuple[int, str] | None
    outcome: Outcome | None
    counted_sats: int
    buckets: Mapping[str, int]
    settlements: tuple[Settlement, ...]
    own_money: tuple[int, ...] = ()
    """Address indices that the creator says hold their own money; nobody can check that."""
    refund_changes: tuple[SignedChange, ...] = ()
    details_text: str | None = None
    cancellation: Cancellation | None = None
