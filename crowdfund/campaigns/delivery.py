"""What has become of the deliverables that the terms froze: a log that the project adds to, and its newest lines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowdfund.campaigns import service
from crowdfund.campaigns.detail_models import DeliverableReport
from crowdfund.campaigns.details import PLANNED, STATES, THERE, Deliverable, Details
from crowdfund.campaigns.models import Campaign
from crowdfund.errors import Problems, UserError
from crowdfund.projects.links import check_link
from crowdfund.projects.roles import Action


@dataclass(frozen=True)
class Delivery:
    """A deliverable, where it is now, and since when that is known: None for as the terms have it."""

    number: int
    promised: Deliverable
    state: str
    url: str
    reported_at: datetime | None

    @property
    def there(self) -> bool:
        """Can everybody have it?"""
        return self.state == THERE


def deliveries(session: Session, campaign: Campaign) -> list[Delivery]:
    """The deliverables in the order of the details, as they stand."""
    newest: dict[int, DeliverableReport] = {}
    for report in reports(session, campaign.id):
        newest[report.number] = report
    found = []
    for number, promised in enumerate(Details.parse(campaign.details).deliverables):
        last = newest.get(number)
        if last is None:
            found.append(Delivery(number, promised, promised.state, promised.url, None))
        else:
            found.append(Delivery(number, promised, last.state, last.url, last.reported_at))
    return found


def reports(session: Session, campaign_id: str) -> list[DeliverableReport]:
    """The whole log, the oldest first."""
    own = select(DeliverableReport).where(DeliverableReport.campaign_id == campaign_id)
    return list(session.scalars(own.order_by(DeliverableReport.id)))


def report(session: Session, creator_id: int, campaign_id: str, number: int, state: str, url: str) -> None:
    """Add to the log. Raises Problems, UserError, NotFound. Saying the same again adds nothing."""
    campaign = service.own_campaign(session, creator_id, campaign_id, Action.ANSWER)
    if campaign.terms is None:
        raise UserError("This campaign is not published yet; change the draft instead.")
    known = deliveries(session, campaign)
    if not 0 <= number < len(known):
        raise UserError("There is no such deliverable.")
    if state not in STATES:
        raise Problems({"state": f"Choose {PLANNED} or {THERE}."})
    link = check_link(url, "url")
    if state == THERE and not link:
        raise Problems({"url": "Say where it is, so that everybody can have it."})
    if (known[number].state, known[number].url) == (state, link):
        return
    session.add(
        DeliverableReport(
            campaign_id=campaign_id,
            number=number,
            state=state,
            url=link,
            creator_id=creator_id,
            reported_at=datetime.now(UTC),
        )
    )
    session.flush()
