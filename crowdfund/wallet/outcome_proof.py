"""Proof of a campaign's outcome, for one who sees no network: headers for the end, Merkle branches for the money. Pure.

Terms name the block at which they were frozen. Headers that lead from it to the closing block, with the work that
the network asks for, show that the deadline is past; transactions in those blocks show that the goal was reached.
Whoever wants a campaign released that has failed must mine such blocks. That a campaign failed cannot be proven so
(coins can be left out), and need not be: a refund enriches nobody. That its creator has cancelled it can be proven.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from crowdfund.wallet.blocks import HEADER_SIZE, parse_tx
from crowdfund.wallet.cancellation import CancellationProof, check_cancels
from crowdfund.wallet.headers import (
    MEDIAN_SPAN,
    RETARGET,
    Header,
    check_chain,
    check_retargets,
    median_time_past,
    read_header,
    target,
)
from crowdfund.wallet.merkle import could_be_node, verify_branch

COINBASE_MATURITY = 100
LONGEST = 70_000  # headers in one proof: a year and four months of blocks
COINS_AT_ONCE = 350
# About an eighth of what mining a block of the main chain took in 2026.
HARD_ENOUGH = {"mainnet": 0x17100000}


@dataclass(frozen=True)
class Opening:
    """What the terms say of the time in which coins count. `deadline` in unix seconds."""

    network: str
    opened_height: int
    opened_hash: str
    deadline: int
    confirmations: int


@dataclass(frozen=True)
class Closing:
    """A proven closing block, and the Merkle roots (hex) of the blocks before it, by height."""

    height: int
    hash: str
    roots: Mapping[int, str]


@dataclass(frozen=True)
class Cancelled:
    """A proven cancellation: height and hash of its block, and its txid."""

    height: int
    hash: str
    txid: str


@dataclass(frozen=True)
class CoinProof:
    """A transaction in a block: raw bytes, which output, the index of its address, height, branch and position."""

    raw: bytes
    vout: int
    index: int
    height: int
    branch: tuple[str, ...]
    position: int

    @property
    def outpoint(self) -> str:
        """Its name in requests and in the signer's log."""
        return f"{parse_tx(self.raw).txid}:{self.vout}"


@dataclass(frozen=True)
class ShownCoin:
    """The transaction that made a coin, which output it is, and the index of its address."""

    raw: bytes
    vout: int
    index: int


@dataclass(frozen=True, order=True)
class ProvenCoin:
    """A coin that counts, in the order of the chain."""

    height: int
    txid: str
    vout: int
    value_sats: int

    @property
    def outpoint(self) -> str:
        """Its name in requests and in the signer's log."""
        return f"{self.txid}:{self.vout}"


@dataclass(frozen=True)
class OutcomeProof:
    """All that shows how a campaign ended: headers from `first_height` on, 80 bytes each, and the coins that count
    (none where nothing hangs on them), or the cancellation that ended it."""

    headers: bytes
    coins: tuple[CoinProof, ...] = ()
    cancellation: CancellationProof | None = None


@dataclass
class Proven:
    """What was proven of a campaign so far: height and hash of its closing block, and the coins that count, by
    outpoint ("txid:vout"); or height and hash of the block with the cancellation, whose txid is `cancelled_by`."""

    height: int
    block_hash: str
    cancelled_by: str = ""
    coins: dict[str, ProvenCoin] = field(default_factory=dict)
    total_sats: int = 0

    def add(self, coin: ProvenCoin) -> None:
        """Take in one more; a coin that is there already changes nothing."""
        if coin.outpoint not in self.coins:
            self.coins[coin.outpoint] = coin
            self.total_sats += coin.value_sats


def first_height(opened_height: int) -> int:
    """Where the headers of a proof begin: at a change of difficulty, with the ten before the opening block that its
    median time past needs."""
    return max(0, opened_height - MEDIAN_SPAN + 1) // RETARGET * RETARGET


def _refuse_easy_opening(opened: Header, network: str) -> None:
    """A creator could name a block of their own making, with little work, and go on from there."""
    if network in HARD_ENOUGH and target(opened.bits) > target(HARD_ENOUGH[network]):
        raise ValueError("the block at which the terms were frozen has hardly any work")


def prove_closing(raw: bytes, opening: Opening) -> Closing:
    """The closing block that these headers (80 bytes each, from `first_height` on) prove.

    Raises ValueError, with the reason, where they do not hang together, lack work, pass by the opening block, or end
    before the closing block is as deep as the terms ask for.
    """
    first, headers = first_height(opening.opened_height), _read_headers(raw, opening)
    opened = opening.opened_height - first
    closed = _first_after(headers, opened, opening.deadline)
    if closed is None or closed + opening.confirmations > len(headers):
        raise ValueError("no closing block with enough confirmations is among the headers")
    roots = {first + i: headers[i].merkle_root for i in range(opened, closed)}
    return Closing(first + closed, headers[closed].hash, roots)


