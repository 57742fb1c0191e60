"""What a creator does to cancel: asks for the transaction, and brings it back signed. Decides nothing.

Everything here is a word to the worker and a help to the creator; what ends the campaign is a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowdfund.campaigns import cancelling
from crowdfund.campaigns.cancel_models import CancellationDraft, CancellationSend
from crowdfund.campaigns.cancelling import HeldCancellation
from crowdfund.campaigns.endings import ending_block
from crowdfund.campaigns.models import Campaign, Creator, DecisionRow
from crowdfund.campaigns.recording import tell_pages
from crowdfund.campaigns.rights import may
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.errors import NotFound, Problems, UserError
from crowdfund.plain_text import clean_text
from crowdfund.projects.roles import Action
from crowdfund.wallet.blocks import parse_tx
from crowdfund.wallet.cancel_psbt import build, cancelling_psbt, read_brought, read_coin
from crowdfund.wallet.cancellation import REASON_LIMIT, check_cancels, mark, reason_hash, spends_from
from crowdfund.wallet.transactions import UnsignedTx

MOST_SENDS = 20
MOST_DRAFTS = 50


@dataclass(frozen=True)
class Paper:
    """The transaction that a draft asks for, unsigned."""

    draft: CancellationDraft
    tx: UnsignedTx
    psbt: bytes


def open_campaign(session: Session, creator: Creator | None, campaign_id: str) -> tuple[Campaign, CampaignTerms]:
    """A campaign that this person may cancel, and that can still be. Raises NotFound, UserError."""
    campaign = session.get(Campaign, campaign_id)
    if campaign is None or not may(session, creator, Action.CANCEL, campaign):
        raise NotFound("There is no such campaign among yours.")
    terms = CampaignTerms.parse(campaign.terms or "")
    if not terms.cancellable:
        raise UserError(
            "Backers of this campaign paid under terms that know no cancelling: it goes on to its deadline."
        )
    return campaign, terms


def draft(
    session: Session,
    creator: Creator | None,
    campaign_id: str,
    typed: tuple[str, str, str],
    feerate_sat_vb: int,
    now: datetime,
) -> CancellationDraft:
    """Keep what a creator asks for. `typed`: title, reason, and the raw transaction with a coin at the payout address.

    Once the campaign is cancelled, by a transaction from elsewhere, only what is lacking is taken: the text of its
    reason, and the transaction that made the coin which it spends, where the node no longer has it.

    Raises Problems with a sentence for each field, UserError, NotFound.
    """
    campaign, terms = open_campaign(session, creator, campaign_id)
    if creator is None:
        raise NotFound("There is no such campaign among yours.")
    incomplete = _incomplete(session, campaign, terms)
    if len(_drafts(session, campaign.id)) >= MOST_DRAFTS:
        raise UserError("So many transactions were asked for already; sign the last one, or one of your own making.")
    reason, problems = clean_text(typed[1]), _text_problems(typed, terms)
    payout_script = bytes.fromhex(terms.payout_script)
    try:
        spent, vout = read_coin(typed[2], payout_script)
        if incomplete is None:
            build(spent, vout, payout_script, mark(terms.hash, bytes(32)), feerate_sat_vb)
        elif not spends_from(parse_tx(incomplete.raw), parse_tx(spent), payout_script):
            problems["coin"] = f"The cancellation {incomplete.txid} spends another coin than this transaction made."
    except UserError as error:
        problems[error.field or "coin"] = error.sentence
    if (
        incomplete is not None
        and incomplete.spent is not None
        and reason_hash(reason).hex() != incomplete.reason_sha256
    ):
        # Where refunds wait for the transaction, it is taken with whatever reason; a wrong one is shown to nobody.
        problems["reason"] = "This is not, letter by letter, the reason that the cancellation names by its hash."
    if problems:
        raise Problems(problems)
    row = CancellationDraft(
        campaign_id=campaign.id, creator_id=creator.id, reason=reason, spent=spent, vout=vout,
        feerate_sat_vb=max(1, feerate_sat_vb), made_at=now,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row


def newest_draft(session: Session, campaign_id: str) -> CancellationDraft | None:
    """What was asked for last."""
    drafts = select(CancellationDraft).where(CancellationDraft.campaign_id == campaign_id)
    return session.scalar(drafts.order_by(CancellationDraft.id.desc()).limit(1))


def paper(terms: CampaignTerms, row: CancellationDraft) -> Paper:
    """The transaction for it; the same each time."""
    payout_script = bytes.fromhex(terms.payout_script)
    script = mark(terms.hash, reason_hash(row.reason))
    tx = build(row.spent, row.vout, payout_script, script, row.feerate_sat_vb)
    return Paper(row, tx, cancelling_psbt(row.spent, tx))


def bring(session: Session, creator: Creator | None, campaign_id: str, data: bytes, now: datetime) -> CancellationSend:
    """Keep a signed cancellation for the worker to send. Raises UserError, NotFound."""
    campaign, terms = open_campaign(session, creator, campaign_id)
    if creator is None:
        raise NotFound("There is no such campaign among yours.")
    _refuse_ended(session, campaign, terms)
    raw = read_brought(data)
    tx = parse_tx(raw)
    _refuse_other(session, terms, campaign.id, raw)
    sends = sent(session, campaign.id)
    known = next((one for one in sends if one.txid == tx.txid), None)
    if known is not None:
        return known
    if len(sends) >= MOST_SENDS:
        raise UserError("So many transactions were brought for this campaign already; one of them must do.", "signed")
    row = CancellationSend(campaign_id=campaign.id, creator_id=creator.id, txid=tx.txid, raw=raw, brought_at=now)
    session.add(row)
    session.flush()
    return row


def sent(session: Session, campaign_id: str) -> Sequence[CancellationSend]:
    """What was brought, the newest first."""
    rows = select(CancellationSend).where(CancellationSend.campaign_id == campaign_id)
    return session.scalars(rows.order_by(CancellationSend.id.desc())).all()


def to_send(session: Session) -> list[tuple[int, bytes]]:
    """(id, raw) of what was brought for campaigns that no block has ended yet."""
    decided = select(DecisionRow.campaign_id)
    rows = session.scalars(select(CancellationSend).where(CancellationSend.campaign_id.not_in(decided)))
    found = []
    for row in rows.all():
        terms = CampaignTerms.parse(session.get_one(Campaign, row.campaign_id).terms or "")
        if ending_block(session, row.campaign_id, terms) is None:
            found.append((row.id, row.raw))
    return found


def note_sent(session: Session, send_id: int, answer: str, now: datetime) -> None:
    """What the network said; an empty answer is that it took it."""
    row = session.get_one(CancellationSend, send_id)
    if row.answer != answer or row.sent_at is None:
        row.answer, row.sent_at = answer, now
        tell_pages(session)


def lacks(held: HeldCancellation) -> bool:
    """Is there something that only the creator can bring?"""
    return held.reason is None or held.spent is None


def _drafts(session: Session, campaign_id: str) -> Sequence[int]:
    return session.scalars(select(CancellationDraft.id).where(CancellationDraft.campaign_id == campaign_id)).all()


def _text_problems(typed: tuple[str, str, str], terms: CampaignTerms) -> dict[str, str]:
    problems = {}
    if typed[0].strip() != terms.title:
        problems["title"] = "This is not the title of the campaign; type it exactly as it is."
    if not 0 < len(clean_text(typed[1])) <= REASON_LIMIT:
        problems["reason"] = f"Tell your backers why, in at most {REASON_LIMIT} characters."
    return problems


def _incomplete(session: Session, campaign: Campaign, terms: CampaignTerms) -> HeldCancellation | None:
    """The cancellation of which something is lacking, None while there is none. Raises UserError where the campaign has
    ended and nothing is."""
    end = ending_block(session, campaign.id, terms)
    if end is not None and end.cancellation is not None:
        held = cancelling.held(session, end.cancellation, terms)
        if lacks(held):
            return held
    _refuse_ended(session, campaign, terms)
    return None


def _refuse_ended(session: Session, campaign: Campaign, terms: CampaignTerms) -> None:
    end = ending_block(session, campaign.id, terms)
    if end is not None:
        how = "was cancelled" if end.cancellation is not None else "has reached its deadline"
        raise UserError(f"This campaign {how} in block {end.height:,}: it cannot be cancelled any more.")


def _refuse_other(session: Session, terms: CampaignTerms, campaign_id: str, raw: bytes) -> None:
    """It must be a cancellation of this very campaign that spends a coin which was shown here."""
    tx, payout_script = parse_tx(raw), bytes.fromhex(terms.payout_script)
    drafts = select(CancellationDraft.spent).where(CancellationDraft.campaign_id == campaign_id)
    reason = "no coin at the payout address was shown here before"
    for spent in session.scalars(drafts):
        try:
            check_cancels(tx, parse_tx(spent), payout_script, terms.hash)
            return
        except ValueError as error:
            reason = str(error)
    raise UserError(f"This does not cancel the campaign: {reason}.", "signed")
