"""The site in the test's own process: a Flask test client that fills in forms, on a World.

It shows what a visitor without JavaScript would meet, fast; the browser tests show the rest.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from crowdfund import create_app
from crowdfund.accounts.people import create_token
from crowdfund.campaigns.models import Campaign, Creator, Pledge
from crowdfund.web.site import Site
from support.paper import Paper
from support.world import PASSWORD, World

TOKEN_FIELD = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')


class Visitor:
    """Somebody with a browser of their own: cookies are kept, redirections are not followed."""

    def __init__(self, app: Flask) -> None:
        self.client: FlaskClient = app.test_client()

    def get(self, path: str, **more: Any) -> TestResponse:
        """Open a page."""
        return self.client.get(path, **more)

    def post(self, path: str, data: dict[str, str] | None = None, page: str = "/", **more: Any) -> TestResponse:
        """Send a form as the one on `page` would be sent: with its CSRF token."""
        return self.client.post(path, data={"csrf_token": self.csrf_token(page), **(data or {})}, **more)

    def send(self, path: str, data: dict[str, str]) -> TestResponse:
        """Open a form's page, fill it in and send it there."""
        return self.post(path, data, page=path)

    def csrf_token(self, page: str) -> str:
        """The token in the forms of a page; the log-in page has one for everybody."""
        found = TOKEN_FIELD.search(self.get(page).get_data(as_text=True)) or TOKEN_FIELD.search(
            self.get("/login").get_data(as_text=True)
        )
        assert found is not None, f"no form with a token on {page}"
        return found[1]

    def sign_up(self, name: str) -> None:
        """A creator's account, and logged in."""
        answer = self.send("/signup", {"name": name, "password": PASSWORD})
        assert answer.status_code == 303, sentences(answer)


@contextmanager
def site_of(world: World | Paper, **settings: Any) -> Iterator[Flask]:
    """The web application on a World's or a Paper's database, with some settings changed."""
    app = create_app(replace(world.settings, **settings))
    yield app
    found: Site = app.extensions["crowdfund"]
    found.database.close()


def sentences(answer: TestResponse) -> str:
    """What a page says, without its tags."""
    text = answer.get_data(as_text=True)
    text = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", text, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def field_error(answer: TestResponse, field: str) -> str:
    """The sentence that stands at a field; empty if there is none."""
    found = re.search(rf'id="{field}-error">(.*?)</p>', answer.get_data(as_text=True), re.S)
    text = re.sub(r"<[^>]+>", " ", found[1]) if found else ""
    return html.unescape(text).replace("▲", "").strip()


def stored(world: World) -> tuple[int, int, int, int]:
    """How many creators, campaigns and pledges there are, and how many addresses were given out."""
    with world.database.reading() as db:
        counts = [db.scalar(select(func.count()).select_from(table)) or 0 for table in (Creator, Campaign, Pledge)]
        return counts[0], counts[1], counts[2], db.scalar(select(func.sum(Campaign.next_index))) or 0


def token_of(world: World, name: str) -> dict[str, str]:
    """The header of a new bearer token of this creator."""
    with world.database.transaction() as db:
        return {"Authorization": f"Bearer {create_token(db, name, world.chain_now())}"}


def draft_form(world: World, **changes: str) -> dict[str, str]:
    """A good draft as the form sends it, with `changes`."""
    draft = world.draft()
    good = {
        "title": draft.title,
        "summary": draft.summary,
        "story": draft.story,
        "goal": str(draft.goal_sats),
        "goal_unit": "sat",
        "deadline": f"{draft.deadline_at:%Y-%m-%dT%H:%M}",
        "payout_address": draft.payout_address,
        "project_url": draft.project_url,
        "license": draft.license,
    }
    return {**good, **changes}


def draft_json(world: World, **changes: Any) -> dict[str, Any]:
    """A good draft as the API takes it, with `changes`."""
    draft = world.draft()
    good = {
        "title": draft.title,
        "summary": draft.summary,
        "story": draft.story,
        "goal_sats": draft.goal_sats,
        "deadline_at": f"{draft.deadline_at:%Y-%m-%dT%H:%M:%SZ}",
        "payout_address": draft.payout_address,
        "project_url": draft.project_url,
        "license": draft.license,
    }
    return {**good, **changes}
