"""What a backer may hold in their own hands: a signed receipt, and refunds that are valid from a stated block on.

Both are made by the signer, checked here and then kept as they are. Nothing here asks or signs: each function is one
reading or one writing step of its caller.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from crowdfund.campaigns import halts
from crowdfund.campaigns.attempts import account_of
from crowdfund.campaigns.lifecycle import COINBASE_MATURITY
from crowdfund.campaigns.models import (
    Account,
    Block,
    Campaign,
    Coin,
    DecisionRow,
    Pledge,
    PledgeReceipt,
    TimelockedRefund,
)
from crowdfund.campaigns.recording import tell_pages
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.errors import WorldError
from crowdfund.wallet.fees import MAX_REFUND_FEE_PERCENT, dust_limit_sats, transaction_vsize
from crowdfund.wallet.receipts import Receipt, verify_receipt
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx

AT_ONCE = 200
_to_the_address_of_now = and_(
    TimelockedRefund.coin_id == Coin.id, TimelockedRefund.change_number == Pledge.refund_number
)
LONGEST_SCRIPT = bytes(34)  # of the usual ones


@dataclass(frozen=True)
class OwedReceipt:
    """A pledge whose refund address the signer knows and whose receipt is not there yet."""

    pledge_id: str
    campaign_id: str
    terms: str
    account_index: int
    receipt_key: str
    expected: Receipt


@dataclass(frozen=True)
class OwedRefund:
    """A confirmed coin for which no time-locked refund was signed yet, and the transaction to sign."""

    coin_id: int
    campaign_id: str
    terms: str
    account_index: int
    descriptor: str
    tx: UnsignedTx
    change_number: int = 0


@dataclass(frozen=True)
class HeldRefund:
    """A time-locked refund as its backer downloads it: valid in blocks above `timelock_height`. `current`: to the
    address that the pledge has now."""

    txid: str
    raw: bytes
    value_sats: int
    timelock_height: int
    current: bool = True


def owed_receipts(session: Session) -> list[OwedReceipt]:
    """The first pledges that wait for a receipt, of campaigns that are not halted: whatever is wrong with those,
    nothing more is signed for them until it is known."""
    rows = session.execute(
        select(Pledge, Campaign)
        .join(Campaign, Campaign.id == Pledge.campaign_id)
        .where(
            Pledge.receipt_due, Pledge.registered, Pledge.address.is_not(None), func.length(Pledge.refund_script) > 0
        )
        .where(~halts.stops_campaign())
        .order_by(Pledge.campaign_id, Pledge.index)
        .limit(AT_ONCE)
    )
    return [_owed_receipt(pledge, campaign) for pledge, campaign in rows]


def store_receipt(session: Session, owed: OwedReceipt, text: str, signature: str, now: datetime) -> None:
    """Keep a receipt that says what the pledge says, signed by the key that the terms name; the first one stays.

    Raises WorldError.
    """
    if text != owed.expected.text() or not verify_receipt(text, signature, owed.receipt_key):
        raise WorldError("The signer's receipt is not the one that was asked for; it is not kept.", retryable=False)
    if session.get(PledgeReceipt, owed.pledge_id) is not None:  # another worker was faster
        return
    session.add(PledgeReceipt(pledge_id=owed.pledge_id, text=text, signature=signature, created_at=now))
    session.execute(update(Pledge).where(Pledge.id == owed.pledge_id).values(receipt_due=False))
    tell_pages(session)


def owed_refunds(session: Session, leave_out: Collection[int] = ()) -> list[OwedRefund]:
    """The first coins that wait for a time-locked refund: confirmed as deep as their terms ask for, worth its fee, of
    a campaign that is neither decided nor halted."""
    tip_height = session.scalar(select(func.max(Block.height))) or 0
    campaigns = session.scalars(
        select(Campaign)
        .join(Account, Account.index == Campaign.account_index)
        .where(Account.receipt_key.is_not(None), Campaign.id.not_in(select(DecisionRow.campaign_id)))
        .where(~halts.stops_campaign())
        .order_by(Campaign.id)
    )
    found: list[OwedRefund] = []
    for campaign in campaigns:
        terms = CampaignTerms.parse(campaign.terms or "")
        if terms.timelock_height > tip_height:
            found += _owed_of_campaign(session, campaign, terms, tip_height, AT_ONCE - len(found), leave_out)
    return found


def store_refund(session: Session, owed: OwedRefund, raw: bytes, now: datetime) -> None:
    """Keep a time-locked refund; its bytes were verified by the caller. A coin's first one to an address stays."""
    same = select(TimelockedRefund.txid).where(TimelockedRefund.coin_id == owed.coin_id)
    if session.scalar(same.where(TimelockedRefund.change_number == owed.change_number)) is not None:
        return
    session.add(
        TimelockedRefund(
            txid=owed.tx.txid,
            coin_id=owed.coin_id,
            raw=raw,
            value_sats=owed.tx.outputs[0].value_sats,
            fee_sats=owed.tx.fee_sats,
            created_at=now,
            change_number=owed.change_number,
        )
    )
    tell_pages(session)


