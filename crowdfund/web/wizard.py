"""Writing a campaign step by step: each page keeps what can be kept, by itself, also when it is not complete."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, jsonify, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from crowdfund.campaigns import queries, review, service, steps
from crowdfund.campaigns.details import BUDGET_KINDS, BUDGET_NEEDS, HELP_KINDS, STATES, Details
from crowdfund.campaigns.models import Campaign
from crowdfund.errors import NotFound, UserError
from crowdfund.projects import people, writing
from crowdfund.projects.bringing import Offer
from crowdfund.projects.licenses import SUGGESTED, license_title
from crowdfund.projects.roles import Action, may
from crowdfund.web import importing, outside
from crowdfund.web.creators import creator_id, form_data
from crowdfund.web.forms import (
    ImportForm,
    ProjectForm,
    WizardForm,
    read_amount,
    read_cap,
    read_deadline,
    read_project,
    show_problems,
)
from crowdfund.web.more import more_view
from crowdfund.web.rows import BLANKS, blank_row, read_rows, stored_rows, typed_rows
from crowdfund.web.site import as_of, awake_only, creators_only, here, refuse_asleep
from crowdfund.web.views import campaign_view

pages = Blueprint("wizard", __name__)

Answer = str | Response | tuple[str, int]

TITLES = {
    "story": "The story",
    "open": "What becomes open",
    "budget": "The budget",
    "rewards": "Rewards and help",
    "money": "Money and deadline",
}
ROWS = {"open": ("deliverables", "returns"), "budget": ("budget",), "rewards": ("rewards", "needs")}
TEXTS = {"story": ("title", "summary", "story", "about", "risks"), "open": ("license", "project_url")}
CHOICES = {"kind": BUDGET_KINDS, "need": BUDGET_NEEDS, "state": STATES, "help": HELP_KINDS}


@pages.route("/drafts/start", methods=["GET", "POST"])
@creators_only
def start() -> Answer:
    """The first step: the project that the campaign is for, one of those that are there or a new one, which can be
    brought along from its files. Enter presses the box's button, so an empty box stands aside for what is written."""
    form, box = ProjectForm(), ImportForm()
    if not form.is_submitted():
        return _start_page(form, box)
    do, typed = request.form.get("do"), importing.typed_project()
    if do == "take":
        return _taken(typed)
    if do == "write":
        return _start_page(form, box, code=200)
    if do == "look" or (do == "" and (importing.is_filled(box) or not importing.is_written(typed))):
        found = importing.look(box, importing.current_of_form(typed))
        return _start_page(form, box) if found is None else importing.found_page(found, typed=typed)
    try:
        if form.validate():
            return redirect(url_for("wizard.step", campaign_id=_begin(form), step="story"), 303)
    except UserError as error:
        show_problems(form, error)
    return _start_page(form, box, importing.offers_sent())


@pages.route("/drafts/<campaign_id>/write/<step>", methods=["GET", "POST"])
@creators_only
def step(campaign_id: str, step: str) -> Answer:
    """One of the steps in between."""
    if step not in steps.STEPS:
        raise NotFound("There is no such step.")
    with here().database.reading() as db:
        campaign = service.own_campaign(db, creator_id(), campaign_id)
    if campaign.terms is not None:
        flash("This campaign is published: its terms cannot change any more.", "bad")
        return redirect(url_for("public.campaign", campaign_id=campaign_id), 303)
    if request.method == "GET":
        return _show(campaign_id, step, None, {})
    form = WizardForm()
    problems = _save(campaign_id, step, form) if form.validate() else {"": "Please send the form again."}
    if request.headers.get("X-Autosave"):
        return _autosaved(campaign_id, step, problems)
    if problems:
        return _show(campaign_id, step, form, problems), 422
    return redirect(_next(campaign_id, step), 303)


@pages.post("/drafts/<campaign_id>/review")
@awake_only
def ask_review(campaign_id: str) -> Response:
    """Ask the operator to read the draft."""
    with here().database.transaction() as db:
        campaign = service.own_campaign(db, creator_id(), campaign_id, Action.PUBLISH)
        problems = steps.missing(here().settings, campaign, service.chain_now(db, here().network))
        if not problems and campaign.terms is None:
            review.ask(db, creator_id(), campaign)
    if problems:
        flash("Some things are still missing; the checklist names them.", "bad")
    else:
        flash("The operator has been asked to read it. You can publish when it is approved.", "good")
    return redirect(url_for("creators.preview", campaign_id=campaign_id), 303)


def license_choices() -> list[tuple[str, str]]:
    """Licences that are offered while one types."""
    return [(name, license_title(name)) for name in SUGGESTED]


def _start_page(form: ProjectForm, box: ImportForm, brought: tuple[Offer, ...] = (), code: int = 422) -> Answer:
    """The first step. `brought` is what was ticked for the campaign, and waits for its project to be complete."""
    with here().database.reading() as db:
        own = people.projects_of(db, creator_id(), Action.WRITE)
    page = render_template(
        "wizard_start.html", form=form, box=box, own=own, licenses=license_choices(), fetches=outside.is_open(),
        brought=[offer for offer in brought if offer.taken and offer.part != "project"],
    )  # fmt: skip
    return page, code if form.is_submitted() else 200


