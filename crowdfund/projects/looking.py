"""Looking whether those who write a project's files stand behind its page here; what was seen; what stands today.

A look goes over the network and takes up to a minute, so that no transaction is open meanwhile. It is for a process
that holds nothing secret; the pages only ask for it and show what came of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crowdfund.campaigns.models import Campaign
from crowdfund.db import Database
from crowdfund.errors import UserError
from crowdfund.plain_text import clean_text, shortened
from crowdfund.projects.forges import is_below, places
from crowdfund.projects.models import Project
from crowdfund.projects.people import require
from crowdfund.projects.proof import Verdict, challenge_token, check
from crowdfund.projects.proof_models import (
    ABSENT,
    ASKED,
    LINE_LIMIT,
    SENTENCE_LIMIT,
    SHOWN,
    UNSURE,
    URL_LIMIT,
    ProjectProof,
)
from crowdfund.projects.roles import Action
from crowdfund.projects.urls import LOCAL, STRICT, Fetch, Rules
from crowdfund.projects.writing import page_path

HOLDS_FOR = timedelta(days=3)
"""For so long what was seen counts, though later looks saw nothing, or nobody has looked."""
ASK_AGAIN = timedelta(seconds=30)
EVERY = timedelta(hours=21)
SPREAD = timedelta(hours=6)
GIVEN_UP = timedelta(days=30)
"""Who has shown nothing for so long is only looked at when somebody asks."""
SHOWN_LOOKS = 10


@dataclass(frozen=True)
class Standing:
    """How it stands with one address of a project. `seen` is the last look that showed it, `last` the last look at all,
    `holds` whether pages may call the project verified."""

    address: str
    is_repository: bool
    seen: ProjectProof | None
    last: ProjectProof | None
    holds: bool


def token_of(project: Project) -> str:
    """What the project may put into a file to show that it is meant. No secret: it says nothing but which project, and
    whoever can write it into the files is who is asked for. It never changes, as what it is made of does not."""
    seed = sha256(f"{project.id} {project.created_at.isoformat()}".encode()).digest()
    return challenge_token(seed, project.id)


def addresses_of(project: Project) -> tuple[str, ...]:
    """Where to look: the repository, then the site."""
    return tuple(dict.fromkeys(filter(None, (project.repository_url, project.site_url))))


def our_urls(session: Session, base_url: str, project: Project) -> list[str]:
    """The addresses here that speak of this project and no other: its page, and its published campaigns'."""
    published = select(Campaign.id).where(Campaign.project_id == project.id, Campaign.terms.is_not(None))
    ids = session.scalars(published.order_by(Campaign.published_at.desc())).all()
    pages = [f"{base_url}/campaigns/{id_}" for id_ in ids]
    return [base_url + page_path(project.slug), *pages, *(f"{page}/funding.json" for page in pages)]


def ask(session: Session, creator_id: int, project: Project, now: datetime) -> None:
    """Note that somebody wants a look now. Raises UserError where one has just been, or nothing is there to look at."""
    require(session, creator_id, project.id, Action.PROJECT)
    addresses = addresses_of(project)
    if not addresses:
        raise UserError("The project has neither a repository nor a site yet; change its page first.")
    last = _newest(session, project.id)
    if last is not None and now - last.looked_at < ASK_AGAIN:
        raise UserError("We have looked a moment ago; please wait half a minute before you ask again.")
    session.add(ProjectProof(project_id=project.id, looked_at=now, asked_by=creator_id, address=addresses[0],
                             outcome=ASKED))  # fmt: skip
    session.flush()


def waiting_since(session: Session, project_id: str) -> datetime | None:
    """When somebody asked, if nobody has looked since."""
    last = _newest(session, project_id)
    return last.looked_at if last is not None and last.outcome == ASKED else None


def look(
    database: Database, base_url: str, project_id: str, fetch: Fetch, now: datetime, rules: Rules = STRICT
) -> bool:
    """Look at one project and write down what was seen: its repository, and where that shows nothing its site.

    False where the project has changed meanwhile, or somebody else has looked: then nothing is written.
    """
    with database.reading() as session:
        project, before = session.get_one(Project, project_id), _newest(session, project_id)
        ours, token, addresses = our_urls(session, base_url, project), token_of(project), addresses_of(project)
    rows = list[ProjectProof]()
    for address in addresses:
        verdict = check(address, ours, token, fetch, now, rules)
        rows.append(_row(project_id, address, verdict, before, now))
        if verdict.proof is not None:
            break
    with database.transaction() as session:
        project, newest = session.get_one(Project, project_id), _newest(session, project_id)
        if addresses_of(project) != addresses or (newest and newest.id) != (before and before.id):
            return False
        session.add_all(rows)
    return True