def prove_cancelled(
    raw: bytes, opening: Opening, proof: CancellationProof, payout_script: bytes, terms_hash: bytes
) -> Cancelled:
    """The end that a cancellation in one of these blocks puts to the campaign.

    Raises ValueError, with the reason, as `prove_closing` does, and where the block is not between the opening and the
    closing block or not deep enough, where the branch leads elsewhere, or where the transaction cancels nothing.
    """
    headers = _read_headers(raw, opening)
    opened = opening.opened_height - first_height(opening.opened_height)
    at = opened + proof.height - opening.opened_height
    closed = _first_after(headers, opened, opening.deadline)
    if at <= opened or (closed is not None and at >= closed):
        raise ValueError("a campaign is cancelled after its opening block and before its closing block")
    if at + opening.confirmations > len(headers):
        raise ValueError("the block of the cancellation has not enough confirmations among the headers")
    tx = parse_tx(proof.raw)
    if could_be_node(proof.raw, tx.txid):
        raise ValueError("a transaction of 64 bytes proves nothing")
    if verify_branch(tx.txid, proof.branch, proof.position) != headers[at].merkle_root:
        raise ValueError("the branch leads to another block")
    check_cancels(tx, parse_tx(proof.spent), payout_script, terms_hash)
    return Cancelled(proof.height, headers[at].hash, tx.txid)


def prove_coin(proof: CoinProof, closing: Closing, script: bytes, min_coin_sats: int) -> ProvenCoin:
    """The coin at `script` that the proof shows to count. Raises ValueError, with the reason, where it shows none."""
    tx = parse_tx(proof.raw)
    if proof.height not in closing.roots:
        raise ValueError("a coin counts in the blocks from the opening to the one before the closing block")
    if could_be_node(proof.raw, tx.txid):
        raise ValueError("a transaction of 64 bytes proves nothing")
    if verify_branch(tx.txid, proof.branch, proof.position) != closing.roots[proof.height]:
        raise ValueError("the branch leads to another block")
    if tx.coinbase and proof.height + COINBASE_MATURITY >= closing.height:
        raise ValueError("a freshly mined coin does not count yet")
    if not 0 <= proof.vout < len(tx.outputs) or tx.outputs[proof.vout][1] != script:
        raise ValueError("the output pays another address")
    value_sats = tx.outputs[proof.vout][0]
    if value_sats < min_coin_sats:
        raise ValueError("dust does not count")
    return ProvenCoin(proof.height, tx.txid, proof.vout, value_sats)


def own_coin(shown: ShownCoin, script: bytes) -> tuple[str, int]:
    """Outpoint ("txid:vout") and value of the coin at `script`. Raises ValueError where the transaction makes none.

    A txid is the hash of the whole transaction, so who shows one cannot lie about a value.
    """
    tx = parse_tx(shown.raw)
    if not 0 <= shown.vout < len(tx.outputs) or tx.outputs[shown.vout][1] != script:
        raise ValueError("the output pays another address")
    return f"{tx.txid}:{shown.vout}", tx.outputs[shown.vout][0]


def digest(outpoints: Collection[str]) -> str:
    """One hash over a set of outpoints, to see whether two sets are the same."""
    return sha256("\n".join(sorted(outpoints)).encode()).hexdigest()


def within_cap(coins: Collection[ProvenCoin], cap_sats: int) -> bool:
    """Could all of these coins count under the cap (0: none)? What comes before the last one must be below it."""
    if not cap_sats or not coins:
        return True
    return sum(coin.value_sats for coin in coins) - max(coins).value_sats < cap_sats


def _read_headers(raw: bytes, opening: Opening) -> list[Header]:
    """Headers from `first_height` on that hang together, have the work, and lead through the opening block. Raises
    ValueError."""
    if len(raw) % HEADER_SIZE or len(raw) > LONGEST * HEADER_SIZE:
        raise ValueError("a proof is a list of headers of 80 bytes")
    first = first_height(opening.opened_height)
    headers = [read_header(raw[i : i + HEADER_SIZE]) for i in range(0, len(raw), HEADER_SIZE)]
    check_chain(headers, first, opening.network)
    check_retargets(headers, first, opening.network)
    opened = opening.opened_height - first
    if len(headers) <= opened or headers[opened].hash != opening.opened_hash:
        raise ValueError("the headers do not lead through the block at which the terms were frozen")
    _refuse_easy_opening(headers[opened], opening.network)
    return headers


def _first_after(headers: Sequence[Header], start: int, deadline: int) -> int | None:
    """BIP 113: the first header from `start` on whose median time past is later than the deadline."""
    return next((i for i in range(start, len(headers)) if median_time_past(headers, i) > deadline), None)