def _taken(typed: dict[str, str]) -> Answer:
    """What was ticked becomes a project and a draft; what is missing or wrong is mended on the first step's form."""
    offers = importing.offers_sent()
    try:
        form, campaign_id = importing.take_new(offers, typed)
    except UserError as error:
        found = importing.Found(
            offers, current=importing.current_of_form(typed), problems={error.field or "": error.sentence}
        )
        return importing.found_page(found, typed=typed)
    if campaign_id:
        flash("Taken over. Look through it: files of a project seldom say things as you would say them here.", "good")
        return redirect(url_for("wizard.step", campaign_id=campaign_id, step="story"), 303)
    return _start_page(form, ImportForm(formdata=None), offers)


def _begin(form: ProjectForm) -> str:
    """A new draft in the project that was chosen or written; returns its id."""
    chosen = request.form.get("project", "")
    with here().database.transaction() as db:
        if chosen:
            return importing.begin(db, writing.by_slug(db, chosen).id)
        draft = writing.check_project(db, read_project(form), here().settings.base_url)
        return importing.begin(db, writing.make(db, creator_id(), draft).id, importing.offers_sent())


def _save(campaign_id: str, step: str, form: WizardForm) -> dict[str, str]:
    """Keep what can be kept; a sentence for each field that cannot."""
    values, unreadable = _read(step, form)
    try:
        with here().database.transaction() as db:
            campaign = service.own_campaign(db, creator_id(), campaign_id)
            if values.get("payout_address", campaign.payout_address) != campaign.payout_address:
                refuse_asleep()
            problems = steps.keep(db, here().settings, creator_id(), campaign, values)
    except NotFound:
        raise
    except UserError as error:
        problems = {error.field or "": error.sentence}
    return problems | unreadable


def _read(step: str, form: WizardForm) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of a step that can be read, and a sentence for each that cannot."""
    problems: dict[str, str] = {}
    values: dict[str, Any] = {name: (form[name].data or "").strip() for name in TEXTS.get(step, ())}
    for name in ROWS.get(step, ()):
        values[name], wrong = read_rows(name, typed_rows(request.form, name))
        problems |= wrong
    if step == "money":
        values["payout_address"] = (form.payout_address.data or "").strip()
        for name, column, read in (
            ("goal", "goal_sats", lambda: read_amount(form.goal.data, form.goal_unit.data, "goal")),
            ("cap", "cap_sats", lambda: read_cap(form.cap.data, form.cap_unit.data)),
            ("deadline", "deadline_at", lambda: read_deadline(form.deadline.data)),
        ):
            try:
                values[column] = read() if (form[name].data or "").strip() else None
            except UserError as error:
                problems[name] = error.sentence
    return values, problems


def _next(campaign_id: str, step: str) -> str:
    """Where the pressed button leads."""
    if request.form.get("next") == "save":
        flash("Saved. Only your project can see it.", "good")
        return url_for("wizard.step", campaign_id=campaign_id, step=step)
    place = steps.STEPS.index(step) + 1
    if place == len(steps.STEPS):
        return url_for("creators.preview", campaign_id=campaign_id)
    return url_for("wizard.step", campaign_id=campaign_id, step=steps.STEPS[place])


def _autosaved(campaign_id: str, step: str, problems: dict[str, str]) -> Response:
    """For the script: what could not be kept, and how the campaign looks now."""
    shown = _shown(campaign_id)
    return jsonify({"problems": problems, "preview": render_template("_wizard_preview.html", step=step, **shown)})


def _show(campaign_id: str, step: str, form: WizardForm | None, problems: dict[str, str]) -> str:
    """The page of a step: with what is stored, or, where something is wrong, with what was typed."""
    shown = _shown(campaign_id)
    details = Details.parse(shown["draft"].details)
    rows = {
        name: (stored_rows(details, name) if form is None else typed_rows(request.form, name))
        + [blank_row(name) for _ in range(BLANKS)]
        for name in ROWS.get(step, ())
    }
    filled = form or WizardForm(formdata=None, data=_data(shown["draft"], details))
    general = [text for name, text in problems.items() if name not in filled and not _is_cell(name, rows)]
    for name, sentence in problems.items():
        if name in filled:
            filled[name].errors = [*filled[name].errors, sentence]
    return render_template(
        "wizard.html", step=step, titles=TITLES, form=filled, rows=rows, problems=problems, general=general,
        choices=CHOICES, licenses=license_choices(), **shown,
    )  # fmt: skip


def _is_cell(name: str, rows: dict[str, list[dict[str, str]]]) -> bool:
    kind, _, rest = name.partition("-")
    number, _, key = rest.partition("-")
    return kind in rows and number.isdigit() and int(number) < len(rows[kind]) and key in rows[kind][0]


def _data(campaign: Campaign, details: Details) -> dict[str, str]:
    return {**form_data(campaign), "about": details.about, "risks": details.risks}


def _shown(campaign_id: str) -> dict[str, Any]:
    """The draft, how it looks, what is missing, and what the reader may do."""
    with here().database.reading() as db:
        snapshot = queries.load(db, campaign_id)
        campaign = snapshot.campaign
        role = people.role_of(db, creator_id(), campaign.project_id)
        return {
            "draft": campaign,
            "campaign": campaign_view(snapshot, here().network, as_of(db)),
            "more": more_view(db, campaign),
            "checklist": steps.checklist(here().settings, campaign, service.chain_now(db, here().network)),
            "can_write": may(role, Action.WRITE),
            "can_payout": may(role, Action.PAYOUT),
            "role": role,
        }
