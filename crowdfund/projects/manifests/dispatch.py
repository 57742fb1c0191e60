"""Which manifest a file is, by its name, else by what is in it; and reading it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from crowdfund.errors import UserError
from crowdfund.plain_text import one_line
from crowdfund.projects.manifests import codemeta, funding_json, funding_yml, okh, publiccode
from crowdfund.projects.manifests.prefill import Prefill
from crowdfund.projects.manifests.spot import Log, Spot
from crowdfund.projects.manifests.syntax import language_of, read_text, read_tree
from crowdfund.projects.manifests.tree import Node

NAMES_READ = "funding.json, okh.toml (or .yml, .json), publiccode.yml, codemeta.json and FUNDING.yml"


@dataclass(frozen=True)
class _Format:
    label: str
    name: re.Pattern[str]
    looks_like: Callable[[dict[str, Node]], bool]
    fill: Callable[[Spot, int | None], Prefill]


def _format(
    label: str, name: str, looks_like: Callable[[dict[str, Node]], bool], fill: Callable[[Spot, int | None], Prefill]
) -> _Format:
    return _Format(label, re.compile(name), looks_like, fill)


_FORMATS = (
    _format("funding.json", r"funding\.json", funding_json.is_funding_json, funding_json.fill),
    _format("OKH", r"okh([-_.][a-z0-9._-]+)?\.(toml|ya?ml|json)|[a-z0-9._-]*\.okh\.(toml|ya?ml|json)", okh.is_okh,
            okh.fill),
    _format("publiccode.yml", r"publiccode\.ya?ml", publiccode.is_publiccode, publiccode.fill),
    _format("codemeta.json", r"codemeta\.json", codemeta.is_codemeta, codemeta.fill),
    _format("FUNDING.yml", r"funding\.ya?ml", funding_yml.is_funding_yml, funding_yml.fill),
)  # fmt: skip


def read_manifest(name: str | None, data: bytes, project: int | None = None) -> Prefill:
    """What a manifest says. `project` is the number of the one that is meant, where a file describes several.

    Raises UserError with a sentence, with the line where it is known, and nothing else, whatever the bytes are.
    """
    base = one_line((name or "").replace("\\", "/")).rpartition("/")[2][:60]
    text = read_text(data)
    tree = read_tree(text, language_of(base, text))
    if not isinstance(tree, dict):
        raise UserError("This file is no manifest: it has no keys with values.")
    by_name = next((one for one in _FORMATS if one.name.fullmatch(base.casefold())), None)
    format_ = by_name or next((one for one in _FORMATS if one.looks_like(tree)), None)
    if format_ is None:
        raise UserError(f"This is none of the manifests that can be read here: {NAMES_READ}.")
    log = Log(base if by_name else format_.label)
    filled = format_.fill(Spot(tree, "", log), project)
    if not _says_something(filled):
        raise UserError(f"Nothing in this {format_.label} can be filled in. " + " ".join(log.warnings[:3]))
    return replace(filled, warnings=tuple(log.warnings), refused=tuple(log.refused))


def _says_something(filled: Prefill) -> bool:
    return any(
        (filled.title, filled.description, filled.repository_url, filled.license, filled.choices, filled.funding_hints,
         filled.funding_urls, filled.maintainers)
    )  # fmt: skip
