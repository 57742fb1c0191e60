"""The API's description: campaigns and drafts, their terms and what is in them."""

from __future__ import annotations

from typing import Any

from crowdfund.campaigns.lifecycle import CampaignState
from crowdfund.web.openapi.shape import (
    Op,
    Schema,
    listed,
    made_of,
    maybe,
    number,
    one_of,
    page_of,
    partly,
    sats,
    text,
    time,
    truth,
)

STATES = one_of(*(state.value for state in CampaignState))
_LINES: dict[str, dict[str, Schema]] = {
    "deliverables": {
        "title": text("At most 120 characters."),
        "license": text("SPDX expression of an open licence."),
        "url": text("Where it is, or will be."),
        "state": text("planned or there"),
    },
    "budget": {
        "title": text("At most 120 characters."),
        "kind": text("task, material or infrastructure"),
        "need": text("needed or optional"),
        "sats": number("satoshi"),
    },
    "rewards": {
        "title": text("At most 120 characters."),
        "text": text("At most 2,000 characters."),
        "minimum_sats": number("the least pledge in satoshi"),
        "stock": number("how many there are; 0: as many as are asked for"),
    },
    "returns": {
        "title": text("At most 120 characters."),
        "text": text("At most 2,000 characters."),
        "license": text("SPDX expression of an open licence."),
    },
    "needs": {
        "title": text("At most 120 characters."),
        "kind": text("skill, tool or time"),
        "amount": number("how much of it is wanted"),
        "unit": text("people, hours, lathes, …"),
    },
}
_ABOUT = {
    "deliverables": "What becomes open, piece by piece.",
    "budget": "What the money pays for. The needed lines must come to the goal.",
    "rewards": "What a backer gets for a pledge.",
    "returns": "What everybody gets, backer or not.",
    "needs": "Help that is not money.",
}
# What stands at a line beside what was written there.
_BESIDE: dict[str, dict[str, Schema]] = {
    "deliverables": {"number": number(), "state_now": text(), "url_now": text()},
    "rewards": {"number": number(), "left": maybe(number("null: as many as are asked for", None))},
    "needs": {"number": number(), "accepted": number()},
}
_TEXTS = {
    "risks": text("Markdown: what could go wrong, at most 10,000 characters."),
    "about": text("Markdown: who you are, at most 10,000 characters."),
}
_SENT: dict[str, Schema] = {
    **{
        name: listed({"type": "object", "properties": line, "additionalProperties": False}, _ABOUT[name])
        for name, line in _LINES.items()
    },
    **_TEXTS,
}
_DETAILS: dict[str, Schema] = {
    "project": maybe(made_of(slug=text(), name=text(), kind=text(), url=text("the path of its page"))),
    "details": maybe(text("The canonical JSON whose SHA-256 the terms hold.")),
    "details_sha256": maybe(text("SHA-256 of the details.")),
    "minimum_sats": sats("what the needed lines come to: the goal"),
    "optimum_sats": sats("what all lines of the budget come to"),
    **{name: listed(made_of(**line, **_BESIDE.get(name, {})), _ABOUT[name]) for name, line in _LINES.items()},
    **_TEXTS,
}
_BATCH = made_of(txid=text(), state=text(), fee_sats=sats(), input_count=number(), attempt_count=number())
_SETTLEMENT = made_of(kind=text("release or refund"), state=text(), batches=listed(_BATCH))
_AS_OF = made_of(height=number(), block_hash=text(), median_time_past=time(), state=text("live, or what is wrong"))
_LISTED: dict[str, Schema] = {
    "id": text(),
    "url": text("its page", format="uri"),
    "title": text(),
    "summary": text(),
    "story": text("Markdown"),
    "project_url": text(),
    "license": text(),
    "creator": text(),
    "state": STATES,
    "goal_sats": sats(),
    "counted_sats": sats("what counts towards the goal"),
    "seen_sats": sats("what was seen and is in no block yet"),
    "received_sats": sats("all that ever came"),
    "pledge_count": number(),
    "cap_sats": sats("the most that is accepted; 0: any sum"),
    "min_pledge_sats": sats(),
    "deadline_at": time("RFC 3339, UTC; 1970 in a draft without one"),
    "payout_address": text(),
    "terms": maybe(text("The canonical JSON that is hashed.")),
    "terms_hash": maybe(text("SHA-256 of the terms.")),
    "descriptor": maybe(text("Every address follows from it.")),
    "buckets": {"type": "object", "additionalProperties": sats(), "description": "where every satoshi is"},
    "as_of": maybe(_AS_OF),
    "paused": maybe(text("Why the decision waits, if it does.")),
    "outcome": maybe(text("funded or failed, once decided")),
    "closing_height": maybe(number()),
    "cancellation": maybe(
        made_of(
            description="The transaction with which the creator ended it; closing_height is that of its block",
            txid=text(),
            height=number(),
            reason=maybe(text("null where its text was never given here")),
            reason_sha256=text(),
        )
    ),
    "settlement": maybe({**_SETTLEMENT, "required": [*_SETTLEMENT["required"], "late"],
                         "properties": {**_SETTLEMENT["properties"], "late": listed(_SETTLEMENT)}}),
    "own_money": made_of(
        description="What of the counted sum the creator declares to be their own money, and the rest. The creator's "
        "word, which no chain can check",
        own_sats=sats(),
        without_sats=sats(),
    ),
}  # fmt: skip
_PREVIEW = made_of(
    description="What the end would come to at today's feerate",
    kind=text("release or refund"),
    batches=number(),
    fee_sats=sats(),
    net_sats=number(least=None),
)
_PICTURE = made_of(url=text(format="uri"), sha256=text(), alt=text(), width=number(), height=number())
DRAFT = made_of(
    optional=("cap_sats", *_SENT),
    title=text("At most 80 characters."),
    summary=text("One line of at most 200 characters."),
    story=text("Markdown, at most 50,000 characters."),
    goal_sats=sats("All of this, or nothing.", 1),
    cap_sats=sats("Once this is reached, what comes later is sent back; 0 or nothing: any sum. At least the goal."),
    deadline_at=time("RFC 3339; judged by the median time past of the chain."),
    payout_address=text("The one address that a release can ever pay."),
    project_url=text("http or https.", format="uri"),
    license=text("SPDX expression of an open licence."),
    **_SENT,
) | {
    "examples": [
        {
            "title": "A seed drill",
            "summary": "Drawings for everyone.",
            "story": "Every village can build it.",
            "goal_sats": 1_000_000,
            "deadline_at": "2027-12-01T18:00:00Z",
            "payout_address": "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
            "project_url": "https://example.org/drill",
            "license": "CERN-OHL-S-2.0",
        }
    ]
}

