"""Hearing of what happens by mail: forms for an address, and the pages behind the links in mails."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from crowdfund.campaigns import queries
from crowdfund.campaigns.models import Campaign, Pledge
from crowdfund.errors import NotFound, UserError
from crowdfund.notices import subscribing
from crowdfund.notices.mail import masked
from crowdfund.notices.models import Subscription
from crowdfund.notices.subscribing import CONFIRM, OFF
from crowdfund.sentences import N_
from crowdfund.web.forms import EmailForm, show_problems
from crowdfund.web.hooks import overview
from crowdfund.web.i18n import language
from crowdfund.web.public import open_snapshot
from crowdfund.web.site import creators_only, current_creator, here

ASKED = N_(
    "Look into your mailbox: one mail asks whether the address is right. Nothing else is sent before you say so."
)
AWAY = N_("The address is forgotten.")

pages = Blueprint("telling", __name__)

Answer = str | Response | tuple[str, int]


@pages.route("/campaigns/<campaign_id>/follow", methods=["GET", "POST"])
def follow(campaign_id: str) -> Answer:
    """Mails about a campaign."""
    _refuse_without_mail()
    campaign = open_snapshot(campaign_id)[1]
    form = EmailForm()
    if form.validate_on_submit():
        try:
            with here().database.transaction() as db:
                subscribing.follow_campaign(db, campaign_id, form.email.data or "", datetime.now(UTC), language())
            flash(_(ASKED), "good")
            return redirect(url_for("public.campaign", campaign_id=campaign_id), 303)
        except UserError as error:
            show_problems(form, error)
    return render_template("follow.html", form=form, campaign=campaign), _code(form)


@pages.route("/p/<pledge_id>/mail", methods=["GET", "POST"])
def pledge(pledge_id: str) -> Answer:
    """Mails about a pledge: to one address, which can be taken away again."""
    _refuse_without_mail()
    with here().database.reading() as db:
        snapshot = queries.load_by_pledge(db, pledge_id)[0]
        held = subscribing.of_pledge(db, pledge_id)
    form = EmailForm()
    if form.validate_on_submit():
        try:
            with here().database.transaction() as db:
                subscribing.follow_pledge(db, pledge_id, form.email.data or "", datetime.now(UTC), language())
            flash(_(ASKED), "good")
            return redirect(url_for("telling.pledge", pledge_id=pledge_id), 303)
        except UserError as error:
            show_problems(form, error)
    return render_template(
        "pledge_mail.html", form=form, pledge_id=pledge_id, title=snapshot.campaign.title, held=_shown(held)
    ), _code(form)


@pages.post("/p/<pledge_id>/mail/forget")
def pledge_forget(pledge_id: str) -> Response:
    """Take the address away."""
    with here().database.transaction() as db:
        if db.get(Pledge, pledge_id) is None:
            raise NotFound("There is no such pledge.")
        subscribing.forget_pledge(db, pledge_id)
    flash(_(AWAY), "good")
    return redirect(url_for("pledges.show", pledge_id=pledge_id), 303)


@pages.post("/dashboard/mail")
@creators_only
def creator() -> Answer:
    """Mails about all campaigns of the one who is logged in."""
    _refuse_without_mail()
    form = EmailForm()
    try:
        with here().database.transaction() as db:
            subscribing.follow_creator(db, _creator_id(), form.email.data or "", datetime.now(UTC))
    except UserError as error:
        show_problems(form, error)
        return overview(email_form=form), 422
    flash(_(ASKED), "good")
    return redirect(url_for("hooks.index"), 303)


@pages.post("/dashboard/mail/forget")
@creators_only
def creator_forget() -> Response:
    """Take the creator's address away."""
    with here().database.transaction() as db:
        subscribing.forget_creator(db, _creator_id())
    flash(_(AWAY), "good")
    return redirect(url_for("hooks.index"), 303)


@pages.route("/mail/confirm/<int(max=9007199254740991):subscription_id>/<token>", methods=["GET", "POST"])
def confirm(subscription_id: int, token: str) -> Answer:
    """Behind the link in the first mail: a button, since programs that look mails through open links, too."""
    if request.method == "GET":
        with here().database.reading() as db:
            found = subscribing.by_token(db, subscription_id, CONFIRM, token)
            return _link_page(db, "mail_confirm.html", found)
    with here().database.transaction() as db:
        found = subscribing.by_token(db, subscription_id, CONFIRM, token)
        subscribing.confirm(found, datetime.now(UTC))
    flash(_("Thank you. You will hear from us by mail."), "good")
    return redirect(url_for("public.front"), 303)


@pages.get("/mail/off/<int(max=9007199254740991):subscription_id>/<token>")
def off(subscription_id: int, token: str) -> str:
    """Behind the link at the foot of each mail."""
    with here().database.reading() as db:
        found = subscribing.by_token(db, subscription_id, OFF, token)
        return _link_page(db, "mail_off.html", found)


@pages.post("/mail/off/<int(max=9007199254740991):subscription_id>/<token>")
def off_now(subscription_id: int, token: str) -> Answer:
    """Hear no more: by the button, or by a mail program in one click (RFC 8058), which has no session. Twice is as good
    as once."""
    try:
        with here().database.transaction() as db:
            db.delete(subscribing.by_token(db, subscription_id, OFF, token))
    except NotFound:
        with here().database.reading() as db:
            if db.get(Subscription, subscription_id) is not None:
                raise
    return render_template("mail_gone.html")


def address_of(db: Session, pledge_id: str) -> dict[str, object] | None:
    """The pledge's address, as its page shows it: whoever has the link sees that page."""
    return _shown(subscribing.of_pledge(db, pledge_id))


def _shown(held: Subscription | None) -> dict[str, object] | None:
    return None if held is None else {"address": masked(held.email), "confirmed": held.confirmed_at is not None}


def _link_page(db: Session, template: str, found: Subscription) -> str:
    pledge = db.get(Pledge, found.pledge_id) if found.pledge_id else None
    campaign = db.get(Campaign, pledge.campaign_id if pledge else found.campaign_id or "")
    title = campaign.title if campaign else here().name
    return render_template(template, address=masked(found.email), title=title, confirmed=found.confirmed_at is not None)


def _code(form: EmailForm) -> int:
    return 422 if form.is_submitted() else 200


def _refuse_without_mail() -> None:
    if not here().settings.mail_from:
        raise NotFound("This site sends no mail.")


def _creator_id() -> int:
    creator = current_creator()
    assert creator is not None
    return creator.id
