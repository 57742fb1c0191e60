"""What was found in a manifest: a frozen value in which each field says where it comes from. Pure.

All texts are clean, of bounded length, and no more than text: HTML in them is for showing, not for following.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

TITLE_LIMIT = 80
SUMMARY_LIMIT = 200
DESCRIPTION_LIMIT = 10_000
URL_LIMIT = 300
LICENSE_LIMIT = 200
STAGE_LIMIT = 40
TAG_LIMIT = 40
NAME_LIMIT = 120
HINT_LIMIT = 200
VERSION_LIMIT = 40
SOURCE_LIMIT = 200
SENTENCE_LIMIT = 400
LIST_LIMIT = 30
"""No list has more entries than this."""

KINDS = ("software", "hardware", "culture", "data")


@dataclass(frozen=True)
class Found(Generic[T]):
    """A value and where it was: “from funding.json, projects[0].name”."""

    value: T
    source: str


@dataclass(frozen=True)
class Output:
    """Something that is or becomes open. `license` and `url` are empty where the file does not say."""

    name: str
    license: str = ""
    url: str = ""


@dataclass(frozen=True)
class Refused:
    """A licence that is not taken over, and why."""

    value: str
    source: str
    sentence: str


@dataclass(frozen=True)
class Choice:
    """One of several projects in one file; `number` counts from 0."""

    number: int
    title: str


@dataclass(frozen=True)
class Prefill:
    """What can go into the form of a campaign and of its project. What the file does not say is None or empty.

    `technology_readiness` is 1 to 6 (OTRL), `documentation_readiness` 1 to 4 (ODRL). `funding_hints` are texts: no
    amount of another currency is turned into bitcoin. `funding_urls` are where else the project asks for money.
    With several projects in the file, `choices` has them all, and the fields of a project stay empty until one is
    asked for.
    """

    format: str
    version: str = ""
    title: Found[str] | None = None
    summary: Found[str] | None = None
    description: Found[str] | None = None
    repository_url: Found[str] | None = None
    site_url: Found[str] | None = None
    license: Found[str] | None = None
    kind: Found[str] | None = None
    stage: Found[str] | None = None
    technology_readiness: Found[int] | None = None
    documentation_readiness: Found[int] | None = None
    outputs: tuple[Found[Output], ...] = ()
    tags: tuple[Found[str], ...] = ()
    bom_urls: tuple[Found[str], ...] = ()
    forks_of: tuple[Found[str], ...] = ()
    funding_hints: tuple[Found[str], ...] = ()
    funding_urls: tuple[Found[str], ...] = ()
    maintainers: tuple[Found[str], ...] = ()
    refused: tuple[Refused, ...] = ()
    choices: tuple[Choice, ...] = ()
    warnings: tuple[str, ...] = ()
