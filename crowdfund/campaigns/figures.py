"""Keeping the figures that lists show: each row is what `queries.summarise` says, written down.

Triggers mark the row of a campaign as touched when a fact of it changes, `touch_moved` when the end of the chain moves;
`keep` derives what is marked anew. May not: derive a figure itself, or be asked by anything that decides.
"""

from __future__ import annotations

import time
import unicodedata
from dataclasses import dataclass, field

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from crowdfund.campaigns import lines, wanted
from crowdfund.campaigns.details import Details
from crowdfund.campaigns.figure_models import CampaignFigures
from crowdfund.campaigns.ledger import Bucket
from crowdfund.campaigns.lifecycle import CampaignState
from crowdfund.campaigns.models import Campaign
from crowdfund.campaigns.queries import Snapshot, summarise
from crowdfund.db import Database

# A campaign's figures take at most one part in so many of the worker's time, however many pledges it has.
SPARED = 20
AT_ONCE = 200
FROZEN = ("goal_sats", "ends_at", "published_at", "license", "kind", "creator_name", "search")


@dataclass
class Keeper:
    """The worker's: derives anew what was touched, large campaigns not each time.

    What took t seconds is left alone for SPARED * t: a campaign of a hundred pledges is as good as never late, one of a
    hundred thousand by less than a minute. What it remembers are hints only.
    """

    _not_before: dict[str, float] = field(default_factory=dict)

    def due(self, session: Session) -> list[str]:
        """The campaigns whose turn it is."""
        now = time.monotonic()
        return [each for each in touched(session) if self._not_before.get(each, 0.0) <= now]

    def keep(self, session: Session) -> bool:
        """True if a row has become another one."""
        changed = False
        for campaign_id in self.due(session):
            began = time.monotonic()
            changed = refresh(session, campaign_id) or changed
            ended = time.monotonic()
            self._not_before[campaign_id] = ended + SPARED * (ended - began)
        return changed


def touched(session: Session) -> list[str]:
    """Campaigns whose figures may have become others."""
    rows = session.scalars(select(CampaignFigures.campaign_id).where(CampaignFigures.touched))
    return sorted(rows)


def keep(session: Session) -> bool:
    """Derive all that was touched anew, now; True if a row has become another one."""
    changed = [refresh(session, campaign_id) for campaign_id in touched(session)]
    return any(changed)


def refresh(session: Session, campaign_id: str) -> bool:
    """Derive the figures of a published campaign anew; True if they are others than before, or new."""
    session.flush()
    values = derived(session, lines.load(session, campaign_id))
    row = session.get(CampaignFigures, campaign_id, populate_existing=True)
    if row is None:
        session.add(CampaignFigures(campaign_id=campaign_id, touched=False, **values))
        session.flush()
        return True
    changed = any(getattr(row, name) != value for name, value in values.items() if name not in ("height", *FROZEN))
    for name, value in values.items():
        setattr(row, name, value)
    row.touched = False
    session.flush()
    return changed


def refresh_wants(session: Session, campaign_id: str) -> None:
    """Derive anew whether help is still wanted, when an offer was answered."""
    wants = _wants_help(session, session.get_one(Campaign, campaign_id))
    row = update(CampaignFigures).where(CampaignFigures.campaign_id == campaign_id)
    session.execute(row.where(CampaignFigures.wants_help != wants).values(wants_help=wants))


def fill(database: Database) -> int:
    """Rows for published campaigns that have none: of a database from before there were figures, or of one that came
    back. Returns how many there were; each bundle is a transaction of its own."""
    filled = 0
    while True:
        with database.transaction() as session:
            missing = _without_figures(session)
            for campaign_id in missing:
                refresh(session, campaign_id)
        filled += len(missing)
        if len(missing) < AT_ONCE:
            return filled


def forget_all(session: Session) -> None:
    """No row is left: `fill` makes them anew, from facts alone."""
    session.execute(delete(CampaignFigures))


def differing(session: Session) -> list[str]:
    """Ids of published campaigns whose figures are not what is derived, though nothing has touched them."""
    found = []
    for row in session.scalars(select(CampaignFigures).where(~CampaignFigures.touched)):
        values = derived(session, lines.load(session, row.campaign_id))
        if any(getattr(row, name) != value for name, value in values.items() if name != "height"):
            found.append(row.campaign_id)
    return sorted([*found, *_without_figures(session)])


def derived(session: Session, snapshot: Snapshot) -> dict[str, object]:
    """Every column but the campaign's id and `touched`."""
    summary, campaign, terms = summarise(snapshot), snapshot.campaign, snapshot.terms
    if terms is None or campaign.published_at is None:
        raise ValueError(f"campaign {campaign.id} is a draft")
    project = Details.parse(campaign.details).project
    name = project.name or (campaign.project.name if campaign.project else "")
    return {
        "goal_sats": terms.goal_sats,
        "ends_at": terms.deadline,
        "published_at": campaign.published_at,
        "license": terms.license,
        "kind": project.kind or (campaign.project.kind if campaign.project else ""),
        "creator_name": terms.creator,
        "search": plain("\n".join((terms.title, terms.summary, terms.creator, name))),
        "state": summary.state.value,
        "cancelled": snapshot.cancellation is not None,
        "is_full": summary.state is CampaignState.OPEN and snapshot.cap_reached,
        "counted_sats": summary.counted_sats,
        "seen_sats": summary.seen_sats,
        "maturing_sats": summary.buckets[Bucket.MATURING],
        "pledge_count": summary.pledge_count,
        "percent": summary.percent_of(terms.goal_sats),
        "wants_help": _wants_help(session, campaign),
        "height": snapshot.tip_height,
    }


def plain(text: str) -> str:
    """Without case, accents and spaces that do not part words: as texts are searched, and what is searched for."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(c for c in letters if not unicodedata.combining(c)).casefold().split())


def _wants_help(session: Session, campaign: Campaign) -> bool:
    return any(line.open for line in wanted.progress(session, campaign))


def _without_figures(session: Session) -> list[str]:
    known = select(CampaignFigures.campaign_id)
    missing = select(Campaign.id).where(Campaign.terms.is_not(None), Campaign.id.not_in(known))
    return list(session.scalars(missing.order_by(Campaign.id).limit(AT_ONCE)))
