"""Projects as people write them: checked as a whole, made, found again, changed."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from crowdfund.campaigns.details import Details, PictureFact, ProjectFacts
from crowdfund.campaigns.drafts import clean_text
from crowdfund.campaigns.models import Campaign
from crowdfund.campaigns.picture_models import Picture
from crowdfund.errors import NotFound, Problems, UserError
from crowdfund.projects.licenses import check_license
from crowdfund.projects.links import check_link
from crowdfund.projects.models import KINDS, Project, ProjectMember
from crowdfund.projects.naming import NAME_LIMIT, guessed_kind, name_from_url, slug_of
from crowdfund.projects.people import add_member, require
from crowdfund.projects.roles import Action, Role

SUMMARY_LIMIT = 500
TECHNOLOGY_LEVELS, DOCUMENTATION_LEVELS = range(7), range(5)


@dataclass(frozen=True)
class ProjectDraft:
    """What is said of a project. Readiness levels of 0 are not given; for anything but hardware they are left out."""

    name: str
    kind: str
    repository_url: str
    site_url: str
    license: str
    summary: str = ""
    forks_of: str = ""
    technology_readiness: int = 0
    documentation_readiness: int = 0
    bom_url: str = ""


def check_project(session: Session, draft: ProjectDraft, base_url: str, own_slug: str = "") -> ProjectDraft:
    """The project tidied up. Raises Problems with a sentence for each field."""
    problems: dict[str, str] = {}

    def tried(check: Callable[[], str]) -> str:
        try:
            return check()
        except UserError as error:
            problems[error.field or ""] = error.sentence
            return ""

    name = " ".join(clean_text(draft.name).split())
    if not 2 <= len(name) <= NAME_LIMIT:
        problems["name"] = f"A project's name has 2 to {NAME_LIMIT} characters."
    summary = clean_text(draft.summary)
    if len(summary) > SUMMARY_LIMIT:
        problems["summary"] = f"The summary has {len(summary)} characters; at most {SUMMARY_LIMIT} fit."
    if draft.kind not in KINDS:
        problems["kind"] = f"Choose one of {', '.join(KINDS)}."
    if not draft.repository_url.strip() and not draft.site_url.strip():
        problems["repository_url"] = "Give the repository or the site, so that people find what there is already."
    repository_url = tried(lambda: check_link(draft.repository_url, "repository_url", "the repository"))
    site_url = tried(lambda: check_link(draft.site_url, "site_url", "the site"))
    license_ = tried(lambda: check_license(draft.license, "license"))
    forks_of = tried(lambda: _parent(session, draft.forks_of, base_url, own_slug))
    bom_url = tried(lambda: check_link(draft.bom_url, "bom_url", "the bill of materials"))
    for field, levels in (
        ("technology_readiness", TECHNOLOGY_LEVELS),
        ("documentation_readiness", DOCUMENTATION_LEVELS),
    ):
        if getattr(draft, field) not in levels:
            problems[field] = f"Choose a level from 1 to {levels[-1]}, or none."
    if problems:
        raise Problems(problems)
    hard = draft.kind == "hardware"
    levels_given = (draft.technology_readiness, draft.documentation_readiness) if hard else (0, 0)
    return ProjectDraft(
        name, draft.kind, repository_url, site_url, license_, summary, forks_of, *levels_given, bom_url if hard else ""
    )


def make(session: Session, creator_id: int, draft: ProjectDraft) -> Project:
    """A new project of a checked draft, owned by its maker."""
    taken = set(session.scalars(select(Project.slug)))
    project = Project(
        id=secrets.token_hex(8), slug=slug_of(draft.name, taken), created_at=datetime.now(UTC), **asdict(draft)
    )
    session.add(project)
    session.flush()
    add_member(session, project.id, creator_id, Role.OWNER)
    return project


def change(session: Session, creator_id: int, project: Project, draft: ProjectDraft) -> None:
    """Change what a project says of itself. What campaigns have frozen of it stays as it is there."""
    require(session, creator_id, project.id, Action.PROJECT)
    for field, value in asdict(draft).items():
        setattr(project, field, value)


def find_or_make(session: Session, creator_id: int, project_url: str, license_: str) -> Project:
    """The creator's own project at this address, or a new one there. Nobody's else: an address proves nothing."""
    own = (
        select(Project)
        .join(ProjectMember, ProjectMember.project_id == Project.id)
        .where(ProjectMember.creator_id == creator_id, ProjectMember.left_at.is_(None))
        .where(or_(Project.repository_url == project_url, Project.site_url == project_url))
        .order_by(Project.created_at, Project.id)
    )
    found = session.scalars(own).first()
    if found is not None:
        return found
    name = name_from_url(project_url)
    return make(session, creator_id, ProjectDraft(name, guessed_kind(license_), "", project_url, license_))


def by_slug(session: Session, slug: str) -> Project:
    """The project with this name in addresses. Raises NotFound."""
    project = session.scalar(select(Project).where(Project.slug == slug))
    if project is None:
        raise NotFound("There is no such project.")
    return project


def page_path(slug: str) -> str:
    """The path of a project's page on this site."""
    return f"/projects/{slug}"


def parent_of(session: Session, project: Project) -> Project | None:
    """The project here that this one was forked from."""
    here = project.forks_of.removeprefix("/projects/") if project.forks_of.startswith("/projects/") else None
    if not project.forks_of:
        return None
    named = Project.slug == here if here else Project.repository_url == project.forks_of
    return session.scalars(select(Project).where(named, Project.id != project.id).order_by(Project.id)).first()


def forks_of(session: Session, project: Project) -> list[Project]:
    """The projects here that were forked from this one, by name."""
    names = {page_path(project.slug), project.repository_url} - {""}
    found = select(Project).where(Project.forks_of.in_(names), Project.id != project.id).order_by(Project.name)
    return list(session.scalars(found))


def facts_of(project: Project | None) -> ProjectFacts:
    """The project as a campaign's details freeze it."""
    if project is None:
        return ProjectFacts()
    return ProjectFacts(
        name=project.name,
        kind=project.kind,
        repository_url=project.repository_url,
        site_url=project.site_url,
        license=project.license,
        forks_of=project.forks_of,
        technology_readiness=project.technology_readiness,
        documentation_readiness=project.documentation_readiness,
        bom_url=project.bom_url,
    )


def final_details(session: Session, campaign: Campaign) -> Details:
    """A draft's details as they freeze: with the project and the pictures as they are now."""
    shown = select(Picture.sha256, Picture.alt).where(Picture.campaign_id == campaign.id).order_by(Picture.position)
    pictures = tuple(PictureFact(sha256, alt) for sha256, alt in session.execute(shown))
    return replace(Details.parse(campaign.details), project=facts_of(campaign.project), pictures=pictures)


def _parent(session: Session, text: str, base_url: str, own_slug: str) -> str:
    """The address of what was forked; of a project here, the path of its page."""
    text = text.strip()
    if not text:
        return ""
    path = urlsplit(text).path if text.startswith(f"{base_url}/") else text
    slug = path.removeprefix("/projects/").strip("/")
    if session.scalar(select(Project.id).where(Project.slug == slug)) is None:
        return check_link(text, "forks_of", "what it was forked from")
    if slug == own_slug:
        raise UserError("A project is no fork of itself.", "forks_of")
    return page_path(slug)
