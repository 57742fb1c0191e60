"""What an example is made of: a project, its campaign, and what people say and do about it. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PICTURES = Path(__file__).with_name("pictures")


@dataclass(frozen=True)
class Project:
    """A project as its page has it. `team` are (name, role) of those who join its owner."""

    name: str
    kind: str
    repository_url: str
    site_url: str
    license: str
    summary: str
    technology_readiness: int = 0
    documentation_readiness: int = 0
    bom_url: str = ""
    team: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Picture:
    """A file in the folder of pictures, and what it shows."""

    file: str
    alt: str

    def read(self) -> bytes:
        """Its bytes."""
        return (PICTURES / self.file).read_bytes()


@dataclass(frozen=True)
class Backing:
    """A pledge in satoshi. `paid_sats` of 0 is just what was pledged; `reward` is a number; `comment` comes later."""

    name: str
    message: str
    sats: int
    paid_sats: int = 0
    reward: int | None = None
    comment: str = ""

    @property
    def to_pay_sats(self) -> int:
        """What is paid in fact."""
        return self.paid_sats or self.sats


@dataclass(frozen=True)
class Question:
    """A visitor's question; without an answer it waits."""

    name: str
    text: str
    answer: str = ""


@dataclass(frozen=True)
class Offer:
    """Help for the line `need`. It is accepted with `thanks`, and waits without them."""

    need: int
    amount: int
    name: str
    contact: str
    message: str
    thanks: str = ""


@dataclass(frozen=True)
class Example:
    """A campaign with everything that happens to it.

    `details` are as the API takes them; `delivered` are pieces that are there in the end: number and address.
    """

    title: str
    summary: str
    story: str
    project: Project
    license: str
    goal_sats: int
    pledges: tuple[Backing, ...]
    details: Mapping[str, Any] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()
    updates: tuple[tuple[str, str], ...] = ()
    questions: tuple[Question, ...] = ()
    offers: tuple[Offer, ...] = ()
    delivered: tuple[tuple[int, str], ...] = ()
