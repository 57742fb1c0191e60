"""The API's description in OpenAPI 3.1, by hand: short, and tested against what the API answers."""

from __future__ import annotations

from typing import Any

from crowdfund.notices.kinds import HOOKABLE
from crowdfund.web import openapi_details, openapi_talk

_TEXT = {"type": "string"}
_SATS = {"type": "integer", "minimum": 0, "description": "satoshi"}
_ID = {"name": "id", "in": "path", "required": True, "schema": _TEXT}
_TOKEN = [{"token": list[str]()}]


def _text(description: str, **more: object) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


SCHEMAS: dict[str, Any] = {
    "Draft": {
        "type": "object",
        "required": [
            "title", "summary", "story", "goal_sats", "deadline_at", "payout_address", "project_url", "license",
        ],
        "properties": {
            "title": _text("At most 80 characters."),
            "summary": _text("One line of at most 200 characters."),
            "story": _text("Markdown, at most 50,000 characters."),
            "goal_sats": {"type": "integer", "minimum": 1, "description": "All of this, or nothing."},
            "cap_sats": {
                "type": "integer",
                "minimum": 0,
                "description": "Once this is reached, what comes later is sent back; 0 or nothing: any sum. "
                "At least the goal.",
            },
            "deadline_at": _text("RFC 3339; judged by the median time past of the chain.", format="date-time"),
            "payout_address": _text("The one address that a release can ever pay."),
            "project_url": _text("http or https.", format="uri"),
            "license": _text("SPDX expression of an open licence."),
            **openapi_details.DRAFT,
        },
    },
    "PledgeRequest": {
        "type": "object",
        "required": ["amount_sats", "refund_address"],
        "properties": {
            "amount_sats": {"type": "integer", "minimum": 1, "description": "What the backer means to pay."},
            "refund_address": _text("Where the money goes back to if the goal is missed."),
            "name": _text("Shown in public; empty stays anonymous."),
            "message": _text("Shown in public."),
            "own_money": {
                "type": "boolean",
                "description": "Only with the token of the campaign's creator: whether it is their own money.",
            },
            "reward": {"type": "integer", "minimum": 0, "description": "Number of a reward; left out for none."},
        },
    },
    "RefundAddressRequest": {
        "type": "object",
        "required": ["address"],
        "properties": {
            "address": _text("The new refund address."),
            "signature": _text(
                "Of the refund address of now over the text, in base64: BIP 137, or BIP 322 simple with or without its "
                "prefix. Without it the answer is the text alone."
            ),
        },
    },
    "TextToSign": {
        "type": "object",
        "required": ["text"],
        "properties": {"text": _text("One line; sign it exactly as it is.")},
    },
    "Campaign": {
        "type": "object",
        "required": ["id", "state", "goal_sats", "counted_sats", "seen_sats", "deadline_at", "buckets"],
        "properties": {
            "id": _TEXT,
            "state": _text("draft, open, closing, releasing, released, refunding or refunded"),
            "goal_sats": _SATS,
            "counted_sats": _SATS,
            "seen_sats": _SATS,
            "cap_sats": {"type": "integer", "minimum": 0, "description": "the most that is accepted; 0: any sum"},
            "min_pledge_sats": _SATS,
            "deadline_at": _text("RFC 3339, UTC", format="date-time"),
            "terms": {"type": ["string", "null"], "description": "The canonical JSON that is hashed."},
            "terms_hash": {"type": ["string", "null"], "description": "SHA-256 of the terms."},
            "descriptor": {"type": ["string", "null"], "description": "Every address follows from it."},
            "buckets": {"type": "object", "additionalProperties": _SATS},
            "as_of": {"type": ["object", "null"]},
            "paused": {"type": ["string", "null"], "description": "Why the decision waits, if it does."},
            "outcome": {"type": ["string", "null"], "description": "funded or failed, once decided"},
            "closing_height": {"type": ["integer", "null"]},
            "cancellation": {
                "type": ["object", "null"],
                "description": "txid, height, reason (null where its text was never given here), reason_sha256: the "
                "transaction with which the creator ended the campaign; closing_height is that of its block",
            },
            **openapi_details.CAMPAIGN,
            "settlement": {"type": ["object", "null"], "description": "kind, state, batches"},
            "own_money": {
                "type": "object",
                "description": "own_sats: what of the counted sum the creator declares to be their own money; "
                "without_sats: the rest. The creator's word, which no chain can check",
                "additionalProperties": _SATS,
            },
            "settlement_preview": {
                "type": ["object", "null"],
                "description": "kind, batches, fee_sats, net_sats: what the end would come to at today's feerate",
            },
            "pictures": {
                "type": "array",
                "description": "url, sha256 of what is there, alt, width, height; the cover first; not in lists",
            },
        },
    },
    "Pledge": {
        "type": "object",
        "required": ["id", "address", "amount_sats", "uri", "state", "receipt_url", "received_sats", "coins"],
        "properties": {
            "id": _text("Secret: whoever has it sees the pledge."),
            "address": _TEXT,
            "amount_sats": _SATS,
            "uri": _text("BIP 321 payment URI"),
            "state": _text(
                "awaiting, seen, confirmed, short, over, late, over_cap, maturing, replaced, double_spent, evicted, "
                "in_settlement, paid_out, refunded, unclaimed or taken (by a transaction that is not ours)"
            ),
            "received_sats": _SATS,
            "counted_sats": _SATS,
            "coins": {"type": "array", "items": {"type": "object"}},
            "reward": {
                "type": ["object", "null"],
                "description": "title, state: reserved, held, freed (run out unpaid) or missed (paid late, none left)",
            },
            "refund_address": _text("Where a refund goes now."),
            "refund_changes": {
                "type": "array",
                "items": {"type": "object"},
                "description": "Changes of that address, the oldest first: number, state (waiting, taken or refused), "
                "old_address, new_address, text and signature, brought_at, answered_at, answer (why it was refused)",
            },
            "receipt_url": _text("The backer's own page", format="uri"),
            "receipt": {
                "type": ["object", "null"],
                "description": "text, signature (BIP 137, base64) and address, as verifymessage asks for them; null "
                "until it is signed, and for campaigns without receipts",
            },
            "timelocked_refunds": {
                "type": "array",
                "items": {"type": "object"},
                "description": "Signed refunds, one for each confirmed coin: txid, raw (hex), value_sats, and "
                "valid_after_height: later blocks may hold it, if the coin is still there; "
                "current: false where it goes to an address from before a change",
            },
        },
    },
    "Incidents": {
        "type": "object",
        "required": ["incidents"],
        "properties": {"incidents": {"type": "array", "items": {"$ref": "#/components/schemas/Incident"}}},
    },
    "Incident": {
        "type": "object",
        "required": ["began_at", "ended_at", "kind", "height", "depth", "sentence"],
        "properties": {
            "began_at": _text("RFC 3339, UTC: when it was noticed", format="date-time"),
            "ended_at": {"type": ["string", "null"], "description": "RFC 3339, UTC; null while it lasts"},
            "kind": _text("reorganisation, disagreement, or foreign_spend: somebody else has spent a coin"),
            "height": {"type": "integer", "minimum": 0, "description": "the first block concerned"},
            "depth": {"type": "integer", "minimum": 1, "description": "how many blocks were"},
            "sentence": _text("What happened and what became of it, for people."),
        },
    },
    **openapi_talk.SCHEMAS,
    "WebhookMessage": {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": _text("What happened."),
            "timestamp": _text("When, RFC 3339 in UTC. The order of messages is not certain.", format="date-time"),
            "data": {
                "type": "object",
                "description": "campaign_id and campaign_url; by type: percent, counted_sats and goal_sats; outcome, "
                "counted_sats and closing_height; outcome, txids (at most 20) and transactions; sentence, kind, height "
                "and depth; title and update_id; for payments and refunds outpoint, value_sats, height, pledge_index, "
                "address and name, and txid of a refund that is final. More may be added.",
            },
        },
    },
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _text("What is wrong and what to do."),
            "errors": {"type": "array", "items": {"type": "object"}},
            "mistake": _text("Of a mistake of ours (500): what it is called in the log."),
        },
    },
}  # fmt: skip


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _answers(code: str, description: str, schema: str | None, *problems: str) -> dict[str, Any]:
    texts = {
        "400": "Something in the request cannot be accepted.",
        "401": "A creator's token is missing or unknown.",
        "404": "There is no such thing.",
        "413": "The request is too large.",
        "429": "That was tried too often from this address; Retry-After says when to come back, in seconds.",
    }
    answers: dict[str, Any] = {code: {"description": description, "content": _json(schema)} if schema else {}}
    answers[code].setdefault("description", description)
    for problem in problems:
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        answers[problem] = {"description": texts[problem], "content": content}
    return answers


