"""Help that is not money: offered by anyone, accepted or declined by the project, and how far that has come."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crowdfund.campaigns import figures, service
from crowdfund.campaigns.detail_models import HelpOffer
from crowdfund.campaigns.details import Details
from crowdfund.campaigns.drafts import clean_text
from crowdfund.campaigns.models import Campaign
from crowdfund.campaigns.wanted import ACCEPTED
from crowdfund.errors import NotFound, Problems, UserError
from crowdfund.projects.roles import Action
from crowdfund.sentences import N_, Sentence

NAME_LIMIT, CONTACT_LIMIT, MESSAGE_LIMIT, ANSWER_LIMIT = 60, 200, 2_000, 1_000
WAITING_LIMIT = 200
DECLINED = "declined"


def offer(
    session: Session, campaign_id: str, need: int, amount: int, name: str, contact: str, message: str
) -> HelpOffer:
    """Keep an offer. Raises Problems with a sentence for each field, UserError, NotFound."""
    campaign = session.get(Campaign, campaign_id)
    if campaign is None or campaign.terms is None:
        raise NotFound("There is no such campaign.")
    needs = Details.parse(campaign.details).needs
    if not 0 <= need < len(needs):
        raise Problems({"need": N_("Choose one of the lines of help wanted.")})
    problems: dict[str, str] = {}
    if not 1 <= amount <= needs[need].amount:
        problems["amount"] = Sentence(
            "Between 1 and {most} {unit} are wanted.", most=needs[need].amount, unit=needs[need].unit
        )
    tidied = {"name": clean_text(name), "contact": clean_text(contact), "message": clean_text(message)}
    for field, limit, what in (
        ("name", NAME_LIMIT, N_("Say what to call you.")),
        ("contact", CONTACT_LIMIT, N_("Say how the project can reach you; only the project sees it.")),
        ("message", MESSAGE_LIMIT, N_("Say in a sentence or two what you can do.")),
    ):
        if not tidied[field]:
            problems[field] = what
        elif len(tidied[field]) > limit:
            problems[field] = Sentence(
                "This has {count} characters; at most {limit} fit.", count=len(tidied[field]), limit=limit
            )
    if problems:
        raise Problems(problems)
    _refuse_flood(session, campaign_id)
    made = HelpOffer(
        campaign_id=campaign_id, need=need, amount=amount, state="offered", answer="", offered_at=datetime.now(UTC),
        **tidied,
    )  # fmt: skip
    session.add(made)
    session.flush()
    return made


def offers(session: Session, creator_id: int, campaign_id: str) -> list[HelpOffer]:
    """All offers to a campaign, for its project alone: those that wait first, the newest first."""
    service.own_campaign(session, creator_id, campaign_id)
    own = select(HelpOffer).where(HelpOffer.campaign_id == campaign_id).order_by(HelpOffer.id.desc())
    return sorted(session.scalars(own), key=lambda o: o.state != "offered")


def answer(session: Session, creator_id: int, campaign_id: str, offer_id: int, state: str, thanks: str) -> None:
    """Accept or decline an offer, once. Raises UserError, Problems, NotFound."""
    service.own_campaign(session, creator_id, campaign_id, Action.ANSWER)
    found = session.get(HelpOffer, offer_id)
    if found is None or found.campaign_id != campaign_id:
        raise NotFound("There is no such offer.")
    if state not in (ACCEPTED, DECLINED):
        raise UserError("An offer is accepted or declined.")
    if found.state != "offered":
        raise UserError("This offer was answered already.")
    thanks = clean_text(thanks)
    if len(thanks) > ANSWER_LIMIT:
        raise Problems({"answer": f"The answer has {len(thanks)} characters; at most {ANSWER_LIMIT} fit."})
    found.state, found.answer = state, thanks
    found.answered_at, found.answered_by = datetime.now(UTC), creator_id
    session.flush()
    figures.refresh_wants(session, campaign_id)


def _refuse_flood(session: Session, campaign_id: str) -> None:
    waiting = select(func.count()).select_from(HelpOffer)
    waiting = waiting.where(HelpOffer.campaign_id == campaign_id, HelpOffer.state == "offered")
    if (session.scalar(waiting) or 0) >= WAITING_LIMIT:
        raise UserError("The project has many offers that wait for an answer; please come back in some days.")
