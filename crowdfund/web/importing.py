"""Bringing a project along: look into the files of its repository or site, or into one that is sent; show what they
say, each value with where it was; take what is ticked. Between look and taking all of it lies in the form, so that
nothing is kept of what was not taken, and what somebody typed goes along untouched."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from crowdfund.campaigns import service, steps
from crowdfund.campaigns.details import BudgetLine, Deliverable, Details
from crowdfund.campaigns.models import Campaign
from crowdfund.errors import NotFound, Problems, UserError, WorldError
from crowdfund.projects import people, writing
from crowdfund.projects.bringing import LABELS, Offer, Told, from_address, from_file, marked, one_of_each
from crowdfund.projects.manifests.syntax import SIZE_LIMIT
from crowdfund.projects.models import Project
from crowdfund.projects.roles import Action, may
from crowdfund.web import outside
from crowdfund.web.creators import creator_id
from crowdfund.web.forms import (
    LEVELS,
    PROJECT_TEXTS,
    ImportForm,
    ProjectForm,
    project_data,
    read_project,
    show_problems,
)
from crowdfund.web.site import creators_only, here

pages = Blueprint("importing", __name__)

Answer = str | Response | tuple[str, int]
MOST_OFFERS = 300
# Of a new project: a draft takes over its project's licence and address by itself.
FOLLOWS = frozenset(("campaign.license", "campaign.project_url"))
PARTS = ("value", "source", "license", "url")


@dataclass(frozen=True)
class Found:
    """What the page shows. `kept` and `kept_name` are the file that was sent, for a second look at it."""

    offers: tuple[Offer, ...]
    told: Told | None = None
    address: str = ""
    kept: str = ""
    kept_name: str = ""
    current: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


@pages.route("/drafts/<campaign_id>/import", methods=["GET", "POST"])
@creators_only
def draft(campaign_id: str) -> Answer:
    """Bring more into a draft that is there."""
    with here().database.reading() as db:
        campaign = service.own_campaign(db, creator_id(), campaign_id, Action.WRITE)
        current = current_of(db, campaign)
        if not may(people.role_of(db, creator_id(), campaign.project_id), Action.PROJECT):
            current = {key: value for key, value in current.items() if not key.startswith("project.")}
    if campaign.terms is not None:
        flash("This campaign is published: its terms cannot change any more.", "bad")
        return redirect(url_for("public.campaign", campaign_id=campaign_id), 303)
    form = ImportForm()
    if not form.is_submitted():
        return _draft_page(campaign, form)
    if request.form.get("do") == "take":
        return _take(campaign, current)
    found = look(form, current)
    return _draft_page(campaign, form) if found is None else found_page(found, campaign)


def look(form: ImportForm, current: Mapping[str, str]) -> Found | None:
    """What the file or the address says, beside what is there already; None where the form says why there is nothing.

    `current` has the fields that may be filled, with what they hold.
    """
    kept, name = _sent()
    address = (form.address.data or "").strip()
    which = _number(request.form.get("which", ""))
    try:
        if not form.validate():
            raise UserError("This page had been open for too long; please send it again.")
        told = _told(kept, name, address, which)
    except UserError as error:
        show_problems(form, error if error.field in ("address", "file") else _at(error, "file" if name else "address"))
        return None
    except WorldError as error:
        show_problems(form, UserError(error.sentence, "address"))
        return None
    offers = marked((offer for offer in told.offers if offer.key in current), current)
    encoded = base64.b64encode(kept).decode() if name and told.choices else ""
    return Found(offers, told, address if not name else "", encoded, name if encoded else "", current)


def found_page(found: Found, campaign: Campaign | None = None, typed: Mapping[str, str] | None = None) -> Answer:
    """What was found, to be ticked. `typed` is the form of a new project as far as it was written."""
    page = render_template(
        "import_found.html", found=found, told=found.told, offers=found.offers, draft=campaign, typed=typed or {},
        labels=LABELS, problems=found.problems,
    )  # fmt: skip
    return page, 422 if found.problems else 200


def offers_sent() -> tuple[Offer, ...]:
    """The offers that came back with a form, ticked or not. What names no field of ours is left out."""
    ticks, found = set(request.form.getlist("take")), []
    for number in range(MOST_OFFERS):
        key = request.form.get(f"offer-{number}-key", "")
        if key in LABELS:
            values = {part: request.form.get(f"offer-{number}-{part}", "").replace("\x00", "") for part in PARTS}
            found.append(Offer(key, taken=str(number) in ticks, **values))
    return tuple(found)


def take_new(offers: tuple[Offer, ...], typed: Mapping[str, str]) -> tuple[ProjectForm, str]:
    """A new project and a draft of what was typed and what is ticked: the form, and the draft's id, empty where the
    form says what is wrong. Raises UserError where two ticks are for one field."""
    ticked = one_of_each(offers)
    brought = {offer.field: offer.value for key in ticked for offer in ticked[key] if offer.part == "project"}
    form = ProjectForm(formdata=MultiDict({**typed, **brought}))
    try:
        with here().database.transaction() as db:
            project = writing.make(
                db, creator_id(), writing.check_project(db, read_project(form), here().settings.base_url)
            )
            return form, begin(db, project.id, offers)
    except UserError as error:
        show_problems(form, error)
        return form, ""


def begin(db: Session, project_id: str, offers: tuple[Offer, ...] = ()) -> str:
    """A new draft in a project, with what is ticked; its id. Raises Problems for what cannot be kept."""
    campaign = service.new_draft(db, creator_id(), project_id)
    project = db.get_one(Project, project_id)
    address = project.repository_url or project.site_url
    values = {"project_url": address, "license": project.license, **_values(campaign, one_of_each(offers))}
    if problems := steps.keep(db, here().settings, creator_id(), campaign, values):
        raise Problems(problems)
    return campaign.id


def typed_project() -> dict[str, str]:
    """The form of a project as it was sent, right or wrong."""
    return {name: request.form.get(name, "") for name in (*PROJECT_TEXTS, *LEVELS)}


def is_written(typed: Mapping[str, str]) -> bool:
    """Has anybody begun to write the form of a project?"""
    return any(typed[name].strip() for name in PROJECT_TEXTS if name != "kind")


def is_filled(box: ImportForm) -> bool:
    """Is there anything in the box to look at?"""
    return bool((box.address.data or "").strip() or request.files.get("file"))


def current_of_form(typed: Mapping[str, str]) -> dict[str, str]:
    """What a form that is being written holds, for `look`. Its choices count as made once anything else is written."""
    current = {f"project.{name}": value.strip() for name, value in typed.items()}
    if not is_written(typed):
        current["project.kind"] = ""
    nothing = {key: "" for key in LABELS if not key.startswith("project.") and key not in FOLLOWS}
    return {**_without_zeros(current), **nothing}


def current_of(db: Session, campaign: Campaign) -> dict[str, str]:
    """What a draft and its project hold, for `look`."""
    details = Details.parse(campaign.details)
    project = db.get_one(Project, campaign.project_id)
    current = {f"project.{name}": value for name, value in project_data(project).items()}
    return {
        **_without_zeros(current),
        **{f"campaign.{n}": getattr(campaign, n) for n in ("title", "summary", "story", "license", "project_url")},
        "campaign.about": details.about,
        "lines.deliverables": "\n\n".join(line.title for line in details.deliverables),
        "lines.budget": "\n\n".join(line.title for line in details.budget),
    }


def _without_zeros(current: dict[str, str]) -> dict[str, str]:
    levels = {f"project.{name}": "" for name in LEVELS if current[f"project.{name}"] in ("0", "")}
    return {**current, **levels}


def _told(kept: bytes, name: str, address: str, which: int | None) -> Told:
    """Raises UserError and WorldError."""
    if name:
        return from_file(name, kept, which)
    if not address:
        raise UserError("Paste the address of the repository or site, or choose a file.", "address")
    if not outside.is_open():
        raise UserError("This site does not fetch files from elsewhere, so upload the file instead.", "address")
    outside.not_too_often("import")
    return from_address(address, outside.fetcher(), outside.rules(), which)


def _sent() -> tuple[bytes, str]:
    """The file that was sent now or with the look before, as much of it as shows that it is too large; its name."""
    upload = request.files.get("file")
    if upload is not None and upload.filename:
        return upload.stream.read(SIZE_LIMIT + 1), upload.filename
    try:
        return base64.b64decode(request.form.get("kept", ""), validate=True), request.form.get("kept_name", "")
    except (binascii.Error, ValueError):
        return b"", ""


def _at(error: UserError, name: str) -> UserError:
    return UserError(error.sentence, name)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else None


def _draft_page(campaign: Campaign, form: ImportForm) -> Answer:
    page = render_template("import_draft.html", draft=campaign, form=form, fetches=outside.is_open())
    return page, 422 if form.is_submitted() else 200


def _take(campaign: Campaign, current: Mapping[str, str]) -> Answer:
    """Put what is ticked into the draft and its project, all of it or nothing."""
    offers = tuple(offer for offer in offers_sent() if offer.key in current)
    try:
        ticked = one_of_each(offers)
        if not ticked:
            raise UserError("Nothing is ticked, so nothing was taken.")
        with here().database.transaction() as db:
            mine = service.own_campaign(db, creator_id(), campaign.id, Action.WRITE)
            _take_project(db, mine, ticked)
            if problems := steps.keep(db, here().settings, creator_id(), mine, _values(mine, ticked)):
                raise Problems(problems)
    except NotFound:
        raise
    except UserError as error:
        by_field = error.by_field if isinstance(error, Problems) else {error.field or "": error.sentence}
        return found_page(Found(offers, current=current, problems=by_field), campaign)
    flash("Taken over. Look through it: files of a project seldom say things as you would say them here.", "good")
    return redirect(url_for("wizard.step", campaign_id=campaign.id, step="story"), 303)


def _take_project(db: Session, campaign: Campaign, ticked: Mapping[str, list[Offer]]) -> None:
    brought = {offer.field: offer.value for found in ticked.values() for offer in found if offer.part == "project"}
    if not brought:
        return
    project = db.get_one(Project, campaign.project_id)
    form = ProjectForm(formdata=MultiDict({**project_data(project), **brought}))
    draft = writing.check_project(db, read_project(form), here().settings.base_url, project.slug)
    writing.change(db, creator_id(), project, draft)


def _values(campaign: Campaign, ticked: Mapping[str, list[Offer]]) -> dict[str, Any]:
    """What is ticked of the campaign, for `steps.keep`. Lines come after those that are there, and so does the text on
    who we are; everything else takes the place of what was there."""
    before, values = Details.parse(campaign.details), dict[str, Any]()
    for key, found in ticked.items():
        if key.startswith("campaign."):
            values[found[0].field] = found[0].value
    if about := [offer.value for offer in ticked.get("campaign.about", [])]:
        values["about"] = "\n\n".join([before.about, *about] if before.about else about)
    if pieces := ticked.get("lines.deliverables"):
        values["deliverables"] = (*before.deliverables, *(Deliverable(o.value, o.license, o.url) for o in pieces))
    if lines := ticked.get("lines.budget"):
        values["budget"] = (*before.budget, *(BudgetLine(offer.value) for offer in lines))
    return values
