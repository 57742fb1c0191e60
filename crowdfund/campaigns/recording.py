"""Writing down what the chain did: one transaction for each gathering, the tip last.

Also the two questions that following asks of the records: which blocks are known, and which scripts and coins
are ours. Asked with indexed look-ups, so that an address is watched from the moment it is stored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import TypeVar

from sqlalchemy import delete, func, select, tuple_, update
from sqlalchemy.orm import Session

from crowdfund.campaigns.models import Block, ChainView, Coin, Pledge
from crowdfund.chain.follow import BlockFacts, Changes, FoundCoin
from crowdfund.chain.port import BlockRef, UnspentCoin
from crowdfund.wallet.fees import MIN_FEERATE_SAT_VB

AT_ONCE = 5_000

_T = TypeVar("_T")


class RecordedChain:
    """The blocks in the database, as `follow.KnownChain`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def tip(self) -> BlockRef | None:
        """See the port."""
        block = self._session.scalar(select(Block).order_by(Block.height.desc()).limit(1))
        if block is None:
            return None
        return BlockRef(block.height, block.hash, block.prev_hash, block.time, block.median_time_past)

    def hash_at(self, height: int) -> str | None:
        """See the port."""
        return self._session.scalar(select(Block.hash).where(Block.height == height))


class RecordedWatch:
    """Our scripts and coins in the database, as `follow.Watch`. Each question reads the newest state."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def scripts_among(self, scripts: Collection[bytes]) -> set[bytes]:
        """See the port."""
        self._session.rollback()  # a new transaction: pledges stored since the last question count
        found: set[bytes] = set()
        for part in _parts(scripts):
            found.update(s for s in self._session.scalars(select(Pledge.script).where(Pledge.script.in_(part))) if s)
        return found

    def coins_among(self, outpoints: Collection[tuple[str, int]]) -> set[tuple[str, int]]:
        """See the port."""
        found: set[tuple[str, int]] = set()
        for part in _parts({txid for txid, _ in outpoints}):
            rows = self._session.execute(select(Coin.txid, Coin.vout).where(Coin.txid.in_(part)))
            found.update((txid, vout) for txid, vout in rows)
        return found & set(outpoints)


def is_news(session: Session, changes: Changes) -> bool:
    """Would `record` write anything?"""
    if changes.blocks or changes.mempool_coins or changes.fork_height is not None:
        return True
    return any(txid not in changes.mempool_txids for txid in _unconfirmed(session)) if changes.complete else False


def record(session: Session, changes: Changes, now: datetime) -> None:
    """Write `changes`, the tip last: it says that everything up to it is known."""
    if changes.fork_height is not None:
        _roll_back(session, changes.fork_height)
    for facts in changes.blocks:
        _record_block(session, facts, now)
    if changes.complete:
        _record_mempool(session, changes, now)
    for ref in (facts.block for facts in changes.blocks):
        session.add(
            Block(
                height=ref.height,
                hash=ref.hash,
                prev_hash=ref.prev_hash,
                time=ref.time,
                median_time_past=ref.median_time_past,
            )
        )
    tell_pages(session)


def adopt(session: Session, early: Iterable[tuple[UnspentCoin, str]], now: datetime) -> None:
    """Write down coins (each with its block's hash) that lay at our addresses before these were given out, when
    nobody looked for them: whoever reads the public descriptor can pay ahead."""
    for coin, block_hash in early:
        row = _coin(session, FoundCoin(coin.txid, coin.vout, coin.value_sats, coin.script, coin.coinbase), now)
        row.height, row.block_hash, row.in_mempool = coin.height, block_hash, False
    tell_pages(session)


def tell_pages(session: Session) -> None:
    """Move the counter that open pages wait for: something that they show is about to change."""
    session.execute(update(ChainView).values(changes=ChainView.changes + 1))


def set_view(session: Session, state: str, trouble: str, feerate_sat_vb: int | None, now: datetime) -> None:
    """How the worker sees the node (`state`) and what keeps it from settling (`trouble`, empty if nothing does)."""
    view = session.get(ChainView, 1)
    if view is None:
        view = ChainView(id=1, changes=0)
        session.add(view)
    if (view.state, view.trouble) != (state, trouble):
        view.changes += 1
    view.state, view.trouble, view.seen_at = state, trouble, now
    view.feerate_sat_vb = feerate_sat_vb or view.feerate_sat_vb or MIN_FEERATE_SAT_VB


def _roll_back(session: Session, fork_height: int) -> None:
    """Undo the blocks above the fork: their coins are unconfirmed again, their spends undone."""
    session.execute(delete(Block).where(Block.height > fork_height))
    session.execute(
        update(Coin).where(Coin.height > fork_height).values(height=None, block_hash=None, in_mempool=False)
    )
    session.execute(update(Coin).where(Coin.spent_height > fork_height).values(spent_by=None, spent_height=None))


def _record_block(session: Session, facts: BlockFacts, now: datetime) -> None:
    for found in facts.coins:
        coin = _coin(session, found, now)
        coin.height, coin.block_hash, coin.in_mempool = facts.block.height, facts.block.hash, False
    session.flush()
    for spend in facts.spends:
        session.execute(
            update(Coin)
            .where(Coin.txid == spend.txid, Coin.vout == spend.vout)
            .values(spent_by=spend.spent_by, spent_height=facts.block.height)
        )


def _record_mempool(session: Session, changes: Changes, now: datetime) -> None:
    """Unconfirmed coins appear; those whose transaction has left without a block are gone for now."""
    for found in changes.mempool_coins:
        coin = _coin(session, found, now)
        coin.in_mempool = coin.height is None
    session.flush()
    gone = [txid for txid in _unconfirmed(session) if txid not in changes.mempool_txids]
    for part in _parts(gone):
        session.execute(update(Coin).where(Coin.in_mempool, Coin.txid.in_(part)).values(in_mempool=False))


def _unconfirmed(session: Session) -> list[str]:
    return list(session.scalars(select(Coin.txid).where(Coin.in_mempool)))


def _coin(session: Session, found: FoundCoin, now: datetime) -> Coin:
    """The row of an output, made at first sight."""
    coin = session.scalar(select(Coin).where(tuple_(Coin.txid, Coin.vout) == (found.txid, found.vout)))
    if coin is None:
        coin = Coin(
            pledge_id=session.scalar(select(Pledge.id).where(Pledge.script == found.script)),
            txid=found.txid,
            vout=found.vout,
            value_sats=found.value_sats,
            coinbase=found.coinbase,
            first_seen_at=now,
            in_mempool=False,
        )
        session.add(coin)
        session.flush()
    return coin


def chain_tip(session: Session) -> Block | None:
    """The last recorded block."""
    return session.scalar(select(Block).order_by(Block.height.desc()).limit(1))


def closing_block(session: Session, deadline: datetime) -> Block | None:
    """The first recorded block whose median time past is later than the deadline."""
    height = session.scalar(select(func.min(Block.height)).where(Block.median_time_past > int(deadline.timestamp())))
    return None if height is None else session.get(Block, height)


def _parts(items: Iterable[_T]) -> Iterable[list[_T]]:
    listed = list(items)
    return (listed[i : i + AT_ONCE] for i in range(0, len(listed), AT_ONCE))
