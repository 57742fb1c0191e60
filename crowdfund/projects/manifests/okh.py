"""Open Know-How: hardware and its documentation, version 1 and the later ones of LOSH up to 2.4. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from crowdfund.plain_text import shortened
from crowdfund.projects.manifests import prefill as p
from crowdfund.projects.manifests.licensing import joined_license, one_license
from crowdfund.projects.manifests.prefill import Found, Output, Prefill
from crowdfund.projects.manifests.spot import Spot, beginning, unique, web_address
from crowdfund.projects.manifests.tree import Node

_V1, _V2 = re.compile(r"1(\.0){0,2}"), re.compile(r"(OKH-LOSH)?v?(1\.0|2\.[0-4])(\.\d+)?", re.ASCII)
_LEVEL = re.compile(r"(?:.*[/#])?(OTRL|ODRL)-([1-6])(\*?)")
_MAIL = re.compile(r"\s*[<(\[]?[^\s<>()\[\]]*@[^\s<>()\[\]]*[>)\]]?")
_FORGES = {"github.com": "/blob/HEAD/", "gitlab.com": "/-/blob/HEAD/"}
_REPOSITORY = re.compile(r"https?://([^/]+)(/[^/?#]+){2,}/?")
_PATH = re.compile(r"(?!/)(?!.*\.\.)[A-Za-z0-9 ._~()+,@/-]{1,200}")
_V1_PARTS = {
    "design-files": ("Design files", "hardware"),
    "schematics": ("Schematics", "hardware"),
    "manufacturing-files": ("Files for making it", "hardware"),
    "making-instructions": ("Instructions for making it", "documentation"),
    "operating-instructions": ("Instructions for using it", "documentation"),
    "maintenance-instructions": ("Instructions for keeping it working", "documentation"),
    "software": ("Software", "software"),
}
_V2_PARTS = {
    "source": "Design files",
    "export": "Exported files",
    "manufacturing-instructions": "Instructions for making it",
    "user-manual": "Instructions for using it",
}
_V2_KEYS = frozenset(
    {
        "$schema", "okhv", "name", "repo", "license", "licensor", "function", "documentation-language", "version",
        "fork-of", "forkOf", "organization", "release", "readme", "contribution-guide", "technology-readiness-level",
        "documentation-readiness-level", "attestation", "publication", "standard-compliance", "cpc-patent-class",
        "tsdc", "bom", "rdf", "outer-dimensions", "mass", "image", "part", "software", "auxiliary", "sub-parts",
        "keywords", "timestamp", "data-sources", "printing-process", "material", "component-sides", "2d-size-mm",
        *_V2_PARTS,
    }
)  # fmt: skip


def is_okh(tree: dict[str, Node]) -> bool:
    """Does it look like one, whatever it is called?"""
    license_, links = tree.get("license"), {"project-link", "documentation-home", "licensor"}
    return bool({"okhv", "okh-manifest-version"} & tree.keys()) or (
        "title" in tree and isinstance(license_, dict) and bool(links & tree.keys())
    )


def fill(root: Spot, chosen: int | None) -> Prefill:
    """Everything that can be read, by the version that the file is of."""
    return _later(root) if root["okhv"] or (root["name"] and not root["title"]) else _first(root)


def _later(root: Spot) -> Prefill:
    root.unknown(_V2_KEYS)
    repository = root["repo"].url()
    license_ = one_license(root["license"])
    description = root["function"].text(p.DESCRIPTION_LIMIT)
    return Prefill(
        "OKH",
        _version(root["okhv"], _V2, "2.4"),
        title=root["name"].line(p.TITLE_LIMIT),
        summary=beginning(description),
        description=description,
        repository_url=repository,
        license=license_,
        kind=root.first("okhv", "name").found("hardware"),
        technology_readiness=_level(root["technology-readiness-level"], "OTRL", 6),
        documentation_readiness=_level(root["documentation-readiness-level"], "ODRL", 4),
        outputs=_later_outputs(root, license_, repository),
        tags=root["keywords"].lines(p.TAG_LIMIT),
        bom_urls=_files(root["bom"], repository),
        forks_of=unique([url for spot in root.first("fork-of", "forkOf").each() if (url := spot.url())]),
        maintainers=_people(root["licensor"], root["organization"]),
    )


def _first(root: Spot) -> Prefill:
    link, home = root["project-link"].url(), root["documentation-home"]
    documents = home.url() if web_address(home.raw()) else None
    description = root["description"].text(p.DESCRIPTION_LIMIT)
    licenses = {key: one_license(root["license"][key]) for key in ("hardware", "documentation", "software")}
    spots = [root["license"][key] for key, found in licenses.items() if found]
    return Prefill(
        "OKH",
        _version(root["okh-manifest-version"], _V1, "1.0"),
        title=root["title"].line(p.TITLE_LIMIT),
        summary=beginning(description),
        description=description,
        repository_url=link or documents,
        site_url=documents if link else None,
        license=joined_license(spots, root["license"]),
        kind=root.first("okh-manifest-version", "title").found("hardware"),
        stage=root["development-stage"].line(p.STAGE_LIMIT),
        outputs=unique(list(_first_outputs(root, licenses, link or documents))),
        tags=root["keywords"].lines(p.TAG_LIMIT),
        bom_urls=_files(root["bom"], link or documents),
        forks_of=_parents(root),
        maintainers=_people(root["licensor"], root["contact"], root["contributors"]),
    )


def _version(spot: Spot, known: re.Pattern[str], like: str) -> str:
    version = spot.raw()[: p.VERSION_LIMIT]
    if not known.fullmatch(version):
        spot.log.warn(f"Version “{version or 'none'}” of OKH is not known here; it was read like {like}.")
    return version


def _level(spot: Spot, scale: str, most: int) -> Found[int] | None:
    """OTRL-3 or ODRL-2, also as an address; ODRL-3* is 3 with an audit."""
    if not (text := spot.raw()):
        return None
    level = _LEVEL.fullmatch(text[: p.URL_LIMIT])
    if not level or level[1] != scale or int(level[2]) > most:
        spot.log.warn(f"“{spot.at}” is none of {scale}-1 to {scale}-{most}, so it was left out.")
        return None
    return spot.found(int(level[2]))


def _file(spot: Spot, repository: Found[str] | None) -> Found[str] | None:
    """A web address, or that of a file in a repository on a forge whose addresses are known."""
    text = spot.raw()
    if not text or web_address(text):
        return spot.url() if text else None
    place = _REPOSITORY.fullmatch(repository.value) if repository else None
    if place and repository and place[1] in _FORGES and ":" not in text and _PATH.fullmatch(text):
        base = repository.value.rstrip("/").removesuffix(".git")
        address = base + _FORGES[place[1]] + text.removeprefix("./").replace(" ", "%20")
        return spot.found(address) if web_address(address) else None
    return None


def _files(place: Spot, repository: Found[str] | None) -> tuple[Found[str], ...]:
    found = []
    for spot in place.each():
        if url := _file(spot, repository):
            found.append(url)
        elif spot.raw():
            spot.log.warn(f"“{spot.at}” names a file of the project; give its full web address yourself.")
    return unique(found)


def _url_of(spot: Spot, repository: Found[str] | None) -> str:
    file = _file(spot, repository)
    return file.value if file else ""


def _later_outputs(root: Spot, license_: Found[str] | None, repository: Found[str] | None) -> tuple[Found[Output], ...]:
    terms = license_.value if license_ else ""
    found = []
    for key, name in _V2_PARTS.items():
        if first := next(root[key].each(), None):
            found.append(root[key].found(Output(name, terms, _url_of(first, repository))))
    for part in root["part"].each():
        source = part.first("source", "export")
        if name_ := part["name"].line(p.NAME_LIMIT):
            found.append(part.found(Output(name_.value, terms, _url_of(next(source.each(), source), repository))))
    for software in root["software"].each():
        if url := _file(software["release"], repository):
            found.append(software.found(Output("Software", "", url.value)))
    return unique(found)


def _first_outputs(
    root: Spot, licenses: dict[str, Found[str] | None], repository: Found[str] | None
) -> Iterator[Found[Output]]:
    for key, (name, kind) in _V1_PARTS.items():
        license_ = licenses[kind]
        for spot in root[key].each():
            title = spot["title"].line(p.NAME_LIMIT)
            url = _url_of(spot["path"], repository)
            yield spot.found(Output(title.value if title else name, license_.value if license_ else "", url))


def _parents(root: Spot) -> tuple[Found[str], ...]:
    found = [
        parent.first("web", "manifest").url()
        for key in ("derivative-of", "variant-of")
        for parent in root[key].each()
        if isinstance(parent.value, dict)
    ]
    return unique([url for url in found if url])


def _people(*places: Spot) -> tuple[Found[str], ...]:
    """Names without mail addresses, which nobody needs here."""
    found = []
    for spot in (spot for place in places for spot in place.each()):
        name = (spot["name"] if isinstance(spot.value, dict) else spot).line(p.HINT_LIMIT)
        text = _MAIL.sub("", name.value).strip(" ,;") if name else ""
        if name and any(character.isalnum() for character in text):
            found.append(Found(shortened(text, p.NAME_LIMIT), name.source))
    return unique(found)
