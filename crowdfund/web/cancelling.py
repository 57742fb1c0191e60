"""The page on which a creator cancels a campaign: the transaction to sign, and what became of it. Holds no key.

Nothing on it ends a campaign: a block with the creator's own transaction does.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from markupsafe import Markup
from werkzeug.wrappers import Response
from wtforms import FileField, StringField, TextAreaField

from crowdfund.campaigns import cancel_desk, queries
from crowdfund.campaigns.cancel_desk import Paper
from crowdfund.errors import UserError
from crowdfund.wallet import bbqr
from crowdfund.wallet.fees import MIN_FEERATE_SAT_VB
from crowdfund.wallet.payment_uri import qr_svg
from crowdfund.web.forms import show_problems
from crowdfund.web.site import AsOf, as_of, creators_only, current_creator, here
from crowdfund.web.views import campaign_view, chain_time

pages = Blueprint("cancelling", __name__)

BLOCK_SPACING = timedelta(minutes=10)
MOST_CODES = 12
MOST_BYTES = 8 * 1024 * 1024

Answer = str | Response | tuple[str, int]


class CancelForm(FlaskForm):
    """What a creator asks for."""

    title = StringField("Title of the campaign")
    reason = TextAreaField("The reason, for everyone to read")
    coin = TextAreaField("A raw transaction that paid the payout address, in hex")
    feerate = StringField("Fee, in sat/vB")


class SignedForm(FlaskForm):
    """What a wallet gave back."""

    signed = TextAreaField("The signed PSBT in base64, or the signed transaction in hex")
    file = FileField("Or as a file")


@dataclass(frozen=True)
class PaperView:
    """The transaction to sign, in the ways in which wallets take it. `codes` is empty where it would take too many."""

    reason: str
    txid: str
    psbt: str
    codes: tuple[Markup, ...]
    fee_sats: int
    back_sats: int
    feerate_sat_vb: int


@pages.route("/campaigns/<campaign_id>/cancel", methods=["GET", "POST"])
@creators_only
def show(campaign_id: str) -> Answer:
    """Ask for the transaction, and see how things stand."""
    form = CancelForm()
    if form.is_submitted():
        try:
            with here().database.transaction() as db:
                typed = (form.title.data or "", form.reason.data or "", form.coin.data or "")
                feerate = _feerate(form.feerate.data or "")
                cancel_desk.draft(db, current_creator(), campaign_id, typed, feerate, datetime.now(UTC))
            return redirect(url_for("cancelling.show", campaign_id=campaign_id, _anchor="sign"), 303)
        except UserError as error:
            show_problems(form, error)
    return _page(campaign_id, form, SignedForm(formdata=None))


@pages.post("/campaigns/<campaign_id>/cancel/signed")
@creators_only
def bring(campaign_id: str) -> Answer:
    """Take what the wallet signed; the worker sends it."""
    form = SignedForm()
    data = request.files["file"].stream.read(MOST_BYTES) if "file" in request.files else b""
    try:
        with here().database.transaction() as db:
            data = data or (form.signed.data or "").encode()
            cancel_desk.bring(db, current_creator(), campaign_id, data, datetime.now(UTC))
        flash("It is on its way to the network. The campaign is cancelled once a block holds it.", "good")
        return redirect(url_for("cancelling.show", campaign_id=campaign_id, _anchor="sent"), 303)
    except UserError as error:
        show_problems(form, error)
    return _page(campaign_id, CancelForm(formdata=None), form)


@pages.get("/campaigns/<campaign_id>/cancel.psbt")
@creators_only
def psbt(campaign_id: str) -> Response:
    """The transaction that was asked for last, as a file."""
    with here().database.reading() as db:
        _, terms = cancel_desk.open_campaign(db, current_creator(), campaign_id)
        row = cancel_desk.newest_draft(db, campaign_id)
        if row is None:
            raise UserError("Nothing was asked for yet.")
        data = cancel_desk.paper(terms, row).psbt
    name = f"cancel-{campaign_id}.psbt"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, mimetype="application/octet-stream", headers=headers)


def _page(campaign_id: str, form: CancelForm, signed: SignedForm) -> Answer:
    with here().database.reading() as db:
        _, terms = cancel_desk.open_campaign(db, current_creator(), campaign_id)
        now = as_of(db)
        view = campaign_view(queries.load(db, campaign_id), here().network, now)
        row, sent = cancel_desk.newest_draft(db, campaign_id), cancel_desk.sent(db, campaign_id)
        paper = None if row is None or view.closing_height else _paper_view(cancel_desk.paper(terms, row))
        told: dict[str, Any] = {"sent": sent, "paper": paper, "confirmations": terms.confirmations}
        told["lacks"] = view.cancelled is not None and cancel_desk.lacks(view.cancelled)
        told["blocks_left"] = _blocks_left(terms.deadline, now)
    if not form.is_submitted():
        form.feerate.data = str(now.feerate_sat_vb if now else MIN_FEERATE_SAT_VB)
    fields = (form.title, form.reason, form.coin, form.feerate, signed.signed, signed.file)
    code = 422 if form.form_errors or signed.form_errors or any(field.errors for field in fields) else 200
    return render_template("cancel.html", campaign=view, form=form, signed=signed, **told), code


def _paper_view(paper: Paper) -> PaperView:
    parts = bbqr.encode(paper.psbt, bbqr.PSBT)
    return PaperView(
        reason=paper.draft.reason,
        txid=paper.tx.txid,
        psbt=b64encode(paper.psbt).decode(),
        codes=tuple(Markup(qr_svg(part)) for part in parts) if len(parts) <= MOST_CODES else (),
        fee_sats=paper.tx.fee_sats,
        back_sats=paper.tx.outputs[0].value_sats,
        feerate_sat_vb=paper.draft.feerate_sat_vb,
    )


def _blocks_left(deadline: datetime, now: AsOf | None) -> int:
    """About how many blocks come before the closing block, at ten minutes each."""
    return max(0, (deadline - chain_time(here().network, now)) // BLOCK_SPACING)


def _feerate(text: str) -> int:
    """Whole sat/vB; 0, which is refused like every other wrong one, where it is none."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
