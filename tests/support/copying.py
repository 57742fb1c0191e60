"""The plans of one installation, taken over by another that follows the same chain."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from crowdfund.campaigns.models import Attempt, AttemptOutput, BatchInput, BatchRow, Coin
from crowdfund.db import Base

PLANS = (BatchRow, BatchInput, Attempt, AttemptOutput)
LATER = ("sealed", "raw", "sent_at", "sent_height")


def copy_rows(source: Session, target: Session, tables: Sequence[type[Base]]) -> None:
    """Rows as they are, but for the ids of coins: the other installation gave them others."""
    for table in tables:
        for row in source.execute(select(table.__table__)).mappings().all():
            values = dict(row)
            if table is BatchInput:
                values["coin_id"] = _same_coin(source, target, values["coin_id"])
            if table is Attempt:
                values |= {**dict.fromkeys(LATER), "sealed": False}
            target.execute(insert(table).values(values))


def copy_plans(source: Session, target: Session) -> None:
    """Batches and attempts. The coins must be there by then; attempts are sealed when they have their outputs."""
    copy_rows(source, target, PLANS)
    for row in source.execute(select(Attempt.__table__)).mappings().all():
        values = {name: row[name] for name in LATER}
        target.execute(update(Attempt).where(Attempt.txid == row["txid"]).values(values))


def _same_coin(source: Session, target: Session, coin_id: int) -> int:
    coin = source.get_one(Coin, coin_id)
    return target.scalars(select(Coin.id).where(Coin.txid == coin.txid, Coin.vout == coin.vout)).one()
