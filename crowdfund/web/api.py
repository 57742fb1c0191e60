"""The API: the same use cases as the pages, in JSON. Errors are problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify, request
from sqlalchemy.orm import Session
from werkzeug.exceptions import HTTPException

from crowdfund.accounts import limits
from crowdfund.audit.bundle import build_bundle, bundle_json
from crowdfund.campaigns import incidents, lines, listing, own_money, queries, service, stock
from crowdfund.campaigns.drafts import Draft
from crowdfund.campaigns.incidents import IncidentView
from crowdfund.campaigns.lifecycle import CampaignState
from crowdfund.campaigns.listing import Wanted
from crowdfund.campaigns.models import Campaign, Creator, Pledge
from crowdfund.campaigns.queries import Snapshot
from crowdfund.campaigns.rights import may
from crowdfund.campaigns.terms import format_time
from crowdfund.errors import NotFound, Problems, UserError
from crowdfund.projects import people
from crowdfund.projects.roles import Action
from crowdfund.web import callers, door, json_body, keepsakes, once, openapi, paging, readdressing
from crowdfund.web.details_api import details_json, read_details, reward_json
from crowdfund.web.json_body import Body
from crowdfund.web.keepsakes import keepsakes_of
from crowdfund.web.once import Answered
from crowdfund.web.picture_views import PictureView, views_of
from crowdfund.web.public import open_snapshot
from crowdfund.web.site import AsOf, as_of, here
from crowdfund.web.views import CampaignView, PledgeView, campaign_view, pledge_view, preview_view

pages = Blueprint("api", __name__, url_prefix="/api/v1")

Answer = Response | tuple[Response, int]


@pages.get("/openapi.json")
def document() -> Answer:
    """The OpenAPI document."""
    return jsonify(openapi.document(here().settings.base_url, here().name))


@pages.get("/campaigns")
def campaigns() -> Answer:
    """Published campaigns, newest first."""
    words, license_asked, project = (request.args.get(name, "") for name in ("q", "license", "project"))
    wanted = Wanted(words, license_asked, project, _state_asked())
    after, most = _place(paging.cursor(str, str)), paging.limit()
    with here().database.reading() as db:
        now, rows = as_of(db), listing.published(db, wanted, after, most + 1)
        told = [campaign_json(lines.load(db, campaign_id), now) for _, campaign_id in rows[:most]]
    # What lists are made of may be some seconds behind what is derived anew here.
    found = [each for each in told if wanted.state in ("", each["state"])]
    last = rows[most - 1] if len(rows) > most else None
    return paging.answer({"campaigns": found}, (last[0].isoformat(), last[1]) if last else None)


@pages.post("/campaigns")
def create() -> Answer:
    """A new draft."""
    body = json_body.body()
    creator = callers.creator("write")
    draft, details = read_draft(body), read_details(body)
    return once.made(
        lambda db: service.save_draft(db, here().settings, creator.id, draft, details=details).id, draft_json
    )


@pages.post("/campaigns/<campaign_id>/publish")
def publish(campaign_id: str) -> Answer:
    """Freeze the terms of a draft."""
    creator = callers.creator("publish")
    with here().database.transaction() as db:
        service.publish(db, here().settings, creator.id, campaign_id)
    with here().database.reading() as db:
        return jsonify(whole_campaign_json(db, campaign_id))


@pages.get("/campaigns/<campaign_id>")
def campaign(campaign_id: str) -> Answer:
    """One campaign; a draft only with the token of one of its people."""
    reader = callers.reader()
    with here().database.reading() as db:
        row = db.get(Campaign, campaign_id)
        is_member = reader is not None and row is not None and people.role_of(db, reader.id, row.project_id) is not None
        if row is None or (row.terms is None and not is_member):
            raise NotFound("There is no such campaign.")
        return jsonify(whole_campaign_json(db, campaign_id))


@pages.post("/campaigns/<campaign_id>/pledges")
def pledge_new(campaign_id: str) -> Answer:
    """A new pledge with its own address."""
    once_only, body = once.Once(), json_body.body()
    own = _own_money(campaign_id, body)
    given = once_only.before()
    if given is not None:
        return given
    door.limit_address(limits.PLEDGE)
    given = once_only.begin()
    if given is not None:
        return given
    answers: list[Response] = []
    tried: list[str] = []

    def keep(db: Session, pledge_id: str) -> None:
        tried.append(pledge_id)
        once_only.refuse_again(db)
        if own is not None:
            own_money.declare(db, own[0], db.get_one(Pledge, pledge_id), own[1], datetime.now(UTC))
        answers.append(once_only.keep(db, pledge_json(db, pledge_id)))

    try:
        service.open_pledge(
            here().database,
            here().settings,
            campaign_id,
            json_body.sats(body, "amount_sats"),
            json_body.text(body, "refund_address"),
            json_body.text(body, "name", required=False),
            json_body.text(body, "message", required=False),
            json_body.whole(body, "reward", otherwise=-1) if body.get("reward") is not None else None,
            door.limit_reserving(campaign_id),
            keep,
        )
    except (Answered, HTTPException, UserError) as error:
        with here().database.transaction() as db:
            once_only.give_up(db)
            for pledge_id in tried:
                stock.give_up(db, pledge_id)
        if isinstance(error, Answered):
            return error.response
        raise
    return answers[-1]


@pages.get("/pledges/<pledge_id>")
def pledge(pledge_id: str) -> Answer:
    """Where a pledge's money is."""
    with here().database.reading() as db:
        return jsonify(pledge_json(db, pledge_id))


