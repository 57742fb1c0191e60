"""The API: the same use cases as the pages, in JSON. Errors are problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify, request
from sqlalchemy.orm import Session
from werkzeug.exceptions import HTTPException

from crowdfund.accounts import limits
from crowdfund.accounts.people import creator_of_token
from crowdfund.audit.bundle import build_bundle, bundle_json
from crowdfund.campaigns import incidents, own_money, queries, service
from crowdfund.campaigns.drafts import Draft
from crowdfund.campaigns.incidents import IncidentView
from crowdfund.campaigns.models import Campaign, Creator, Pledge
from crowdfund.campaigns.queries import Snapshot
from crowdfund.campaigns.rights import may
from crowdfund.campaigns.terms import format_time, parse_time
from crowdfund.errors import NotFound, Problems, UserError
from crowdfund.projects import people
from crowdfund.projects.roles import Action
from crowdfund.web import door, keepsakes, openapi
from crowdfund.web.details_api import details_json, read_details, reward_json
from crowdfund.web.keepsakes import keepsakes_of
from crowdfund.web.picture_views import PictureView, views_of
from crowdfund.web.public import open_snapshot
from crowdfund.web.site import AsOf, as_of, here
from crowdfund.web.views import CampaignView, PledgeView, campaign_view, pledge_view, preview_view

pages = Blueprint("api", __name__, url_prefix="/api/v1")

Answer = Response | tuple[Response, int]


class NoToken(HTTPException):
    """A creator's bearer token is needed."""

    code = 401
    description = "Send a creator's token: Authorization: Bearer TOKEN. `crowdfund token create NAME` makes one."


@pages.get("/openapi.json")
def document() -> Answer:
    """The OpenAPI document."""
    return jsonify(openapi.document(here().settings.base_url, here().name))


@pages.get("/campaigns")
def campaigns() -> Answer:
    """Every published campaign, newest first."""
    with here().database.reading() as db:
        now = as_of(db)
        found = [_campaign(s, now) for s in queries.published(db)]
    return jsonify({"campaigns": found})


@pages.post("/campaigns")
def create() -> Answer:
    """A new draft."""
    body = _body()
    draft, details = _read_draft(body), read_details(body)
    with here().database.transaction() as db:
        campaign = service.save_draft(db, here().settings, token_holder(db).id, draft, details=details)
    with here().database.reading() as db:
        snapshot = queries.load(db, campaign.id)
        return jsonify({**_campaign(snapshot, as_of(db)), **details_json(db, snapshot.campaign)}), 201


@pages.post("/campaigns/<campaign_id>/publish")
def publish(campaign_id: str) -> Answer:
    """Freeze the terms of a draft."""
    with here().database.transaction() as db:
        service.publish(db, here().settings, token_holder(db).id, campaign_id)
    return campaign(campaign_id)


@pages.get("/campaigns/<campaign_id>")
def campaign(campaign_id: str) -> Answer:
    """One campaign; a draft only with its creator's token."""
    with here().database.reading() as db:
        snapshot = queries.load(db, campaign_id)
        if snapshot.terms is None and not _owns(db, snapshot):
            raise NotFound("There is no such campaign.")
        found, preview = _campaign(snapshot, as_of(db)), preview_view(snapshot, as_of(db))
        found |= details_json(db, snapshot.campaign)
        pictures = views_of(db, [campaign_id]).get(campaign_id, ())
    more = {"settlement_preview": vars(preview) if preview else None, "pictures": [_picture(p) for p in pictures]}
    return jsonify({**found, **more})


@pages.post("/campaigns/<campaign_id>/pledges")
def pledge_new(campaign_id: str) -> Answer:
    """A new pledge with its own address."""
    body = _body()
    own = _own_money(campaign_id, body.get("own_money"))
    door.limit_address(limits.PLEDGE)
    pledge_id = service.open_pledge(
        here().database,
        here().settings,
        campaign_id,
        _integer(body, "amount_sats"),
        _text(body, "refund_address"),
        _text(body, "name", required=False),
        _text(body, "message", required=False),
        None if body.get("reward") is None else _integer(body, "reward", least=0),
        door.limit_reserving(campaign_id),
    )
    if own is not None:
        with here().database.transaction() as db:
            own_money.declare(db, token_holder(db), db.get_one(Pledge, pledge_id), own, datetime.now(UTC))
    return jsonify(_pledge(pledge_id)), 201


@pages.get("/pledges/<pledge_id>")
def pledge(pledge_id: str) -> Answer:
    """Where a pledge's money is."""
    return jsonify(_pledge(pledge_id))


