"""What files of a project have to offer to the forms of a project and of a campaign, each value with where it was.

From an address, or from a file that was sent. Files of strangers only ever propose: who fills in the form takes what is
right. Does not fetch by itself and stores nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from crowdfund.errors import UserError, WorldError
from crowdfund.plain_text import shortened
from crowdfund.projects.forges import FILES, MANIFEST_URLS, bounded, candidates, gather, places
from crowdfund.projects.manifests import Choice, Found, Prefill, Refused, read_manifest
from crowdfund.projects.urls import STRICT, Fetch, Fetched, NoFile, Rules

ENDINGS = (".json", ".toml", ".yml", ".yaml")
POINTER = "funding-manifest-urls"
POINTER_LINES = 100
DIRECT_S = 10.0
LINE_LIMIT = 120
URL_LIMIT = 300

# where a value goes -> what that is called; the order is that of the page
LABELS = {
    "project.name": "Name of the project",
    "project.summary": "What it is",
    "project.kind": "Kind",
    "project.repository_url": "Repository",
    "project.site_url": "Site",
    "project.license": "Licence",
    "project.forks_of": "Forked from",
    "project.technology_readiness": "Technology readiness",
    "project.documentation_readiness": "Documentation readiness",
    "project.bom_url": "Bill of materials",
    "campaign.title": "Title of the campaign",
    "campaign.summary": "In one line",
    "campaign.story": "The story",
    "campaign.about": "Who we are",
    "campaign.license": "Licence of the result",
    "campaign.project_url": "Project link",
    "lines.deliverables": "Becomes open",
    "lines.budget": "Line of the budget",
}
# Of these, several can be taken; of all others one.
SEVERAL = frozenset(("campaign.about", "lines.deliverables", "lines.budget"))
# The person decides: a campaign is seldom called like its project, and a cost in another currency is none here yet.
LEFT_TO_ASK = frozenset(("campaign.title", "lines.budget"))


@dataclass(frozen=True)
class Offer:
    """A value for a field. `license` and `url` are those of a piece that becomes open; `taken` is the tick at it."""

    key: str
    value: str
    source: str
    taken: bool = False
    license: str = ""
    url: str = ""

    @property
    def part(self) -> str:
        """`project`, `campaign` or `lines`."""
        return self.key.partition(".")[0]

    @property
    def field(self) -> str:
        """The name of the field in its form."""
        return self.key.partition(".")[2]

    @property
    def label(self) -> str:
        """What the field is called."""
        return LABELS[self.key]

    @property
    def shown(self) -> str:
        """The value as people read it."""
        scales = {"technology_readiness": "OTRL-", "documentation_readiness": "ODRL-"}
        return scales.get(self.field, "") + self.value


@dataclass(frozen=True)
class Told:
    """All that the files say. `asides` have no field here; `choices` are the projects of a file that has several."""

    offers: tuple[Offer, ...]
    asides: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()
    warnings: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    files: tuple[str, ...] = ()


def from_file(name: str, data: bytes, which: int | None = None) -> Told:
    """What a file that was sent says; `which` of its projects, where it has several. Raises UserError."""
    filled = read_manifest(name, data, which)
    return _told([filled], [filled.format], [])


def from_address(address: str, fetch: Fetch, rules: Rules = STRICT, which: int | None = None) -> Told:
    """What the files of the project at this address say. Raises UserError, at `address`, and WorldError."""
    address = address.strip()
    if address and "://" not in address:
        address = f"https://{address}"
    filled, names, troubles = list[Prefill](), list[str](), list[str]()
    for file in _files(address, fetch, rules, troubles):
        name = _name(file.url)
        try:
            filled.append(read_manifest(name, file.body, which))
            names.append(file.url)
        except UserError as error:
            troubles.append(f"{name}: {error.sentence}")
    if not filled:
        raise UserError(" ".join(troubles) or _nothing(address, rules), "address")
    told = _told(filled, names, troubles)
    return told if told.choices else replace(told, offers=(*_itself(told.offers, address, rules), *told.offers))


def marked(offers: Iterable[Offer], current: Mapping[str, str]) -> tuple[Offer, ...]:
    """The offers with ticks: at the first for each field that is empty now. What is there already is not offered."""
    found, ticked = list[Offer](), set[str]()
    for offer in offers:
        before = current.get(offer.key, "")
        if offer.key not in SEVERAL and offer.value == before:
            continue
        free = offer.key in SEVERAL or not (before or offer.key in ticked)
        taken = free and offer.key not in LEFT_TO_ASK and offer.value not in before.split("\n\n")
        ticked |= {offer.key} if taken else set()
        found.append(replace(offer, taken=taken))
    return tuple(found)


def one_of_each(offers: Iterable[Offer]) -> dict[str, list[Offer]]:
    """What is ticked, by field. Raises UserError where a field of one value has two."""
    ticked: dict[str, list[Offer]] = {}
    for offer in offers:
        if offer.taken:
            ticked.setdefault(offer.key, []).append(offer)
    for key, found in ticked.items():
        if len(found) > 1 and key not in SEVERAL:
            raise UserError(f"You have ticked {len(found)} values for “{LABELS[key]}”; only one of them fits.", key)
    return ticked


def _files(address: str, fetch: Fetch, rules: Rules, troubles: list[str]) -> list[Fetched]:
    """The files to read. What has only gone wrong beside them goes to `troubles`."""
    found = gather(address, fetch, rules)
    pointer = found.pop(POINTER, None)
    if "funding.json" not in found and pointer is not None:
        found |= _pointed(pointer, bounded(fetch, DIRECT_S), troubles)
    if not found and address.partition("?")[0].lower().endswith(ENDINGS):
        try:
            found["file"] = bounded(fetch, DIRECT_S)(address)
        except NoFile as error:
            troubles.append(error.sentence)
    return list(found.values())


def _pointed(pointer: Fetched, fetch: Fetch, troubles: list[str]) -> dict[str, Fetched]:
    """The manifest elsewhere that a project names; the first one, if there are more."""
    lines = pointer.body.decode("utf-8", "replace").split("\n", POINTER_LINES)[:POINTER_LINES]
    url = next((line.strip() for line in lines if line.strip().startswith(("https://", "http://"))), "")
    try:
        return {"funding.json": fetch(url)} if url else {}
    except (UserError, WorldError) as error:
        troubles.append(f"{MANIFEST_URLS} names a manifest elsewhere. {error.sentence}")
        return {}


def _name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2] or url


def _nothing(address: str, rules: Rules) -> str:
    tried = [one.url for one in candidates(address, rules)]
    if not tried:
        return "This address is no repository and no site of a project; give that of the repository itself."
    names = [name for name in FILES if any(url.endswith(f"/{name}") for url in tried)]
    return (
        f"We found no file there that says what the project is. We looked for {', '.join(names)}, the first of them "
        f"at {tried[0]}. If you have one, upload it; or write the fields yourself."
    )


def _itself(offers: Sequence[Offer], address: str, rules: Rules) -> Iterator[Offer]:
    """The address that was given, where no file says where the project is."""
    known = {offer.key for offer in offers} & {"project.repository_url", "project.site_url"}
    if known or len(address) > URL_LIMIT or address.lower().endswith(ENDINGS):
        return
    field = "repository_url" if places(address, rules)[0].repository else "site_url"
    for key in (f"project.{field}", "campaign.project_url"):
        yield Offer(key, address, "the address that you gave")


def _told(filled: Sequence[Prefill], files: list[str], troubles: list[str]) -> Told:
    """All of the files together, the same value once."""
    merged: dict[tuple[str, str, str, str], Offer] = {}
    for offer in sorted((offer for one in filled for offer in _offers(one)), key=lambda o: list(LABELS).index(o.key)):
        same = (offer.key, offer.value, offer.license, offer.url)
        before = merged.get(same)
        source = f"{before.source}; {offer.source}" if before and offer.source not in before.source else offer.source
        merged[same] = replace(offer, source=source)
    return Told(
        offers=tuple(merged.values()),
        asides=tuple(dict.fromkeys(aside for one in filled for aside in _asides(one))),
        refused=tuple(dict.fromkeys(refused for one in filled for refused in one.refused)),
        warnings=tuple(dict.fromkeys([*troubles, *(warning for one in filled for warning in one.warnings)])),
        choices=next((one.choices for one in filled if one.choices), ()),
        files=tuple(files),
    )


def _offers(filled: Prefill) -> Iterator[Offer]:
    singles: tuple[tuple[str, Found[str] | None], ...] = (
        ("project.name", filled.title),
        ("project.summary", filled.summary),
        ("project.kind", filled.kind),
        ("project.repository_url", filled.repository_url),
        ("project.site_url", filled.site_url),
        ("project.license", filled.license),
        ("project.forks_of", next(iter(filled.forks_of), None)),
        ("project.technology_readiness", _text(filled.technology_readiness)),
        ("project.documentation_readiness", _text(filled.documentation_readiness)),
        ("project.bom_url", next(iter(filled.bom_urls), None)),
        ("campaign.title", filled.title),
        ("campaign.summary", filled.summary),
        ("campaign.story", filled.description),
        ("campaign.license", filled.license),
        ("campaign.project_url", filled.repository_url or filled.site_url),
        ("campaign.about", _together(filled.maintainers, lambda names: f"Made by {', '.join(names)}.")),
        ("campaign.about", _together(filled.funding_urls, lambda urls: "Also funded at " + ", ".join(urls) + ".")),
    )
    for key, found in singles:
        if found is not None:
            yield Offer(key, found.value, found.source)
    for piece in filled.outputs:
        yield Offer(
            "lines.deliverables", piece.value.name, piece.source, license=piece.value.license, url=piece.value.url
        )
    for hint in filled.funding_hints:
        yield Offer("lines.budget", shortened(hint.value, LINE_LIMIT), hint.source)


def _text(found: Found[int] | None) -> Found[str] | None:
    return None if found is None else Found(str(found.value), found.source)


def _together(found: Sequence[Found[str]], said: Callable[[list[str]], str]) -> Found[str] | None:
    """Several values as one sentence, with the place of the first."""
    return Found(said([one.value for one in found]), found[0].source) if found else None


def _asides(filled: Prefill) -> Iterator[str]:
    """What the file says that no field asks for."""
    if filled.stage:
        yield f"Stage: {filled.stage.value} ({filled.stage.source})"
    if filled.tags:
        yield f"Tags: {', '.join(tag.value for tag in filled.tags)} ({filled.tags[0].source})"
    for name, more in (("Parts list", filled.bom_urls[1:]), ("Forked from", filled.forks_of[1:])):
        for found in more:
            yield f"{name}: {found.value} ({found.source})"
