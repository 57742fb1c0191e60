"""Feeds, as Atom and as JSON: of each campaign, and of the site. What stands in them, `crowdfund notify` has noted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from flask import Blueprint, Response, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session

from crowdfund.campaigns.models import Campaign
from crowdfund.errors import NotFound
from crowdfund.notices.feed import Entry, Feed, atom, json_feed
from crowdfund.notices.kinds import IN_CAMPAIGN_FEED, IN_SITE_FEED, Kind
from crowdfund.notices.models import Happening
from crowdfund.notices.words import feed_words
from crowdfund.web.site import here

SHOWN = 50
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)

pages = Blueprint("feeds", __name__)


@pages.get("/feed.atom")
def site() -> Response:
    """News of all campaigns."""
    return _atom(_site())


@pages.get("/feed.json")
def site_json() -> Response:
    """The same as JSON Feed."""
    return _json(_site())


@pages.get("/campaigns/<campaign_id>/feed.atom")
def campaign(campaign_id: str) -> Response:
    """News of one campaign. Raises NotFound for a draft too."""
    return _atom(_campaign(campaign_id))


@pages.get("/campaigns/<campaign_id>/feed.json")
def campaign_json(campaign_id: str) -> Response:
    """The same as JSON Feed. Raises NotFound for a draft too."""
    return _json(_campaign(campaign_id))


def _site() -> Feed:
    with here().database.reading() as db:
        entries = _entries(db, IN_SITE_FEED, None)
    name, base = here().name, here().settings.base_url
    links = _absolute("feeds.site"), _absolute("feeds.site_json")
    return Feed(f"site {base}", name, name, f"{base}/", *links, BEGINNING, entries)


def _campaign(campaign_id: str) -> Feed:
    with here().database.reading() as db:
        found = db.get(Campaign, campaign_id)
        if found is None or found.terms is None:
            raise NotFound("There is no such campaign.")
        return Feed(
            key=f"campaign:{campaign_id}",
            title=f"{found.title} · {here().name}",
            author=found.creator.name,
            link=_absolute("public.campaign", campaign_id=campaign_id),
            own_link=_absolute("feeds.campaign", campaign_id=campaign_id),
            json_link=_absolute("feeds.campaign_json", campaign_id=campaign_id),
            began_at=found.published_at or BEGINNING,
            entries=_entries(db, IN_CAMPAIGN_FEED, campaign_id),
        )


def _entries(db: Session, kinds: Sequence[Kind], campaign_id: str | None) -> list[Entry]:
    wanted = (
        select(Happening, Campaign.title)
        .join(Campaign, Campaign.id == Happening.campaign_id)
        .where(Happening.kind.in_([kind.value for kind in kinds]))
        .order_by(Happening.id.desc())
        .limit(SHOWN)
    )
    if campaign_id is not None:
        wanted = wanted.where(Happening.campaign_id == campaign_id)
    return [_entry(row, title) for row, title in db.execute(wanted)]


def _entry(row: Happening, title: str) -> Entry:
    headline, text = feed_words(Kind(row.kind), title, json.loads(row.detail))
    return Entry(row.key, headline, text, _absolute("public.campaign", campaign_id=row.campaign_id), row.at)


def _absolute(endpoint: str, campaign_id: str | None = None) -> str:
    path = url_for(endpoint) if campaign_id is None else url_for(endpoint, campaign_id=campaign_id)
    return here().settings.base_url + path


def _atom(feed: Feed) -> Response:
    return Response(atom(feed), content_type="application/atom+xml; charset=utf-8")


def _json(feed: Feed) -> Response:
    return Response(json_feed(feed), content_type="application/feed+json; charset=utf-8")
