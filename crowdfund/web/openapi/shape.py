"""What the parts of the API's description are made of: small JSON Schemas, and an operation as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

REF = "#/components/schemas/"
PROBLEMS = {
    "400": "Something in the request cannot be accepted; `errors` names the fields.",
    "401": "A creator's token is missing, unknown or has ended.",
    "403": "The token lacks a scope; `scope` names it.",
    "404": "There is no such thing, or it is not for you.",
    "405": "This address does not take that kind of request; nor is a number that is too large an address.",
    "409": "The same request, with the same Idempotency-Key, is being answered just now; ask again.",
    "413": "The request is too large.",
    "415": "The body must be JSON.",
    "422": "The Idempotency-Key was used for another request.",
    "429": "That was done too often; Retry-After says when to come back, in seconds.",
    "500": "A mistake of ours. No money moves because of it.",
    "503": "The records or something else outside cannot be reached just now; Retry-After says when to try again.",
}
PATH_PARTS: dict[str, Schema] = {
    "id": {"type": "string", "description": "as the API gave it"},
    "slug": {"type": "string", "description": "a project's name in addresses"},
    "number": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
}


def text(description: str = "", **more: object) -> Schema:
    """A text."""
    return {"type": "string", **({"description": description} if description else {}), **more}


def number(description: str = "", least: int | None = 0, **more: object) -> Schema:
    """A whole number."""
    told: Schema = {"type": "integer", **({"description": description} if description else {})}
    return {**told, **({} if least is None else {"minimum": least}), **more}


def sats(description: str = "satoshi", least: int = 0) -> Schema:
    """An amount."""
    return number(description, least, maximum=21_000_000 * 100_000_000)


def time(description: str = "RFC 3339, UTC") -> Schema:
    """A moment."""
    return text(description, format="date-time")


def truth(description: str = "") -> Schema:
    """Yes or no."""
    return {"type": "boolean", **({"description": description} if description else {})}


def maybe(schema: Schema) -> Schema:
    """The same, or null."""
    return {**schema, "type": [schema["type"], "null"]}


def one_of(*values: str, description: str = "") -> Schema:
    """One of these texts."""
    return text(description, enum=list(values))


def ref(name: str) -> Schema:
    """A schema that has a name."""
    return {"$ref": REF + name}


def listed(of: Schema, description: str = "", **more: object) -> Schema:
    """A list."""
    return {"type": "array", "items": of, **({"description": description} if description else {}), **more}


def made_of(**properties: Any) -> Schema:
    """An object with these properties, all there but those that `optional` names; `description` is what it says."""
    optional, description = properties.pop("optional", ()), properties.pop("description", "")
    told: Schema = {"type": "object", **({"description": description} if description else {})}
    return {**told, "required": [n for n in properties if n not in optional], "properties": properties}


def page_of(name: str, schema: str, **more: Schema) -> Schema:
    """A page of a list."""
    next_one = maybe(text("the address of the next page; null on the last", format="uri"))
    return made_of(**{name: listed(ref(schema)), **more, "next": next_one})


def partly(schema: Schema) -> Schema:
    """The same, for changing some of it: nothing is required."""
    return {key: value for key, value in schema.items() if key not in ("required", "examples")} | {"minProperties": 0}


@dataclass(frozen=True)
class Op:
    """One thing to do. `answer` is the name of the schema, empty for no body; `scope` what a token needs, empty for
    none; `also` are other good answers, by code; `pages` for a list, `limited` for what is counted, `made` for what an
    Idempotency-Key makes once."""

    method: str
    path: str
    summary: str
    answer: str = ""
    code: int = 200
    scope: str = ""
    body: str = ""
    problems: tuple[int, ...] = ()
    pages: bool = False
    limited: bool = False
    made: bool = False
    optional_token: bool = False
    query: tuple[tuple[str, Schema], ...] = ()
    description: str = ""
    kind: str = "application/json"
    also: tuple[tuple[int, str, str], ...] = ()

    def described(self) -> dict[str, Any]:
        """As OpenAPI has it."""
        told: dict[str, Any] = {"operationId": self.name, "summary": self.summary}
        if self.description:
            told["description"] = self.description
        if self.scope:
            told["security"] = [{"token": [self.scope]}]
        elif self.optional_token:
            told["security"] = [{}, {"token": ["read"]}]
        if parameters := self._parameters():
            told["parameters"] = parameters
        if self.body:
            told["requestBody"] = {"required": True, "content": {"application/json": {"schema": ref(self.body)}}}
        return {**told, "responses": self._responses()}

    @property
    def name(self) -> str:
        """Of this operation alone."""
        words = [part.strip("{}") for part in self.path.split("/") if part]
        return "_".join([self.method.lower(), *words]).replace("-", "_").replace(".", "_")

    def _parameters(self) -> list[dict[str, Any]]:
        parts = [part[1:-1] for part in self.path.split("/") if part.startswith("{")]
        found = [
            {"name": p, "in": "path", "required": True, "schema": PATH_PARTS.get(p, PATH_PARTS["number"])}
            for p in parts
        ]
        query = [*self.query, *(PAGING if self.pages else ())]
        found += [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in query]
        return found + ([{"$ref": "#/components/parameters/IdempotencyKey"}] if self.made else [])

    def _responses(self) -> dict[str, Any]:
        good: dict[str, Any] = {"description": "As asked." if self.code == 200 else GOOD[self.code]}
        if self.answer:
            good["content"] = {self.kind: {"schema": ref(self.answer)}}
        headers = (["Link"] if self.pages else []) + (["RateLimit", "RateLimit-Policy"] if self.limited else [])
        headers += ["Idempotency-Replayed"] if self.made else []
        if headers:
            good["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
        others = {
            str(code): {"description": told, "content": {self.kind: {"schema": ref(answer)}}}
            for code, answer, told in self.also
        }
        return (
            {str(self.code): good}
            | others
            | {str(code): {"$ref": f"#/components/responses/Problem{code}"} for code in sorted(self._codes())}
        )

    def _codes(self) -> set[int]:
        codes = {*self.problems, 500, 503}
        codes |= {404} if "{" in self.path else set()
        codes |= {401, 403} if self.scope else set()
        codes |= {400, 413, 415} if self.body else set()
        codes |= {400} if self.pages or self.query or self.made else set()
        codes |= {422, 429} if self.made else set()
        return codes | ({429} if self.limited else set())


GOOD = {201: "It is made.", 202: "It is noted; what follows from it happens later.", 204: "It is done."}
PAGING: tuple[tuple[str, Schema], ...] = (
    ("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 50, "description": "how many at most"}),
    ("cursor", {"type": "string", "description": "from the `next` of the page before"}),
)
