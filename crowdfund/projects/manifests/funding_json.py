"""funding.json, versions 1.0.0 and 1.1.0: who asks for money, for which projects, by which plans. Pure."""

from __future__ import annotations

import re

from crowdfund.errors import UserError
from crowdfund.projects.manifests import prefill as p
from crowdfund.projects.manifests.licensing import joined_license
from crowdfund.projects.manifests.prefill import Choice, Found, Output, Prefill
from crowdfund.projects.manifests.spot import Log, Spot, beginning
from crowdfund.projects.manifests.tree import Node

VERSIONS = ("v1.0.0", "v1.1.0")
MOST = 1_000_000_000
"""The largest amount of a plan, by the standard; in units of its currency."""

_AMOUNT = re.compile(r"\d{1,10}(\.\d{1,8})?", re.ASCII)
_KEYS = frozenset({"$schema", "version", "entity", "projects", "funding"})
_PROJECT_KEYS = frozenset(
    {"guid", "id", "name", "description", "webpageUrl", "repositoryUrl", "licenses", "tags"}
)  # fmt: skip


def is_funding_json(tree: dict[str, Node]) -> bool:
    """Does it look like one, whatever it is called?"""
    funding = tree.get("funding")
    return ("entity" in tree and ("funding" in tree or "projects" in tree)) or (
        isinstance(funding, dict) and ("plans" in funding or "channels" in funding)
    )


def fill(root: Spot, chosen: int | None) -> Prefill:
    """Everything that can be read. `chosen` is the number of the project, where there are several."""
    root.unknown(_KEYS)
    entity, funding = root["entity"], root["funding"]
    projects = [entry for entry in root["projects"].each() if isinstance(entry.value, dict)]
    common = Prefill(
        "funding.json",
        _version(root),
        maintainers=entity["name"].lines(p.NAME_LIMIT),
        funding_hints=_hints(funding["plans"]),
        funding_urls=_addresses(funding["channels"]),
        choices=tuple(Choice(n, _title(entry)) for n, entry in enumerate(projects)) if len(projects) > 1 else (),
    )
    if chosen is not None and not 0 <= chosen < max(1, len(projects)):
        raise UserError(f"This file has {len(projects)} projects; choose one of them.", "project")
    if not projects:
        root.log.warn("The file names no project, so that there is little to fill in.")
        return common
    if len(projects) > 1 and chosen is None:
        root.log.warn(f"The file describes {len(projects)} projects; choose the one that this is for.")
        return common
    return _project(projects[chosen or 0], common)


def _project(project: Spot, common: Prefill) -> Prefill:
    project.unknown(_PROJECT_KEYS)
    title = project["name"].line(p.TITLE_LIMIT)
    description = project["description"].text(p.DESCRIPTION_LIMIT)
    license_ = joined_license(project["licenses"].each(), project["licenses"])
    repository = project["repositoryUrl"]["url"].url()
    outputs: tuple[Found[Output], ...] = ()
    if title:
        output = Output(title.value, license_.value if license_ else "", repository.value if repository else "")
        outputs = (project.found(output),)
    return Prefill(
        common.format,
        common.version,
        title=title,
        summary=beginning(description),
        description=description,
        repository_url=repository,
        site_url=project["webpageUrl"]["url"].url(),
        license=license_,
        outputs=outputs,
        tags=project["tags"].lines(p.TAG_LIMIT),
        funding_hints=common.funding_hints,
        funding_urls=common.funding_urls,
        maintainers=common.maintainers,
        choices=common.choices,
    )


def _version(root: Spot) -> str:
    version = root["version"].raw()[: p.VERSION_LIMIT]
    if version and version not in VERSIONS:
        root.log.warn(f"Version “{version}” of funding.json is not known here; it was read like {VERSIONS[-1]}.")
    return version


def _title(project: Spot) -> str:
    name = Spot(project.value, project.at, Log("")).first("name", "guid", "id").line(p.TITLE_LIMIT)
    return name.value if name else project.at


def _hints(plans: Spot) -> tuple[Found[str], ...]:
    hints = [hint for plan in plans.each() if (hint := _hint(plan))]
    if hints:
        plans.log.warn("Amounts in other currencies are not turned into bitcoin; the goal is yours to set.")
    return tuple(hints)


def _hint(plan: Spot) -> Found[str] | None:
    """A plan as a text: “Server: 500 USD, monthly”. Plans that are not active say nothing of what is needed."""
    if plan["status"].raw() == "inactive":
        return None
    name, currency = plan["name"].raw(), plan["currency"].raw()
    amount = _amount(plan["amount"])
    if not amount or not name:
        return None
    cost = "any amount" if amount == "0" else f"{amount} {currency[:3]}".strip()
    often = plan["frequency"].raw()[:20]
    return plan.found(f"{name[: p.NAME_LIMIT]}: {cost}" + (f", {often}" if often else ""))


def _amount(spot: Spot) -> str:
    text = spot.raw()
    if _AMOUNT.fullmatch(text) and int(text.partition(".")[0]) <= MOST:
        return text if text.strip("0.") else "0"
    if text:
        spot.log.warn(f"“{spot.at}” is not an amount from 0 to {MOST:,}, so it was left out.")
    return ""


def _addresses(channels: Spot) -> tuple[Found[str], ...]:
    """The addresses of channels that are pages. Others (accounts, mail addresses) are nobody's business here."""
    entries = list(channels.each())
    if entries:
        channels.log.warn("Payment channels were not taken over: the payout goes to the address that you type.")
    found = []
    for channel in entries:
        address = channel["address"]
        if address.raw().startswith(("http://", "https://")) and (url := address.url()):
            found.append(url)
    return tuple(found)
