"""The pages at the door: sign up, log in, second factor, recovery, and what the passkey script asks for."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, flash, jsonify, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as Redirection

from crowdfund.accounts import entering, history, limits, passkeys, passwords, people, sessions, ways
from crowdfund.accounts.entering import Entered
from crowdfund.accounts.models import WebSession
from crowdfund.accounts.passkeys import Question
from crowdfund.campaigns.models import Creator
from crowdfund.errors import UserError
from crowdfund.web import door
from crowdfund.web.forms import AccountForm, CodeForm, PasskeyForm, RecoveryForm, show_problems
from crowdfund.web.i18n import at_the_desk
from crowdfund.web.security import code_of
from crowdfund.web.site import begin_session, current_creator, current_session, here, leave, local_path

pages = Blueprint("entering", __name__)

Answer = str | Redirection | tuple[str, int]


def signup() -> Answer:
    """A new account with a password."""
    form, code = AccountForm(), 200
    if form.validate_on_submit():
        try:
            people.clean_name(form.name.data or "")
            door.limit_address(limits.SIGN_UP)
            password_hash, visit = passwords.hashed(form.password.data or ""), door.visit()
            with here().database.transaction() as db:
                creator = people.open_account(db, form.name.data or "", password_hash, visit.now)
                history.note(db, creator.id, "signed_up", visit, "password")
                token = sessions.begin(db, creator.id, "password", visit)
            return _welcome(token, creator)
        except UserError as error:
            code = refusal(form, error)
    return render_template("signup.html", form=form, key=PasskeyForm()), code


@pages.post("/signup/passkey")
def signup_passkey() -> Answer:
    """A new account with a passkey."""
    form = PasskeyForm()
    try:
        site, asked, visit = door.offered(), door.answered("sign_up"), door.visit()
        with here().database.transaction() as db:
            creator = people.open_account(db, form.name.data or "", passwords.NO_PASSWORD, visit.now)
            kept = passkeys.add(db, site, asked, creator.id, form.credential.data or "", "First passkey", visit.now)
            history.note(db, creator.id, "signed_up", visit, f"passkey {kept.name}")
            token = sessions.begin(db, creator.id, "passkey", visit)
        return _welcome(token, creator)
    except UserError as error:
        code = refusal(form, error)
        return render_template("signup.html", form=AccountForm(), key=form), code


def login() -> Answer:
    """Back to an account, by password."""
    form, code = AccountForm(), 200
    if form.validate_on_submit():
        try:
            name = form.name.data or ""
            door.limit_name(limits.PAIR, limits.ADDRESS, name)
            entered = entering.by_password(here().database, name, form.password.data or "", door.visit())
            return _onwards(entered)
        except UserError as error:
            code = refusal(form, error)
    return render_template("login.html", form=form, key=PasskeyForm()), code


@pages.post("/login/passkey")
def login_passkey() -> Answer:
    """Back to an account, by passkey: it says itself whose it is."""
    form = PasskeyForm()
    try:
        asked = door.answered("log_in")
        entered = entering.by_passkey(here().database, door.offered(), asked, form.credential.data or "", door.visit())
        return _onwards(entered)
    except UserError as error:
        code = refusal(form, error)
        return render_template("login.html", form=AccountForm(), key=form), code


@pages.route("/login/second", methods=["GET", "POST"])
@at_the_desk
def second() -> Answer:
    """What an account asks for beside a password."""
    half, form, code = _half(), CodeForm(), 200
    if half is None:
        return redirect(url_for("creators.login"), 303)
    if form.validate_on_submit():
        try:
            door.limit_second(half.creator_id)
            return _onwards(entering.finish_with_app(here().database, half, form.code.data or "", door.visit()))
        except UserError as error:
            code = refusal(form, error)
    return _second_page(half, form, PasskeyForm()), code


@pages.post("/login/second/passkey")
@at_the_desk
def second_passkey() -> Answer:
    """A passkey beside a password."""
    half, form = _half(), PasskeyForm()
    if half is None:
        return redirect(url_for("creators.login"), 303)
    try:
        asked, credential = door.answered("second", half.creator_id), form.credential.data or ""
        entered = entering.finish_with_passkey(here().database, door.offered(), half, asked, credential, door.visit())
        return _onwards(entered)
    except UserError as error:
        code = refusal(form, error)
        return _second_page(half, CodeForm(), form), code


@pages.route("/login/recover", methods=["GET", "POST"])
@at_the_desk
def recover() -> Answer:
    """In with a recovery code."""
    half, form, code = _half(), RecoveryForm(), 200
    if form.validate_on_submit():
        try:
            return _recovered(_with_code(half, form))
        except UserError as error:
            code = refusal(form, error)
    return render_template("login_recover.html", form=form, half=half), code


@pages.post("/passkeys/options")
def options() -> Response:
    """What the script asks the browser for, in JSON; or, in JSON, a sentence that says why not."""
    try:
        door.limit_address(limits.CHALLENGE)
        question = _question(request.form.get("purpose", ""), request.form.get("name", ""))
        door.remember_question(question)
        return Response(question.options, 200, content_type="application/json")
    except UserError as error:
        answer: Response = jsonify(detail=error.sentence)
        answer.status_code = code_of(error)
        return answer


def logout() -> Answer:
    """End the session."""
    leave()
    return redirect(url_for("public.front"), 303)


def _with_code(half: WebSession | None, form: RecoveryForm) -> Entered:
    """Try a recovery code, with what else the form has. Raises UserError."""
    name = door.name_of(half.creator_id) if half else form.name.data or ""
    door.limit_name(limits.RECOVERY_PAIR, limits.RECOVERY_ADDRESS, name)
    texts = (form.password.data or "", form.app_code.data or "", form.recovery_code.data or "")
    return entering.recover(here().database, name, *texts, visit=door.visit(), half=half)


def _question(purpose: str, name: str) -> Question:
    """Raises UserError."""
    site, now = door.offered(), datetime.now(UTC)
    if purpose == "sign_up":
        name = people.clean_name(name)
        door.limit_address(limits.SIGN_UP)
        with here().database.transaction() as db:
            if people.find(db, name) is not None:
                raise UserError("This name is taken; choose another one.", "name")
            return passkeys.ask_for_new(db, site, purpose, name, None, now)
    if purpose == "log_in":
        with here().database.transaction() as db:
            return passkeys.ask_for_known(db, site, purpose, None, now)
    return _question_of_account(purpose, site, now)


def _question_of_account(purpose: str, site: passkeys.Site, now: datetime) -> Question:
    row, creator = current_session(), current_creator()
    if purpose == "second" and row is not None and row.second_due:
        door.limit_second(row.creator_id)
        with here().database.transaction() as db:
            return passkeys.ask_for_known(db, site, purpose, row.creator_id, now)
    if row is None or creator is None or purpose not in ("add", "confirm"):
        raise UserError("This page had been open for too long. Load it again.")
    if purpose == "add" and not sessions.fresh(row, now):
        raise UserError("Please confirm first that it is you: load the page again.")
    with here().database.transaction() as db:
        if purpose == "add":
            return passkeys.ask_for_new(db, site, purpose, creator.name, creator.id, now)
        return passkeys.ask_for_known(db, site, purpose, creator.id, now)


def _half() -> WebSession | None:
    row = current_session()
    return row if row is not None and row.second_due else None


def refusal(form: FlaskForm, error: UserError) -> int:
    """Put what is wrong into the form; returns the status of the page that shows it again."""
    show_problems(form, error)
    return code_of(error)


def _welcome(token: str, creator: Creator) -> Answer:
    door.let_in(token, creator.id)
    flash(f"Welcome, {creator.name}. Write your first draft; nothing is public before you publish.", "good")
    return redirect(local_path(request.args.get("next")) or url_for("wizard.start"), 303)


def _onwards(entered: Entered) -> Answer:
    """To where the visitor was going, or to the second factor first."""
    target = local_path(request.args.get("next"))
    if entered.second_due:
        begin_session(entered.token)
        return redirect(url_for("entering.second", next=target), 303)
    door.let_in(entered.token, entered.creator_id)
    return redirect(target or url_for("creators.dashboard"), 303)


def _recovered(entered: Entered) -> Answer:
    with here().database.reading() as db:
        left = ways.of_creator(db, entered.creator_id).codes
    door.let_in(entered.token, entered.creator_id)
    flash(
        f"You came in with a recovery code; {left} are left. Nothing was removed: take out what you have lost, add a "
        "way in that you have, and make new codes.",
        "good",
    )
    return redirect(url_for("accounts.account"), 303)


def _second_page(half: WebSession, form: CodeForm, key: PasskeyForm) -> str:
    with here().database.reading() as db:
        found = ways.of_creator(db, half.creator_id)
    return render_template("login_second.html", form=form, key=key, ways=found)
