"""FUNDING.yml, as GitHub knows it: accounts on other platforms and links. Pure."""

from __future__ import annotations

import re

from crowdfund.projects.manifests import prefill as p
from crowdfund.projects.manifests.prefill import Found, Prefill
from crowdfund.projects.manifests.spot import Spot, unique
from crowdfund.projects.manifests.tree import Node

PLATFORMS = {
    "github": "https://github.com/sponsors/{}",
    "patreon": "https://www.patreon.com/{}",
    "open_collective": "https://opencollective.com/{}",
    "ko_fi": "https://ko-fi.com/{}",
    "tidelift": "",
    "community_bridge": "",
    "liberapay": "https://liberapay.com/{}",
    "issuehunt": "",
    "otechie": "",
    "lfx_crowdfunding": "",
    "polar": "https://polar.sh/{}",
    "buy_me_a_coffee": "https://buymeacoffee.com/{}",
    "thanks_dev": "",
}
"""Platform -> the page of an account there; empty where the name alone does not make an address."""

CUSTOM_LIMIT = 4
_ACCOUNT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,98}[A-Za-z0-9_-])?")


def is_funding_yml(tree: dict[str, Node]) -> bool:
    """Does it look like one, whatever it is called?"""
    return bool(tree) and tree.keys() <= {*PLATFORMS, "custom"}


def fill(root: Spot, chosen: int | None) -> Prefill:
    """The accounts and links; a FUNDING.yml says nothing of the project itself."""
    root.unknown({*PLATFORMS, "custom"})
    urls = [url for name, page in PLATFORMS.items() if page for url in _accounts(root[name], page)]
    custom = list(root["custom"].each())
    if len(custom) > CUSTOM_LIMIT:
        root.log.warn(f"“custom” has {len(custom)} links; GitHub shows {CUSTOM_LIMIT} at most.")
    urls += [url for spot in custom if (url := _link(spot))]
    people = [spot.found(spot.raw()) for spot in root["github"].each() if _ACCOUNT.fullmatch(spot.raw())]
    root.log.warn("A FUNDING.yml names accounts and links; title, licence and story are yours to write.")
    return Prefill("FUNDING.yml", funding_urls=unique(urls), maintainers=unique(people))


def _accounts(place: Spot, page: str) -> list[Found[str]]:
    found = []
    for spot in place.each():
        name = spot.raw()
        if _ACCOUNT.fullmatch(name):
            found.append(spot.found(page.format(name)[: p.URL_LIMIT]))
        elif name:
            spot.log.warn(f"“{spot.at}” is not the name of an account, so it was left out.")
    return found


def _link(spot: Spot) -> Found[str] | None:
    """A link under `custom`, where the scheme may be missing."""
    text = spot.raw()
    if text and "://" not in text and ":" not in text.partition("/")[0]:
        return Spot(f"https://{text}", spot.at, spot.log).url()
    return spot.url()
