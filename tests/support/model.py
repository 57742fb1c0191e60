"""What the books must say, worked out the slow and obvious way from the blocks and the mempool alone.

Every rule is written down here once more, from what the words mean; nothing of the product is called. Where the
chain alone does not say (which unconfirmed payments were ever noticed, what is planned), the books are taken at
their word and held to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

Outpoint = tuple[str, int]
DUST_BELOW_SATS = 1_000
RIPE_AFTER = 100


@dataclass(frozen=True)
class Tx:
    """A transaction. `outputs` are (satoshi, script); a coinbase spends nothing."""

    txid: str
    spends: tuple[Outpoint, ...]
    outputs: tuple[tuple[int, bytes], ...]
    coinbase: bool = False
    raw: bytes = b""


@dataclass(frozen=True)
class Block:
    """A block; `time` in unix seconds."""

    hash: str
    prev: str
    height: int
    time: int
    txs: tuple[Tx, ...]


@dataclass(frozen=True)
class PromisedPledge:
    """What a pledge promises, and where it is to be paid."""

    id: str
    campaign: str
    script: bytes
    amount_sats: int


@dataclass(frozen=True)
class Promise:
    """The terms of a campaign that matter here; the deadline in unix seconds, a cap of 0 for none."""

    id: str
    goal_sats: int
    deadline: int
    confirmations: int
    cap_sats: int = 0


@dataclass(frozen=True)
class ModelCoin:
    """An output at an address of ours; height, hash and spender are None where no block says otherwise."""

    txid: str
    vout: int
    value_sats: int
    pledge: PromisedPledge
    coinbase: bool
    height: int | None = None
    block_hash: str | None = None
    spent_by: str | None = None
    spent_height: int | None = None

    @property
    def outpoint(self) -> Outpoint:
        """Where it is."""
        return self.txid, self.vout


@dataclass(frozen=True)
class Verdict:
    """How a campaign ended, as it is stored."""

    outcome: str
    counted_sats: int
    closing_height: int
    closing_hash: str


@dataclass(frozen=True)
class Figures:
    """What a page shows of a campaign."""

    state: str
    counted_sats: int
    seen_sats: int
    received_sats: int
    pledge_count: int
    buckets: dict[str, int]


def median_time(branch: Sequence[Block], height: int) -> int:
    """The median of the times of the block and of the ten before it."""
    times = sorted(block.time for block in branch[max(0, height - 10) : height + 1])
    return times[len(times) // 2]


def closing_height(branch: Sequence[Block], deadline: int) -> int | None:
    """The first block that is later than the deadline."""
    return next((b.height for b in branch if median_time(branch, b.height) > deadline), None)


def confirmed(branch: Sequence[Block], pledges: Iterable[PromisedPledge]) -> dict[Outpoint, ModelCoin]:
    """Every coin that the branch pays to a pledge, spent or not."""
    by_script = {pledge.script: pledge for pledge in pledges}
    made: dict[Outpoint, ModelCoin] = {}
    spent: dict[Outpoint, tuple[str, int]] = {}
    for block in branch:
        for tx in block.txs:
            spent |= dict.fromkeys(tx.spends, (tx.txid, block.height))
            for coin in paid_by(tx, by_script):
                made[coin.outpoint] = ModelCoin(
                    coin.txid, coin.vout, coin.value_sats, coin.pledge, tx.coinbase, block.height, block.hash
                )
    return {
        outpoint: ModelCoin(
            c.txid, c.vout, c.value_sats, c.pledge, c.coinbase, c.height, c.block_hash, *spent[outpoint]
        )
        if outpoint in spent
        else c
        for outpoint, c in made.items()
    }


def paid_by(tx: Tx, by_script: Mapping[bytes, PromisedPledge]) -> list[ModelCoin]:
    """What a transaction pays to pledges."""
    return [
        ModelCoin(tx.txid, vout, sats, by_script[script], tx.coinbase)
        for vout, (sats, script) in enumerate(tx.outputs)
        if script in by_script
    ]


def worth(coin: ModelCoin, closing: int | None, tip_height: int) -> str:
    """What a confirmed coin is worth to the goal. A fresh coin of a miner cannot be spent for a hundred blocks, and is
    as if it came then."""
    assert coin.height is not None
    if coin.value_sats < DUST_BELOW_SATS:
        return "dust"
    comes_at = coin.height + RIPE_AFTER if coin.coinbase else coin.height
    if closing is not None:
        return "counted" if comes_at < closing else "late"
    return "counted" if comes_at <= tip_height else "maturing"


def worths(coins: Iterable[ModelCoin], closing: int | None, tip_height: int, cap_sats: int) -> dict[Outpoint, str]:
    """What each confirmed coin of a campaign is worth: those that come when the cap is full are over it."""
    placed = sorted((c.height, c.txid, c.vout, c) for c in coins if c.height is not None)
    found, room_sats = {}, cap_sats
    for _, _, _, coin in placed:
        found[coin.outpoint] = worth(coin, closing, tip_height)
        if cap_sats and found[coin.outpoint] == "counted":
            if room_sats <= 0:
                found[coin.outpoint] = "over_cap"
            room_sats -= coin.value_sats
    return found


def verdict(branch: Sequence[Block], promise: Promise, pledges: Iterable[PromisedPledge]) -> Verdict | None:
    """The outcome that the branch gives, once its closing block is deep enough."""
    closing, tip_height = closing_height(branch, promise.deadline), branch[-1].height
    if closing is None or tip_height - closing + 1 < promise.confirmations:
        return None
    own = [pledge for pledge in pledges if pledge.campaign == promise.id]
    coins = confirmed(branch, own)
    counted = worths(coins.values(), closing, tip_height, promise.cap_sats)
    total = sum(coins[outpoint].value_sats for outpoint, value in counted.items() if value == "counted")
    return Verdict("funded" if total >= promise.goal_sats else "failed", total, closing, branch[closing].hash)


def rivals_in(tx: Tx, others: Iterable[Tx]) -> set[str]:
    """Those of `others` that cannot stand beside `tx`."""
    return {other.txid for other in others if other.txid != tx.txid and set(other.spends) & set(tx.spends)}


def pledge_state(
    pledge: PromisedPledge,
    coins: Sequence[ModelCoin],
    seen: Collection[Outpoint],
    planned: Collection[Outpoint],
    fates: Mapping[str, str],
    worths: Mapping[Outpoint, str],
    decided: bool,
) -> str:
    """What the backer sees. `coins` are all that were ever noticed, in that order; `fates` say of transactions that
    are neither in a block nor in the mempool what became of them, `worths` what the confirmed ones are worth."""
    if any(coin.spent_by is not None for coin in coins):  # no settlement is ever in a block here
        return "foreign"
    if any(coin.outpoint in planned for coin in coins):
        return "in_settlement"
    worths = {c.outpoint: worths[c.outpoint] for c in coins if c.height is not None}
    counted_sats = sum(c.value_sats for c in coins if worths.get(c.outpoint) == "counted")
    if counted_sats:
        if decided:
            return "unclaimed"
        if counted_sats == pledge.amount_sats:
            return "confirmed"
        return "over" if counted_sats > pledge.amount_sats else "short"
    for value in ("maturing", "over_cap", "late"):
        if value in worths.values():
            return value
    if any(coin.outpoint in seen for coin in coins):
        return "seen"
    if "dust" in worths.values():
        return "short"
    return fates[coins[-1].txid] if coins else "awaiting"


def figures(
    promise: Promise,
    coins: Sequence[ModelCoin],
    seen: Collection[Outpoint],
    planned: Collection[Outpoint],
    binding: Collection[Outpoint],
    closing: int | None,
    outcome: str | None,
    tip_height: int,
) -> Figures:
    """What the campaign's page shows; no settlement is ever in a block here. `binding` is what the plan made with the
    decision spends: it is owed whatever becomes of its coins."""
    value_of = worths(coins, closing, tip_height, promise.cap_sats)
    heap: dict[str, int] = {}
    for coin in coins:
        if coin.height is None:
            continue
        name = value_of[coin.outpoint]
        if coin.spent_by is not None:
            name = "foreign_spend"
        elif coin.outpoint in planned:
            name = "in_settlement"
        elif name == "counted" and outcome is not None:
            name = "unclaimed"
        heap[name] = heap.get(name, 0) + coin.value_sats
    going_back = ("late", "over_cap")
    owes = any(w == "counted" for w in value_of.values()) or any(
        c.outpoint in binding or (c.outpoint in planned and value_of.get(c.outpoint) not in going_back) for c in coins
    )
    state = {"funded": ("released", "releasing"), "failed": ("refunded", "refunding")}.get(
        outcome or "", ("open", "closing")
    )[owes if outcome else closing is not None]
    with_money = {
        c.pledge.id for c in coins if c.outpoint in seen or value_of.get(c.outpoint) in ("counted", "maturing")
    }
    return Figures(
        state,
        sum(c.value_sats for c in coins if value_of.get(c.outpoint) == "counted"),
        sum(c.value_sats for c in coins if c.outpoint in seen),
        sum(c.value_sats for c in coins if c.height is not None),
        len(with_money),
        {name: sats for name, sats in sorted(heap.items()) if sats},
    )
