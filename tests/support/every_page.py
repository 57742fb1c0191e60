"""The site with everything in it that a person can look at, behind a socket, and a browser of one who may see it all.

The pages are the addresses that `support.access` lets somebody read and that answer with HTML: a new one is among them
as soon as it has its line there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from flask import Flask
from playwright.sync_api import Browser

from crowdfund.web.i18n import OFFER_PSEUDO
from support.access import OFF, TABLE
from support.browsing import Person
from support.cast import STATES, Estate, estates, persons, ways_in
from support.cast import Person as Somebody
from support.details import more_accounts, paper_site
from support.paper import Paper
from support.serving import served

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
# No pages: a stream without an end, files, and an archive that takes a second.
LEFT_OUT = ("live.stream", "static", "public.source")
# Pages that say with their code that something is not well.
CODES = {400, 404, 503}


@dataclass(frozen=True)
class Pages:
    """Where the site answers, its pages (name -> path), and the owner of a project."""

    url: str
    paths: dict[str, str]
    owner: Somebody


@contextmanager
def all_pages(folder: Path) -> Iterator[Pages]:
    """Everything that the matrix of rights has, without a node."""
    with ExitStack() as stack:
        paper = stack.enter_context(Paper(folder))
        app = stack.enter_context(paper_site(paper, mail_from="site@fund.example.org"))
        app.config[OFFER_PSEUDO] = True
        more_accounts(paper)
        held = estates(paper)
        owner = next(each for each in persons(app, paper, held) if each.name == "owner of A")
        ways_in(paper, held)
        paths = paths_of(app, held["A"], owner)
        yield Pages(stack.enter_context(served(app)), paths, owner)


@contextmanager
def visitor(pages: Pages, browser: Browser) -> Iterator[Person]:
    """The owner at a browser. Errors on the console and what the content security policy refuses fail at the end."""
    with Person(browser, pages.url, viewport=WIDE, reduced_motion="reduce") as person:
        person.context.add_cookies([{"name": "session", "value": pages.owner.cookie, "url": pages.url}])
        person.allowed_codes |= CODES
        yield person


def paths_of(app: Flask, whose: Estate, who: Somebody) -> dict[str, str]:
    """Each page once, and a campaign's own in each of its states."""
    rules = {rule.endpoint: rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())}
    client, found = app.test_client(use_cookies=False), {"an address that is not there": "/nowhere"}
    for line in TABLE:
        if line.method != "GET" or line.needs is OFF or line.endpoint in LEFT_OUT:
            continue
        rule = rules[line.endpoint]
        states = [state for state in STATES if state in line.on] if "campaign_id" in rule.arguments else [""]
        for state in states if line.endpoint == "public.campaign" else states[:1]:
            path = line.path(rule, whose.about(state))
            with client.get(path, headers=who.headers()) as answer:
                if answer.status_code == line.good and answer.mimetype == "text/html":
                    found[f"{line} {state}".strip()] = path
    return found
