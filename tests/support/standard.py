"""The rules of funding.json 1.1.0, from its text and from its authors' checker, for whatever says that it is one."""

from __future__ import annotations

import re
from typing import Any

GUID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
TAG = re.compile(r"[a-z]([a-z0-9-]*[a-z])?")


def check_manifest(manifest: dict[str, Any]) -> None:
    """The rules of version 1.1.0, from its text and from its authors' checker; lengths in bytes, as that counts."""
    assert manifest.keys() == {"$schema", "version", "entity", "projects", "funding"}
    assert (manifest["$schema"], manifest["version"]) == ("https://fundingjson.org/schema/v1.1.0.json", "v1.1.0")
    entity, funding = manifest["entity"], manifest["funding"]
    assert entity["type"] in ("individual", "group", "organisation", "other")
    assert entity["role"] in ("owner", "steward", "maintainer", "contributor", "other")
    length(entity["name"], 2, 250)
    length(entity["email"], 3, 250)
    length(entity["description"], 1, 2000)
    address(entity["webpageUrl"])
    assert 1 <= len(manifest["projects"]) <= 30
    for project in manifest["projects"]:
        check_project(project)
    guids = [channel["guid"] for channel in funding["channels"]]
    assert len(set(guids)) == len(guids)
    for channel in funding["channels"]:
        guid(channel["guid"])
        assert channel["type"] in ("bank", "payment-provider", "cheque", "cash", "other")
        length(channel["address"], 0, 250)
        length(channel["description"], 0, 500)
    assert 1 <= len(funding["plans"]) <= 30
    for plan in funding["plans"]:
        check_plan(plan, guids)


def check_project(project: dict[str, Any]) -> None:
    guid(project["guid"])
    length(project["name"], 1, 250)
    length(project["description"], 5, 2000)
    address(project["webpageUrl"])
    address(project["repositoryUrl"])
    assert 1 <= len(project["licenses"]) <= 5
    assert all(re.fullmatch(r"spdx:[A-Za-z0-9.+-]+", name) and len(name) <= 64 for name in project["licenses"])
    assert 1 <= len(project["tags"]) <= 10
    for tag in project["tags"]:
        length(tag, 2, 32)
        assert TAG.fullmatch(tag) and "--" not in tag


def check_plan(plan: dict[str, Any], channels: list[str]) -> None:
    guid(plan["guid"])
    assert plan["status"] in ("active", "inactive")
    length(plan["name"], 3, 250)
    length(plan["description"], 0, 500)
    assert plan["amount"] == 0  # any amount: no sum in satoshi can be a sum in a currency of the list
    assert plan["currency"] == "USD"
    assert plan["frequency"] in ("one-time", "weekly", "fortnightly", "monthly", "yearly", "other")
    assert plan["channels"] and set(plan["channels"]) <= set(channels)


def length(text: str, low: int, high: int) -> None:
    assert low <= len(text.encode()) <= high, text


def address(link: dict[str, str]) -> None:
    assert link.keys() <= {"url", "wellKnown"}
    for url in link.values():
        length(url, 10, 250)
        assert url.startswith(("https://", "http://"))


def guid(text: str) -> None:
    length(text, 3, 32)
    assert GUID.fullmatch(text)
