"""A campaign at a glance: the few things that cards, posters and embeds show of it.

They are asked for from outside, often and by programs, so all of them read a campaign through this one function.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask_babel import gettext as _

from crowdfund.campaigns import gallery, lines
from crowdfund.campaigns.lifecycle import CampaignState
from crowdfund.campaigns.picture_models import Picture
from crowdfund.errors import NotFound, TooMany, UserError
from crowdfund.projects.pictures import pixels_of
from crowdfund.projects.pixels import Pixels
from crowdfund.web.filters import day, grouped
from crowdfund.web.picture_views import PictureView, picture_view
from crowdfund.web.site import as_of, here
from crowdfund.web.views import campaign_view

AGAIN_S = 10


@dataclass(frozen=True)
class Glance:
    """A published campaign. `stripes` is the bar, (satoshi, confirmed) each; `shared_sha256` names the picture that is
    cut for other sites, or is empty; `height` is that of the block as of which all of this is true."""

    id: str
    title: str
    summary: str
    creator_name: str
    goal_sats: int
    counted_sats: int
    percent: int
    stripes: tuple[tuple[int, bool], ...]
    open: bool
    state: CampaignState
    state_label: str
    deadline_at: datetime
    time_left: str
    terms_hash: str
    picture: PictureView | None
    shared_sha256: str
    height: int | None

    @property
    def path(self) -> str:
        """Its page, on this site."""
        return f"/campaigns/{self.id}"

    @property
    def address(self) -> str:
        """The whole address of its page."""
        return here().settings.base_url + self.path

    @property
    def alt(self) -> str:
        """What a picture of it shows, in words."""
        return _(
            "%(title)s: %(percent)s%% of %(goal)s sat",
            title=self.title, percent=self.percent, goal=grouped(self.goal_sats),
        )  # fmt: skip

    @property
    def ends(self) -> str:
        """Until when it runs, or how it ended."""
        return _("Until %(date)s", date=day(self.deadline_at)) if self.open else self.state_label


def glance(campaign_id: str) -> Glance:
    """Raises NotFound for a draft, as for what does not exist."""
    with here().database.reading() as db:
        snapshot, now = lines.load(db, campaign_id), as_of(db)
        if snapshot.terms is None:
            raise NotFound("There is no such campaign.")
        pictures = gallery.of_campaign(db, campaign_id)
        view = campaign_view(snapshot, here().network, now)
    return Glance(
        id=view.id,
        title=view.title,
        summary=view.summary,
        creator_name=view.creator_name,
        goal_sats=view.goal_sats,
        counted_sats=view.counted_sats,
        percent=view.percent,
        stripes=tuple(view.stripes),
        open=view.state is CampaignState.OPEN,
        state=view.state,
        state_label=view.state_label,
        deadline_at=view.deadline_at,
        time_left=view.time_left,
        terms_hash=view.terms_hash or "",
        picture=picture_view(pictures[0]) if pictures else None,
        shared_sha256=_shared(pictures),
        height=None if now is None else now.height,
    )


def shared_picture(campaign: Glance) -> Pixels | None:
    """What is seen of its first picture; None where it has none. Takes a moment: it is opened by a program of its own.
    Raises TooMany where it cannot be opened just now."""
    if not campaign.shared_sha256:
        return None
    with here().database.reading() as db:
        data = gallery.published(db, "jpeg", campaign.shared_sha256)
    try:
        return None if data is None else pixels_of(data)
    except UserError as error:  # it was opened when it came, so nothing is wrong with it
        raise TooMany(AGAIN_S) from error


def as_of_words(height: int | None) -> str:
    """As of which block; empty before the first."""
    return "" if height is None else _("as of block %(height)s", height=grouped(height))


def play_money() -> str:
    """On which network the site works, where that is not the real one."""
    network = here().network
    return "" if network == "mainnet" else _("%(network)s: play money", network=network)


def _shared(pictures: list[Picture]) -> str:
    return next((file.sha256 for picture in pictures[:1] for file in picture.files if file.kind == "jpeg"), "")