def receipt_of(session: Session, pledge_id: str) -> PledgeReceipt | None:
    """A pledge's receipt, None while the signer has not made it."""
    return session.get(PledgeReceipt, pledge_id)


def refunds_of(session: Session, pledge_id: str, terms: CampaignTerms) -> list[HeldRefund]:
    """A pledge's time-locked refunds, in the order of its coins."""
    rows = session.execute(
        select(TimelockedRefund, TimelockedRefund.change_number == Pledge.refund_number)
        .join(Coin, Coin.id == TimelockedRefund.coin_id).join(Pledge, Pledge.id == Coin.pledge_id)
        .where(Coin.pledge_id == pledge_id)
        .order_by(Coin.id, TimelockedRefund.change_number)
    )  # fmt: skip
    return [HeldRefund(row.txid, row.raw, row.value_sats, terms.timelock_height, now) for row, now in rows]


def timelocked_tx(
    terms: CampaignTerms, txid: str, vout: int, value_sats: int, index: int, script: bytes
) -> UnsignedTx | None:
    """The refund of one coin from the height in the terms on; None where its fee would leave too little to be sent."""
    fee_sats = transaction_vsize(1, [script]) * terms.timelock_feerate_sat_vb
    back_sats = value_sats - fee_sats
    if value_sats < _least_sats(terms) or back_sats < dust_limit_sats(script):
        return None
    spent = TxInput(txid, vout, value_sats, index)
    return UnsignedTx((spent,), (TxOutput(script, back_sats, index),), terms.timelock_height)


def _least_sats(terms: CampaignTerms) -> int:
    """What a coin must hold for a refund: its fee for the longest usual script must be no more than the share allowed.

    One bound for all scripts, so that the database can leave out what is smaller.
    """
    return -(-transaction_vsize(1, [LONGEST_SCRIPT]) * terms.timelock_feerate_sat_vb * 100 // MAX_REFUND_FEE_PERCENT)


def _owed_receipt(pledge: Pledge, campaign: Campaign) -> OwedReceipt:
    terms = CampaignTerms.parse(campaign.terms or "")
    expected = Receipt(
        network=terms.network,
        campaign=terms.hash.hex(),
        index=pledge.index,
        address=pledge.address or "",
        amount_sats=pledge.amount_sats,
        refund_address=pledge.refund_address,
        timelock_height=terms.timelock_height,
    )
    key = terms.receipt_key
    return OwedReceipt(pledge.id, campaign.id, campaign.terms or "", account_of(campaign), key, expected)


def _owed_of_campaign(
    session: Session, campaign: Campaign, terms: CampaignTerms, tip_height: int, most: int, leave_out: Collection[int]
) -> list[OwedRefund]:
    rows = session.execute(
        select(Coin.id, Coin.txid, Coin.vout, Coin.value_sats)
        .add_columns(Pledge.index, Pledge.refund_script, Pledge.refund_number)
        .join(Pledge, Pledge.id == Coin.pledge_id)
        .outerjoin(TimelockedRefund, _to_the_address_of_now)
        .where(Pledge.campaign_id == campaign.id, Pledge.registered, TimelockedRefund.coin_id.is_(None))
        .where(func.length(Pledge.refund_script) > 0)  # empty: found after a restore, nobody knows where to
        .where(Coin.height <= tip_height - terms.confirmations + 1, Coin.spent_by.is_(None))
        .where(Coin.value_sats >= _least_sats(terms), Coin.id.not_in(leave_out))
        .where(or_(Coin.coinbase.is_(False), Coin.height <= tip_height - COINBASE_MATURITY + 1))
        .order_by(Coin.id)
        .limit(max(0, most))
    )
    found = []
    for coin_id, txid, vout, value_sats, index, script, number in rows:
        tx = timelocked_tx(terms, txid, vout, value_sats, index, script)
        if tx is not None:
            text, descriptor = campaign.terms or "", campaign.descriptor or ""
            found.append(OwedRefund(coin_id, campaign.id, text, account_of(campaign), descriptor, tx, number))
    return found
