"""The API's description: what people say of a campaign, and what was hidden of it."""

from __future__ import annotations

from typing import Any

from crowdfund.web.openapi.shape import Op, Schema, listed, made_of, maybe, number, page_of, ref, text, time, truth

_HIDDEN = maybe(
    made_of(description="why, while it is hidden", at=time(), role=text(), reason=text(), sha256=text("of the text"))
)
_SAID: dict[str, Schema] = {
    "number": number(),
    "role": text("visitor, backer or creator"),
    "name": maybe(text("null while it is hidden")),
    "text": maybe(text("null while it is hidden")),
    "has_pledged": truth("whether a pledge of its writer counts now"),
    "hidden": _HIDDEN,
    "written_at": time(),
}
_WAITING = number("how many wait for an answer, and are not shown")

SCHEMAS: dict[str, Any] = {
    "Updates": page_of("updates", "Update"),
    "Update": made_of(number=number(), published_at=time(), hidden=_HIDDEN, versions=listed(ref("UpdateVersion"))),
    "UpdateVersion": made_of(
        version=number(),
        title=maybe(text("null while it is hidden")),
        text=maybe(text("Markdown; null while it is hidden")),
        sha256=text("of title and text, with an empty line between"),
        written_at=time(),
    ),
    "UpdateRequest": made_of(title=text(), text=text("Markdown"))
    | {"examples": [{"title": "The wheels are cast", "text": "All **four** of them."}]},
    "Talk": made_of(
        questions=listed(ref("Thread")),
        comments=listed(ref("Post")),
        waiting_questions=_WAITING,
        next=page_of("x", "Post")["properties"]["next"],
    ),
    "Thread": made_of(**_SAID, answers=listed(ref("Post"))),
    "Post": made_of(**_SAID),
    "Questions": page_of("questions", "Post"),
    "Written": made_of(number=number(), kind=text(), role=text(), name=text(), text=text(), written_at=time()),
    "Approved": made_of(number=number(), shown=truth()),
    "Say": made_of(text=text()) | {"examples": [{"text": "Yes, the drawings are for anybody."}]},
    "SayAs": made_of(optional=("name",), name=text("Empty stays anonymous."), text=text())
    | {"examples": [{"name": "Zoë", "text": "Does it fit a narrow row?"}]},
    "ModerationLog": page_of("moderation", "ModerationLine"),
    "ModerationLine": made_of(
        at=time(),
        campaign_id=text(),
        kind=text("update, question, answer, comment or pledge (its name and message)"),
        what=text(),
        where=text(),
        action=text("hide or show"),
        role=text("creator or operator"),
        reason=text(),
        sha256=text("of the text as it was then"),
    ),
}
OPERATIONS: tuple[Op, ...] = (
    Op("GET", "/campaigns/{id}/updates", "A campaign's updates, with all versions", "Updates", pages=True),
    Op(
        "POST", "/campaigns/{id}/updates", "Write an update", "Update", 201, "write", "UpdateRequest",
        limited=True, made=True,
    ),
    Op(
        "PUT", "/campaigns/{id}/updates/{number}", "Another version of an update", "Update", 200, "write",
        "UpdateRequest", limited=True, description="Earlier versions stay readable. The same text again is no version.",
    ),
    Op("GET", "/campaigns/{id}/talk", "Questions with their answers, and comments", "Talk", pages=True),
    Op("GET", "/campaigns/{id}/questions", "Questions that wait", "Questions", 200, "read", pages=True),
    Op(
        "POST", "/campaigns/{id}/questions", "Ask a question", "Written", 201, body="SayAs", limited=True, made=True,
        description="No token is needed. Everyone can read it once it is answered or approved.",
    ),
    Op(
        "POST", "/campaigns/{id}/questions/{number}/answers", "Answer a question", "Written", 201, "write", "Say",
        limited=True, made=True,
    ),
    Op(
        "POST", "/campaigns/{id}/questions/{number}/approve", "Show a question without an answer", "Approved", 200,
        "write", made=True,
    ),
    Op(
        "POST", "/campaigns/{id}/comments", "A comment by the campaign's side", "Written", 201, "write", "Say",
        limited=True, made=True,
    ),
    Op(
        "POST", "/pledges/{id}/comments", "A comment by a backer whose pledge counts", "Written", 201, body="SayAs",
        limited=True, made=True,
    ),
    Op("GET", "/campaigns/{id}/moderation", "What was hidden in it, or shown again", "ModerationLog", pages=True),
    Op("GET", "/moderation", "The same of the whole site", "ModerationLog", pages=True),
)  # fmt: skip
