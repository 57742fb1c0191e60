"""The API's description as a judge of what the API answers: also of what stands in an answer and not in it."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

import jsonschema_rs

from crowdfund.web import openapi
from crowdfund.web.openapi.shape import REF


@cache
def strict() -> dict[str, Any]:
    """The whole description, in which no object may have a property that it does not name."""
    document = deepcopy(openapi.document("http://localhost", "A site"))
    for schema in document["components"]["schemas"].values():
        _close(schema)
    return document


@cache
def judge(name: str) -> jsonschema_rs.Draft202012Validator:
    """What knows whether something is the schema of this name."""
    schemas = strict()["components"]["schemas"]
    whole = {"$ref": REF + name, "components": {"schemas": schemas}}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def fits(value: object, name: str) -> bool:
    """Is it what the description says, and nothing beside it?"""
    return judge(name).is_valid(value)


def _close(schema: Any) -> None:
    if isinstance(schema, list):
        for each in schema:
            _close(each)
    if not isinstance(schema, dict):
        return
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
    for key, each in schema.items():
        if key not in ("examples", "required", "enum"):
            _close(each)
