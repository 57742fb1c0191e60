"""Creators' pages: dashboard, drafts, publishing."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, flash, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from crowdfund.campaigns import queries, review, service, steps
from crowdfund.campaigns.drafts import NO_DEADLINE, NO_GOAL_SATS, Draft
from crowdfund.campaigns.models import Block, Campaign
from crowdfund.campaigns.terms import timelock_height
from crowdfund.campaigns.tip import chain_tip
from crowdfund.errors import NotFound, UserError
from crowdfund.projects import people, writing
from crowdfund.projects.licenses import SUGGESTED, license_title
from crowdfund.projects.roles import Action, may
from crowdfund.wallet.amounts import SATS_PER_BTC
from crowdfund.web import entering, words
from crowdfund.web.filters import fours, sats, when
from crowdfund.web.forms import DraftForm, read_amount, read_cap, read_deadline, show_problems
from crowdfund.web.more import more_view
from crowdfund.web.picture_views import views_of
from crowdfund.web.site import as_of, awake_only, creators_only, current_creator, here, refuse_asleep
from crowdfund.web.views import campaign_view

pages = Blueprint("creators", __name__)

Answer = str | Response | tuple[str, int]


# Who comes in does so at these pages; how, `entering` knows.
pages.add_url_rule("/signup", view_func=entering.signup, methods=["GET", "POST"])
pages.add_url_rule("/login", view_func=entering.login, methods=["GET", "POST"])
pages.add_url_rule("/logout", view_func=entering.logout, methods=["POST"])


@pages.get("/dashboard")
@creators_only
def dashboard() -> Answer:
    """The creator's campaigns and drafts."""
    with here().database.reading() as db:
        now, found = as_of(db), queries.of_creator(db, creator_id())
        pictures = views_of(db, [s.campaign.id for s in found])
        campaigns = [campaign_view(s, here().network, now, pictures.get(s.campaign.id, ())) for s in found]
    return render_template("dashboard.html", campaigns=campaigns)


@pages.route("/drafts/new", methods=["GET", "POST"])
@creators_only
def draft_new() -> Answer:
    """A new draft."""
    return _edit(DraftForm(), None)


@pages.route("/drafts/<campaign_id>/edit", methods=["GET", "POST"])
@creators_only
def draft_edit(campaign_id: str) -> Answer:
    """Change a draft; a published campaign shows its public page instead."""
    with here().database.reading() as db:
        campaign = service.own_campaign(db, creator_id(), campaign_id)
    if campaign.terms is not None:
        flash("This campaign is published: its terms cannot change any more.", "bad")
        return redirect(url_for("public.campaign", campaign_id=campaign_id), 303)
    return _edit(DraftForm(data=form_data(campaign)), campaign)


@pages.get("/drafts/<campaign_id>/preview")
@creators_only
def preview(campaign_id: str) -> Answer:
    """The campaign before it is public, and exactly what freezes."""
    settings = here().settings
    with here().database.reading() as db:
        service.own_campaign(db, creator_id(), campaign_id)
        snapshot = queries.load(db, campaign_id)
        draft = snapshot.campaign
        if snapshot.terms is not None:
            return redirect(url_for("public.campaign", campaign_id=campaign_id), 303)
        blocked = service.why_not_publish(db, settings, draft)
        tip, pictures = chain_tip(db), views_of(db, [campaign_id]).get(campaign_id, ())
        return render_template(
            "preview.html",
            campaign=campaign_view(snapshot, here().network, as_of(db), pictures),
            more=more_view(db, draft),
            terms_preview=[] if blocked or tip is None else _frozen(draft, tip),
            exact=None if blocked else service.terms_preview(db, settings, draft),
            details_text=writing.final_details(db, draft).canonical(),
            publish_blocked=blocked,
            checklist=steps.checklist(settings, draft, service.chain_now(db, settings.network)),
            review=review.state_of(db, draft) if settings.review else None,
            may_publish=may(people.role_of(db, creator_id(), draft.project_id), Action.PUBLISH),
        )


@pages.post("/drafts/<campaign_id>/publish")
@awake_only
def publish(campaign_id: str) -> Answer:
    """Freeze the terms."""
    try:
        with here().database.transaction() as db:
            service.publish(db, here().settings, creator_id(), campaign_id)
    except NotFound:
        raise
    except UserError as error:
        flash(error.sentence, "bad")
        return redirect(url_for("creators.preview", campaign_id=campaign_id), 303)
    flash("Published. The terms are frozen; share the address of this page.", "good")
    return redirect(url_for("public.campaign", campaign_id=campaign_id), 303)


