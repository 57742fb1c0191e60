"""The API of projects: what they are, who is in them, what shows that they are somebody's, and their work."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, jsonify
from sqlalchemy.orm import Session

from crowdfund.accounts import limits
from crowdfund.campaigns import delivery, helping
from crowdfund.campaigns.detail_models import HelpOffer
from crowdfund.campaigns.models import Campaign
from crowdfund.campaigns.terms import format_time
from crowdfund.errors import NotFound
from crowdfund.projects import looking, people, writing
from crowdfund.projects.models import Project
from crowdfund.projects.proof_models import ProjectProof
from crowdfund.projects.roles import Action
from crowdfund.projects.writing import ProjectDraft
from crowdfund.web import callers, door, json_body, once, paging
from crowdfund.web.api import Answer
from crowdfund.web.forms import LEVELS, PROJECT_TEXTS
from crowdfund.web.json_body import Body
from crowdfund.web.outside import not_too_often
from crowdfund.web.proofs import proof_texts
from crowdfund.web.site import here

pages = Blueprint("projects_api", __name__, url_prefix="/api/v1")


@pages.get("/projects")
def mine() -> Answer:
    """One's own projects, by name."""
    creator = callers.creator("read")
    with here().database.reading() as db:
        found = people.projects_of(db, creator.id)
        return paging.listed("projects", found, project_json, lambda p: (p.name, p.slug), newest_first=False)


@pages.post("/projects")
def make() -> Answer:
    """A new project."""
    creator, draft = callers.creator("write"), _read(json_body.body(), {})

    def write(db: Session) -> Project:
        return writing.make(db, creator.id, writing.check_project(db, draft, here().settings.base_url))

    return once.made(write, lambda db, project: project_json(project))


@pages.get("/projects/<slug>")
def show(slug: str) -> Answer:
    """A project, for everybody."""
    with here().database.reading() as db:
        return jsonify(project_json(writing.by_slug(db, slug)))


@pages.patch("/projects/<slug>")
def change(slug: str) -> Answer:
    """Change some of what a project says of itself."""
    creator, body = callers.creator("write"), json_body.body()
    json_body.only(body, (*PROJECT_TEXTS, *LEVELS))
    with here().database.transaction() as db:
        project = writing.by_slug(db, slug)
        people.require(db, creator.id, project.id, Action.PROJECT)
        before = {name: getattr(project, name) for name in (*PROJECT_TEXTS, *LEVELS)}
        draft = writing.check_project(db, _read(body, before), here().settings.base_url, slug)
        writing.change(db, creator.id, project, draft)
        db.flush()
        return jsonify(project_json(project))


@pages.get("/projects/<slug>/members")
def members(slug: str) -> Answer:
    """Who is in a project, as its page says it."""
    with here().database.reading() as db:
        found = people.members_of(db, writing.by_slug(db, slug).id)
        return paging.listed(
            "members",
            found,
            lambda m: {"name": m.creator.name, "role": m.role, "joined_at": format_time(m.joined_at)},
            lambda m: (m.joined_at.isoformat(), m.creator_id),
            newest_first=False,
        )


@pages.get("/projects/<slug>/proof")
def proof(slug: str) -> Answer:
    """Whether a project was shown to be somebody's, address by address; and, for its people, what to write where."""
    reader, now = callers.reader(), datetime.now(UTC)
    with here().database.reading() as db:
        project = writing.by_slug(db, slug)
        standings = [
            {
                "address": each.address,
                "holds": each.holds,
                "seen": None if each.seen is None else _look(each.seen),
                "last": None if each.last is None else _look(each.last),
            }
            for each in looking.standings(db, project, now)
        ]
        waiting = looking.waiting_since(db, project.id)
        told = {"addresses": standings, "waiting_since": None if waiting is None else format_time(waiting)}
        is_member = reader is not None and people.role_of(db, reader.id, project.id) is not None
        texts = proof_texts(db, project) if is_member else {}
    told["ways"] = [{"way": way, "file": file, "text": text} for way, (file, text) in texts.items()]
    return jsonify(told)


@pages.post("/projects/<slug>/proof")
def look(slug: str) -> Answer:
    """Ask for a look at the project's files now."""
    creator = callers.creator("write")

    def ask(db: Session) -> None:
        looking.ask(db, creator.id, writing.by_slug(db, slug), datetime.now(UTC))

    return once.made(ask, lambda db, _: {"project": slug, "state": "asked"}, lambda: not_too_often("look"), 202)