@pages.post("/pledges/<pledge_id>/refund-address")
def refund_address(pledge_id: str) -> Answer:
    """Another refund address: without a signature the text to sign, with one the change is kept for the signer."""
    body = json_body.body()
    address, signature = json_body.text(body, "address"), json_body.text(body, "signature", required=False)
    if not signature:
        return jsonify({"text": readdressing.text_for(pledge_id, address)})
    readdressing.bring(pledge_id, address, signature)
    with here().database.reading() as db:
        return jsonify(pledge_json(db, pledge_id)), 202


@pages.get("/incidents")
def all_incidents() -> Answer:
    """What went out of the ordinary, on the whole site."""
    with here().database.reading() as db:
        return _incident_page(incidents.of_site(db))


@pages.get("/campaigns/<campaign_id>/incidents")
def campaign_incidents(campaign_id: str) -> Answer:
    """What of it concerned one campaign."""
    open_snapshot(campaign_id)
    with here().database.reading() as db:
        return _incident_page(incidents.of_campaign(db, campaign_id))


@pages.get("/campaigns/<campaign_id>/audit")
def audit(campaign_id: str) -> Answer:
    """The audit bundle."""
    snapshot, _ = open_snapshot(campaign_id, whole=True)
    return Response(bundle_json(build_bundle(snapshot, here().network)), content_type="application/json")


def draft_json(db: Session, campaign_id: str) -> dict[str, Any]:
    """A campaign with its details."""
    snapshot = queries.load(db, campaign_id)
    return {**campaign_json(snapshot, as_of(db)), **details_json(db, snapshot.campaign)}


def whole_campaign_json(db: Session, campaign_id: str) -> dict[str, Any]:
    """All of a campaign: with its pictures too, and what its end would come to today."""
    snapshot = queries.load(db, campaign_id)
    preview = preview_view(snapshot, as_of(db))
    pictures = views_of(db, [campaign_id]).get(campaign_id, ())
    return {
        **draft_json(db, campaign_id),
        "settlement_preview": vars(preview) if preview else None,
        "pictures": [_picture(p) for p in pictures],
    }


@pages.get("/campaigns/<campaign_id>/terms")
def terms(campaign_id: str) -> Answer:
    """The canonical terms, byte for byte as they are hashed."""
    return Response(open_snapshot(campaign_id)[0].campaign.terms or "", content_type="application/json")


@pages.get("/campaigns/<campaign_id>/details")
def details(campaign_id: str) -> Answer:
    """The canonical details, byte for byte as they are hashed into the terms."""
    text = open_snapshot(campaign_id)[0].campaign.details
    if not text:
        raise NotFound("The terms of this campaign name no details.")
    return Response(text, content_type="application/json")


def campaign_json(snapshot: Snapshot, now: AsOf | None) -> dict[str, Any]:
    """A campaign as lists have it."""
    view = campaign_view(snapshot, here().network, now)
    return {
        "id": view.id,
        "url": here().settings.base_url + view.url,
        "title": view.title,
        "summary": view.summary,
        "story": snapshot.campaign.story,
        "project_url": view.project_url,
        "license": view.license,
        "creator": view.creator_name,
        "state": view.state,
        "goal_sats": view.goal_sats,
        "counted_sats": view.counted_sats,
        "seen_sats": view.seen_sats,
        "received_sats": view.total_received_sats,
        "pledge_count": view.pledge_count,
        "cap_sats": view.cap_sats,
        "min_pledge_sats": view.min_pledge_sats,
        "deadline_at": format_time(view.deadline_at),
        "payout_address": view.payout_address,
        "terms": snapshot.campaign.terms,
        "terms_hash": view.terms_hash,
        "descriptor": view.descriptor,
        "buckets": dict(queries.summarise(snapshot).buckets),
        "as_of": _as_of(now),
        "paused": view.paused,
        "outcome": view.outcome,
        "closing_height": view.closing_height,
        "cancellation": _cancellation(view),
        "settlement": _settlement(view),
        "own_money": {"own_sats": view.own.own_sats, "without_sats": view.own.without_sats},
    }


def _cancellation(view: CampaignView) -> dict[str, Any] | None:
    held = view.cancelled
    if held is None:
        return None
    return {"txid": held.txid, "height": held.height, "reason": held.reason, "reason_sha256": held.reason_sha256}


