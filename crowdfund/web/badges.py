"""The badge of a campaign, for READMEs and other sites: the same for everybody, so it may be kept for a minute."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, Response, request

from crowdfund.campaigns import lines
from crowdfund.campaigns.lifecycle import CampaignState
from crowdfund.campaigns.queries import summarise
from crowdfund.errors import NotFound
from crowdfund.projects.badge import badge_svg
from crowdfund.web.site import as_of, here
from crowdfund.web.views import chain_time

KEPT_S = 60

pages = Blueprint("badges", __name__)


@pages.get("/campaigns/<campaign_id>/badge.svg")
def badge(campaign_id: str) -> Response:
    """The badge. Raises NotFound for a draft, as for what does not exist."""
    with here().database.reading() as db:
        snapshot, now = lines.load(db, campaign_id), as_of(db)
        if snapshot.terms is None:
            raise NotFound("There is no such campaign.")
        summary = summarise(snapshot)
        svg = badge_svg(
            snapshot.terms.title,
            summary.counted_sats,
            snapshot.terms.goal_sats,
            summary.state,
            days_left(summary.state, snapshot.terms.deadline, chain_time(here().network, now)),
            None if now is None else now.height,
        )
    return _picture(svg)


def days_left(state: CampaignState, deadline: datetime, now: datetime) -> int | None:
    """Whole days until the deadline; None once it has passed."""
    if state is not CampaignState.OPEN or now > deadline:
        return None
    return (deadline - now).days


def _picture(svg: str) -> Response:
    """Other sites may show it. It keeps the headers of all other answers: opened by itself it can run nothing."""
    response = Response(svg, content_type="image/svg+xml; charset=utf-8")
    response.headers["Cache-Control"] = f"public, max-age={KEPT_S}"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.add_etag()
    response.make_conditional(request)
    return response
