"""The API's description: projects, their people, what shows that they are somebody's, and help that is not money."""

from __future__ import annotations

from typing import Any

from crowdfund.projects.models import KINDS
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
    text,
    time,
    truth,
)

_PROJECT: dict[str, Schema] = {
    "name": text("2 to 60 characters"),
    "kind": one_of(*(kind if isinstance(kind, str) else kind[0] for kind in KINDS)),
    "repository_url": text("its repository, or empty"),
    "site_url": text("its site, or empty; one of both is needed"),
    "license": text("SPDX expression of an open licence."),
    "summary": text("At most 500 characters."),
    "forks_of": text("what it was forked from: an address, or a project here"),
    "bom_url": text("bill of materials, for hardware"),
    "technology_readiness": number("OTRL of hardware, 0: not given", maximum=6),
    "documentation_readiness": number("ODRL of hardware, 0: not given", maximum=4),
}
_NEEDED = ("name", "kind", "license")
_LOOK = made_of(
    looked_at=time(),
    outcome=text("shown, absent or unsure"),
    way=text("in which file"),
    url=text(),
    line=text(),
    sentence=text(),
)
REQUEST = made_of(optional=tuple(n for n in _PROJECT if n not in _NEEDED), **_PROJECT) | {
    "examples": [
        {
            "name": "Seed drill", "kind": "hardware", "repository_url": "https://example.org/drill.git",
            "license": "CERN-OHL-S-2.0",
        }
    ]
}  # fmt: skip

SCHEMAS: dict[str, Any] = {
    "ProjectRequest": REQUEST,
    "ProjectChange": partly(REQUEST) | {"examples": [{"summary": "A drill for narrow rows."}]},
    "Project": made_of(slug=text(), url=text("its page", format="uri"), **_PROJECT, created_at=time()),
    "Projects": page_of("projects", "Project"),
    "Member": made_of(name=text(), role=one_of("owner", "editor", "treasurer"), joined_at=time()),
    "Members": page_of("members", "Member"),
    "Proof": made_of(
        addresses=listed(
            made_of(
                address=text(),
                holds=truth("whether pages may call the project verified by it"),
                seen=maybe({**_LOOK, "description": "the last look that showed it"}),
                last=maybe({**_LOOK, "description": "the last look"}),
            )
        ),
        waiting_since=maybe(time("since when a look is asked for")),
        ways=listed(made_of(way=text(), file=text(), text=text()), "What to write where, for the project's people."),
    ),
    "LookAsked": made_of(project=text(), state=text()),
    "OfferRequest": made_of(
        need=number("number of a line of help wanted"),
        amount=number("how much of it", 1),
        name=text("what to call you"),
        contact=text("how the project can reach you; only the project sees it"),
        message=text("what you can do"),
    )
    | {"examples": [{"need": 0, "amount": 1, "name": "Zoë", "contact": "zoe@example.org", "message": "I weld."}]},
    "Offer": made_of(
        number=number(),
        need=number(),
        amount=number(),
        name=text(),
        contact=text(),
        message=text(),
        state=one_of("offered", "accepted", "declined"),
        answer=text(),
        offered_at=time(),
        answered_at=maybe(time()),
    ),
    "Offers": page_of("offers", "Offer"),
    "OfferAnswer": made_of(optional=("answer",), state=one_of("accepted", "declined"), answer=text())
    | {"examples": [{"state": "accepted", "answer": "Thank you. We write to you."}]},
}
OPERATIONS: tuple[Op, ...] = (
    Op("GET", "/projects", "One's own projects", "Projects", 200, "read", pages=True),
    Op("POST", "/projects", "A new project", "Project", 201, "write", "ProjectRequest", made=True),
    Op("GET", "/projects/{slug}", "A project", "Project"),
    Op("PATCH", "/projects/{slug}", "Change some of a project", "Project", 200, "write", "ProjectChange"),
    Op("GET", "/projects/{slug}/members", "Who is in a project", "Members", pages=True),
    Op(
        "GET", "/projects/{slug}/proof", "Whether it was shown whose project it is", "Proof", optional_token=True,
    ),
    Op(
        "POST", "/projects/{slug}/proof", "Have its files looked at now", "LookAsked", 202, "write", problems=(400,),
        limited=True, made=True,
    ),
    Op(
        "POST", "/campaigns/{id}/offers", "Offer help that is not money", "Offer", 201, body="OfferRequest",
        limited=True, made=True, description="No token is needed.",
    ),
    Op("GET", "/campaigns/{id}/offers", "Offers of help, for the project alone", "Offers", 200, "read", pages=True),
    Op(
        "POST", "/campaigns/{id}/offers/{number}/answer", "Accept an offer, or decline it", "Offer", 200, "write",
        "OfferAnswer", made=True,
    ),
)  # fmt: skip