def _hook(words: str) -> dict[str, Any]:
    """A message that we send."""
    headers = {
        "webhook-id": "The same at each attempt; keep it, and do nothing the second time.",
        "webhook-timestamp": "Seconds since 1970 at this attempt; refuse what is older than five minutes.",
        "webhook-signature": "`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; the key is what the secret "
        "holds behind `whsec_`, base64-decoded.",
    }
    return {
        "summary": f"Sent when {words}",
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": _TEXT, "description": text}
            for name, text in headers.items()
        ],
        "requestBody": {"required": True, "content": _json("WebhookMessage")},
        "responses": {"200": {"description": "Any 2xx within 10 s says that it has arrived; 410 ends all messages."}},
    }


def document(base_url: str, site_name: str) -> dict[str, Any]:
    """The whole document."""
    draft = {"required": True, "content": _json("Draft")}
    pledge = {"required": True, "content": _json("PledgeRequest")}
    paths: dict[str, Any] = {
        "/api/v1/campaigns": {
            "get": {"summary": "All campaigns", "responses": _answers("200", "Newest first.", None)},
            "post": {
                "summary": "Write a draft",
                "security": _TOKEN,
                "requestBody": draft,
                "responses": _answers("201", "The draft.", "Campaign", "400", "401", "413"),
            },
        },
        "/api/v1/campaigns/{id}": {
            "get": {
                "summary": "One campaign",
                "parameters": [_ID],
                "responses": _answers("200", "The campaign.", "Campaign", "401", "404"),
            }
        },
        "/api/v1/campaigns/{id}/publish": {
            "post": {
                "summary": "Freeze the terms and open the campaign",
                "security": _TOKEN,
                "parameters": [_ID],
                "responses": _answers("200", "The open campaign.", "Campaign", "400", "401", "404"),
            }
        },
        "/api/v1/campaigns/{id}/pledges": {
            "get": {
                "summary": "The pledges to an own campaign",
                "security": _TOKEN,
                "parameters": [_ID],
                "responses": _answers("200", "Those ever paid, without their secret ids.", "PledgeRows", "401", "404"),
            },
            "post": {
                "summary": "Pledge: get an address to pay",
                "parameters": [_ID],
                "requestBody": pledge,
                "responses": _answers("201", "The pledge, not yet paid.", "Pledge", "400", "404", "413", "429"),
            },
        },
        "/api/v1/pledges/{id}": {
            "get": {
                "summary": "Where a pledge's money is",
                "parameters": [_ID],
                "responses": _answers("200", "The pledge.", "Pledge", "404"),
            }
        },
        "/api/v1/pledges/{id}/refund-address": {
            "post": {
                "summary": "Change where a refund goes, by a signature of the address of now",
                "parameters": [_ID],
                "requestBody": {"required": True, "content": _json("RefundAddressRequest")},
                "responses": {
                    **_answers("200", "The text to sign.", "TextToSign", "400", "404", "413", "429"),
                    **_answers("202", "Kept; the signer answers within moments, see refund_changes.", "Pledge"),
                },
            }
        },
        "/api/v1/campaigns/{id}/audit": {
            "get": {
                "summary": "The audit bundle",
                "parameters": [_ID],
                "responses": _answers("200", "For `crowdfund audit`.", None, "404"),
            }
        },
        "/api/v1/campaigns/{id}/incidents": {
            "get": {
                "summary": "What went out of the ordinary in a campaign",
                "parameters": [_ID],
                "responses": _answers("200", "Newest first, at most 100.", "Incidents", "404"),
            }
        },
        **{
            f"/api/v1/campaigns/{{id}}/{name}": {
                "get": {
                    "summary": summary,
                    "parameters": [_ID],
                    "responses": _answers("200", "Newest first.", schema, "404"),
                }
            }
            for name, (summary, schema) in openapi_talk.PAGES.items()
        },
        "/api/v1/incidents": {
            "get": {
                "summary": "What went out of the ordinary on the whole site",
                "responses": _answers("200", "Newest first, at most 100.", "Incidents"),
            }
        },
        "/healthz": {"get": {"summary": "Is the site well?", "responses": _answers("200", "It is.", None)}},
        "/metrics": {"get": {"summary": "Prometheus figures", "responses": _answers("200", "Text.", None)}},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": site_name,
            "version": "1",
            "description": "All that the pages do, for programs: campaigns, pledges, audit. JSON in, JSON out.",
        },
        "servers": [{"url": base_url}],
        "paths": paths,
        "webhooks": {kind.value: {"post": _hook(words)} for kind, words in HOOKABLE.items()},
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
