"""codemeta.json, versions 2.0 to 3.1: software and its authors in JSON-LD, read as the plain JSON that it is. Pure.

No context is ever fetched, so that terms are known by the names which the standard's own context gives them.
"""

from __future__ import annotations

import re

from crowdfund.projects.manifests import prefill as p
from crowdfund.projects.manifests.licensing import joined_license
from crowdfund.projects.manifests.prefill import Found, Output, Prefill
from crowdfund.projects.manifests.spot import Spot, beginning, unique
from crowdfund.projects.manifests.tree import Node, Number

VERSIONS = ("2.0", "3.0", "3.1")
STAGES = ("concept", "wip", "suspended", "abandoned", "active", "inactive", "unsupported", "moved")
"""The words of repostatus.org."""

_CONTEXT = re.compile(r"codemeta[-/]v?(\d+(?:\.\d+)?)", re.IGNORECASE | re.ASCII)
_KINDS = {"SoftwareSourceCode": "software", "SoftwareApplication": "software", "Dataset": "data"}


def is_codemeta(tree: dict[str, Node]) -> bool:
    """Does it look like one, whatever it is called?"""
    context = tree.get("@context")
    contexts = [str(entry) for entry in (context if isinstance(context, list) else [context])]
    software = tree.get("@type", tree.get("type")) in ("SoftwareSourceCode", "SoftwareApplication")
    return any("codemeta" in entry.casefold() for entry in contexts) or ("@context" in tree and software)


def fill(root: Spot, chosen: int | None) -> Prefill:
    """Everything that can be read."""
    title = root.first("name", "title").line(p.TITLE_LIMIT)
    description = root["description"].text(p.DESCRIPTION_LIMIT)
    repository = _address(root["codeRepository"])
    license_ = joined_license([_named(spot, "@id", "url", "identifier", "name") for spot in root["license"].each()],
                              root["license"])  # fmt: skip
    output = Output(
        title.value if title else "", license_.value if license_ else "", repository.value if repository else ""
    )
    return Prefill(
        "codemeta.json",
        _version(root),
        title=title,
        summary=beginning(description),
        description=description,
        repository_url=repository,
        site_url=_address(root["url"]),
        license=license_,
        kind=_kind(root.first("@type", "type")),
        stage=_stage(root["developmentStatus"]),
        outputs=(root.first("name", "title").found(output),) if title else (),
        tags=_tags(root["keywords"]),
        forks_of=unique([url for spot in root["isBasedOn"].each() if (url := _address(spot))]),
        funding_hints=_funding(root),
        maintainers=_people(root),
    )


def _version(root: Spot) -> str:
    versions = [
        found[1]
        for spot in root["@context"].each()
        if isinstance(spot.value, str) and (found := _CONTEXT.search(spot.value))
    ]
    version = (versions[0] if versions else "")[: p.VERSION_LIMIT]
    if version not in VERSIONS:
        root.log.warn(f"Version “{version or 'none'}” of codemeta.json is not known here; it was read like 3.1.")
    return version


def _named(spot: Spot, *keys: str) -> Spot:
    """A thing of JSON-LD by one of its names: it may be a text or a group."""
    return spot.first(*keys) if isinstance(spot.value, dict) else spot


def _address(spot: Spot) -> Found[str] | None:
    return _named(next(spot.each(), spot), "@id", "url", "codeRepository").url()


def _kind(type_: Spot) -> Found[str] | None:
    for spot in type_.each():
        if kind := _KINDS.get(spot.raw().rpartition(":")[2].rpartition("/")[2]):
            return spot.found(kind)
    return None


def _stage(status: Spot) -> Found[str] | None:
    """A word of repostatus.org, or the address of one."""
    place = _named(next(status.each(), status), "@id", "name")
    word = place.raw().rpartition("#")[2].rpartition("/")[2].casefold()
    if word in ("abandoned", "unsupported", "moved"):
        place.log.warn(f"The file says that the software is {word}.")
    return place.found(word) if word in STAGES else None


def _tags(keywords: Spot) -> tuple[Found[str], ...]:
    """A list, or one text with commas."""
    if isinstance(keywords.value, str) and not isinstance(keywords.value, Number):
        words = [Spot(word, keywords.at, keywords.log).line(p.TAG_LIMIT) for word in keywords.value.split(",")]
        return unique([word for word in words if word])
    return keywords.lines(p.TAG_LIMIT)


def _funding(root: Spot) -> tuple[Found[str], ...]:
    found = [root["funding"].line(p.HINT_LIMIT)] if isinstance(root["funding"].value, str) else []
    for spot in root["funder"].each():
        name = _named(spot, "name").line(p.NAME_LIMIT)
        found.append(Found(f"Funded by {name.value}", name.source) if name else None)
    return unique([hint for hint in found if hint])


def _people(root: Spot) -> tuple[Found[str], ...]:
    """Maintainers, and authors where the file names no maintainer."""
    found = [_person(spot) for spot in root["maintainer"].each()] or [_person(spot) for spot in root["author"].each()]
    return unique([name for name in found if name])


def _person(spot: Spot) -> Found[str] | None:
    if not isinstance(spot.value, dict):
        return None if "://" in spot.raw() else spot.line(p.NAME_LIMIT)
    if spot["name"]:
        return _named(next(spot["name"].each(), spot["name"]), "@value").line(p.NAME_LIMIT)
    names = " ".join(spot[key].raw() for key in ("givenName", "familyName")).strip()
    return Spot(names, spot.at, spot.log).line(p.NAME_LIMIT)
