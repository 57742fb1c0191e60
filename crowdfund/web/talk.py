"""Pages on which people speak: updates, questions and answers, comments; and the public log of what was hidden."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, url_for
from flask_babel import gettext as _
from flask_wtf import FlaskForm
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from crowdfund.accounts import limits
from crowdfund.campaigns import moderation, posts, queries, updates
from crowdfund.campaigns.models import Campaign, Creator
from crowdfund.campaigns.moderation import LogLine
from crowdfund.campaigns.rights import may
from crowdfund.campaigns.updates import Update
from crowdfund.errors import NotFound, UserError
from crowdfund.projects.roles import Action
from crowdfund.web import door
from crowdfund.web.forms import show_problems
from crowdfund.web.public import open_snapshot
from crowdfund.web.security import code_of
from crowdfund.web.site import as_of, creators_only, current_creator, here
from crowdfund.web.talk_forms import AnswerForm, CommentForm, QuestionForm, ReasonForm, UpdateForm

pages = Blueprint("talk", __name__)

Answer = str | Response | tuple[str, int]


@pages.get("/campaigns/<campaign_id>/updates")
def update_list(campaign_id: str) -> str:
    """All updates of a campaign."""
    snapshot, view = open_snapshot(campaign_id)
    with here().database.reading() as db:
        found = updates.of_campaign(db, campaign_id)
        mine = may(db, current_creator(), Action.UPDATE, snapshot.campaign)
    return render_template("updates.html", campaign=view, updates=found, mine=mine)


@pages.get("/campaigns/<campaign_id>/updates/<number:number>")
def update(campaign_id: str, number: int) -> str:
    """One update, with its earlier versions."""
    snapshot, view = open_snapshot(campaign_id)
    with here().database.reading() as db:
        found = updates.find(db, campaign_id, number)
        mine = may(db, current_creator(), Action.UPDATE, snapshot.campaign)
    prints = {v.version: moderation.fingerprint(v.title, v.text) for v in found.versions}
    return render_template("update.html", campaign=view, update=found, prints=prints, mine=mine)


@pages.route("/campaigns/<campaign_id>/updates/new", methods=["GET", "POST"])
@creators_only
def update_new(campaign_id: str) -> Answer:
    """A new update, published at once."""
    return _write_update(UpdateForm(), campaign_id, None)


@pages.route("/campaigns/<campaign_id>/updates/<number:number>/edit", methods=["GET", "POST"])
@creators_only
def update_edit(campaign_id: str, number: int) -> Answer:
    """Another version of an update; the one before stays readable."""
    _own(campaign_id, Action.UPDATE)
    with here().database.reading() as db:
        found = updates.find(db, campaign_id, number)
    if found.hidden:
        raise UserError("This update is hidden: it can be edited once it is shown again.")
    return _write_update(UpdateForm(data={"title": found.newest.title, "text": found.newest.text}), campaign_id, found)


@pages.route("/campaigns/<campaign_id>/talk", methods=["GET", "POST"])
def talk(campaign_id: str) -> Answer:
    """Questions, answers and comments; whoever posts here asks a question."""
    form = QuestionForm()

    def ask(db: Session) -> None:
        posts.ask(db, _published(db, campaign_id), form.name.data or "", form.text.data or "", datetime.now(UTC))

    if _sent(form, "question", ask):
        flash(
            _("Thank you. Everyone can read your question once it is answered, or is shown without an answer."), "good"
        )
        return redirect(url_for("talk.talk", campaign_id=campaign_id), 303)
    return _talk_page(campaign_id, form), _code(form)


@pages.route("/campaigns/<campaign_id>/talk/<number:question_id>/answer", methods=["GET", "POST"])
@creators_only
def answer(campaign_id: str, question_id: int) -> Answer:
    """Answer a question, which shows it to everyone."""
    form = AnswerForm()

    def write(db: Session) -> None:
        posts.answer(db, _creator(), _published(db, campaign_id), question_id, form.text.data or "", datetime.now(UTC))

    if _sent(form, "answer", write):
        return redirect(url_for("talk.talk", campaign_id=campaign_id, _anchor=f"post-{question_id}"), 303)
    _own(campaign_id, Action.ANSWER)
    with here().database.reading() as db:
        kind, parts = moderation.text_of(db, campaign_id, moderation.Target.post(question_id))
    if kind != "question":
        raise NotFound("There is no such question.")
    view = open_snapshot(campaign_id)[1]
    return render_template("answer.html", campaign=view, form=form, question=parts[0]), _code(form)


@pages.post("/campaigns/<campaign_id>/talk/<number:question_id>/approve")
@creators_only
def approve(campaign_id: str, question_id: int) -> Response:
    """Show a question that has no answer yet."""
    _own(campaign_id, Action.ANSWER)
    with here().database.transaction() as db:
        posts.approve(db, _published(db, campaign_id), question_id, moderation.CREATOR, datetime.now(UTC))
    flash("Everyone can read the question now.", "good")
    return redirect(url_for("talk.talk", campaign_id=campaign_id, _anchor=f"post-{question_id}"), 303)


@pages.route("/campaigns/<campaign_id>/talk/comment", methods=["GET", "POST"])
@creators_only
def creator_comment(campaign_id: str) -> Answer:
    """A comment by the campaign's side."""
    form = CommentForm()
    del form.name

    def write(db: Session) -> None:
        campaign = _published(db, campaign_id)
        posts.comment_as_creator(db, _creator(), campaign, form.text.data or "", datetime.now(UTC))

    if _sent(form, "comment", write):
        return redirect(url_for("talk.talk", campaign_id=campaign_id, _anchor="comments"), 303)
    _own(campaign_id, Action.ANSWER)
    view = open_snapshot(campaign_id)[1]
    return render_template("comment.html", campaign=view, form=form, pledge_id=None, blocked=None), _code(form)


