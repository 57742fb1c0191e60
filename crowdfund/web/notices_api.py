"""The API of being told: mails about a campaign, a pledge or all that is one's own, and webhooks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify
from sqlalchemy.orm import Session

from crowdfund.accounts import limits
from crowdfund.campaigns.models import Pledge
from crowdfund.campaigns.terms import format_time
from crowdfund.errors import NotFound, Problems, UserError, WorldError
from crowdfund.languages import LANGUAGES
from crowdfund.notices import hooks, subscribing
from crowdfund.notices.mail import masked
from crowdfund.notices.models import Notice, Subscription, Webhook
from crowdfund.web import callers, door, json_body, once, paging
from crowdfund.web import hooks as hook_pages
from crowdfund.web.api import Answer
from crowdfund.web.public import open_snapshot
from crowdfund.web.site import here

pages = Blueprint("notices_api", __name__, url_prefix="/api/v1")

ASKED = {"state": "asked"}
"""The same for every address, whether it is known already or not."""


@pages.post("/campaigns/<campaign_id>/followers")
def follow(campaign_id: str) -> Answer:
    """Mails about a campaign. One mail asks first whether the address is right."""
    _refuse_without_mail()
    open_snapshot(campaign_id)
    email, language = _wanted(json_body.body())
    return _asked(lambda db: subscribing.follow_campaign(db, campaign_id, email, datetime.now(UTC), language))


@pages.post("/pledges/<pledge_id>/mail")
def pledge(pledge_id: str) -> Answer:
    """Mails about a pledge, to one address."""
    _refuse_without_mail()
    email, language = _wanted(json_body.body())
    return _asked(lambda db: subscribing.follow_pledge(db, pledge_id, email, datetime.now(UTC), language))


@pages.delete("/pledges/<pledge_id>/mail")
def pledge_forget(pledge_id: str) -> Answer:
    """Forget the address of a pledge."""
    with here().database.transaction() as db:
        row = db.get(Pledge, pledge_id)
        if row is None or row.address is None:
            raise NotFound("There is no such pledge.")
        subscribing.forget_pledge(db, pledge_id)
    return Response(status=204)


@pages.get("/me/mail")
def mail() -> Answer:
    """Where mails about one's own campaigns go, if anywhere; not all of the address."""
    creator = callers.creator("notices")
    with here().database.reading() as db:
        held = subscribing.of_creator(db, creator.id)
    if held is None:
        return jsonify({"address": None, "confirmed": False})
    return jsonify({"address": masked(held.email), "confirmed": held.confirmed_at is not None})


@pages.put("/me/mail")
def mail_set() -> Answer:
    """Mails about one's own campaigns."""
    creator = callers.creator("notices")
    _refuse_without_mail()
    email = json_body.text(json_body.body(), "email")
    return _asked(lambda db: subscribing.follow_creator(db, creator.id, email, datetime.now(UTC)))


@pages.delete("/me/mail")
def mail_forget() -> Answer:
    """Forget one's own address."""
    creator = callers.creator("notices")
    with here().database.transaction() as db:
        subscribing.forget_creator(db, creator.id)
    return Response(status=204)


@pages.get("/webhooks")
def webhooks() -> Answer:
    """One's webhooks, the oldest first, without their secrets."""
    creator = callers.creator("notices")
    with here().database.reading() as db:
        found = hooks.own_hooks(db, creator.id)
        return paging.listed("webhooks", found, hook_json, lambda h: (h.id,), newest_first=False)


@pages.post("/webhooks")
def webhook_new() -> Answer:
    """A new webhook; only this answer has its secret."""
    creator, body = callers.creator("notices"), json_body.body()
    url, events = json_body.text(body, "url"), json_body.texts(body, "events")
    checked: list[str] = []

    def register(db: Session) -> Webhook:
        return hooks.register(db, creator.id, checked[0], events, datetime.now(UTC))

    def check() -> None:
        try:
            checked.append(hook_pages._poster().check(url))
        except WorldError as error:
            raise UserError(error.sentence, "url") from error

    return once.made(register, lambda db, hook: {**hook_json(hook), "secret": hook.secret}, check)


@pages.get("/webhooks/<number:hook_id>")
def webhook(hook_id: int) -> Answer:
    """One of them, with the last messages to it."""
    creator = callers.creator("notices")
    with here().database.reading() as db:
        hook = hooks.own_hook(db, creator.id, hook_id)
        return jsonify({**hook_json(hook), "messages": [_message(each) for each in hooks.last_messages(db, hook)]})


@pages.delete("/webhooks/<number:hook_id>")
def webhook_forget(hook_id: int) -> Answer:
    """Forget a webhook and its secret."""
    creator = callers.creator("notices")
    with here().database.transaction() as db:
        hooks.remove(db, creator.id, hook_id)
    return Response(status=204)


@pages.post("/webhooks/<number:hook_id>/messages/<number:notice_id>/again")
def again(hook_id: int, notice_id: int) -> Answer:
    """Send a message once more, under the same webhook-id."""
    creator = callers.creator("notices")

    def send(db: Session) -> None:
        hooks.send_again(db, hooks.own_hook(db, creator.id, hook_id), notice_id, datetime.now(UTC))

    return once.made(send, lambda db, _: {"state": "queued"}, code=202)


def hook_json(hook: Webhook) -> dict[str, Any]:
    """A webhook without its secret."""
    return {
        "id": hook.id,
        "url": hook.url,
        "events": hook.events.split(),
        "created_at": format_time(hook.created_at),
        "failing_since": format_time(hook.failing_since) if hook.failing_since else None,
        "disabled_at": format_time(hook.disabled_at) if hook.disabled_at else None,
        "disabled_reason": hook.disabled_reason or "",
    }


def _message(notice: Notice) -> dict[str, Any]:
    return {
        "id": notice.id,
        "type": notice.happening.kind,
        "state": notice.state,
        "created_at": format_time(notice.created_at),
        "deliveries": [
            {"at": format_time(d.at), "ok": d.ok, "status": d.status, "took_ms": d.took_ms, "sentence": d.sentence}
            for d in notice.deliveries
        ],
    }


def _wanted(held: json_body.Body) -> tuple[str, str]:
    """The address, and the language of what is sent there. Raises Problems."""
    email, language = json_body.text(held, "email"), LANGUAGES[0]
    if "language" in held:
        language = json_body.text(held, "language")
    if language not in LANGUAGES:
        raise Problems({"language": f"“language” must be one of {', '.join(LANGUAGES)}."})
    return email, language


def _asked(ask: Any) -> Answer:
    """Have the owner of an address asked. Who sends this learns nothing of whether it is known here."""

    def keep(db: Session) -> Subscription:
        found: Subscription = ask(db)
        return found

    return once.made(keep, lambda db, _: dict(ASKED), lambda: door.limit_address(limits.WORDS, "mail"), 202)


def _refuse_without_mail() -> None:
    if not here().settings.mail_from:
        raise NotFound("This site sends no mail.")
