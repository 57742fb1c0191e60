"""The details of a campaign: what becomes open, what the money pays for, rewards, help wanted, risks, pictures. Pure.

They are one canonical JSON text; terms of version 3 hold its SHA-256, so they are as frozen as the terms themselves. A
draft's details may have gaps, which `detail_checks` tells of; here is only the form, and `parse` asks for every byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Any, TypeVar

from crowdfund.campaigns.terms import canonical_json

VERSION = 1
LENGTH_LIMIT = 500_000

PLANNED, THERE = "planned", "there"
STATES = (PLANNED, THERE)
BUDGET_KINDS = ("task", "material", "infrastructure")
NEEDED, OPTIONAL = "needed", "optional"
BUDGET_NEEDS = (NEEDED, OPTIONAL)
HELP_KINDS = ("skill", "tool", "time")

T = TypeVar("T")


@dataclass(frozen=True)
class Deliverable:
    """Something that becomes open. `url` is where it is, or will be; `state` how it was when the terms froze."""

    title: str = ""
    license: str = ""
    url: str = ""
    state: str = PLANNED


@dataclass(frozen=True)
class BudgetLine:
    """What some of the money pays for. `need`: without a needed line there is no project, an optional one makes it
    better."""

    title: str = ""
    kind: str = "task"
    need: str = NEEDED
    sats: int = 0


@dataclass(frozen=True)
class Reward:
    """What a backer gets for a pledge of `minimum_sats` or more. `stock` of 0 is as many as are asked for."""

    title: str = ""
    text: str = ""
    minimum_sats: int = 0
    stock: int = 0


@dataclass(frozen=True)
class Return:
    """What everybody gets, backer or not, under an open licence."""

    title: str = ""
    text: str = ""
    license: str = ""


@dataclass(frozen=True)
class Need:
    """Help that is not money: `amount` of `unit`, such as 3 people, 2 lathes, 40 hours."""

    title: str = ""
    kind: str = "skill"
    amount: int = 1
    unit: str = "people"


@dataclass(frozen=True)
class ProjectFacts:
    """The project as it was when the terms froze. Readiness levels of 0 are not given."""

    name: str = ""
    kind: str = ""
    repository_url: str = ""
    site_url: str = ""
    license: str = ""
    forks_of: str = ""
    technology_readiness: int = 0
    documentation_readiness: int = 0
    bom_url: str = ""


@dataclass(frozen=True)
class PictureFact:
    """A picture: the SHA-256 of its widest file in hex, which is its address on the site, too, and what it shows."""

    sha256: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Details:
    """All of it. The order of the lines is part of it: a reward or a need is known by its number, from 0. Project and
    pictures are added when the details freeze."""

    deliverables: tuple[Deliverable, ...] = ()
    budget: tuple[BudgetLine, ...] = ()
    rewards: tuple[Reward, ...] = ()
    returns: tuple[Return, ...] = ()
    needs: tuple[Need, ...] = ()
    risks: str = ""
    about: str = ""
    project: ProjectFacts = ProjectFacts()
    pictures: tuple[PictureFact, ...] = ()

    def canonical(self) -> str:
        """The JSON text whose UTF-8 bytes are hashed. Where there are no pictures it does not speak of them."""
        value = {"version": VERSION, **asdict(self)}
        if not self.pictures:
            del value["pictures"]
        return canonical_json(value)

    @property
    def sha256(self) -> str:
        """Of the canonical text, in hex."""
        return sha256(self.canonical().encode()).hexdigest()

    @property
    def minimum_sats(self) -> int:
        """What the needed lines come to; 0 where there is no budget."""
        return sum(line.sats for line in self.budget if line.need == NEEDED)

    @property
    def optimum_sats(self) -> int:
        """What all lines come to."""
        return sum(line.sats for line in self.budget)

    @classmethod
    def parse(cls, text: str) -> Details:
        """Read canonical JSON back; no text at all is no details. Raises ValueError for any other text."""
        if not text:
            return cls()
        try:
            details = _details(json.loads(text))
            same = details.canonical() == text
        except (AttributeError, TypeError, RecursionError) as error:
            raise ValueError(f"not the details of a campaign: {error}") from error
        if not same:
            raise ValueError("the details are not in canonical form")
        return details


LINES: Mapping[str, type[Any]] = {
    "deliverables": Deliverable,
    "budget": BudgetLine,
    "rewards": Reward,
    "returns": Return,
    "needs": Need,
}


def line_of(kind: type[T], values: Mapping[str, object]) -> T:
    """A line from its values; what is not given is as the class has it. Raises ValueError for a wrong name or type."""
    wanted = {field.name: {"str": str, "int": int}[str(field.type)] for field in fields(kind)}  # type: ignore[arg-type]
    for name, value in values.items():
        if type(value) is not wanted.get(name):
            raise ValueError(f"“{str(name)[:40]}” does not belong there, or has another type")
    return kind(**values)


def _details(value: Mapping[str, Any]) -> Details:
    if type(value.get("version")) is not int or value["version"] != VERSION:
        raise ValueError("the details are of another version")
    if value.keys() | {"pictures"} != {"version", *(field.name for field in fields(Details))}:
        raise ValueError("the details lack something, or have more than belongs there")
    if not all(isinstance(value[name], str) for name in ("risks", "about")):
        raise ValueError("risks and about are texts")
    lines = {name: tuple(line_of(kind, each) for each in value[name]) for name, kind in LINES.items()}
    project = line_of(ProjectFacts, value["project"])
    pictures = tuple(line_of(PictureFact, each) for each in value.get("pictures", ()))
    return Details(risks=value["risks"], about=value["about"], project=project, pictures=pictures, **lines)
