"""Review by the operator, where CROWDFUND_REVIEW is on: a draft is asked for, approved or sent back with a reason.

What was approved is that very draft: its fingerprint is of all that would freeze. Who changes a word asks again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from crowdfund.campaigns.detail_models import ReviewRequest, ReviewVerdict
from crowdfund.campaigns.models import Campaign
from crowdfund.campaigns.terms import canonical_json, format_time
from crowdfund.config import Settings
from crowdfund.errors import NotFound, UserError
from crowdfund.projects import writing

REASON_LIMIT = 2_000


class ReviewState(StrEnum):
    """How far the review of a draft, as it is now, has come."""

    DRAFT = "draft"
    IN_REVIEW = "in review"
    APPROVED = "approved"
    RETURNED = "sent back"


def fingerprint(session: Session, campaign: Campaign) -> str:
    """SHA-256 of all that a project writes and that would freeze, in hex."""
    return sha256(
        canonical_json(
            {
                "title": campaign.title,
                "summary": campaign.summary,
                "story": campaign.story,
                "goal_sats": campaign.goal_sats,
                "cap_sats": campaign.cap_sats,
                "deadline_at": format_time(campaign.deadline_at),
                "payout_address": campaign.payout_address,
                "project_url": campaign.project_url,
                "license": campaign.license,
                "details": writing.final_details(session, campaign).canonical(),
            }
        ).encode()
    ).hexdigest()


def state_of(session: Session, campaign: Campaign) -> tuple[ReviewState, str]:
    """The state, and the reason where it was sent back. A draft that was sent back and changed is a draft again, with
    the reason still there to read."""
    last = _last(session, campaign.id)
    if last is None:
        return ReviewState.DRAFT, ""
    same = last.draft_sha256 == fingerprint(session, campaign)
    verdict = last.verdict
    if verdict is not None and not verdict.approved:
        return (ReviewState.RETURNED if same else ReviewState.DRAFT), verdict.reason
    if not same:
        return ReviewState.DRAFT, ""
    return (ReviewState.IN_REVIEW if verdict is None else ReviewState.APPROVED), ""


def ask(session: Session, creator_id: int, campaign: Campaign) -> None:
    """Ask for review of the draft as it is. Asking twice is the same as once."""
    state, _ = state_of(session, campaign)
    if state in (ReviewState.IN_REVIEW, ReviewState.APPROVED):
        return
    session.add(
        ReviewRequest(
            campaign_id=campaign.id,
            draft_sha256=fingerprint(session, campaign),
            creator_id=creator_id,
            asked_at=datetime.now(UTC),
        )
    )
    session.flush()


def refuse_unapproved(session: Session, settings: Settings, campaign: Campaign) -> None:
    """Raise UserError unless the draft may be published as far as reviews go."""
    if settings.review and state_of(session, campaign)[0] is not ReviewState.APPROVED:
        raise UserError("On this site the operator reads a campaign before it is published; ask for review first.")


def waiting(session: Session) -> list[ReviewRequest]:
    """Drafts that wait for the operator, the oldest first: those that have not changed since they asked."""
    open_requests = session.scalars(
        select(ReviewRequest)
        .where(ReviewRequest.id.not_in(select(ReviewVerdict.request_id)))
        .order_by(ReviewRequest.id)
        .options(selectinload(ReviewRequest.campaign), selectinload(ReviewRequest.creator))
    ).all()
    return [r for r in open_requests if r.campaign.terms is None and fingerprint(session, r.campaign) == r.draft_sha256]


def decide(session: Session, campaign_id: str, approved: bool, reason: str = "") -> None:
    """The operator's word on the draft as it is. Raises UserError, NotFound."""
    request = next((r for r in waiting(session) if r.campaign_id == campaign_id), None)
    if request is None:
        raise NotFound("No draft with this id waits for review, as it is now.")
    reason = reason.strip()
    if not approved and not reason:
        raise UserError("Say why: the project reads it.")
    if len(reason) > REASON_LIMIT:
        raise UserError(f"The reason has {len(reason)} characters; at most {REASON_LIMIT} fit.")
    session.add(ReviewVerdict(request_id=request.id, approved=approved, reason=reason, decided_at=datetime.now(UTC)))
    session.flush()


def _last(session: Session, campaign_id: str) -> ReviewRequest | None:
    found = select(ReviewRequest).where(ReviewRequest.campaign_id == campaign_id).order_by(ReviewRequest.id.desc())
    return session.scalars(found.limit(1).options(selectinload(ReviewRequest.verdict))).first()
