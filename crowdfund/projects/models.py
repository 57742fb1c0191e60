"""The tables of projects and of the people in them. Nobody is ever deleted: who was in a project stays on record."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from crowdfund.db import Base

if TYPE_CHECKING:
    from crowdfund.campaigns.models import Creator

KINDS = ("software", "hardware", "culture", "data")


def _one_of(column: str, names: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{name}'" for name in names)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


class Project(Base):
    """What campaigns are for, over the years. `slug` is its name in addresses and never changes.

    `forks_of` is the address of what it was forked from, or the path of the page of a project here. Readiness levels
    of 0 are not given; they and `bom_url` are for hardware.
    """

    __tablename__ = "projects"
    __table_args__ = (
        _one_of("kind", KINDS),
        CheckConstraint("technology_readiness BETWEEN 0 AND 6", name="technology_readiness_in_range"),
        CheckConstraint("documentation_readiness BETWEEN 0 AND 4", name="documentation_readiness_in_range"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    summary: Mapped[str]
    kind: Mapped[str]
    repository_url: Mapped[str]
    site_url: Mapped[str]
    license: Mapped[str]
    forks_of: Mapped[str]
    technology_readiness: Mapped[int]
    documentation_readiness: Mapped[int]
    bom_url: Mapped[str]
    created_at: Mapped[datetime]

    members: Mapped[list[ProjectMember]] = relationship(order_by="ProjectMember.joined_at")


class ProjectMember(Base):
    """A person in a project. `left_at` is set when they go; a trigger keeps the last owner in."""

    __tablename__ = "project_members"
    __table_args__ = (_one_of("role", ("owner", "editor", "treasurer")),)

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    creator_id: Mapped[int] = mapped_column(ForeignKey("creators.id"), primary_key=True, index=True)
    role: Mapped[str]
    joined_at: Mapped[datetime]
    left_at: Mapped[datetime | None]

    creator: Mapped[Creator] = relationship("Creator")


class ProjectInvitation(Base):
    """A link that makes one person a member, once. Only the SHA-256 of its secret is kept."""

    __tablename__ = "project_invitations"
    __table_args__ = (
        _one_of("role", ("owner", "editor", "treasurer")),
        CheckConstraint("(used_by IS NULL) = (used_at IS NULL)", name="used_by_somebody"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    role: Mapped[str]
    token_sha256: Mapped[str] = mapped_column(unique=True)
    made_by: Mapped[int] = mapped_column(ForeignKey("creators.id"))
    made_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_by: Mapped[int | None] = mapped_column(ForeignKey("creators.id"))
    used_at: Mapped[datetime | None]