def due(session: Session, now: datetime) -> list[str]:
    """The projects to look at, those first that somebody asks for. Each day's looks are spread over some hours."""
    own = select(func.max(ProjectProof.id)).where(ProjectProof.project_id == Project.id).correlate(Project)
    newest = select(own.scalar_subquery()).select_from(Project)
    rows = session.scalars(select(ProjectProof).where(ProjectProof.id.in_(newest)).order_by(ProjectProof.id)).all()
    asked = [row.project_id for row in rows if row.outcome == ASKED]
    over = [row for row in rows if row.outcome != ASKED and now - row.looked_at >= _pause(row.project_id)]
    alive = _alive(session, [row.project_id for row in over], now)
    return asked + [row.project_id for row in over if row.project_id in alive]


def standings(session: Session, project: Project, now: datetime) -> list[Standing]:
    """How it stands with each address that the project has today, in the order of looking."""
    return [_standing(session, project, address, now) for address in addresses_of(project)]


def standing_of(session: Session, project: Project, now: datetime, among: Sequence[str] = ()) -> Standing | None:
    """The address by which the project is verified, or was; `among` are the only ones that matter, if any are given."""
    found = [each for each in standings(session, project, now) if not among or each.address in among]
    return next((each for each in found if each.holds), None) or next((each for each in found if each.seen), None)


def looks(session: Session, project_id: str) -> list[ProjectProof]:
    """The last looks, newest first."""
    own = select(ProjectProof).where(ProjectProof.project_id == project_id, ProjectProof.outcome != ASKED)
    return list(session.scalars(own.order_by(ProjectProof.id.desc()).limit(SHOWN_LOOKS)))


def _standing(session: Session, project: Project, address: str, now: datetime) -> Standing:
    own = select(ProjectProof).where(ProjectProof.project_id == project.id, ProjectProof.address == address)
    own = own.order_by(ProjectProof.id.desc()).limit(1)
    last = session.scalar(own.where(ProjectProof.outcome != ASKED))
    seen = session.scalar(own.where(ProjectProof.outcome == SHOWN))
    holds = seen is not None and now - seen.looked_at <= HOLDS_FOR
    is_repository = address == project.repository_url or (seen is not None and _in_repository(address, seen.url))
    return Standing(address, is_repository, seen, last, holds)


def _in_repository(address: str, url: str) -> bool:
    """Was the file in a repository, though the project has its address as that of a site?"""
    for rules in (STRICT, LOCAL):
        with suppress(UserError):
            if any(place.repository and is_below(url, place.area) for place in places(address, rules)):
                return True
    return False


def _newest(session: Session, project_id: str) -> ProjectProof | None:
    own = select(ProjectProof).where(ProjectProof.project_id == project_id)
    return session.scalar(own.order_by(ProjectProof.id.desc()).limit(1))


def _row(project_id: str, address: str, verdict: Verdict, before: ProjectProof | None, now: datetime) -> ProjectProof:
    """What was seen, cut to what the table takes."""
    asked_by = before.asked_by if before is not None and before.outcome == ASKED else None
    row = ProjectProof(project_id=project_id, looked_at=now, asked_by=asked_by, address=address)
    if (proof := verdict.proof) is not None and len(proof.url) <= URL_LIMIT:
        row.outcome, row.way, row.url, row.sha256 = SHOWN, proof.way.value, proof.url, proof.sha256
        row.line = shortened(clean_text(proof.line), LINE_LIMIT)
    else:
        row.outcome = UNSURE if verdict.unsure else ABSENT
        row.sentence = shortened(clean_text(verdict.why_not), SENTENCE_LIMIT) or "The file is at too long an address."
    return row


def _pause(project_id: str) -> timedelta:
    """Between two looks nobody asks for: about a day, and for each project another time, always the same."""
    return EVERY + SPREAD * (zlib.crc32(project_id.encode()) % 1000 / 1000)


def _alive(session: Session, project_ids: Sequence[str], now: datetime) -> set[str]:
    """Those of which anything was seen, or asked, not too long ago."""
    recent = select(ProjectProof.project_id).where(
        ProjectProof.project_id.in_(project_ids),
        ProjectProof.outcome.in_((ASKED, SHOWN)),
        ProjectProof.looked_at > now - GIVEN_UP,
    )
    return set(session.scalars(recent))
