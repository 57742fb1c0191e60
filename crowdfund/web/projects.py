"""Pages of projects: what they are and have done, their people, invitations, deliveries and offers of help."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from crowdfund.accounts import limits
from crowdfund.campaigns import delivery, helping, queries, service
from crowdfund.campaigns.details import Details
from crowdfund.campaigns.lifecycle import Outcome
from crowdfund.campaigns.models import Campaign
from crowdfund.errors import NotFound, UserError
from crowdfund.projects import people, writing
from crowdfund.projects.models import Project
from crowdfund.projects.roles import ALLOWED, DESCRIPTIONS, Action, Role, may
from crowdfund.web import door
from crowdfund.web.creators import creator_id
from crowdfund.web.forms import HelpForm, ProjectForm, project_data, read_project, show_problems
from crowdfund.web.more import more_view
from crowdfund.web.picture_views import views_of
from crowdfund.web.proofs import proof_view
from crowdfund.web.public import json_file, open_snapshot
from crowdfund.web.security import code_of
from crowdfund.web.site import as_of, awake_only, creators_only, current_creator, here
from crowdfund.web.views import CampaignView, campaign_view
from crowdfund.web.wizard import license_choices

pages = Blueprint("projects", __name__)

Answer = str | Response | tuple[str, int]


@pages.get("/projects/<slug>")
def show(slug: str) -> Answer:
    """A project: its campaigns, its record, its people, where it comes from."""
    with here().database.reading() as db:
        project, now = writing.by_slug(db, slug), as_of(db)
        snapshots = [queries.load(db, each) for each in _published(db, project)]
        pictures = views_of(db, [s.campaign.id for s in snapshots])
        campaigns = [campaign_view(s, here().network, now, pictures.get(s.campaign.id, ())) for s in snapshots]
        delivered = [d for s in snapshots if s.outcome is Outcome.FUNDED for d in delivery.deliveries(db, s.campaign)]
        return render_template(
            "project.html",
            project=project,
            campaigns=campaigns,
            record=_record(campaigns),
            delivered=sum(d.there for d in delivered),
            promised=len(delivered),
            members=people.members_of(db, project.id),
            parent=writing.parent_of(db, project),
            forks=writing.forks_of(db, project),
            role=_role(db, project),
            proof=proof_view(db, project),
            may_edit=may(_role(db, project), Action.PROJECT),
        )


@pages.route("/projects/<slug>/edit", methods=["GET", "POST"])
@creators_only
def edit(slug: str) -> Answer:
    """Change what a project says of itself."""
    with here().database.reading() as db:
        project = writing.by_slug(db, slug)
        people.require(db, creator_id(), project.id, Action.PROJECT)
    form, code = ProjectForm(data=project_data(project)), 200
    if form.is_submitted():
        try:
            if form.validate():
                with here().database.transaction() as db:
                    draft = writing.check_project(db, read_project(form), here().settings.base_url, slug)
                    writing.change(db, creator_id(), writing.by_slug(db, slug), draft)
                flash("The project’s page is changed. What campaigns have frozen of it stays as it was.", "good")
                return redirect(url_for("projects.show", slug=slug), 303)
        except UserError as error:
            show_problems(form, error)
        code = 422
    return render_template("project_edit.html", form=form, project=project, licenses=license_choices()), code


@pages.get("/projects/<slug>/people")
@creators_only
def team(slug: str) -> Answer:
    """Who is in a project, and what each may do."""
    return _team(slug)


@pages.post("/projects/<slug>/people")
@awake_only
def change_team(slug: str) -> Answer:
    """Invite, change a role, take somebody out, leave."""
    deed, member = request.form.get("deed", ""), _whole(request.form.get("member"))
    try:
        with here().database.transaction() as db:
            project = writing.by_slug(db, slug)
            if deed == "leave":
                people.leave(db, creator_id(), project.id, member)
            elif deed == "role":
                people.change_role(db, creator_id(), project.id, member, _role_named())
            else:
                token = people.invite(db, creator_id(), project.id, _role_named())
    except NotFound:
        raise
    except UserError as error:
        flash(error.sentence, "bad")
        return redirect(url_for("projects.team", slug=slug), 303)
    if deed not in ("leave", "role"):
        return _team(slug, here().settings.base_url + url_for("projects.join", token=token))
    if member == creator_id() and deed == "leave":
        flash("You have left the project.", "good")
        return redirect(url_for("projects.show", slug=slug), 303)
    return redirect(url_for("projects.team", slug=slug), 303)


@pages.route("/join/<token>", methods=["GET", "POST"])
@awake_only
def join(token: str) -> Answer:
    """An invitation: what it is to, then the step in."""
    if request.method == "POST":
        try:
            with here().database.transaction() as db:
                project = db.get_one(Project, people.accept(db, creator_id(), token))
        except NotFound:
            raise
        except UserError as error:
            flash(error.sentence, "bad")
            return redirect(url_for("creators.dashboard"), 303)
        flash(f"Welcome to {project.name}.", "good")
        return redirect(url_for("projects.show", slug=project.slug), 303)
    with here().database.reading() as db:
        found = people.invitation(db, token)
        project = db.get_one(Project, found.project_id)
    return render_template("join.html", project=project, role=found.role, can=DESCRIPTIONS[Role(found.role)])


@pages.get("/campaigns/<campaign_id>/details.json")
def details_text(campaign_id: str) -> Answer:
    """The canonical details, byte for byte as they are hashed into the terms."""
    text = open_snapshot(campaign_id)[0].campaign.details
    if not text:
        raise NotFound("The terms of this campaign name no details.")
    return json_file(text, f"details-{campaign_id}.json")


@pages.route("/campaigns/<campaign_id>/deliverables", methods=["GET", "POST"])
@creators_only
def deliverables(campaign_id: str) -> Answer:
    """Where the project says what has become of what it promised."""
    problems: dict[str, str] = {}
    if request.method == "POST":
        number = _whole(request.form.get("number"))
        try:
            with here().database.transaction() as db:
                delivery.report(
                    db, creator_id(), campaign_id, number, request.form.get("state", ""), request.form.get("url", "")
                )
            flash("Noted, with the time. The log keeps what was said before.", "good")
            return redirect(url_for("projects.deliverables", campaign_id=campaign_id), 303)
        except NotFound:
            raise
        except UserError as error:
            problems = {f"{error.field or 'url'}-{number}": getattr(error, "sentence", "")}
            problems |= {f"{k}-{number}": v for k, v in getattr(error, "by_field", {}).items()}
    with here().database.reading() as db:
        campaign = service.own_campaign(db, creator_id(), campaign_id, Action.ANSWER)
        found = delivery.deliveries(db, campaign)
        log = delivery.reports(db, campaign_id)
    page = render_template("deliverables.html", campaign=campaign, deliveries=found, log=log, problems=problems)
    return page, 422 if problems else 200


@pages.route("/campaigns/<campaign_id>/help", methods=["GET", "POST"])
def offer_help(campaign_id: str) -> Answer:
    """Offer help that is not money, without an account."""
    snapshot, view = open_snapshot(campaign_id)
    form, code = HelpForm(), 200
    if not Details.parse(snapshot.campaign.details).needs:
        raise NotFound("This campaign asks for no other help.")
    if form.is_submitted():
        code = 422
        try:
            if form.validate():
                door.limit_address(limits.WORDS, "help")
                with here().database.transaction() as db:
                    helping.offer(
                        db, campaign_id, _whole(form.need.data, -1), _whole(form.amount.data), form.name.data or "",
                        form.contact.data or "", form.message.data or "",
                    )  # fmt: skip
                flash("Thank you. The project sees your offer and will write to you.", "good")
                return redirect(url_for("public.campaign", campaign_id=campaign_id), 303)
        except NotFound:
            raise
        except UserError as error:
            show_problems(form, error)
            code = code_of(error)
    elif request.args.get("need", "").isdigit():
        form.need.data = request.args["need"]
    with here().database.reading() as db:
        more = more_view(db, db.get_one(Campaign, campaign_id))
    return render_template("help_new.html", campaign=view, more=more, form=form), code


@pages.route("/campaigns/<campaign_id>/offers", methods=["GET", "POST"])
@creators_only
def offers(campaign_id: str) -> Answer:
    """Offers of help, for the project alone."""
    if request.method == "POST":
        state, thanks = request.form.get("state", ""), request.form.get("answer", "")
        try:
            with here().database.transaction() as db:
                helping.answer(db, creator_id(), campaign_id, _whole(request.form.get("offer")), state, thanks)
        except NotFound:
            raise
        except UserError as error:
            flash(error.sentence, "bad")
        return redirect(url_for("projects.offers", campaign_id=campaign_id), 303)
    with here().database.reading() as db:
        found = helping.offers(db, creator_id(), campaign_id)
        campaign = service.own_campaign(db, creator_id(), campaign_id)
        needs = Details.parse(campaign.details).needs
        able = may(people.role_of(db, creator_id(), campaign.project_id), Action.ANSWER)
    return render_template("help_offers.html", campaign=campaign, offers=found, needs=needs, able=able)


def _team(slug: str, link: str = "") -> str:
    with here().database.reading() as db:
        project = writing.by_slug(db, slug)
        role = people.require(db, creator_id(), project.id, Action.SEE_DRAFTS)
        members = people.members_of(db, project.id)
    return render_template(
        "project_people.html", project=project, members=members, role=role, able=may(role, Action.PEOPLE), link=link,
        roles=DESCRIPTIONS, allowed=ALLOWED, all_roles=list(Role),
    )  # fmt: skip


def _published(db: Session, project: Project) -> list[str]:
    own = select(Campaign.id).where(Campaign.project_id == project.id, Campaign.terms.is_not(None))
    return list(db.scalars(own.order_by(Campaign.published_at.desc())))


def _record(campaigns: list[CampaignView]) -> dict[str, int]:
    """How the campaigns ended."""
    funded = sum(c.outcome is Outcome.FUNDED for c in campaigns)
    failed = sum(c.outcome is Outcome.FAILED for c in campaigns)
    return {"funded": funded, "failed": failed, "running": len(campaigns) - funded - failed}


def _role(db: Session, project: Project) -> Role | None:
    creator = current_creator()
    return None if creator is None else people.role_of(db, creator.id, project.id)


def _role_named() -> Role:
    try:
        return Role(request.form.get("role", ""))
    except ValueError as error:
        raise UserError("Choose a role: owner, editor or treasurer.") from error


def _whole(text: str | None, otherwise: int = 0) -> int:
    """A small whole number from a form, or `otherwise`."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else otherwise
