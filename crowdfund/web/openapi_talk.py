"""The API's description, the part about what people say and a creator's own pledges."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string"}
_MAYBE = {"type": ["string", "null"], "description": "null while it is hidden"}
_SATS = {"type": "integer", "minimum": 0, "description": "satoshi"}
_NUMBER = {"type": "integer", "minimum": 0}
_TIME = {"type": "string", "format": "date-time", "description": "RFC 3339, UTC"}
_HIDDEN = {
    "type": ["object", "null"],
    "description": "at, role, reason and the sha256 of the text, while it is hidden",
}

# path under a campaign -> what it is, and its schema
PAGES = {
    "updates": ("A campaign's updates, with all versions", "Updates"),
    "talk": ("Questions with their answers, and comments", "Talk"),
    "moderation": ("What was hidden in a campaign, or shown again", "ModerationLog"),
}


def _list_of(name: str, schema: str) -> dict[str, Any]:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{schema}"}}
    return {"type": "object", "required": [name], "properties": {name: items}}


def _object(**properties: object) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


_POST = _object(
    number=_NUMBER,
    role={"type": "string", "description": "visitor, backer or creator"},
    name=_MAYBE,
    text=_MAYBE,
    has_pledged={"type": "boolean", "description": "whether a pledge of its writer counts now"},
    hidden=_HIDDEN,
    written_at=_TIME,
)
_POST["properties"]["answers"] = {"type": "array", "items": {"$ref": "#/components/schemas/Post"}}

SCHEMAS: dict[str, Any] = {
    "Updates": _list_of("updates", "Update"),
    "Update": _object(
        number=_NUMBER,
        published_at=_TIME,
        hidden=_HIDDEN,
        versions={"type": "array", "items": {"$ref": "#/components/schemas/UpdateVersion"}},
    ),
    "UpdateVersion": _object(
        version=_NUMBER,
        title=_MAYBE,
        text={**_MAYBE, "description": "Markdown; null while it is hidden"},
        sha256={"type": "string", "description": "of title and text, with an empty line between"},
        written_at=_TIME,
    ),
    "Talk": _object(
        questions={"type": "array", "items": {"$ref": "#/components/schemas/Post"}},
        comments={"type": "array", "items": {"$ref": "#/components/schemas/Post"}},
        waiting_questions={**_NUMBER, "description": "how many wait for an answer, and are not shown"},
    ),
    "Post": _POST,
    "ModerationLog": _list_of("moderation", "ModerationLine"),
    "ModerationLine": _object(
        at=_TIME,
        campaign_id=_TEXT,
        kind={"type": "string", "description": "update, question, answer, comment or pledge (its name and message)"},
        what=_TEXT,
        where=_TEXT,
        action={"type": "string", "description": "hide or show"},
        role={"type": "string", "description": "creator or operator"},
        reason=_TEXT,
        sha256={"type": "string", "description": "of the text as it was then"},
    ),
    "PledgeRows": _list_of("pledges", "PledgeRow"),
    "PledgeRow": _object(
        number={**_NUMBER, "description": "the place of its address"},
        name=_TEXT,
        message=_TEXT,
        amount_sats=_SATS,
        received_sats=_SATS,
        seen_sats=_SATS,
        counted_sats=_SATS,
        state=_TEXT,
        own_money={"type": "boolean", "description": "whether the creator declared it to be their own money"},
        hidden={"type": "boolean", "description": "whether name and message are hidden in public"},
    ),
}