def _picture(view: PictureView) -> dict[str, Any]:
    return {
        "url": here().settings.base_url + view.src,
        "sha256": view.sha256,
        "alt": view.alt,
        "width": view.width,
        "height": view.height,
    }


def _incident_page(views: Iterable[IncidentView]) -> Response:
    def key(view: IncidentView) -> paging.Key:
        # What a line says grows with what becomes of its coins; how it begins does not.
        return view.began_at.isoformat(), view.kind, view.height, view.sentence[:80]

    return paging.listed("incidents", views, _incident, key)


def _incident(view: IncidentView) -> dict[str, Any]:
    return {
        "began_at": format_time(view.began_at),
        "ended_at": format_time(view.ended_at) if view.ended_at else None,
        "kind": view.kind,
        "height": view.height,
        "depth": view.depth,
        "sentence": view.sentence,
    }


def _settlement(view: CampaignView) -> dict[str, Any] | None:
    """The settlement that the outcome asks for; refunds of late coins in a funded campaign stand under `late`."""
    if view.outcome is None or not view.settlements:
        return None
    main, *rest = view.settlements
    return {
        "kind": main.kind,
        "state": main.state,
        "batches": [vars(batch) for batch in main.batches],
        "late": [{"kind": s.kind, "state": s.state, "batches": [vars(b) for b in s.batches]} for s in rest],
    }


def _as_of(now: AsOf | None) -> dict[str, Any] | None:
    if now is None:
        return None
    return {
        "height": now.height,
        "block_hash": now.block_hash,
        "median_time_past": format_time(now.median_time_past),
        "state": now.state,
    }


def pledge_json(db: Session, pledge_id: str) -> dict[str, Any]:
    """A pledge, for who has its secret id. Raises NotFound."""
    site = here()
    snapshot, row = queries.load_by_pledge(db, pledge_id)
    now = as_of(db)
    view: PledgeView = pledge_view(snapshot, row, site.network, now, site.settings.base_url)
    kept = keepsakes_of(db, snapshot, row, site.network, now)
    reward, changes = reward_json(db, row), readdressing.as_json(db, row)
    return {
        "id": view.id,
        "campaign_id": view.campaign.id,
        "address": view.address,
        "amount_sats": view.amount_sats,
        "uri": view.uri,
        "refund_address": view.refund_address,
        "refund_changes": changes,
        "name": view.name,
        "message": view.message,
        "reward": reward,
        "state": view.state,
        "headline": view.headline,
        "sentence": view.sentence.striptags(),
        "received_sats": view.received_sats,
        "seen_sats": view.seen_sats,
        "counted_sats": view.counted_sats,
        "coins": [vars(coin) for coin in view.coins],
        "settled_txid": view.settled_txid,
        "refund_estimate_sats": None if view.campaign.outcome else view.refund_example_sats,
        "receipt_url": view.url,
        **keepsakes.as_json(kept),
        "as_of": _as_of(now),
    }


def _own_money(campaign_id: str, body: Body) -> tuple[Creator, bool] | None:
    """Who says of a pledge to an own campaign whether it is own money, and what. Raises Refusal, NotFound, Problems."""
    if body.get("own_money") is None:
        return None
    value, creator = json_body.truth(body, "own_money"), callers.creator("write")
    with here().database.reading() as db:
        campaign = db.get(Campaign, campaign_id)
        if campaign is None or not may(db, creator, Action.OWN_MONEY, campaign):
            raise NotFound("There is no such campaign among yours.")
    return creator, value


def _state_asked() -> str:
    state = request.args.get("state", "")
    if state not in ("", *CampaignState):
        raise Problems({"state": f"“state” must be one of {', '.join(CampaignState)}."})
    return state


def _place(after: paging.Key | None) -> listing.Place | None:
    """The place that a cursor names. Raises Problems."""
    if after is None:
        return None
    try:
        at, campaign_id = datetime.fromisoformat(str(after[0])), str(after[1])
        if at.tzinfo is None or not json_body.is_text(campaign_id):
            raise ValueError("no cursor of ours")
        return at.astimezone(UTC), campaign_id
    except (ValueError, OverflowError) as error:
        raise Problems({"cursor": paging.NO_CURSOR}) from error


def read_draft(body: Body) -> Draft:
    """A draft as it was sent. Raises Problems."""
    return Draft(
        title=json_body.text(body, "title"),
        summary=json_body.text(body, "summary"),
        story=json_body.text(body, "story"),
        goal_sats=json_body.sats(body, "goal_sats"),
        deadline_at=json_body.time(body, "deadline_at"),
        payout_address=json_body.text(body, "payout_address"),
        project_url=json_body.text(body, "project_url"),
        license=json_body.text(body, "license"),
        cap_sats=0 if body.get("cap_sats") is None else json_body.sats(body, "cap_sats", least=0),
    )
