"""What a site says of itself and of its campaigns to others: its funding.json, and snippets for repositories. Pure.

The format knows no bitcoin: a currency is one of ISO 4217, a channel is a bank, a payment provider, a cheque, cash or
something else. So each campaign is a channel of type `other` whose address is its page, and a plan of amount 0, which
by the standard means any amount, so that the currency beside it says nothing. The goal in satoshi stands in words. The
code for no currency, XXX, would be truer, but directories refuse it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from crowdfund.errors import NotFound, UserError
from crowdfund.plain_text import one_line
from crowdfund.projects.manifests.spot import web_address

VERSION = "v1.1.0"
SCHEMA = f"https://fundingjson.org/schema/{VERSION}.json"
PLACEHOLDER_CURRENCY = "USD"

# Of the standard. Its own checker counts bytes, and counts less tightly than the text of the standard does.
NAME_BYTES = 250
DESCRIPTION_BYTES = 2_000
PLAN_DESCRIPTION_BYTES = 500
URL_BYTES = 250
GUID_LIMIT = 32
PROJECTS_LIMIT = 30
LICENSES_LIMIT = 5
TAGS_LIMIT = 10
TAG_BYTES = 32

LABEL_LIMIT = 120

_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_ASCIIDOC_MARKS = re.compile(r"[^\w\s.,:;!?()+–…“”’€&%/-]|_")
_UNSAFE = re.compile(r"[^A-Za-z0-9:/?#@!$&+,;=%~._-]")


@dataclass(frozen=True)
class Instance:
    """The site and who runs it. `entity_type` is individual, group, organisation or other."""

    name: str
    email: str
    description: str
    url: str
    entity_type: str = "organisation"


@dataclass(frozen=True)
class PublishedCampaign:
    """A campaign for others to find. `id` is what tells it from others for ever.

    `url` is its page, `repository_url` the project's; amounts in satoshi. `well_known_url` is where the repository has
    the address of our manifest; empty where that is not proven.
    """

    id: str
    title: str
    summary: str
    url: str
    repository_url: str
    license: str
    goal_sats: int
    deadline: str
    is_open: bool
    tags: tuple[str, ...] = ()
    well_known_url: str = ""


@dataclass(frozen=True)
class Snippets:
    """The same badge, with its link, for four languages of readme files."""

    markdown: str
    html: str
    asciidoc: str
    restructuredtext: str


def funding_json(instance: Instance, campaigns: Sequence[PublishedCampaign]) -> dict[str, Any]:
    """The site's manifest by version 1.1.0, open campaigns first. Raises NotFound where there is no campaign at all.

    Raises ValueError where the instance itself is not described well enough for the standard.
    """
    if not campaigns:
        raise NotFound("There is no campaign here yet that a manifest could tell of.")
    told = sorted(campaigns, key=lambda campaign: not campaign.is_open)[:PROJECTS_LIMIT]
    named: dict[str, PublishedCampaign] = {}
    for campaign in told:
        named[_guid(campaign.id, named)] = campaign
    return {
        "$schema": SCHEMA,
        "version": VERSION,
        "entity": _entity(instance),
        "projects": [_project(guid, campaign) for guid, campaign in named.items()],
        "funding": {
            "channels": [_channel(guid, campaign) for guid, campaign in named.items()],
            "plans": [_plan(guid, campaign) for guid, campaign in named.items()],
        },
    }


def funding_yml_snippet(url: str) -> str:
    """What goes into `.github/FUNDING.yml` so that the repository links a campaign. Raises UserError."""
    return f'custom: ["{_safe(url)}"]\n'


def readme_badge_snippet(title: str, badge_url: str, campaign_url: str) -> Snippets:
    """The badge of a campaign, linked to its page. Raises UserError for what is no web address."""
    badge, page = _safe(badge_url), _safe(campaign_url)
    label = one_line(title)[:LABEL_LIMIT] or "Campaign"
    markdown = re.sub(r"([\\`*_{}\[\]()#+!|<>&~])", r"\\\1", label)
    asciidoc = one_line(_ASCIIDOC_MARKS.sub(" ", label)) or "Campaign"
    plain = label.replace("\\", "/")
    return Snippets(
        markdown=f"[![{markdown}]({badge})]({page})\n",
        html=f'<a href="{html.escape(page)}"><img src="{html.escape(badge)}" alt="{html.escape(label)}"></a>\n',
        asciidoc=f'image:{badge}["{asciidoc}",link="{page}"]\n',
        restructuredtext=f".. image:: {badge}\n   :target: {page}\n   :alt: {plain}\n",
    )


def _entity(instance: Instance) -> dict[str, Any]:
    if instance.entity_type not in ("individual", "group", "organisation", "other"):
        raise ValueError(f"{instance.entity_type} is no type of an entity")
    if len(instance.email) > NAME_BYTES or not _EMAIL.fullmatch(instance.email):
        raise ValueError("a manifest needs an email address of those who run the site")
    if not web_address(instance.url):
        raise ValueError("a manifest needs the web address of the site")
    name = _bytes(instance.name, NAME_BYTES)
    return {
        "type": instance.entity_type,
        "role": "other",
        "name": name if len(name) > 1 else "Crowdfunding site",
        "email": instance.email,
        "description": _bytes(instance.description, DESCRIPTION_BYTES) or "All-or-nothing crowdfunding in bitcoin.",
        "webpageUrl": {"url": instance.url},
    }


def _project(guid: str, campaign: PublishedCampaign) -> dict[str, Any]:
    summary = _bytes(campaign.summary, DESCRIPTION_BYTES)
    repository = {"url": _within(campaign.repository_url) or campaign.url}
    if repository["url"] != campaign.url and web_address(campaign.well_known_url):
        repository["wellKnown"] = campaign.well_known_url
    return {
        "guid": guid,
        "name": _bytes(campaign.title, NAME_BYTES) or "Campaign",
        "description": summary if len(summary) >= 5 else f"{summary} (a campaign)".strip(),
        "webpageUrl": {"url": campaign.url},
        "repositoryUrl": repository,
        "licenses": [f"spdx:{name}" for name in license_names(campaign.license)],
        "tags": _tags(campaign.tags),
    }


def _channel(guid: str, campaign: PublishedCampaign) -> dict[str, Any]:
    return {
        "guid": guid,
        "type": "other",
        "address": campaign.url,
        "description": "Bitcoin, from any wallet, on the page of the campaign. All or nothing: if the goal is not "
        "reached by the deadline, every backer gets the money back.",
    }


def _plan(guid: str, campaign: PublishedCampaign) -> dict[str, Any]:
    goal = (
        f"Goal: {campaign.goal_sats} satoshi by {campaign.deadline}. The standard has no bitcoin among its currencies, "
        "so amount 0 stands for any amount and the currency for nothing."
    )
    name = _bytes(campaign.title, NAME_BYTES)
    return {
        "guid": guid,
        "status": "active" if campaign.is_open else "inactive",
        "name": name if len(name) >= 3 else f"Campaign {name}",
        "description": _bytes(goal, PLAN_DESCRIPTION_BYTES),
        "amount": 0,
        "currency": PLACEHOLDER_CURRENCY,
        "frequency": "one-time",
        "channels": [guid],
    }


def license_names(expression: str) -> list[str]:
    """The licences in an SPDX expression, without its exceptions: the standard takes names one by one."""
    words = re.sub(r"\bWITH\s+[A-Za-z0-9.+-]+", " ", expression)
    names = [word for word in re.findall(r"[A-Za-z0-9.+-]+", words) if word not in ("AND", "OR")]
    return list(dict.fromkeys(names))[:LICENSES_LIMIT]


def _guid(id_: str, taken: Container[str]) -> str:
    """Small letters, digits and single hyphens, 3 to 32 of them, not `taken` yet; the same for ever for most ids."""
    plain = re.sub(r"[^a-z0-9]+", "-", id_.lower()).strip("-")
    base = f"campaign-{plain}"[: GUID_LIMIT - 4].strip("-")
    if base not in taken:
        return base
    return next(guid for n in count(2) if (guid := f"{base}-{n}") not in taken)


def _tags(tags: Sequence[str]) -> list[str]:
    """Tags by the standard: letters first and last, small, with single hyphens; at least one."""
    found = []
    for tag in (*tags, "crowdfunding"):
        word = re.sub(r"[^a-z0-9]+", "-", one_line(tag).lower())[:TAG_BYTES]
        word = re.sub(r"^[^a-z]+|[^a-z]+$", "", word)
        if len(word) >= 2 and word not in found:
            found.append(word)
    return found[:TAGS_LIMIT]


def _bytes(text: str, limit: int) -> str:
    """One line of at most so many bytes in UTF-8."""
    return one_line(text).encode("utf-8", "ignore")[:limit].decode("utf-8", "ignore").strip()


def _within(url: str) -> str:
    return url if web_address(url) and len(url) <= URL_BYTES else ""


def _safe(url: str) -> str:
    """A web address in which no character means anything to a markup language."""
    if not (address := web_address(url)):
        raise UserError("Please give a web address that begins with https://.")
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", address)