@pages.route("/p/<pledge_id>/comment", methods=["GET", "POST"])
def backer_comment(pledge_id: str) -> Answer:
    """A comment by who holds the secret link of a pledge that counts."""
    form = CommentForm()

    def write(db: Session) -> None:
        snapshot, pledge = queries.load_by_pledge(db, pledge_id)
        posts.comment_as_backer(db, snapshot, pledge, form.name.data or "", form.text.data or "", datetime.now(UTC))

    with here().database.reading() as db:
        snapshot, pledge = queries.load_by_pledge(db, pledge_id)
        blocked = posts.why_no_comment(db, snapshot, pledge)
    campaign_id = snapshot.campaign.id
    if _sent(form, "comment", write):
        return redirect(url_for("talk.talk", campaign_id=campaign_id, _anchor="comments"), 303)
    view = open_snapshot(campaign_id)[1]
    return render_template("comment.html", campaign=view, form=form, pledge_id=pledge_id, blocked=blocked), _code(form)


@pages.route("/campaigns/<campaign_id>/hide/<kind>/<number:number>", methods=["GET", "POST"])
@creators_only
def hide(campaign_id: str, kind: str, number: int) -> Answer:
    """Hide something in an own campaign, or show it again, with a reason for the public log."""
    campaign, form = _own(campaign_id, Action.MODERATE), ReasonForm()
    with here().database.reading() as db:
        target = moderation.find(db, campaign_id, kind, number)
        what, parts = moderation.text_of(db, campaign_id, target)
        before = moderation.hidden(db, campaign_id).get(target)

    def note(db: Session) -> None:
        change = moderation.show if before else moderation.hide
        change(db, campaign, target, moderation.CREATOR, form.reason.data or "", datetime.now(UTC))

    if _sent(form, "reason", note):
        flash("Shown again." if before else "Hidden. The reason stands in the public log.", "good")
        return redirect(url_for("talk.campaign_log", campaign_id=campaign_id), 303)
    view = open_snapshot(campaign_id)[1]
    said = {"what": moderation.WORDS[what], "parts": [part for part in parts if part], "before": before}
    return render_template("hide.html", campaign=view, form=form, **said), _code(form)


@pages.get("/campaigns/<campaign_id>/moderation")
def campaign_log(campaign_id: str) -> str:
    """What was hidden in a campaign."""
    view = open_snapshot(campaign_id)[1]
    with here().database.reading() as db:
        return _log_page(moderation.log(db, campaign_id), view)


@pages.get("/moderation")
def site_log() -> str:
    """What was hidden on the whole site."""
    with here().database.reading() as db:
        as_of(db)
        return _log_page(moderation.log(db), None)


def _write_update(form: UpdateForm, campaign_id: str, before: Update | None) -> Answer:
    number = None if before is None else before.number
    written: list[int] = []

    def write(db: Session) -> None:
        campaign, now = _published(db, campaign_id), datetime.now(UTC)
        written.append(
            updates.write(db, _creator(), campaign, form.title.data or "", form.text.data or "", now, number)
        )

    if _sent(form, "update", write):
        return redirect(url_for("talk.update", campaign_id=campaign_id, number=written[-1]), 303)
    _own(campaign_id, Action.UPDATE)
    view = open_snapshot(campaign_id)[1]
    return render_template("update_form.html", campaign=view, form=form, before=before), _code(form)


def _talk_page(campaign_id: str, form: QuestionForm) -> str:
    snapshot, view = open_snapshot(campaign_id)
    with here().database.reading() as db:
        said = posts.talk_of(db, snapshot)
        mine = may(db, current_creator(), Action.ANSWER, snapshot.campaign)
    return render_template("talk.html", campaign=view, talk=said, form=form, mine=mine, shown=posts.SHOWN)


def _log_page(lines: list[LogLine], campaign: Any) -> str:
    return render_template("moderation.html", lines=lines, campaign=campaign, shown=moderation.SHOWN)


def _sent(form: FlaskForm, what: str, write: Callable[[Session], None]) -> bool:
    """Was the form sent, and written down? If not, it says why at its fields."""
    if not form.validate_on_submit():
        return False
    try:
        door.limit_address(limits.WORDS, what)
        with here().database.transaction() as db:
            write(db)
    except NotFound:
        raise
    except UserError as error:
        show_problems(form, error)
        g.refused = code_of(error)
        return False
    return True


def _code(form: FlaskForm) -> int:
    return int(g.get("refused", 422)) if form.is_submitted() else 200


def _published(db: Session, campaign_id: str) -> Campaign:
    campaign = db.get(Campaign, campaign_id)
    if campaign is None or campaign.terms is None:
        raise NotFound("There is no such campaign.")
    return campaign


def _own(campaign_id: str, action: Action) -> Campaign:
    """The campaign, if who is logged in may do this. Raises NotFound, as if it were not there."""
    with here().database.reading() as db:
        campaign = _published(db, campaign_id)
        if not may(db, current_creator(), action, campaign):
            raise NotFound("There is no such campaign among yours.")
    return campaign


def _creator() -> Creator:
    creator = current_creator()
    if creator is None:
        raise NotFound("Please log in first.")
    return creator
