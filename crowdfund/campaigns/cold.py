"""Signatures that come by hand: what waits for one, and taking in what was brought. Knows no key and no socket.

The server never had a seed. Its plans leave as a manifest and PSBTs, rest, and are sent as soon as signed bytes are
stored that are the plan to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crowdfund.campaigns import attempts, halts, service
from crowdfund.campaigns.attempts import Job
from crowdfund.campaigns.models import Attempt, Campaign, DecisionRow, Pledge
from crowdfund.errors import UserError
from crowdfund.wallet.manifest import CampaignToSign, Manifest, ToSign
from crowdfund.wallet.outcome_proof import OutcomeProof, ShownCoin
from crowdfund.wallet.psbt import read_signed, txid_of
from crowdfund.wallet.transactions import verify_signed

Shown = tuple[OutcomeProof, tuple[ShownCoin, ...]]


def waiting(count: int) -> list[str]:
    """One sentence for the operator, if anything waits to be signed."""
    if not count:
        return []
    what = "1 settlement waits" if count == 1 else f"{count} settlements wait"
    return [f"{what} to be signed offline: crowdfund cold export."]


def signed_count(session: Session) -> int:
    """How many attempts are signed: grows with each one that is brought."""
    return session.scalar(select(func.count()).where(Attempt.raw.is_not(None))) or 0


def refuse_no_accounts(session: Session) -> None:
    """Raise UserError when no account is left for a new campaign."""
    first, spare = service.account_stock(session)
    if not spare:
        raise UserError(
            "No account is left for a new campaign: on the machine with the seed run "
            f"`crowdfund cold accounts --first {first} FILE`, here `crowdfund cold import-accounts FILE`."
        )


def unsigned_jobs(session: Session) -> list[Job]:
    """Every attempt that waits for a signature; not those whose stored plan was changed, which the worker tells of, nor
    those that a halt concerns."""
    jobs = (attempts.job(session, batch_id) for batch_id in attempts.open_batches(session))
    waiting = [job for job in jobs if job.raw is None and job.tx.txid == job.txid]
    return [job for job in waiting if halts.stopping(session, job.campaign_id) is None]


def manifest(session: Session, network: str, shown: Mapping[str, Shown]) -> Manifest:
    """All that the signing machine must hear of: what waits, and the refund addresses of every unsettled campaign.

    They go with each export, decided or not: the first address that the signing machine hears of counts, so a server
    that is broken into later cannot change those that it has already heard of. `shown`, by
    campaign, is what the signing machine wants to see of those of which something waits; it has none of the others.
    """
    jobs = unsigned_jobs(session)
    published = select(Campaign).where(Campaign.account_index.is_not(None)).order_by(Campaign.account_index)
    decided = set(session.scalars(select(DecisionRow.campaign_id)))
    campaigns = []
    for campaign in session.scalars(published).all():
        account = campaign.account_index
        if account is None:
            continue
        own = tuple(ToSign(job.kind, job.tx) for job in jobs if job.account_index == account)
        refunds = {} if campaign.id in decided and not own else _refunds(session, campaign.id)
        if own or refunds:
            whole = (campaign.terms or "", account, campaign.descriptor or "", refunds, own)
            campaigns.append(CampaignToSign(*whole, *shown.get(campaign.id, (None, ()))))
    return Manifest(network, tuple(campaigns))


def store_brought(session: Session, data: bytes) -> tuple[str, bool]:
    """Take in one signed PSBT or transaction; returns its txid, and False where it was signed already.

    Raises UserError or WorldError, and stores nothing, where it is anything but a planned settlement, signed.
    """
    raw = read_signed(data)
    txid = txid_of(raw)
    attempt = session.get(Attempt, txid)
    if attempt is None:
        raise UserError(f"{txid} is no settlement that was planned here.")
    if attempt.raw is not None:
        return txid, False
    job = next((job for job in unsigned_jobs(session) if job.txid == txid), None)
    if job is None:
        raise UserError(f"{txid} need not be signed any more: what it spends is spent.")
    verify_signed(raw, job.tx, job.descriptor)
    attempts.store_signed(session, txid, raw)
    return txid, True


def _refunds(session: Session, campaign_id: str) -> dict[int, bytes]:
    rows = session.execute(
        select(Pledge.refund_script, Pledge.index)
        .where(Pledge.campaign_id == campaign_id, Pledge.address.is_not(None), func.length(Pledge.refund_script) > 0)
        .order_by(Pledge.index)
    )
    return {index: script for script, index in rows}
