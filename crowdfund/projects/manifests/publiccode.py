"""publiccode.yml, versions 0.2 to 0.7: software for the public. Pure."""

from __future__ import annotations

import re

from crowdfund.projects.manifests import prefill as p
from crowdfund.projects.manifests.licensing import one_license
from crowdfund.projects.manifests.prefill import Found, Output, Prefill
from crowdfund.projects.manifests.spot import Spot, beginning, unique
from crowdfund.projects.manifests.tree import Node

STAGES = ("concept", "development", "beta", "stable", "obsolete")

_KNOWN_VERSION = re.compile(r"0(\.[2-7](\.\d+)?)?", re.ASCII)
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_KEYS = frozenset(
    {
        "publiccodeYmlVersion", "name", "applicationSuite", "url", "landingURL", "isBasedOn", "softwareVersion",
        "releaseDate", "logo", "monochromeLogo", "inputTypes", "outputTypes", "platforms", "categories", "usedBy",
        "fundedBy", "roadmap", "developmentStatus", "softwareType", "intendedAudience", "description", "legal",
        "maintenance", "localisation", "dependsOn", "organisation", "supports", "it", "de", "fr", "nl",
        "publiccode-yaml-version", "tags",
    }
)  # fmt: skip


def is_publiccode(tree: dict[str, Node]) -> bool:
    """Does it look like one, whatever it is called?"""
    return "publiccodeYmlVersion" in tree or "publiccode-yaml-version" in tree


def fill(root: Spot, chosen: int | None) -> Prefill:
    """Everything that can be read, in English where the file has English."""
    root.unknown(_KEYS)
    words = _language(root["description"])
    title = root["name"].line(p.TITLE_LIMIT) or words["localisedName"].line(p.TITLE_LIMIT)
    description = words["longDescription"].text(p.DESCRIPTION_LIMIT)
    repository, license_ = root["url"].url(), one_license(root["legal"]["license"])
    return Prefill(
        "publiccode.yml",
        _version(root),
        title=title,
        summary=words["shortDescription"].line(p.SUMMARY_LIMIT) or beginning(description),
        description=description,
        repository_url=repository,
        site_url=root["landingURL"].url(),
        license=license_,
        kind=root.first("softwareType", "publiccodeYmlVersion", "name").found("software"),
        stage=_stage(root["developmentStatus"]),
        outputs=_outputs(root, title, license_, repository, words),
        tags=root.first("categories", "tags").lines(p.TAG_LIMIT),
        forks_of=unique([url for spot in root["isBasedOn"].each() if (url := spot.url())]),
        maintainers=_people(root),
    )


def _version(root: Spot) -> str:
    version = root.first("publiccodeYmlVersion", "publiccode-yaml-version").raw()[: p.VERSION_LIMIT]
    if not _KNOWN_VERSION.fullmatch(version):
        root.log.warn(f"Version “{version or 'none'}” of publiccode.yml is not known here; it was read like 0.7.")
    return version


def _language(description: Spot) -> Spot:
    """The texts in English, else in the first language that the file has."""
    names = [name for name in description.names() if _LANGUAGE.fullmatch(name)]
    english = [name for name in names if name.casefold() in ("en", "eng") or name.casefold().startswith("en-")]
    if not names:
        return description["en"]
    if not english:
        description.log.warn(f"The file has no English description; the one in “{names[0][:40]}” was taken.")
    elif len(names) > 1:
        description.log.warn(f"The file has {len(names)} languages; the English texts were taken.")
    return description[(english or names)[0]]


def _stage(status: Spot) -> Found[str] | None:
    word = status.raw()
    if word and word not in STAGES:
        status.log.warn(f"“{status.at}” is none of {', '.join(STAGES)}, so it was left out.")
    elif word == "obsolete":
        status.log.warn("The file says that this software is no longer maintained.")
    return status.found(word) if word in STAGES else None


def _outputs(
    root: Spot, title: Found[str] | None, license_: Found[str] | None, repository: Found[str] | None, words: Spot
) -> tuple[Found[Output], ...]:
    found = []
    if title:
        output = Output(title.value, license_.value if license_ else "", repository.value if repository else "")
        found.append(root["name"].found(output))
    if manual := words["documentation"].url():
        found.append(words["documentation"].found(Output("Documentation", "", manual.value)))
    return tuple(found)


def _people(root: Spot) -> tuple[Found[str], ...]:
    maintenance = root["maintenance"]
    names = [
        contact["name"].line(p.NAME_LIMIT) for key in ("contacts", "contractors") for contact in maintenance[key].each()
    ]
    owners = root["legal"]["mainCopyrightOwner"].line(p.NAME_LIMIT), root["organisation"]["name"].line(p.NAME_LIMIT)
    return unique([name for name in (*names, *owners) if name])
