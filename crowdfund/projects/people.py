"""The people of a project: who is in it as what, invitations by a link that works once, leaving."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from crowdfund.errors import NotFound, UserError
from crowdfund.projects.models import Project, ProjectInvitation, ProjectMember
from crowdfund.projects.roles import Action, Role, may, refusal

INVITATION_LASTS = timedelta(days=14)
OPEN_INVITATIONS = 20
LAST_OWNER = "This is the last owner; make somebody else an owner first, so that the project stays in good hands."


def role_of(session: Session, creator_id: int, project_id: str | None) -> Role | None:
    """What the person is in the project; None if nothing, or not any more."""
    member = None if project_id is None else session.get(ProjectMember, (project_id, creator_id))
    return None if member is None or member.left_at is not None else Role(member.role)


def require(session: Session, creator_id: int, project_id: str | None, action: Action) -> Role:
    """The person's role, which allows this. Raises NotFound for a stranger, UserError for another role."""
    role = role_of(session, creator_id, project_id)
    if role is None:
        raise NotFound("There is no such project among yours.")
    if not may(role, action):
        raise UserError(refusal(role, action))
    return role


def projects_of(session: Session, creator_id: int, action: Action = Action.SEE_DRAFTS) -> list[Project]:
    """The projects in which the person may do this, by name."""
    rows = session.execute(
        select(Project, ProjectMember.role)
        .join(ProjectMember, ProjectMember.project_id == Project.id)
        .where(ProjectMember.creator_id == creator_id, ProjectMember.left_at.is_(None))
        .order_by(Project.name, Project.id)
    )
    return [project for project, role in rows if may(role, action)]


def members_of(session: Session, project_id: str) -> list[ProjectMember]:
    """Who is in the project now, in the order of joining."""
    found = (
        select(ProjectMember)
        .where(ProjectMember.project_id == project_id, ProjectMember.left_at.is_(None))
        .order_by(ProjectMember.joined_at, ProjectMember.creator_id)
        .options(selectinload(ProjectMember.creator))
    )
    return list(session.scalars(found))


def add_member(session: Session, project_id: str, creator_id: int, role: Role) -> None:
    """Take somebody in; who was there before comes back."""
    member = session.get(ProjectMember, (project_id, creator_id))
    if member is None:
        session.add(ProjectMember(project_id=project_id, creator_id=creator_id, role=role, joined_at=datetime.now(UTC)))
    else:
        member.role, member.left_at = role, None
    session.flush()


def invite(session: Session, creator_id: int, project_id: str, role: Role) -> str:
    """The secret of a link that makes whoever opens it first a member. Raises UserError."""
    require(session, creator_id, project_id, Action.PEOPLE)
    now = datetime.now(UTC)
    waiting = select(func.count()).select_from(ProjectInvitation)
    waiting = waiting.where(ProjectInvitation.project_id == project_id, ProjectInvitation.used_at.is_(None))
    if (session.scalar(waiting.where(ProjectInvitation.expires_at > now)) or 0) >= OPEN_INVITATIONS:
        raise UserError("There are many invitations that nobody has used yet; wait until some have run out.")
    token = secrets.token_urlsafe(24)
    session.add(
        ProjectInvitation(
            project_id=project_id,
            role=role,
            token_sha256=_digest(token),
            made_by=creator_id,
            made_at=now,
            expires_at=now + INVITATION_LASTS,
        )
    )
    session.flush()
    return token


def invitation(session: Session, token: str) -> ProjectInvitation:
    """The invitation behind a link. Raises NotFound if there is none, or it was used, or has run out.

    An invitation is worth no more than the one who made it: it goes with their right to make it.
    """
    found = session.scalar(select(ProjectInvitation).where(ProjectInvitation.token_sha256 == _digest(token)))
    if (
        found is None
        or found.used_at is not None
        or found.expires_at <= datetime.now(UTC)
        or not may(role_of(session, found.made_by, found.project_id), Action.PEOPLE)
    ):
        raise NotFound("This invitation was used already, has run out, or was never made. Ask for a new one.")
    return found


def accept(session: Session, creator_id: int, token: str) -> str:
    """Become a member; returns the project's id. Raises NotFound, or UserError for who is in already."""
    found = invitation(session, token)
    if role_of(session, creator_id, found.project_id) is not None:
        raise UserError("You are in this project already; the link is still good for somebody else.")
    found.used_by, found.used_at = creator_id, datetime.now(UTC)
    add_member(session, found.project_id, creator_id, Role(found.role))
    return found.project_id


def change_role(session: Session, creator_id: int, project_id: str, member_id: int, role: Role) -> None:
    """Give a member another role. Raises UserError where nobody would be owner any more."""
    require(session, creator_id, project_id, Action.PEOPLE)
    member = _member(session, project_id, member_id)
    if role is not Role.OWNER:
        _keep_an_owner(session, member)
    member.role = role
    session.flush()


def leave(session: Session, creator_id: int, project_id: str, member_id: int) -> None:
    """Take a member out: oneself, or anybody for an owner. Raises UserError where nobody would be owner any more."""
    if creator_id != member_id:
        require(session, creator_id, project_id, Action.PEOPLE)
    member = _member(session, project_id, member_id)
    _keep_an_owner(session, member)
    member.left_at = datetime.now(UTC)
    session.flush()


def _member(session: Session, project_id: str, member_id: int) -> ProjectMember:
    member = session.get(ProjectMember, (project_id, member_id))
    if member is None or member.left_at is not None:
        raise NotFound("This person is not in the project.")
    return member


def _keep_an_owner(session: Session, member: ProjectMember) -> None:
    others = select(ProjectMember.creator_id).where(
        ProjectMember.project_id == member.project_id,
        ProjectMember.creator_id != member.creator_id,
        ProjectMember.role == Role.OWNER,
        ProjectMember.left_at.is_(None),
    )
    if member.role == Role.OWNER and session.scalar(others.limit(1)) is None:
        raise UserError(LAST_OWNER)


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
