"""Transactions that pay us, with the branches that lead to their blocks: kept while the blocks are at hand.

A pruned node deletes blocks after days, and a campaign may run for months; the signer wants to see each coin in its
block at the end. What a reorganisation makes worthless is replaced.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import insert, select, tuple_, update
from sqlalchemy.orm import Session

from crowdfund.campaigns.models import Coin, CoinEvidence
from crowdfund.chain.inclusion import Inclusion

AT_ONCE = 1_000
HASH_SIZE = 32


@dataclass(frozen=True)
class Unseen:
    """A confirmed coin for which nothing is kept yet, or what a lost block showed."""

    coin_id: int
    txid: str
    height: int
    block_hash: str


def unseen(session: Session, after: tuple[int, int] = (-1, -1)) -> list[Unseen]:
    """The first of these coins in the order of (height, id), all beyond `after`."""
    rows = session.execute(
        select(Coin.id, Coin.txid, Coin.height, Coin.block_hash)
        .outerjoin(CoinEvidence, CoinEvidence.coin_id == Coin.id)
        .where(tuple_(Coin.height, Coin.id) > after, Coin.spent_by.is_(None))
        .where(CoinEvidence.block_hash.is_distinct_from(Coin.block_hash))
        .order_by(Coin.height, Coin.id)
        .limit(AT_ONCE)
    )
    return [Unseen(coin_id, txid, height or 0, block_hash or "") for coin_id, txid, height, block_hash in rows]


def keep(session: Session, coins: Collection[Unseen], found: Collection[Inclusion]) -> None:
    """Keep what shows these coins, of one block or several; those that are not among `found` are left for later."""
    held = {(one.txid, one.height): one for one in found}
    rows = [
        {
            "coin_id": coin.coin_id,
            "block_hash": coin.block_hash,
            "raw": one.raw,
            "branch": b"".join(bytes.fromhex(step) for step in one.branch),
            "position": one.position,
        }
        for coin in coins
        if (one := held.get((coin.txid, coin.height))) is not None
    ]
    ids = [coin.coin_id for coin in coins]
    known = set(session.scalars(select(CoinEvidence.coin_id).where(CoinEvidence.coin_id.in_(ids))))
    for statement, some in (
        (insert(CoinEvidence), [row for row in rows if row["coin_id"] not in known]),
        (update(CoinEvidence), [row for row in rows if row["coin_id"] in known]),
    ):
        if some:
            session.execute(statement, some)


def heights(session: Session, txids: Collection[str]) -> dict[str, int]:
    """txid -> the height at which a block holds it, for those of these payments that are confirmed."""
    listed, found = sorted(txids), dict[str, int]()
    for start in range(0, len(listed), AT_ONCE):
        rows = session.execute(
            select(Coin.txid, Coin.height).where(
                Coin.txid.in_(listed[start : start + AT_ONCE]), Coin.height.is_not(None)
            )
        )
        found.update({txid: height for txid, height in rows if height is not None})
    return found


def held(session: Session, items: Collection[tuple[str, int]]) -> dict[tuple[str, int], Inclusion]:
    """(txid, height) -> what is kept of these, where the block at that height still holds them."""
    wanted, found = set(items), dict[tuple[str, int], Inclusion]()
    txids = sorted({txid for txid, _ in wanted})
    for start in range(0, len(txids), AT_ONCE):
        rows = session.execute(
            select(Coin.txid, Coin.height, CoinEvidence.raw, CoinEvidence.branch, CoinEvidence.position)
            .join(CoinEvidence, CoinEvidence.coin_id == Coin.id)
            .where(Coin.txid.in_(txids[start : start + AT_ONCE]), CoinEvidence.block_hash == Coin.block_hash)
        )
        for txid, height, raw, branch, position in rows:
            if height is not None and (txid, height) in wanted:
                found[(txid, height)] = Inclusion(txid, height, raw, steps(branch), position)
    return found


def steps(branch: bytes) -> tuple[str, ...]:
    """A Merkle branch as kept, in hex."""
    return tuple(branch[i : i + HASH_SIZE].hex() for i in range(0, len(branch), HASH_SIZE))
