"""What the site says of itself and of its campaigns to others: funding.json, the list that stands behind it, and the
page with all that may be shown elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from flask import Blueprint, Response, render_template
from sqlalchemy import select
from sqlalchemy.orm import Session

from crowdfund.campaigns.details import Details
from crowdfund.campaigns.models import Campaign
from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.campaigns.tip import closing_block
from crowdfund.errors import NotFound
from crowdfund.projects import looking
from crowdfund.projects.forges import page_of
from crowdfund.projects.manifests.publishing import (
    PROJECTS_LIMIT,
    Instance,
    PublishedCampaign,
    funding_json,
    funding_yml_snippet,
    readme_badge_snippet,
)
from crowdfund.projects.proof import Way
from crowdfund.web import embed
from crowdfund.web.glance import glance
from crowdfund.web.site import as_of, here
from crowdfund.web.views import chain_time

pages = Blueprint("elsewhere", __name__)

MANIFEST = "funding.json"
DESCRIPTION = "All-or-nothing crowdfunding in bitcoin for projects that belong to everyone."
NO_ADDRESS = "This site has no funding.json: the standard asks for a mail address, and its operator has given none."


@pages.get("/funding.json")
def manifest() -> Response:
    """The site with its campaigns, open ones first."""
    with here().database.reading() as db:
        own = select(Campaign).where(Campaign.terms.is_not(None)).order_by(Campaign.published_at.desc())
        return _json(db, db.scalars(own).all(), f"{here().settings.base_url}/{MANIFEST}")


@pages.get("/campaigns/<campaign_id>/funding.json")
def campaign_manifest(campaign_id: str) -> Response:
    """One campaign. Raises NotFound for a draft, as for what does not exist."""
    with here().database.reading() as db:
        campaign = db.get(Campaign, campaign_id)
        if campaign is None or campaign.terms is None:
            raise NotFound("There is no such campaign.")
        return _json(db, [campaign], f"{page(campaign_id)}/{MANIFEST}")


@pages.get("/.well-known/funding-manifest-urls")
def manifest_urls() -> Response:
    """Which manifests may speak for this site: its own."""
    return Response(f"{here().settings.base_url}/{MANIFEST}\n", content_type="text/plain; charset=utf-8")


@pages.get("/campaigns/<campaign_id>/elsewhere")
def show(campaign_id: str) -> str:
    """The badge, the frame, the poster, the links and the manifest of a campaign, for other places."""
    found = glance(campaign_id)
    address = page(campaign_id)
    snippets = readme_badge_snippet(found.title, f"{address}/badge.svg", address)
    return render_template(
        "elsewhere.html",
        campaign=found,
        address=address,
        snippets=(
            ("Markdown", "README.md", snippets.markdown),
            ("HTML", "any page", snippets.html),
            ("reStructuredText", "README.rst", snippets.restructuredtext),
            ("AsciiDoc", "README.adoc", snippets.asciidoc),
        ),
        funding_yml=funding_yml_snippet(address),
        manifest=_address_of_manifest(campaign_id),
        embed_snippet=str(embed.snippet(found)),  # words to be copied, no frame here
        **embed.card_of(found),
    )


def page(campaign_id: str) -> str:
    """The whole address of a campaign's page."""
    return f"{here().settings.base_url}/campaigns/{campaign_id}"


def _address_of_manifest(campaign_id: str) -> str:
    """Empty where this site has no manifests."""
    try:
        campaign_manifest(campaign_id)
    except NotFound:
        return ""
    return f"{page(campaign_id)}/{MANIFEST}"


def _json(db: Session, campaigns: Sequence[Campaign], own_url: str) -> Response:
    """The manifest that is at `own_url`. Raises NotFound where the standard asks for more than the site has."""
    now = chain_time(here().network, as_of(db))
    opened = {campaign.id: _is_open(db, campaign, now) for campaign in campaigns}
    first = sorted(campaigns, key=lambda campaign: not opened[campaign.id])[:PROJECTS_LIMIT]
    published = [_published(db, campaign, own_url, opened[campaign.id]) for campaign in first]
    try:
        text = json.dumps(funding_json(_instance(), published), indent=2, ensure_ascii=False)
    except ValueError as error:  # an address that is good for mails here and none by the standard
        raise NotFound(NO_ADDRESS) from error
    return Response(f"{text}\n", content_type="application/json; charset=utf-8")


def _is_open(db: Session, campaign: Campaign, now: datetime) -> bool:
    deadline = CampaignTerms.parse(campaign.terms or "").deadline
    return now <= deadline and closing_block(db, deadline) is None


def _instance() -> Instance:
    settings = here().settings
    if not settings.mail_from:
        raise NotFound(NO_ADDRESS)
    play = "" if settings.network == "mainnet" else f" It works on {settings.network}, with play money."
    return Instance(settings.site_name, settings.mail_from, DESCRIPTION + play, settings.base_url)


def _published(db: Session, campaign: Campaign, own_url: str, is_open: bool) -> PublishedCampaign:
    """The campaign as its terms have it. `own_url` is the manifest's."""
    terms, facts = CampaignTerms.parse(campaign.terms or ""), Details.parse(campaign.details).project
    repository = facts.repository_url or terms.project_url
    return PublishedCampaign(
        id=campaign.id,
        title=terms.title,
        summary=terms.summary,
        url=page(campaign.id),
        repository_url=repository,
        license=terms.license,
        goal_sats=terms.goal_sats,
        deadline=terms.deadline_at,
        is_open=is_open,
        tags=(facts.kind,) if facts.kind else (),
        well_known_url=_well_known(db, campaign, repository, own_url),
    )


def _well_known(db: Session, campaign: Campaign, repository: str, own_url: str) -> str:
    """Where the repository lists this very manifest, as far as we have seen it lately; empty where it does not."""
    if campaign.project is None:
        return ""
    found = looking.standing_of(db, campaign.project, datetime.now(UTC), (repository,))
    if found is None or not found.holds or found.seen is None or found.seen.way != Way.MANIFEST_URLS:
        return ""
    place = page_of(found.seen.url)
    below = place.startswith(f"{repository.rstrip('/').removesuffix('.git')}/")
    return place if below and found.seen.line.rstrip("/") == own_url else ""