@pages.get("/incidents")
def all_incidents() -> Answer:
    """What went out of the ordinary, on the whole site."""
    with here().database.reading() as db:
        return _incidents(incidents.of_site(db))


@pages.get("/campaigns/<campaign_id>/incidents")
def campaign_incidents(campaign_id: str) -> Answer:
    """What of it concerned one campaign."""
    open_snapshot(campaign_id)
    with here().database.reading() as db:
        return _incidents(incidents.of_campaign(db, campaign_id))


@pages.get("/campaigns/<campaign_id>/audit")
def audit(campaign_id: str) -> Answer:
    """The audit bundle."""
    snapshot, _ = open_snapshot(campaign_id, whole=True)
    return Response(bundle_json(build_bundle(snapshot, here().network)), content_type="application/json")


def _campaign(snapshot: Snapshot, now: AsOf | None) -> dict[str, Any]:
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


def _incidents(views: Iterable[IncidentView]) -> Response:
    found = [
        {
            "began_at": format_time(view.began_at),
            "ended_at": format_time(view.ended_at) if view.ended_at else None,
            "kind": view.kind,
            "height": view.height,
            "depth": view.depth,
            "sentence": view.sentence,
        }
        for view in views
    ]
    return jsonify({"incidents": found})


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


def _pledge(pledge_id: str) -> dict[str, Any]:
    site = here()
    with site.database.reading() as db:
        snapshot, row = queries.load_by_pledge(db, pledge_id)
        now = as_of(db)
        view: PledgeView = pledge_view(snapshot, row, site.network, now, site.settings.base_url)
        kept = keepsakes_of(db, snapshot, row, site.network, now)
        reward = reward_json(db, row)
    return {
        "id": view.id,
        "campaign_id": view.campaign.id,
        "address": view.address,
        "amount_sats": view.amount_sats,
        "uri": view.uri,
        "refund_address": view.refund_address,
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


def token_holder(db: Session) -> Creator:
    """Whose token came with the request. Raises NoToken."""
    found = bearer(db)
    if found is None:
        raise NoToken()
    return found


def bearer(db: Session) -> Creator | None:
    """Whose token came with the request, None if nobody's."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return creator_of_token(db, token.strip()) if scheme.lower() == "bearer" else None


def _owns(db: Session, snapshot: Snapshot) -> bool:
    creator = bearer(db)
    return creator is not None and people.role_of(db, creator.id, snapshot.campaign.project_id) is not None


def _own_money(campaign_id: str, value: object) -> bool | None:
    """What a creator says of a pledge to an own campaign, None if nothing. Raises NoToken, NotFound, Problems."""
    if value is None:
        return None
    if not isinstance(value, bool):
        raise Problems({"own_money": "“own_money” must be true or false."})
    with here().database.reading() as db:
        creator, campaign = token_holder(db), db.get(Campaign, campaign_id)
        if campaign is None or not may(db, creator, Action.OWN_MONEY, campaign):
            raise NotFound("There is no such campaign among yours.")
    return value


def _body() -> dict[str, Any]:
    try:
        body = request.get_json(silent=True)
    except RecursionError:  # brackets in brackets, a hundred thousand deep
        body = None
    if not isinstance(body, dict):
        raise UserError("Send a JSON object, with Content-Type: application/json.")
    return body


def _text(body: dict[str, Any], name: str, required: bool = True) -> str:
    value = body.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or "\x00" in value or not _is_unicode(value):
        raise Problems({name: f"“{name}” must be a text."})
    return value


def _is_unicode(text: str) -> bool:
    """JSON can carry half of a surrogate pair, which is no text and fits no database."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _integer(body: dict[str, Any], name: str, least: int = 1) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 21_000_000 * 100_000_000:
        raise Problems({name: f"“{name}” must be a whole number of satoshi between {least} and 21 million BTC."})
    return value


def _read_draft(body: dict[str, Any]) -> Draft:
    try:
        deadline = parse_time(_text(body, "deadline_at"))
    except (ValueError, OverflowError) as error:  # the latter: an offset that leads out of the years 1 to 9999
        raise Problems({"deadline_at": "“deadline_at” must be RFC 3339, such as 2026-12-01T18:00:00Z."}) from error
    return Draft(
        title=_text(body, "title"),
        summary=_text(body, "summary"),
        story=_text(body, "story"),
        goal_sats=_integer(body, "goal_sats"),
        deadline_at=deadline,
        payout_address=_text(body, "payout_address"),
        project_url=_text(body, "project_url"),
        license=_text(body, "license"),
        cap_sats=0 if body.get("cap_sats") is None else _integer(body, "cap_sats", least=0),
    )
