"""The part of the API's description that speaks of projects and details."""

from __future__ import annotations

from typing import Any


def _lines(description: str, **properties: str) -> dict[str, Any]:
    """A list of objects whose properties are described; those that begin with # are whole numbers."""
    described = {
        name: {"type": "integer" if text.startswith("#") else "string", "description": text.lstrip("# ")}
        for name, text in properties.items()
    }
    return {
        "type": "array",
        "description": description,
        "items": {"type": "object", "properties": described, "additionalProperties": False},
    }


DRAFT: dict[str, Any] = {
    "deliverables": _lines(
        "What becomes open, piece by piece.",
        title="At most 120 characters.",
        license="SPDX expression of an open licence.",
        url="Where it is, or will be.",
        state="planned or there",
    ),
    "budget": _lines(
        "What the money pays for. The needed lines must come to the goal.",
        title="At most 120 characters.",
        kind="task, material or infrastructure",
        need="needed or optional",
        sats="# satoshi",
    ),
    "rewards": _lines(
        "What a backer gets for a pledge.",
        title="At most 120 characters.",
        text="At most 2,000 characters.",
        minimum_sats="# the least pledge in satoshi",
        stock="# how many there are; 0: as many as are asked for",
    ),
    "returns": _lines(
        "What everybody gets, backer or not.",
        title="At most 120 characters.",
        text="At most 2,000 characters.",
        license="SPDX expression of an open licence.",
    ),
    "needs": _lines(
        "Help that is not money.",
        title="At most 120 characters.",
        kind="skill, tool or time",
        amount="# how much of it is wanted",
        unit="people, hours, lathes, …",
    ),
    "risks": {"type": "string", "description": "Markdown: what could go wrong, at most 10,000 characters."},
    "about": {"type": "string", "description": "Markdown: who you are, at most 10,000 characters."},
}

CAMPAIGN: dict[str, Any] = {
    "project": {"type": ["object", "null"], "description": "slug, name, kind, and the path of its page"},
    "details": {"type": ["string", "null"], "description": "The canonical JSON whose SHA-256 the terms hold."},
    "details_sha256": {"type": ["string", "null"], "description": "SHA-256 of the details."},
    "minimum_sats": {"type": "integer", "minimum": 0, "description": "what the needed lines come to: the goal"},
    "optimum_sats": {"type": "integer", "minimum": 0, "description": "what all lines of the budget come to"},
    **{
        name: {"type": "array", "items": {"type": "object"}, "description": DRAFT[name]["description"]}
        for name in ("deliverables", "budget", "rewards", "returns", "needs")
    },
    "risks": DRAFT["risks"],
    "about": DRAFT["about"],
}
