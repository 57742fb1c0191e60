"""The API of cancelling: the transaction to sign, and bringing it signed. None of it ends a campaign; a block does."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, jsonify
from sqlalchemy.orm import Session

from crowdfund.campaigns import cancel_desk
from crowdfund.campaigns.cancel_models import CancellationDraft, CancellationSend
from crowdfund.campaigns.terms import CampaignTerms, format_time
from crowdfund.web import callers, json_body, once
from crowdfund.web.api import Answer
from crowdfund.web.site import here

pages = Blueprint("cancelling_api", __name__, url_prefix="/api/v1")


@pages.get("/campaigns/<campaign_id>/cancellation")
def show(campaign_id: str) -> Answer:
    """What was asked for last, and what was brought signed."""
    creator = callers.creator("read")
    with here().database.reading() as db:
        _, terms = cancel_desk.open_campaign(db, creator, campaign_id)
        row = cancel_desk.newest_draft(db, campaign_id)
        told = {
            "to_sign": None if row is None else _paper(terms, row),
            "brought": [_sent(each) for each in cancel_desk.sent(db, campaign_id)],
        }
    return jsonify(told)


@pages.post("/campaigns/<campaign_id>/cancellation")
def ask(campaign_id: str) -> Answer:
    """Ask for the transaction that cancels, unsigned: the payout address alone can sign it."""
    creator, body = callers.creator("publish"), json_body.body()
    typed = (json_body.text(body, "title"), json_body.text(body, "reason"), json_body.text(body, "coin"))
    feerate = json_body.whole(body, "feerate_sat_vb", least=1)

    def write(db: Session) -> CancellationDraft:
        return cancel_desk.draft(db, creator, campaign_id, typed, feerate, datetime.now(UTC))

    def tell(db: Session, row: CancellationDraft) -> dict[str, Any]:
        return _paper(cancel_desk.open_campaign(db, creator, campaign_id)[1], row)

    return once.made(write, tell)


@pages.post("/campaigns/<campaign_id>/cancellation/signed")
def bring(campaign_id: str) -> Answer:
    """Bring what the wallet signed, as PSBT in base64 or as transaction in hex; the worker sends it."""
    creator = callers.creator("publish")
    signed = json_body.text(json_body.body(), "signed").encode()

    def write(db: Session) -> CancellationSend:
        return cancel_desk.bring(db, creator, campaign_id, signed, datetime.now(UTC))

    return once.made(write, lambda db, row: _sent(row), code=202)


def _paper(terms: CampaignTerms, row: CancellationDraft) -> dict[str, Any]:
    paper = cancel_desk.paper(terms, row)
    return {
        "reason": row.reason,
        "txid": paper.tx.txid,
        "psbt": b64encode(paper.psbt).decode(),
        "fee_sats": paper.tx.fee_sats,
        "back_sats": paper.tx.outputs[0].value_sats,
        "feerate_sat_vb": row.feerate_sat_vb,
        "made_at": format_time(row.made_at),
    }


def _sent(row: CancellationSend) -> dict[str, Any]:
    return {
        "txid": row.txid,
        "brought_at": format_time(row.brought_at),
        "sent_at": format_time(row.sent_at) if row.sent_at else None,
        "answer": row.answer or "",
    }
