"""The API of what people say, and of a creator's own pledges: the same as the pages, in JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, jsonify

from crowdfund.campaigns import moderation, overview, posts, queries, updates
from crowdfund.campaigns.models import Campaign
from crowdfund.campaigns.moderation import Hiding
from crowdfund.campaigns.posts import PostView
from crowdfund.campaigns.rights import may
from crowdfund.campaigns.terms import format_time
from crowdfund.campaigns.updates import Update
from crowdfund.errors import NotFound
from crowdfund.projects.roles import Action
from crowdfund.web.api import Answer, token_holder
from crowdfund.web.public import open_snapshot
from crowdfund.web.site import here

pages = Blueprint("talk_api", __name__, url_prefix="/api/v1")


@pages.get("/campaigns/<campaign_id>/pledges")
def pledges(campaign_id: str) -> Answer:
    """The pledges that were ever paid, for the campaign's creator; without their secret ids."""
    with here().database.reading() as db:
        creator, campaign = token_holder(db), db.get(Campaign, campaign_id)
        if campaign is None or not may(db, creator, Action.DASHBOARD, campaign):
            raise NotFound("There is no such campaign among yours.")
        rows = overview.pledge_rows(queries.load(db, campaign_id))
    return jsonify({"pledges": [asdict(row) for row in rows]})


@pages.get("/campaigns/<campaign_id>/updates")
def update_list(campaign_id: str) -> Answer:
    """A campaign's updates with all versions, the newest first."""
    open_snapshot(campaign_id)
    with here().database.reading() as db:
        return jsonify({"updates": [_update(each) for each in updates.of_campaign(db, campaign_id)]})


@pages.get("/campaigns/<campaign_id>/talk")
def talk(campaign_id: str) -> Answer:
    """Questions with their answers, and comments, the newest first."""
    snapshot, _ = open_snapshot(campaign_id)
    with here().database.reading() as db:
        said = posts.talk_of(db, snapshot)
    threads = [{**_post(t.question), "answers": [_post(each) for each in t.answers]} for t in said.threads]
    comments = [_post(each) for each in said.comments]
    return jsonify({"questions": threads, "comments": comments, "waiting_questions": len(said.waiting)})


@pages.get("/campaigns/<campaign_id>/moderation")
def log(campaign_id: str) -> Answer:
    """What was hidden in a campaign, or shown again."""
    open_snapshot(campaign_id)
    with here().database.reading() as db:
        lines = moderation.log(db, campaign_id)
    told = [{**asdict(line), "at": format_time(line.at)} for line in lines]
    return jsonify({"moderation": told})


def _update(update: Update) -> dict[str, Any]:
    return {
        "number": update.number,
        "published_at": format_time(update.published_at),
        "hidden": _hiding(update.hidden),
        "versions": [
            {
                "version": each.version,
                "title": None if update.hidden else each.title,
                "text": None if update.hidden else each.text,
                "sha256": moderation.fingerprint(each.title, each.text),
                "written_at": format_time(each.created_at),
            }
            for each in update.versions
        ],
    }


def _post(post: PostView) -> dict[str, Any]:
    return {
        "number": post.id,
        "role": post.role,
        "name": None if post.hidden else post.name,
        "text": None if post.hidden else post.text,
        "has_pledged": post.has_pledged,
        "hidden": _hiding(post.hidden),
        "written_at": format_time(post.created_at),
    }


def _hiding(why: Hiding | None) -> dict[str, Any] | None:
    if why is None:
        return None
    return {"at": format_time(why.at), "role": why.role, "reason": why.reason, "sha256": why.sha256}
