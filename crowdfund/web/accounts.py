"""A person's account: the ways in, the second factor, recovery codes, sessions, the log, the name, the end of it all.

Whatever changes a way in asks first for one that is known (`fresh_only`), and changes the session's token.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from flask import Blueprint, flash, redirect, render_template, request, url_for
from markupsafe import Markup
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from crowdfund.accounts import entering, history, limits, passkeys, passwords, people, second, sessions, ways
from crowdfund.accounts.models import Authenticator, WebSession
from crowdfund.campaigns.models import Creator
from crowdfund.errors import NotFound, UserError
from crowdfund.wallet.payment_uri import qr_svg
from crowdfund.web import account_words, door
from crowdfund.web.entering import refusal
from crowdfund.web.forms import CodeForm, ConfirmForm, NameForm, PasskeyForm, PasswordForm
from crowdfund.web.site import (
    creators_only,
    current_creator,
    current_session,
    fresh_only,
    here,
    keep_token,
    leave,
    local_path,
)  # fmt: skip

pages = Blueprint("accounts", __name__, url_prefix="/account")

Answer = str | Response | tuple[str, int]
Change = Callable[[Session, int], None]


@pages.get("")
@creators_only
def account() -> Answer:
    """All of it on one page."""
    creator, row = _who()
    with here().database.reading() as db:
        return render_template(
            "account.html",
            ways=ways.of_creator(db, creator.id),
            keys=passkeys.of_creator(db, creator.id),
            sessions=[account_words.session_view(s, row.id) for s in sessions.of_creator(db, creator.id)],
            events=[account_words.event_view(e) for e in history.latest(db, creator.id)],
            published=people.has_published(db, creator.id),
        )


@pages.route("/confirm", methods=["GET", "POST"])
@creators_only
def confirm() -> Answer:
    """Show a way in once more."""
    (creator, row), form, code = _who(), ConfirmForm(), 200
    if form.validate_on_submit():
        try:
            door.limit_name(limits.PAIR, limits.ADDRESS, creator.name)
            texts = (form.password.data or "", form.app_code.data or "")
            keep_token(entering.confirm_by_password(here().database, row, creator.name, *texts, visit=door.visit()))
            return _back()
        except UserError as error:
            code = refusal(form, error)
    return _confirm_page(creator, form, PasskeyForm()), code


@pages.post("/confirm/passkey")
@creators_only
def confirm_passkey() -> Answer:
    """Show a passkey once more."""
    (creator, row), form = _who(), PasskeyForm()
    try:
        asked, credential = door.answered("confirm", creator.id), form.credential.data or ""
        site = door.offered()
        keep_token(entering.confirm_by_passkey(here().database, site, row, asked, credential, door.visit()))
        return _back()
    except UserError as error:
        code = refusal(form, error)
        return _confirm_page(creator, ConfirmForm(), form), code


@pages.route("/passkeys/new", methods=["GET", "POST"])
@fresh_only
def passkey_new() -> Answer:
    """One more passkey."""
    (creator, row), form, code = _who(), PasskeyForm(), 200
    if form.validate_on_submit():
        try:
            asked, visit = door.answered("add", creator.id), door.visit()
            texts = (form.credential.data or "", form.passkey_name.data or "")
            with here().database.transaction() as db:
                made = passkeys.add(db, door.offered(), asked, creator.id, *texts, now=visit.now)
                history.note(db, creator.id, "passkey_added", visit, made.name)
                token = sessions.rotate(db, row.id, visit.now)
            return _done(f"The passkey “{made.name}” is added.", token)
        except UserError as error:
            code = refusal(form, error)
    with here().database.reading() as db:
        found = ways.of_creator(db, creator.id)
    return render_template("account_passkey.html", form=form, ways=found), code


@pages.post("/passkeys/<number:passkey_id>/rename")
@fresh_only
def passkey_rename(passkey_id: int) -> Answer:
    """Another name for a passkey."""
    name = request.form.get("passkey_name", "")
    return _change(
        lambda db, c: ways.rename_passkey(db, c, passkey_id, name, door.visit()), "The passkey has its new name."
    )


@pages.post("/passkeys/<number:passkey_id>/remove")
@fresh_only
def passkey_remove(passkey_id: int) -> Answer:
    """One passkey less."""
    return _change(lambda db, c: ways.remove_passkey(db, c, passkey_id, door.visit()), "The passkey is removed.")


@pages.route("/password", methods=["GET", "POST"])
@fresh_only
def password() -> Answer:
    """A new password."""
    (creator, row), form, code = _who(), PasswordForm(), 200
    if form.validate_on_submit():
        try:
            password_hash, visit = passwords.hashed(form.password.data or ""), door.visit()
            with here().database.transaction() as db:
                ended = ways.set_password(db, creator.id, row.id, password_hash, visit)
                token = sessions.rotate(db, row.id, visit.now)
            door.remember(creator.id)
            return _done(account_words.password_set(ended), token)
        except UserError as error:
            code = refusal(form, error)
    with here().database.reading() as db:
        found = ways.of_creator(db, creator.id)
    return render_template("account_password.html", form=form, ways=found), code


@pages.post("/password/remove")
@fresh_only
def password_remove() -> Answer:
    """Go without a password."""
    return _change(lambda db, c: ways.remove_password(db, c, door.visit()), "The password is removed.")


@pages.route("/app", methods=["GET", "POST"])
@fresh_only
def app() -> Answer:
    """Set up an authenticator app: the secret as a QR code, then a code back."""
    (creator, row), form, code = _who(), CodeForm(), 200
    if form.validate_on_submit():
        try:
            door.limit_second(creator.id)
            visit = door.visit()
            with here().database.transaction() as db:
                second.confirm_app(db, creator.id, form.code.data or "", visit.now)
                history.note(db, creator.id, "app_added", visit)
                token = sessions.rotate(db, row.id, visit.now)
            return _done("From now on your password asks for a code of the app as well.", token)
        except UserError as error:
            code = refusal(form, error)
    with here().database.reading() as db:
        waiting = db.get(Authenticator, creator.id)
    if waiting is None or waiting.confirmed_at is not None:
        return redirect(url_for("accounts.account"), 303)
    uri = second.setup_uri(waiting.secret, creator.name, here().name)
    return render_template("account_app.html", form=form, secret=waiting.secret, qr=Markup(qr_svg(uri))), code


@pages.post("/app/begin")
@fresh_only
def app_begin() -> Answer:
    """Make the secret of an authenticator app."""
    creator, _ = _who()
    try:
        with here().database.transaction() as db:
            if not ways.of_creator(db, creator.id).password:
                raise UserError("An authenticator app goes with a password; set one first.")
            second.begin_app(db, creator.id, datetime.now(UTC))
        return redirect(url_for("accounts.app"), 303)
    except UserError as error:
        flash(error.sentence, "bad")
        return redirect(url_for("accounts.account"), 303)


@pages.post("/app/remove")
@fresh_only
def app_remove() -> Answer:
    """Go without the app."""
    return _change(lambda db, c: ways.remove_app(db, c, door.visit()), "The authenticator app is removed.")


@pages.post("/codes")
@fresh_only
def codes_new() -> Answer:
    """Ten new recovery codes, on this page and on no other."""
    creator, _ = _who()
    with here().database.transaction() as db:
        made = second.new_codes(db, creator.id, datetime.now(UTC))
    return render_template("account_codes.html", form=CodeForm(), codes=made)


@pages.route("/codes/confirm", methods=["GET", "POST"])
@fresh_only
def codes_confirm() -> Answer:
    """One of the new codes back: then they are good, and the old ones are not."""
    (creator, row), form, code = _who(), CodeForm(), 200
    if form.validate_on_submit():
        try:
            visit = door.visit()
            with here().database.transaction() as db:
                second.activate_codes(db, creator.id, form.code.data or "")
                history.note(db, creator.id, "codes_made", visit)
                token = sessions.rotate(db, row.id, visit.now)
            return _done("The ten new codes are good from now on; older ones are not any more.", token)
        except UserError as error:
            code = refusal(form, error)
    return render_template("account_codes.html", form=form, codes=None), code


@pages.post("/sessions/<number:session_id>/end")
@creators_only
def session_end(session_id: int) -> Answer:
    """Log a browser out from here."""
    creator, row = _who()
    if session_id == row.id:
        leave()
        return redirect(url_for("public.front"), 303)
    with here().database.transaction() as db:
        sessions.end(db, creator.id, session_id)
        history.note(db, creator.id, "session_ended", door.visit())
    flash("That browser is logged out.", "good")
    return redirect(url_for("accounts.account", _anchor="sessions"), 303)


@pages.post("/sessions/end-others")
@creators_only
def sessions_end() -> Answer:
    """Log all other browsers out."""
    creator, row = _who()
    with here().database.transaction() as db:
        ended = sessions.end_others(db, creator.id, row.id)
        history.note(db, creator.id, "sessions_ended", door.visit())
    flash(account_words.sessions_ended(ended), "good")
    return redirect(url_for("accounts.account", _anchor="sessions"), 303)


@pages.route("/name", methods=["GET", "POST"])
@fresh_only
def name() -> Answer:
    """Another name, while no terms hold this one."""
    (creator, row), form, code = _who(), NameForm(data={"name": _who()[0].name}), 200
    if form.validate_on_submit():
        try:
            door.limit_address(limits.SIGN_UP)  # it tells, as signing up does, whether there is such a name
            visit = door.visit()
            with here().database.transaction() as db:
                kept = people.rename(db, creator.id, form.name.data or "")
                history.note(db, creator.id, "renamed", visit, f"{creator.name} → {kept}")
                token = sessions.rotate(db, row.id, visit.now)
            return _done(f"Your name is {kept} from now on.", token)
        except UserError as error:
            code = refusal(form, error)
    return render_template("account_name.html", form=form), code


@pages.route("/close", methods=["GET", "POST"])
@fresh_only
def close() -> Answer:
    """The end of an account without a published campaign."""
    creator, _ = _who()
    if request.method == "POST":
        try:
            with here().database.transaction() as db:
                people.close(db, creator.id)
        except UserError as error:
            flash(error.sentence, "bad")
            return redirect(url_for("accounts.account"), 303)
        leave()
        flash("Your account is closed, and what it held is gone.", "good")
        return redirect(url_for("public.front"), 303)
    with here().database.reading() as db:
        published = people.has_published(db, creator.id)
    return render_template("account_close.html", published=published)


def _who() -> tuple[Creator, WebSession]:
    creator, row = current_creator(), current_session()
    if creator is None or row is None:
        raise NotFound("Please log in first.")
    return creator, row


def _back() -> Response:
    return redirect(local_path(request.args.get("next")) or url_for("accounts.account"), 303)


def _done(sentence: str, token: str) -> Response:
    keep_token(token)
    flash(sentence, "good")
    return redirect(url_for("accounts.account"), 303)


def _change(change: Change, sentence: str) -> Response:
    """Do it, change the session's token, and say so; or say why not."""
    creator, row = _who()
    try:
        with here().database.transaction() as db:
            change(db, creator.id)
            token = sessions.rotate(db, row.id, datetime.now(UTC))
        return _done(sentence, token)
    except NotFound:
        raise
    except UserError as error:
        flash(error.sentence, "bad")
        return redirect(url_for("accounts.account"), 303)


def _confirm_page(creator: Creator, form: ConfirmForm, key: PasskeyForm) -> str:
    with here().database.reading() as db:
        found = ways.of_creator(db, creator.id)
    return render_template("account_confirm.html", form=form, key=key, ways=found)
