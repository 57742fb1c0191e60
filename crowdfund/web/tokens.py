"""Tokens of programs on the account page: making one, which is shown once, and taking one back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flask import Blueprint, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from crowdfund.accounts import history, tokens
from crowdfund.campaigns.models import ApiToken, Creator
from crowdfund.errors import NotFound, UserError
from crowdfund.web import door
from crowdfund.web.forms import TokenForm, show_problems
from crowdfund.web.site import creators_only, current_creator, fresh_only, here

pages = Blueprint("tokens", __name__, url_prefix="/account/tokens")

Answer = str | Response | tuple[str, int]


@dataclass(frozen=True)
class TokenView:
    """A token as its owner may know it; of the token itself only how it begins."""

    id: int
    name: str
    prefix: str
    scopes: list[str]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    ended: bool


@pages.get("")
@creators_only
def index() -> Answer:
    """All of them."""
    return _page(TokenForm(formdata=None))


@pages.post("")
@fresh_only
def new() -> Answer:
    """A new token, on this page and on no other."""
    form, creator, visit = TokenForm(), _creator(), door.visit()
    try:
        ends = _ends(form.days.data or "", visit.now)
        with here().database.transaction() as db:
            name = form.token_name.data or ""
            made = tokens.make(db, creator.id, visit.now, form.scopes.data or (), name, ends)
            history.note(db, creator.id, "token_made", visit, " ".join(name.split()) or made[: tokens.PREFIX_LENGTH])
    except UserError as error:
        show_problems(form, error)
        return _page(form), 422
    return render_template("token_new.html", token=made), 201


@pages.post("/<number:token_id>/revoke")
@creators_only
def revoke(token_id: int) -> Answer:
    """Take one back."""
    creator, visit = _creator(), door.visit()
    with here().database.transaction() as db:
        history.note(db, creator.id, "token_revoked", visit, tokens.revoke(db, creator.id, token_id))
    flash("The token is taken back. Nothing is answered to it any more.", "good")
    return redirect(url_for("tokens.index"), 303)


def _page(form: TokenForm) -> str:
    with here().database.reading() as db:
        held = [_view(row) for row in tokens.of_creator(db, _creator().id)]
    return render_template("tokens.html", form=form, tokens=held)


def _view(row: ApiToken) -> TokenView:
    ended = row.expires_at is not None and row.expires_at <= datetime.now(UTC)
    return TokenView(
        row.id, row.name, row.prefix, row.scopes.split(), row.created_at, row.last_used_at, row.expires_at, ended
    )


def _ends(text: str, now: datetime) -> datetime | None:
    """After so many days; None for never. Raises UserError."""
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 5 and int(text)):
        raise UserError("Write a number of days, or nothing for no end.", "days")
    return now + timedelta(days=int(text))


def _creator() -> Creator:
    creator = current_creator()
    if creator is None:
        raise NotFound("Please log in first.")
    return creator
