"""The API of those who write campaigns: who they are, what is theirs, drafts, and all that comes before publishing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flask import Blueprint, jsonify

from crowdfund.campaigns import listing, queries, review, service, steps
from crowdfund.campaigns.details import LINES, Details
from crowdfund.errors import NotFound, Problems, UserError
from crowdfund.projects.roles import Action
from crowdfund.web import callers, json_body, once, paging
from crowdfund.web.api import Answer, campaign_json, draft_json
from crowdfund.web.details_api import TEXTS as DETAIL_TEXTS
from crowdfund.web.details_api import read_details
from crowdfund.web.json_body import Body
from crowdfund.web.site import as_of, here

pages = Blueprint("drafts_api", __name__, url_prefix="/api/v1")

READ: dict[str, Callable[[Body, str], Any]] = {
    **dict.fromkeys(("title", "summary", "story", "payout_address", "project_url", "license"), json_body.text),
    "goal_sats": json_body.sats,
    "cap_sats": lambda body, name: json_body.sats(body, name, least=0),
    "deadline_at": json_body.time,
}


@pages.get("/me")
def me() -> Answer:
    """Whose token this is, and what it may do."""
    creator, caller = callers.creator("read"), callers.caller()
    assert caller is not None
    return jsonify({"name": creator.name, "scopes": sorted(caller.scopes)})


@pages.get("/me/campaigns")
def mine() -> Answer:
    """The campaigns and drafts of one's projects, newest first."""
    creator = callers.creator("read")
    with here().database.reading() as db:
        now, rows = as_of(db), listing.of_creator(db, creator.id)
        return paging.listed(
            "campaigns",
            rows,
            lambda row: campaign_json(queries.load(db, row[1]), now),
            lambda row: (row[0].isoformat(), row[1]),
        )


@pages.patch("/campaigns/<campaign_id>")
def change(campaign_id: str) -> Answer:
    """Change some of a draft; what is not sent stays. All of it is kept, or nothing."""
    creator, body = callers.creator("write"), json_body.body()
    json_body.only(body, (*READ, *LINES, *DETAIL_TEXTS))
    with here().database.transaction() as db:
        campaign = service.own_campaign(db, creator.id, campaign_id)
        values = _values(body, Details.parse(campaign.details))
        if values.get("payout_address", campaign.payout_address) != campaign.payout_address:
            callers.creator("publish")
        problems = steps.keep(db, here().settings, creator.id, campaign, values)
        if problems:
            raise Problems(problems)
        db.flush()
        return jsonify(draft_json(db, campaign_id))


@pages.get("/campaigns/<campaign_id>/checklist")
def checklist(campaign_id: str) -> Answer:
    """What is still missing before publishing, and how the review stands where there is one."""
    creator, settings = callers.creator("read"), here().settings
    with here().database.reading() as db:
        campaign = service.own_campaign(db, creator.id, campaign_id)
        if campaign.terms is not None:
            raise UserError("This campaign is published: its terms cannot change any more.")
        items = steps.checklist(settings, campaign, service.chain_now(db, settings.network))
        state, reason = review.state_of(db, campaign) if settings.review else ("", "")
        told = {
            "items": [
                {"step": i.step, "done": i.done, "required": i.required, "sentence": str(i.sentence)} for i in items
            ],
            "blocked": service.why_not_publish(db, settings, campaign),
            "review": {"state": str(state), "reason": reason} if settings.review else None,
        }
    return jsonify(told)


@pages.post("/campaigns/<campaign_id>/review")
def ask_review(campaign_id: str) -> Answer:
    """Ask the operator to read a draft."""
    creator, settings = callers.creator("publish"), here().settings

    def ask(db: Any) -> None:
        campaign = service.own_campaign(db, creator.id, campaign_id, Action.PUBLISH)
        if campaign.terms is not None:
            raise UserError("This campaign is published: there is nothing to review any more.")
        if not settings.review:
            raise NotFound("This site publishes without a review.")
        problems = steps.missing(settings, campaign, service.chain_now(db, settings.network))
        if problems:
            raise Problems(problems)
        review.ask(db, creator.id, campaign)

    return once.made(ask, lambda db, _: {"campaign_id": campaign_id, "state": "in review"}, code=202)


def _values(body: Body, before: Details) -> dict[str, Any]:
    """The parts of the draft that were sent. Raises Problems."""
    problems: dict[str, str] = {}
    values: dict[str, Any] = {}
    for name in READ.keys() & body.keys():
        try:
            values[name] = READ[name](body, name)
        except Problems as error:
            problems |= error.by_field
    sent = [name for name in (*LINES, *DETAIL_TEXTS) if body.get(name) is not None]
    try:
        found = read_details({name: body[name] for name in sent}) or replace(before)
        values |= {name: getattr(found, name) for name in sent}
    except Problems as error:
        problems |= error.by_field
    if problems:
        raise Problems(problems)
    return values
