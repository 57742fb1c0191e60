"""The API's description in OpenAPI 3.1, by hand: data in short modules, tested against what the API answers."""

from __future__ import annotations

from typing import Any

from crowdfund.accounts.tokens import SCOPES
from crowdfund.notices.kinds import HOOKABLE
from crowdfund.web.openapi import campaigns, notices, pledges, projects, talk
from crowdfund.web.openapi.shape import PROBLEMS, Op, listed, made_of, number, ref, text

PARTS = {
    "Campaigns": campaigns,
    "Pledges": pledges,
    "What people say": talk,
    "Projects": projects,
    "Notices and cancelling": notices,
}
_PROBLEM = made_of(
    optional=("errors", "scope", "mistake"),
    type=text("about:blank, or where this kind of problem is explained", format="uri-reference"),
    title=text(),
    status=number(least=400),
    detail=text("What is wrong and what to do."),
    errors=listed(made_of(field=text(), detail=text())),
    scope=text("what the token lacks"),
    mistake=text("Of a mistake of ours (500): what it is called in the log."),
)
SCHEMAS: dict[str, Any] = {name: schema for part in PARTS.values() for name, schema in part.SCHEMAS.items()}
SCHEMAS["Problem"] = _PROBLEM
_HEADERS = {
    "Link": "Where the next page is: rel=next (RFC 8288).",
    "RateLimit": "By rule: how often it may still be done (r), and in how many seconds the window ends (t).",
    "RateLimit-Policy": "By rule: how often it may be done (q) in how many seconds (w).",
    "Retry-After": "Seconds.",
    "Idempotency-Replayed": "true where this is the answer to an earlier request with the same key.",
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 257, "pattern": '^"?[!#-\\[\\]-~]{1,255}"?$'},
    "description": "1 to 255 visible characters, another one for each thing that is to be made. The same key with the "
    "same request gets the same answer for 24 hours, and makes nothing twice.",
}


def document(base_url: str, site_name: str) -> dict[str, Any]:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": site_name,
            "version": "1",
            "description": "All that the pages do, for programs: campaigns, pledges, audit. JSON in, JSON out.",
            "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        },
        "servers": [{"url": base_url}],
        "tags": [{"name": name} for name in PARTS],
        "paths": _paths(),
        "webhooks": {kind.value: {"post": notices.hook(words)} for kind, words in HOOKABLE.items()},
        "components": {
            "schemas": SCHEMAS,
            "parameters": {"IdempotencyKey": _KEY},
            "headers": {n: {"description": told, "schema": text()} for n, told in _HEADERS.items()},
            "responses": {f"Problem{code}": _problem(code, told) for code, told in PROBLEMS.items()},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A creator's token. " + " ".join(f"`{s}`: {told}." for s, told in SCOPES.items()),
                }
            },
        },
    }


def operations() -> list[tuple[str, Op]]:
    """All that can be done, with the part that it belongs to."""
    return [(name, op) for name, part in PARTS.items() for op in part.OPERATIONS]


def _paths() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tag, op in operations():
        found.setdefault(f"/api/v1{op.path}", {})[op.method.lower()] = {"tags": [tag], **op.described()}
    health = {"200": {"description": "It is."}, "503": {"description": "It is not."}}
    found["/healthz"] = {"get": {"operationId": "health", "summary": "Is the site well?", "responses": health}}
    found["/metrics"] = {
        "get": {
            "operationId": "metrics",
            "summary": "Prometheus figures",
            "responses": {"200": {"description": "Text."}},
        }
    }
    return found


def _problem(code: str, told: str) -> dict[str, Any]:
    headers = ("Retry-After",) if code in ("409", "429", "503") else ()
    return {
        "description": told,
        "content": {"application/problem+json": {"schema": ref("Problem")}},
        **({"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers}} if headers else {}),
    }