@pages.get("/campaigns/<campaign_id>/deliverables")
def deliverables(campaign_id: str) -> Answer:
    """What was promised to become open, and what has become of it."""
    with here().database.reading() as db:
        return _deliveries(db, _published(db, campaign_id))


@pages.put("/campaigns/<campaign_id>/deliverables/<number:number>")
def report(campaign_id: str, number: int) -> Answer:
    """Say what has become of one; the log keeps what was said before."""
    creator, body = callers.creator("write"), json_body.body()
    state, url = json_body.text(body, "state"), json_body.text(body, "url", required=False)
    with here().database.transaction() as db:
        delivery.report(db, creator.id, campaign_id, number, state, url)
        return _deliveries(db, db.get_one(Campaign, campaign_id))


@pages.post("/campaigns/<campaign_id>/offers")
def offer(campaign_id: str) -> Answer:
    """Offer help that is not money. No token is needed."""
    body = json_body.body()
    texts = [json_body.text(body, name) for name in ("name", "contact", "message")]
    need, amount = json_body.whole(body, "need"), json_body.whole(body, "amount", least=1)

    def keep(db: Session) -> HelpOffer:
        return helping.offer(db, campaign_id, need, amount, *texts)

    return once.made(keep, lambda db, made: offer_json(made), lambda: door.limit_address(limits.WORDS, "help"))


@pages.get("/campaigns/<campaign_id>/offers")
def offers(campaign_id: str) -> Answer:
    """Offers of help, for the project alone, newest first."""
    creator = callers.creator("read")
    with here().database.reading() as db:
        return paging.listed("offers", helping.offers(db, creator.id, campaign_id), offer_json, lambda o: (o.id,))


@pages.post("/campaigns/<campaign_id>/offers/<number:offer>/answer")
def answer(campaign_id: str, offer: int) -> Answer:
    """Accept an offer, or decline it; once."""
    creator, body = callers.creator("write"), json_body.body()
    state, thanks = json_body.text(body, "state"), json_body.text(body, "answer", required=False)

    def write(db: Session) -> HelpOffer:
        helping.answer(db, creator.id, campaign_id, offer, state, thanks)
        return db.get_one(HelpOffer, offer)

    return once.made(write, lambda db, row: offer_json(row), code=200)


def project_json(project: Project) -> dict[str, Any]:
    """A project as everybody sees it."""
    return {
        "slug": project.slug,
        "url": here().settings.base_url + writing.page_path(project.slug),
        **{name: getattr(project, name) for name in (*PROJECT_TEXTS, *LEVELS)},
        "created_at": format_time(project.created_at),
    }


def offer_json(offer: HelpOffer) -> dict[str, Any]:
    """An offer, for those who made it and those whom it is made to."""
    return {
        "number": offer.id,
        "need": offer.need,
        "amount": offer.amount,
        "name": offer.name,
        "contact": offer.contact,
        "message": offer.message,
        "state": offer.state,
        "answer": offer.answer,
        "offered_at": format_time(offer.offered_at),
        "answered_at": format_time(offer.answered_at) if offer.answered_at else None,
    }


def _deliveries(db: Session, campaign: Campaign) -> Answer:
    return paging.listed(
        "deliverables",
        delivery.deliveries(db, campaign),
        lambda d: {
            **asdict(d.promised),
            "number": d.number,
            "state_now": d.state,
            "url_now": d.url,
            "reported_at": format_time(d.reported_at) if d.reported_at else None,
        },
        lambda d: (d.number,),
        newest_first=False,
    )


def _look(row: ProjectProof) -> dict[str, Any]:
    return {
        "looked_at": format_time(row.looked_at),
        "outcome": row.outcome,
        "way": row.way,
        "url": row.url,
        "line": row.line,
        "sentence": row.sentence,
    }


def _published(db: Session, campaign_id: str) -> Campaign:
    campaign = db.get(Campaign, campaign_id)
    if campaign is None or campaign.terms is None:
        raise NotFound("There is no such campaign.")
    return campaign


def _read(body: Body, before: dict[str, Any]) -> ProjectDraft:
    """A project as it was sent; what was not stays as it was. Raises Problems."""
    values: dict[str, Any] = {
        name: json_body.text(body, name, required=False) if name in body else before.get(name, "")
        for name in PROJECT_TEXTS
    }
    values |= {name: json_body.whole(body, name, otherwise=before.get(name, 0)) for name in LEVELS}
    return ProjectDraft(**values)