def _edit(form: DraftForm, campaign: Campaign | None) -> Answer:
    if form.validate_on_submit():
        draft, unreadable = _read_draft(form)
        try:
            if campaign is None or campaign.payout_address != draft.payout_address.strip():
                refuse_asleep()
            with here().database.transaction() as db:
                saved = service.save_draft(db, here().settings, creator_id(), draft, campaign.id if campaign else None)
            flash("The draft is saved. Only you can see it.", "good")
            target = "creators.draft_edit" if request.form.get("next") == "save" else "creators.preview"
            return redirect(url_for(target, campaign_id=saved.id), 303)
        except UserError as error:
            show_problems(form, error, unreadable)
    choices = [(name, license_title(name)) for name in SUGGESTED]
    code = 422 if form.is_submitted() else 200
    return render_template("draft.html", form=form, campaign=campaign, license_choices=choices), code


def _read_draft(form: DraftForm) -> tuple[Draft, dict[str, str]]:
    """The form as a draft, and a sentence for each field that cannot be read.

    Such a field gets a value that no check lets pass, so that all other faults are told in the same answer.
    """
    unreadable: dict[str, str] = {}
    goal_sats, cap_sats, deadline_at = 0, -1, datetime.min.replace(tzinfo=UTC)
    try:
        goal_sats = read_amount(form.goal.data, form.goal_unit.data, "goal")
    except UserError as error:
        unreadable["goal"] = error.sentence
    try:
        cap_sats = read_cap(form.cap.data, form.cap_unit.data)
    except UserError as error:
        unreadable["cap"] = error.sentence
    try:
        deadline_at = read_deadline(form.deadline.data)
    except UserError as error:
        unreadable["deadline"] = error.sentence
    draft = Draft(
        title=form.title.data or "",
        summary=form.summary.data or "",
        story=form.story.data or "",
        goal_sats=goal_sats,
        deadline_at=deadline_at,
        payout_address=form.payout_address.data or "",
        project_url=form.project_url.data or "",
        license=form.license.data or "",
        cap_sats=cap_sats,
    )
    return draft, unreadable


def form_data(campaign: Campaign) -> dict[str, str]:
    """A draft as the form shows it; what was not given yet is empty."""
    goal, goal_unit = ("", "sat") if campaign.goal_sats == NO_GOAL_SATS else _typed(campaign.goal_sats)
    cap, cap_unit = _typed(campaign.cap_sats) if campaign.cap_sats else ("", goal_unit)
    return {
        "title": campaign.title,
        "summary": campaign.summary,
        "story": campaign.story,
        "goal": goal,
        "goal_unit": goal_unit,
        "cap": cap,
        "cap_unit": cap_unit,
        "deadline": "" if campaign.deadline_at == NO_DEADLINE else f"{campaign.deadline_at:%Y-%m-%dT%H:%M}",
        "payout_address": campaign.payout_address,
        "project_url": campaign.project_url,
        "license": campaign.license,
    }


def _typed(value_sats: int) -> tuple[str, str]:
    """An amount as people type it, with its unit."""
    whole_btc = value_sats % SATS_PER_BTC == 0
    return (str(value_sats // SATS_PER_BTC), "BTC") if whole_btc else (str(value_sats), "sat")


def _frozen(campaign: Campaign, tip: Block) -> list[tuple[str, Markup | str]]:
    settings = here().settings
    opened_at = datetime.fromtimestamp(tip.median_time_past, UTC)
    locked = timelock_height(tip.height, opened_at, campaign.deadline_at, settings.timelock_blocks)
    return [
        ("Title", campaign.title),
        ("In one line", campaign.summary),
        ("The story", "Every word of it, by its fingerprint"),
        ("The pictures", "No picture and none of their words can change"),
        ("Goal", sats(campaign.goal_sats)),
        ("Accepted at most", words.cap_sentence(campaign.cap_sats) or "Any sum"),
        ("Deadline", when(campaign.deadline_at)),
        ("Paid to, if funded", fours(campaign.payout_address)),
        ("Licence of the result", campaign.license),
        ("Project", campaign.project_url),
        ("Creator", campaign.creator.name),
        ("Outcome decided after", f"{settings.confirmations} confirmations of the closing block"),
        ("Opened at", f"block {tip.height} or later"),
        ("Time-locked refunds", f"valid from block {locked} or soon after it, whatever becomes of this site"),
    ]


def creator_id() -> int:
    """Who is logged in. Raises NotFound for a visitor."""
    creator = current_creator()
    if creator is None:
        raise NotFound("Please log in first.")
    return creator.id
