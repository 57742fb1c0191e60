"""Problem documents (RFC 9457): what programs are told of an error. Pages have `error.html` for the same."""

from __future__ import annotations

from typing import Any

from flask import Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from crowdfund.web.site import here

# Forms and API name some fields differently; a program is told the name that it sent.
API_FIELDS = {
    "amount": "amount_sats", "goal": "goal_sats", "deadline": "deadline_at", "cap": "cap_sats",
    "feerate": "feerate_sat_vb",
}  # fmt: skip
KINDS = {
    "fields": "A value is missing or wrong; `errors` names each field and says what to do.",
    "token": "A creator’s token is missing, unknown or has ended.",
    "scope": "The token is good, but may not do this; `scope` names what it lacks.",
    "media-type": "The body is of another kind than this address takes.",
    "idempotency": "The Idempotency-Key was used for another request already, is none, or is being answered just now.",
    "too-often": "That was done too often; `Retry-After` says in how many seconds to come back.",
}


class Refusal(HTTPException):
    """A request that is refused for what it is, whatever it is about. `kind` is one of KINDS, `more` stands in the
    document, `told` are headers."""

    def __init__(
        self,
        code: int,
        kind: str,
        sentence: str,
        more: dict[str, Any] | None = None,
        told: dict[str, str] | None = None,
    ) -> None:
        super().__init__(sentence)
        self.code = code
        self.kind = kind
        self.more = more or {}
        self.told = told or {}


def document(code: int, title: str, sentence: str, fields: dict[str, str], error: HTTPException | None) -> Response:
    """The document as it is sent."""
    kind = error.kind if isinstance(error, Refusal) else "too-often" if code == 429 else "fields" if fields else ""
    told: dict[str, Any] = {"type": type_of(kind), "title": title, "status": code, "detail": sentence}
    if fields:
        sent = _sent()
        told["errors"] = [
            {"field": name if name in sent else API_FIELDS.get(name, name), "detail": text}
            for name, text in fields.items()
        ]
    if "mistake_id" in g:
        told["mistake"] = g.mistake_id
    response = jsonify(told | (error.more if isinstance(error, Refusal) else {}))
    response.status_code = code
    response.content_type = "application/problem+json"
    if isinstance(error, Refusal):
        response.headers.update(error.told)
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _sent() -> dict[str, Any]:
    """The object that was sent, if it was one."""
    try:
        found = request.get_json(silent=True)
    except RecursionError:
        found = None
    return found if isinstance(found, dict) else {}


def type_of(kind: str) -> str:
    """Where the kind is explained; what an HTTP status says by itself has none of its own."""
    return f"{here().settings.base_url}/api#problem-{kind}" if kind else "about:blank"
