"""A creator's page for being told: the address for mails, webhooks and what was delivered to them."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from crowdfund.errors import NotFound, UserError, WorldError
from crowdfund.notices import hooks, subscribing
from crowdfund.notices.kinds import HOOKABLE
from crowdfund.notices.mail import masked
from crowdfund.notices.posting import PinnedPoster, Poster
from crowdfund.web.forms import EmailForm, WebhookForm, show_problems
from crowdfund.web.site import creators_only, current_creator, here

pages = Blueprint("hooks", __name__, url_prefix="/dashboard")

Answer = str | Response | tuple[str, int]


@pages.get("/notices")
@creators_only
def index() -> Answer:
    """How the creator is told."""
    return overview()


@pages.post("/webhooks")
@creators_only
def new() -> Answer:
    """Register a webhook; the page that answers shows its secret, once."""
    form = WebhookForm()
    try:
        if not form.validate():
            return overview(hook_form=form), 422
        url = _poster().check(form.url.data or "")
        with here().database.transaction() as db:
            hook = hooks.register(db, _creator_id(), url, form.events.data or (), datetime.now(UTC))
    except (UserError, WorldError) as error:
        show_problems(form, error if isinstance(error, UserError) else UserError(error.sentence, "url"))
        return overview(hook_form=form), 422
    return render_template("webhook_new.html", hook=hook), 201


@pages.get("/webhooks/<int(max=9007199254740991):hook_id>")
@creators_only
def show(hook_id: int) -> Answer:
    """What was delivered."""
    with here().database.reading() as db:
        hook = hooks.own_hook(db, _creator_id(), hook_id)
        messages = hooks.last_messages(db, hook)
    return render_template("webhook.html", hook=hook, messages=messages, words=HOOKABLE)


@pages.post("/webhooks/<int(max=9007199254740991):hook_id>/again/<int(max=9007199254740991):notice_id>")
@creators_only
def again(hook_id: int, notice_id: int) -> Answer:
    """Deliver a message once more, under the same id."""
    try:
        with here().database.transaction() as db:
            hook = hooks.own_hook(db, _creator_id(), hook_id)
            hooks.send_again(db, hook, notice_id, datetime.now(UTC))
        flash("It is sent once more, with the same webhook-id.", "good")
    except NotFound:
        raise
    except UserError as error:
        flash(error.sentence, "bad")
    return redirect(url_for("hooks.show", hook_id=hook_id), 303)


@pages.post("/webhooks/<int(max=9007199254740991):hook_id>/delete")
@creators_only
def delete(hook_id: int) -> Answer:
    """Forget a webhook and its secret."""
    with here().database.transaction() as db:
        hooks.remove(db, _creator_id(), hook_id)
    flash("The webhook is deleted. Nothing is sent to it any more.", "good")
    return redirect(url_for("hooks.index"), 303)


def overview(email_form: EmailForm | None = None, hook_form: WebhookForm | None = None) -> str:
    """The page with both forms, one of them perhaps with what was wrong in it."""
    with here().database.reading() as db:
        held = subscribing.of_creator(db, _creator_id())
        own = hooks.own_hooks(db, _creator_id())
    return render_template(
        "notices.html",
        mail=bool(here().settings.mail_from),
        address=masked(held.email) if held else "",
        confirmed=held is not None and held.confirmed_at is not None,
        email_form=email_form or EmailForm(formdata=None),
        hook_form=hook_form or WebhookForm(formdata=None),
        hooks=own,
    )


def _poster() -> Poster:
    return PinnedPoster(plain=here().network == "regtest")


def _creator_id() -> int:
    creator = current_creator()
    assert creator is not None
    return creator.id