SCHEMAS: dict[str, Any] = {
    "Draft": DRAFT,
    "DraftChange": partly(DRAFT) | {"examples": [{"summary": "Drawings and films for everyone."}]},
    "CampaignInList": made_of(**_LISTED),
    "CampaignDraft": made_of(**_LISTED, **_DETAILS),
    "Campaign": made_of(
        **_LISTED,
        **_DETAILS,
        settlement_preview=maybe(_PREVIEW),
        pictures=listed(_PICTURE, "the cover first"),
    ),
    "Campaigns": page_of("campaigns", "CampaignInList"),
    "Me": made_of(name=text(), scopes=listed(text())),
    "Checklist": made_of(
        items=listed(made_of(step=text(), done=truth(), required=truth(), sentence=text())),
        blocked=maybe(text("What keeps it from being published, in one sentence; null if nothing does.")),
        review=maybe(made_of(state=text(), reason=text())),
    ),
    "ReviewAsked": made_of(campaign_id=text(), state=text()),
    "Incident": made_of(
        began_at=time("when it was noticed"),
        ended_at=maybe(time("null while it lasts")),
        kind=text("reorganisation, disagreement, or foreign_spend: somebody else has spent a coin"),
        height=number("the first block concerned"),
        depth=number("how many blocks were", 1),
        sentence=text("What happened and what became of it, for people."),
    ),
    "Incidents": page_of("incidents", "Incident"),
    "AuditBundle": {"type": "object", "description": "For `crowdfund audit`, which says what is in it."},
    "Terms": {"type": "object", "description": "The canonical JSON, byte for byte as it is hashed."},
    "Deliverable": made_of(
        **_LINES["deliverables"],
        **_BESIDE["deliverables"],
        reported_at=maybe(time("since when that is known; null for as the terms have it")),
    ),
    "Deliverables": page_of("deliverables", "Deliverable"),
    "DeliverableReport": made_of(
        optional=("url",), state=one_of("planned", "there"), url=text("Where everybody can have it.")
    )
    | {"examples": [{"state": "there", "url": "https://example.org/drawings"}]},
}
_FILTERS: tuple[tuple[str, Schema], ...] = (
    ("q", text("words in title or summary")),
    ("license", text("exactly this licence")),
    ("project", text("of this project, by its slug")),
    ("state", STATES),
)
OPERATIONS: tuple[Op, ...] = (
    Op(
        "GET", "/campaigns", "Campaigns, newest first", "Campaigns", pages=True, query=_FILTERS,
        description="With `state`, a page can hold fewer than asked for though there are more: go on by `next`.",
    ),
    Op("POST", "/campaigns", "Write a draft", "CampaignDraft", 201, "write", "Draft", made=True),
    Op("GET", "/campaigns/{id}", "One campaign; a draft only for its people", "Campaign", optional_token=True),
    Op(
        "PATCH", "/campaigns/{id}", "Change some of a draft", "CampaignDraft", 200, "write", "DraftChange",
        description="What is not sent stays; all is kept, or nothing. Another payout address takes the scope "
        "`publish`, too.",
    ),
    Op("GET", "/campaigns/{id}/checklist", "What a draft still lacks", "Checklist", 200, "read", problems=(400,)),
    Op(
        "POST", "/campaigns/{id}/review", "Ask the operator to read a draft", "ReviewAsked", 202, "publish",
        problems=(400,), made=True,
    ),
    Op(
        "POST", "/campaigns/{id}/publish", "Freeze the terms and open the campaign", "Campaign", 200, "publish",
        problems=(400,), description="Twice is the same as once.",
    ),
    Op("GET", "/campaigns/{id}/audit", "The audit bundle", "AuditBundle"),
    Op("GET", "/campaigns/{id}/terms", "The terms, byte for byte", "Terms"),
    Op("GET", "/campaigns/{id}/details", "The details whose hash the terms hold", "Terms"),
    Op("GET", "/campaigns/{id}/incidents", "What went out of the ordinary in a campaign", "Incidents", pages=True),
    Op("GET", "/campaigns/{id}/deliverables", "What becomes open, and what has", "Deliverables", pages=True),
    Op(
        "PUT", "/campaigns/{id}/deliverables/{number}", "Say what has become of one", "Deliverables", 200, "write",
        "DeliverableReport",
    ),
    Op("GET", "/incidents", "What went out of the ordinary on the whole site", "Incidents", pages=True),
    Op("GET", "/me", "Whose token this is", "Me", 200, "read"),
    Op("GET", "/me/campaigns", "The campaigns and drafts of one's projects", "Campaigns", 200, "read", pages=True),
)  # fmt: skip
