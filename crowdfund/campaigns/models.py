"""The tables: facts only. Confirmations, states and totals are derived elsewhere and stored nowhere.

Amounts are integers in satoshi with the bounds of bitcoin as constraints. What must never change is guarded by
triggers in the migrations, not by good intentions.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crowdfund.db import Base
from crowdfund.projects.models import Project
from crowdfund.wallet.amounts import MAX_MONEY_SATS


def _money(column: str, low: int = 0) -> CheckConstraint:
    return CheckConstraint(f"{column} BETWEEN {low} AND {MAX_MONEY_SATS}", name=f"{column}_in_range")


class Creator(Base):
    """A person who launches campaigns. `key` is the name without case, so that no two look alike by case."""

    __tablename__ = "creators"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    key: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    created_at: Mapped[datetime]


class ApiToken(Base):
    """A bearer token for the API; only its SHA-256 is kept, and a `prefix` by which its owner knows it. `scopes` are
    the names of what it may do, with spaces between. It is made and taken back, never changed."""

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    creator_id: Mapped[int] = mapped_column(ForeignKey("creators.id"), index=True)
    token_sha256: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    name: Mapped[str] = mapped_column(server_default=text("''"))
    prefix: Mapped[str] = mapped_column(server_default=text("''"))
    scopes: Mapped[str] = mapped_column(server_default=text("'read write publish notices'"))
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]


class Account(Base):
    """A hardened account that the signer handed out ahead of time. One campaign takes one, and never gives it back.

    `receipt_key` is the public key that signs its receipts, in hex; NULL until a signer that has one tells it.
    """

    __tablename__ = "accounts"

    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    xpub: Mapped[str] = mapped_column(unique=True)
    fingerprint: Mapped[str]
    receipt_key: Mapped[str | None]


class Campaign(Base):
    """A draft, and once `terms` is set, a published campaign.

    The draft's own columns are what the creator typed; from publication on only `terms` (canonical JSON) counts,
    and `story` and `details`, whose hashes the terms hold. `cap_sats` of 0 is no cap. `next_index` is the next address
    index to give out; it only grows. A trigger sees to it that every campaign has a project.
    """

    __tablename__ = "campaigns"
    __table_args__ = (
        _money("goal_sats", 1),
        _money("cap_sats"),
        CheckConstraint("next_index >= 0", name="next_index_grows"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    creator_id: Mapped[int] = mapped_column(ForeignKey("creators.id"), index=True)
    title: Mapped[str]
    summary: Mapped[str]
    story: Mapped[str]
    goal_sats: Mapped[int]
    deadline_at: Mapped[datetime]
    payout_address: Mapped[str]
    project_url: Mapped[str]
    license: Mapped[str]
    created_at: Mapped[datetime]
    terms: Mapped[str | None]
    terms_hash: Mapped[str | None] = mapped_column(unique=True)
    account_index: Mapped[int | None] = mapped_column(ForeignKey("accounts.index"), unique=True)
    descriptor: Mapped[str | None] = mapped_column(unique=True)
    published_at: Mapped[datetime | None]
    next_index: Mapped[int] = mapped_column(default=0)
    cap_sats: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    project_id: Mapped[str | None] = mapped_column(ForeignKey("projects.id"), index=True)
    details: Mapped[str] = mapped_column(default="", server_default=text("''"))

    creator: Mapped[Creator] = relationship()
    project: Mapped[Project | None] = relationship()


class Pledge(Base):
    """A promise to pay. Its index is stored before the address is derived; a row without address was never shown.

    `id` is the secret of the backer's link. `refund_script` is where the money goes back to; it is empty for an address
    found paid after a restore, of which nobody knows who paid it, until an operator fills it in. `refund_number` counts
    its changes, and only a change that the signer has taken (refund_models) moves any of the three.
    """

    __tablename__ = "pledges"
    __table_args__ = (UniqueConstraint("campaign_id", "index"), _money("amount_sats", 1))

    id: Mapped[str] = mapped_column(primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    index: Mapped[int]
    address: Mapped[str | None] = mapped_column(unique=True)
    script: Mapped[bytes | None] = mapped_column(unique=True)
    amount_sats: Mapped[int]
    refund_address: Mapped[str]
    refund_script: Mapped[bytes] = mapped_column(index=True)
    name: Mapped[str]
    message: Mapped[str]
    created_at: Mapped[datetime]
    registered: Mapped[bool] = mapped_column(default=False, index=True)
    receipt_due: Mapped[bool] = mapped_column(default=False, server_default=false(), index=True)
    refund_number: Mapped[int] = mapped_column(default=0, server_default=text("0"))

    campaign: Mapped[Campaign] = relationship()
    coins: Mapped[list[Coin]] = relationship(back_populates="pledge", order_by="Coin.id")


class Block(Base):
    """The best chain as far as it was followed: one row a height, replaced in a reorganisation."""

    __tablename__ = "blocks"

    height: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    hash: Mapped[str] = mapped_column(unique=True)
    prev_hash: Mapped[str]
    time: Mapped[int]
    median_time_past: Mapped[int] = mapped_column(index=True)


class Coin(Base):
    """An output that pays a pledge's address: found once, never deleted.

    `height` and `block_hash` are set while a block of the best chain holds it, `in_mempool` while the node sees
    it unconfirmed. `spent_by` is set while a block of the best chain spends it.
    """

    __tablename__ = "coins"
    __table_args__ = (
        UniqueConstraint("txid", "vout"),
        _money("value_sats"),
        CheckConstraint("(height IS NULL) = (block_hash IS NULL)", name="height_with_hash"),
        CheckConstraint("(spent_by IS NULL) = (spent_height IS NULL)", name="spender_with_height"),
        CheckConstraint("NOT (in_mempool AND height IS NOT NULL)", name="mempool_or_block"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    pledge_id: Mapped[str] = mapped_column(ForeignKey("pledges.id"), index=True)
    txid: Mapped[str]
    vout: Mapped[int]
    value_sats: Mapped[int]
    coinbase: Mapped[bool]
    first_seen_at: Mapped[datetime]
    in_mempool: Mapped[bool] = mapped_column(index=True)
    height: Mapped[int | None] = mapped_column(index=True)
    block_hash: Mapped[str | None]
    spent_by: Mapped[str | None] = mapped_column(index=True)
    spent_height: Mapped[int | None] = mapped_column(index=True)

    pledge: Mapped[Pledge] = relationship(back_populates="coins")
    batch_inputs: Mapped[list[BatchInput]] = relationship(back_populates="coin")
    rival: Mapped[RivalRow | None] = relationship(
        primaryjoin="foreign(Coin.txid) == RivalRow.txid", viewonly=True, uselist=False
    )


class WatchedScript(Base):
    """Our locking scripts in the order in which they were given out, written by a trigger when an address is stored:
    who has read up to `id` asks only for what came after."""

    __tablename__ = "watched_scripts"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    script: Mapped[bytes] = mapped_column(unique=True)


class PaymentInput(Base):
    """What a payment to us spends. A block in which something else spends it makes the payment impossible."""

    __tablename__ = "payment_inputs"
    __table_args__ = (UniqueConstraint("txid", "prev_txid", "prev_vout"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    txid: Mapped[str]
    prev_txid: Mapped[str] = mapped_column(index=True)
    prev_vout: Mapped[int]


class RivalRow(Base):
    """The payment `txid` cannot be confirmed while `by` stands in its place: in a block at `height`, or (NULL) in the
    mempool. Goes when the payment comes back."""

    __tablename__ = "rivals"
    __table_args__ = (CheckConstraint("txid <> by", name="another_transaction"),)

    txid: Mapped[str] = mapped_column(primary_key=True)
    by: Mapped[str]
    height: Mapped[int | None] = mapped_column(index=True)


class Incident(Base):
    """Something out of the ordinary that the public is told of: see `incidents`. `height` is the first block that was
    lost or disputed, `depth` how many were; `ended_at` is NULL while a dispute lasts."""

    __tablename__ = "incidents"
    __table_args__ = (
        CheckConstraint("kind IN ('reorganisation', 'disagreement')", name="kind_known"),
        CheckConstraint("depth >= 1", name="depth_of_one_or_more"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    height: Mapped[int]
    depth: Mapped[int]
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    campaign_id: Mapped[str | None] = mapped_column(ForeignKey("campaigns.id"), index=True)

    coins: Mapped[list[IncidentCoin]] = relationship(order_by="IncidentCoin.coin_id")


class IncidentCoin(Base):
    """A coin that lost its block in a reorganisation."""

    __tablename__ = "incident_coins"

    incident_id: Mapped[int] = mapped_column(ForeignKey("incidents.id"), primary_key=True)
    coin_id: Mapped[int] = mapped_column(ForeignKey("coins.id"), primary_key=True, index=True)

    coin: Mapped[Coin] = relationship()


class Cancellation(Base):
    """A transaction that cancels a campaign, in the block that held it: append-only. It holds as long as the recorded
    block at this height has this hash.

    `branch` (32 bytes a step, as people read hashes) and `position` show it in its block. `spent` is the transaction
    that made the output which it spends, NULL where the node no longer had it; `reason_sha256` names the public reason.
    """

    __tablename__ = "cancellations"
    __table_args__ = (
        UniqueConstraint("campaign_id", "txid", "block_hash"),
        CheckConstraint("length(reason_sha256) = 64", name="reason_by_its_hash"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    txid: Mapped[str]
    height: Mapped[int]
    block_hash: Mapped[str]
    position: Mapped[int]
    branch: Mapped[bytes]
    raw: Mapped[bytes]
    spent: Mapped[bytes | None]
    reason_sha256: Mapped[str]
    found_at: Mapped[datetime]


class DecisionRow(Base):
    """The outcome of a campaign, decided once. `cancellation_id` names what took the place of the closing block."""

    __tablename__ = "decisions"
    __table_args__ = (
        CheckConstraint("outcome IN ('funded', 'failed')", name="outcome_known"),
        _money("counted_sats"),
    )

    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    outcome: Mapped[str]
    counted_sats: Mapped[int]
    closing_height: Mapped[int]
    closing_hash: Mapped[str]
    decided_height: Mapped[int]
    cancellation_id: Mapped[int | None] = mapped_column(ForeignKey("cancellations.id"))

    cancellation: Mapped[Cancellation | None] = relationship()


class BatchRow(Base):
    """The coins that one transaction of a settlement spends: fixed when its first attempt is stored.

    `parent_id` names the batch that it was split from, which is never sent again; NULL for what was planned as it is.
    """

    __tablename__ = "batches"
    __table_args__ = (CheckConstraint("kind IN ('release', 'refund')", name="kind_known"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("decisions.campaign_id"), index=True)
    kind: Mapped[str]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("batches.id"), index=True)

    inputs: Mapped[list[BatchInput]] = relationship(back_populates="batch", order_by="BatchInput.position")
    attempts: Mapped[list[Attempt]] = relationship(back_populates="batch", order_by="Attempt.number")


class BatchInput(Base):
    """A coin that a batch spends. A coin is in one batch, and in one part of it, and in one part of that (a trigger
    sees to it): whatever else would spend it is a double spend."""

    __tablename__ = "batch_inputs"
    __table_args__ = (UniqueConstraint("coin_id", "batch_id"),)

    batch_id: Mapped[int] = mapped_column(ForeignKey("batches.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    coin_id: Mapped[int] = mapped_column(ForeignKey("coins.id"))

    coin: Mapped[Coin] = relationship(back_populates="batch_inputs")
    batch: Mapped[BatchRow] = relationship(back_populates="inputs")


class Attempt(Base):
    """One transaction for a batch, never forgotten: a rung of its ladder of fees.

    Stored unsealed, then its outputs, then sealed, when a trigger checks that all balances; only a sealed attempt can
    hold signed bytes, and they are stored before they are sent. `sent_height` is the tip when it was first sent,
    `refusal` what the node said last, or the signer, while it does not sign.
    """

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("batch_id", "number"),
        CheckConstraint("sent_at IS NULL OR raw IS NOT NULL", name="stored_before_sent"),
        CheckConstraint("raw IS NULL OR sealed", name="sealed_before_signed"),
        CheckConstraint("(sent_at IS NULL) = (sent_height IS NULL)", name="sent_at_a_height"),
        CheckConstraint("feerate_sat_vb >= 1", name="feerate_of_one_or_more"),
        _money("fee_sats", 1),
    )

    txid: Mapped[str] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batches.id"))
    number: Mapped[int]
    fee_sats: Mapped[int]
    feerate_sat_vb: Mapped[int]
    locktime: Mapped[int]
    sealed: Mapped[bool] = mapped_column(default=False)
    raw: Mapped[bytes | None]
    sent_at: Mapped[datetime | None]
    sent_height: Mapped[int | None]
    refusal: Mapped[str | None]

    batch: Mapped[BatchRow] = relationship(back_populates="attempts")
    outputs: Mapped[list[AttemptOutput]] = relationship(order_by="AttemptOutput.position")


class AttemptOutput(Base):
    """What an attempt pays; `index` names the pledge refunded, NULL for the payout."""

    __tablename__ = "attempt_outputs"
    __table_args__ = (_money("value_sats", 1),)

    txid: Mapped[str] = mapped_column(ForeignKey("attempts.txid"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    script: Mapped[bytes]
    value_sats: Mapped[int]
    index: Mapped[int | None]


class PledgeReceipt(Base):
    """What the signer promised a backer: canonical text, and its BIP 137 signature in base64. Never changed."""

    __tablename__ = "receipts"

    pledge_id: Mapped[str] = mapped_column(ForeignKey("pledges.id"), primary_key=True)
    text: Mapped[str]
    signature: Mapped[str]
    created_at: Mapped[datetime]


class TimelockedRefund(Base):
    """A signed refund of one coin that its backer holds, valid from the height in the terms on. Never changed.

    `change_number` is that of the change which made its address the pledge's; 0 is the first address.
    """

    __tablename__ = "timelocked_refunds"
    __table_args__ = (UniqueConstraint("coin_id", "change_number"), _money("value_sats", 1), _money("fee_sats", 1))

    txid: Mapped[str] = mapped_column(primary_key=True)
    coin_id: Mapped[int] = mapped_column(ForeignKey("coins.id"))
    raw: Mapped[bytes]
    value_sats: Mapped[int]
    fee_sats: Mapped[int]
    created_at: Mapped[datetime]
    change_number: Mapped[int] = mapped_column(default=0, server_default=text("0"))


class CoinEvidence(Base):
    """What shows that a block holds a coin: its transaction, the Merkle branch (32 bytes a step, as people read hashes)
    and the position. Replaced when another block holds it."""

    __tablename__ = "coin_evidence"

    coin_id: Mapped[int] = mapped_column(ForeignKey("coins.id"), primary_key=True, autoincrement=False)
    block_hash: Mapped[str]
    raw: Mapped[bytes]
    branch: Mapped[bytes]
    position: Mapped[int]


class EndingRow(Base):
    """Headers (80 bytes each) that show how a decided campaign ended, as the chain was then. Never changed."""

    __tablename__ = "endings"

    campaign_id: Mapped[str] = mapped_column(ForeignKey("decisions.campaign_id"), primary_key=True)
    headers: Mapped[bytes]


class CountedCoinRow(Base):
    """A coin that a funded campaign was decided on, with what shows it in its block, as the chain was then (see
    `CoinEvidence`). Never changed."""

    __tablename__ = "counted_coins"

    coin_id: Mapped[int] = mapped_column(ForeignKey("coins.id"), primary_key=True, autoincrement=False)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("endings.campaign_id"), index=True)
    height: Mapped[int]
    raw: Mapped[bytes]
    branch: Mapped[bytes]
    position: Mapped[int]


class ChainView(Base):
    """One row: how the worker sees the node, and a counter that grows with every change a page could show.

    `trouble` is for the operator, `pause` for everyone: why decisions wait.
    """

    __tablename__ = "chain_view"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str]
    trouble: Mapped[str]
    pause: Mapped[str] = mapped_column(default="", server_default=text("''"))
    feerate_sat_vb: Mapped[int]
    changes: Mapped[int]
    seen_at: Mapped[datetime]


class Restore(Base):
    """This database came back from a backup, or was made anew from the seed and the terms; see `recovery`.

    `from_height`: the last block that the backup knew, NULL for none. `first_account`: accounts below it may have been
    taken by campaigns that the backup does not know. Until `caught_up_at` is set no address is given out and nothing
    is settled.
    """

    __tablename__ = "restores"
    __table_args__ = (CheckConstraint("source IN ('backup', 'seed')", name="source_known"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    restored_at: Mapped[datetime]
    from_height: Mapped[int | None]
    first_account: Mapped[int]
    caught_up_at: Mapped[datetime | None]
