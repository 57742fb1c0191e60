"""The ledger's tables: every movement of money, the running balances, and what keeps settlement from going on.

A transfer is one row with a giving and a taking account, so that it balances by its very form. Rows are only ever
added; triggers in the migrations see to that, to the order of the chain of hashes, and to nobody giving what he does
not have.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from crowdfund.campaigns.ledger import OUTSIDE, Bucket
from crowdfund.campaigns.models import Campaign, Coin
from crowdfund.db import Base
from crowdfund.wallet.amounts import MAX_MONEY_SATS


def _known(column: str) -> CheckConstraint:
    names = ", ".join(f"'{account}'" for account in (OUTSIDE, *Bucket))
    return CheckConstraint(f"{column} IN ({names})", name=f"{column}_known")


def _whole(column: str) -> CheckConstraint:
    """SQLite would store 1.5 in a column of integers."""
    return CheckConstraint(f"{column} = CAST({column} AS BIGINT)", name=f"{column}_is_whole")


class Transfer(Base):
    """`amount_sats` of a coin go from one account to another: the buckets of `ledger.Bucket`, and `outside`.

    `key` names the movement: the outpoint, and the how manieth movement of that coin it is. `height` and `block_hash`
    are the block that moved it, `at` is our clock for people to read. `reverses` is the transfer that a reorganisation
    has undone. `hash` seals the row together with the row before it.
    """

    __tablename__ = "transfers"
    __table_args__ = (
        CheckConstraint(f"amount_sats BETWEEN 1 AND {MAX_MONEY_SATS}", name="amount_sats_in_range"),
        _whole("amount_sats"),
        CheckConstraint("from_account <> to_account", name="another_account"),
        _known("from_account"),
        _known("to_account"),
        CheckConstraint("length(hash) = 64 AND length(prev_hash) = 64", name="a_whole_hash"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    campaign_id: Mapped[str] = mapped_column(ForeignKey(Campaign.id), index=True)
    coin_id: Mapped[int] = mapped_column(ForeignKey(Coin.id), index=True)
    key: Mapped[str] = mapped_column(unique=True)
    from_account: Mapped[str]
    to_account: Mapped[str]
    amount_sats: Mapped[int]
    what: Mapped[str]
    height: Mapped[int]
    block_hash: Mapped[str]
    at: Mapped[datetime]
    reverses: Mapped[int | None] = mapped_column(ForeignKey("transfers.id"), unique=True)
    prev_hash: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)


class Balance(Base):
    """What an account of a campaign holds: kept by a trigger at each transfer. `outside` is what came in, negative."""

    __tablename__ = "balances"
    __table_args__ = (
        _known("account"),
        CheckConstraint("account = 'outside' OR sats >= 0", name="nobody_owes"),
        _whole("sats"),
    )

    campaign_id: Mapped[str] = mapped_column(ForeignKey(Campaign.id), primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    sats: Mapped[int]


class Halt(Base):
    """Settlement stands still: of one campaign, or (`campaign_id` NULL) of all, until `ended_at`."""

    __tablename__ = "halts"
    __table_args__ = (
        CheckConstraint("reason <> ''", name="with_a_reason"),
        CheckConstraint("(ended_at IS NULL) = (ended_reason IS NULL)", name="ended_with_a_reason"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[str | None] = mapped_column(ForeignKey(Campaign.id), index=True)
    reason: Mapped[str]
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ended_reason: Mapped[str | None]
