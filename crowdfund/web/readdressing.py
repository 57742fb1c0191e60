"""The page on which a backer changes where a refund goes: the text to sign, and the signature brought back.

Its link opens it, and opens nothing else: what is stored here is a word to the worker, and the signer asks for the
signature of the old address itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, flash, redirect, render_template, url_for
from flask_babel import gettext as _
from flask_wtf import FlaskForm
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response
from wtforms import StringField, TextAreaField

from crowdfund.accounts import limits
from crowdfund.campaigns import queries, readdressing
from crowdfund.campaigns.models import Pledge
from crowdfund.campaigns.refund_models import OPEN, ChangeState, RefundChangeRow
from crowdfund.campaigns.terms import format_time
from crowdfund.errors import NotFound, UserError
from crowdfund.web import door
from crowdfund.web.forms import show_problems
from crowdfund.web.i18n import later
from crowdfund.web.security import code_of
from crowdfund.web.site import here

pages = Blueprint("readdressing", __name__)

Answer = str | Response | tuple[str, int]


class ReaddressForm(FlaskForm):
    """Where a refund shall go, and the old address's word for it."""

    address = StringField(later("New refund address"))
    signature = TextAreaField(later("Signature"))


@dataclass(frozen=True)
class ChangesView:
    """What a pledge's page says of its refund address. `under_way`: the change that the signer has not answered;
    `refusal`: why it cannot be changed, empty if it can."""

    rows: Sequence[RefundChangeRow]
    under_way: RefundChangeRow | None
    refusal: str


@pages.route("/p/<pledge_id>/refund-address", methods=["GET", "POST"])
def show(pledge_id: str) -> Answer:
    """First the new address, then the text to sign; a signature with it is checked and kept."""
    form, code = ReaddressForm(), 200
    text = ""
    if form.is_submitted():
        code = 422
        try:
            if form.validate():
                if (form.signature.data or "").strip():
                    bring(pledge_id, form.address.data or "", form.signature.data or "")
                    flash(_("The signature is right. The key keeper checks it, too, which takes a moment."), "good")
                    return redirect(url_for("pledges.show", pledge_id=pledge_id, _anchor="refund-address"), 303)
                text, code = text_for(pledge_id, form.address.data or ""), 200
        except NotFound:
            raise
        except UserError as error:
            show_problems(form, error)
            code = code_of(error)
            text = _text_again(pledge_id, form)
    with here().database.reading() as db:
        snapshot, pledge = queries.load_by_pledge(db, pledge_id)
        title, readdressed = snapshot.campaign.title, changes_of(db, pledge)
    told: dict[str, Any] = {"title": title, "pledge": pledge, "readdressed": readdressed}
    return render_template("refund_address.html", form=form, text=text, **told), code


def text_for(pledge_id: str, address: str) -> str:
    """What is to be signed for this address. Raises NotFound, UserError, Problems."""
    with here().database.reading() as db:
        return readdressing.text_to_sign(db, here().settings, pledge_id, address).text()


def bring(pledge_id: str, address: str, signature: str) -> None:
    """Check the change and keep it for the worker. Raises NotFound, UserError, Problems, TooMany."""
    door.limit_address(limits.READDRESS)
    with here().database.transaction() as db:
        readdressing.bring(db, here().settings, pledge_id, address, signature, datetime.now(UTC))


def changes_of(db: Session, pledge: Pledge) -> ChangesView:
    """For the page of a pledge."""
    rows = readdressing.history(db, pledge.id)
    under_way = next((row for row in rows if row.state in OPEN), None)
    return ChangesView(rows, under_way, readdressing.refusal(db, here().settings, pledge))


def as_json(db: Session, pledge: Pledge) -> list[dict[str, Any]]:
    """For the API: every change that was brought, the oldest first."""
    return [
        {
            "number": row.number,
            "state": "waiting" if row.state == ChangeState.SENT else row.state,
            "old_address": row.old_address,
            "new_address": row.new_address,
            "text": readdressing.text_of(db, row),
            "signature": row.signature,
            "brought_at": format_time(row.brought_at),
            "answered_at": format_time(row.answered_at) if row.answered_at else None,
            "answer": row.answer,
        }
        for row in readdressing.history(db, pledge.id)
    ]


def _text_again(pledge_id: str, form: ReaddressForm) -> str:
    """The text stays on the page while only the signature is wrong."""
    if form.address.errors or form.form_errors:
        return ""
    try:
        return text_for(pledge_id, form.address.data or "")
    except UserError:
        return ""
