"""Settlements made after the backup are recognised on the chain and taken into the books: nothing is paid twice.

A transaction that spends our coins and is in no plan is either one of those or a theft. It is taken for ours only if
it is what the terms, the decision (reckoned from the chain by the same pure function) and the registered refund
scripts ask for, byte for byte as this program makes transactions. Everything else stays a foreign spend, which halts.
All that knows how batches and attempts are stored after a restore is here.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowdfund.campaigns import settling
from crowdfund.campaigns.lifecycle import Kind, owed_kind
from crowdfund.campaigns.models import Attempt, BatchInput, BatchOutput, BatchRow, Coin, Pledge, Restore
from crowdfund.campaigns.queries import Snapshot, load
from crowdfund.chain.backends import AnyBackend
from crowdfund.chain.blocks import ParsedTx, parse_block, parse_tx
from crowdfund.chain.port import BlockBackend, NodeStatus, Spender, WrongAnswer
from crowdfund.db import Database
from crowdfund.errors import WorldError
from crowdfund.wallet.fees import MAX_FEERATE_SAT_VB, transaction_vsize
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx


@dataclass(frozen=True)
class Foreign:
    """A transaction in a block that spends coins of a campaign and that no attempt knows."""

    txid: str
    height: int
    campaign_id: str


def adopt_settlements(database: Database, backend: AnyBackend, status: NodeStatus) -> None:
    """Decide what the chain has decided, then take in every settlement that follows from it.

    Raises WorldError while one of them is on its way: what it spends must not be planned again.
    """
    with database.transaction() as session:
        for due in settling.campaigns_due(session, status.height):
            settling.store_decision(session, due.id)
    adopt_spends(database, backend)
    _refuse_unconfirmed(database, backend)


def adopt_spends(database: Database, backend: AnyBackend) -> None:
    """Take in what spends coins of ours, is in no plan, and follows from the terms. Does nothing unless the database
    was restored once: only then can there be a settlement that it does not know."""
    with database.reading() as session:
        restored = session.scalar(select(Restore.id).limit(1)) is not None
        foreign = foreign_settlements(session) if restored else []
    for one in foreign:
        made = _fetch(backend, one)
        with database.transaction() as session:
            adopt(session, one, made)


def foreign_settlements(session: Session) -> list[Foreign]:
    """Every transaction that spends coins of ours and is no attempt, in the order of the chain."""
    rows = session.execute(
        select(Coin.spent_by, Coin.spent_height, Pledge.campaign_id)
        .join(Pledge, Pledge.id == Coin.pledge_id)
        .where(Coin.spent_by.is_not(None), Coin.spent_by.not_in(select(Attempt.txid)))
        .distinct()
        .order_by(Coin.spent_height, Coin.spent_by)
    )
    return [Foreign(txid, height, campaign) for txid, height, campaign in rows if txid is not None and height]


def adopt(session: Session, foreign: Foreign, made: ParsedTx) -> bool:
    """Store `made` as the attempt of a batch of its own if it is a settlement of ours; False if it is none."""
    snapshot = load(session, foreign.campaign_id)
    found = _as_settlement(snapshot, made)
    if found is None:
        return False
    _store(session, foreign.campaign_id, *found)
    return True


def _store(session: Session, campaign_id: str, kind: Kind, coins: list[Coin], tx: UnsignedTx) -> None:
    """A batch with one attempt, as a plan would have made them."""
    vsize = transaction_vsize(len(tx.inputs), [o.script for o in tx.outputs])
    batch = BatchRow(
        campaign_id=campaign_id,
        kind=kind,
        fee_sats=tx.fee_sats,
        feerate_sat_vb=tx.fee_sats // vsize,
        locktime=tx.locktime,
    )
    session.add(batch)
    session.flush()
    session.add_all(BatchInput(coin_id=c.id, batch_id=batch.id, position=n) for n, c in enumerate(coins))
    session.add_all(
        BatchOutput(batch_id=batch.id, position=n, script=o.script, value_sats=o.value_sats, index=o.index)
        for n, o in enumerate(tx.outputs)
    )
    session.flush()
    session.add(Attempt(txid=tx.txid, batch_id=batch.id, number=1))
    session.flush()


def _as_settlement(snapshot: Snapshot, made: ParsedTx) -> tuple[Kind, list[Coin], UnsignedTx] | None:
    """(kind, coins in the order of the inputs, the transaction) where `made` is what we would have made: put together
    from our own scripts, it has the same txid."""
    own = {(c.txid, c.vout): (p, c) for p in snapshot.pledges for c in p.coins}
    if snapshot.terms is None or snapshot.outcome is None or any(spent not in own for spent in made.spends):
        return None
    pairs = [own[spent] for spent in made.spends]
    kinds = {owed_kind(snapshot.standing(coin), snapshot.outcome) for _, coin in pairs}
    if len(kinds) != 1 or (kind := kinds.pop()) is None or any(c.batch_input is not None for _, c in pairs):
        return None
    payout = bytes.fromhex(snapshot.terms.payout_script)
    outputs = _release_outputs(made, payout) if kind is Kind.RELEASE else _refund_outputs(made, [p for p, _ in pairs])
    inputs = tuple(TxInput(c.txid, c.vout, c.value_sats, p.index) for p, c in pairs)
    if outputs is None:
        return None
    tx = UnsignedTx(inputs, outputs, made.locktime)
    vsize = transaction_vsize(len(inputs), [o.script for o in outputs])
    if tx.txid != made.txid or not 0 < tx.fee_sats <= vsize * MAX_FEERATE_SAT_VB:
        return None
    return kind, [coin for _, coin in pairs], tx


def _release_outputs(made: ParsedTx, payout_script: bytes) -> tuple[TxOutput, ...] | None:
    if len(made.outputs) != 1:
        return None
    return (TxOutput(payout_script, made.outputs[0][0], None),)


def _refund_outputs(made: ParsedTx, pledges: list[Pledge]) -> tuple[TxOutput, ...] | None:
    """One output for each pledge spent, in the order of the inputs, to its own refund script."""
    wanted = list(dict.fromkeys((p.index, p.refund_script) for p in pledges))
    if len(wanted) != len(made.outputs):
        return None
    pairs = zip(wanted, made.outputs, strict=True)
    return tuple(TxOutput(script, value_sats, index) for (index, script), (value_sats, _) in pairs)


def _fetch(backend: AnyBackend, foreign: Foreign) -> ParsedTx:
    """The transaction itself, from its block or by its name."""
    if isinstance(backend, BlockBackend):
        block_hash = backend.block_hash(foreign.height)
        transactions = parse_block(backend.block(block_hash))[2] if block_hash else []
    else:
        transactions = [parse_tx(raw) for raw in backend.transactions([foreign.txid]).values()]
    found = next((tx for tx in transactions if tx.txid == foreign.txid), None)
    if found is None:
        raise WrongAnswer(f"The {backend.name} does not have {foreign.txid} where it was a moment ago.")
    return found


def _refuse_unconfirmed(database: Database, backend: AnyBackend) -> None:
    """A settlement on its way must be in a block before anything is planned for the coins that it spends."""
    with database.reading() as session:
        rows = session.execute(
            select(Coin.txid, Coin.vout)
            .outerjoin(BatchInput, BatchInput.coin_id == Coin.id)
            .where(Coin.height.is_not(None), Coin.spent_by.is_(None), BatchInput.coin_id.is_(None))
        )
        outpoints = [(txid, vout) for txid, vout in rows]
        ours = set(session.scalars(select(Attempt.txid)))
    spenders: dict[tuple[str, int], Spender] = dict(backend.spenders(outpoints)) if outpoints else {}
    for spender in spenders.values():
        if spender.txid not in ours:
            raise WorldError(
                f"{spender.txid} spends coins of ours, is not in a block yet, and was made after the backup: addresses "
                "and settlements wait until it is in one."
            )
