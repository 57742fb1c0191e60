"""The API of what people say, and of a creator's own pledges: the same as the pages, in JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, jsonify
from sqlalchemy.orm import Session

from crowdfund.accounts import limits
from crowdfund.campaigns import moderation, overview, own_money, posts, queries, updates
from crowdfund.campaigns.models import Campaign, Creator, Pledge
from crowdfund.campaigns.moderation import CREATOR, Hiding, LogLine
from crowdfund.campaigns.posts import PostView, Thread
from crowdfund.campaigns.rights import may
from crowdfund.campaigns.talk_models import Post
from crowdfund.campaigns.terms import format_time
from crowdfund.campaigns.updates import Update
from crowdfund.errors import NotFound
from crowdfund.projects.roles import Action
from crowdfund.web import callers, door, json_body, once, paging
from crowdfund.web.api import Answer
from crowdfund.web.public import open_snapshot
from crowdfund.web.site import here

pages = Blueprint("talk_api", __name__, url_prefix="/api/v1")


@pages.get("/campaigns/<campaign_id>/pledges")
def pledges(campaign_id: str) -> Answer:
    """The pledges that were ever paid, for the campaign's creator; without their secret ids."""
    creator = callers.creator("read")
    with here().database.reading() as db:
        _own(db, creator, campaign_id, Action.DASHBOARD)
        rows = overview.pledge_rows(queries.load(db, campaign_id))
    return paging.listed("pledges", rows, asdict, lambda row: (row.number,), newest_first=False)


@pages.put("/campaigns/<campaign_id>/pledges/<number:number>/own-money")
def declare(campaign_id: str, number: int) -> Answer:
    """Say of a pledge whether it is own money."""
    creator, own = callers.creator("write"), json_body.truth(json_body.body(), "own")
    with here().database.transaction() as db:
        _own(db, creator, campaign_id, Action.OWN_MONEY)
        target = moderation.find(db, campaign_id, "pledge", number)
        assert target.pledge_id is not None
        own_money.declare(db, creator, db.get_one(Pledge, target.pledge_id), own, datetime.now(UTC))
    return jsonify({"number": number, "own_money": own})


@pages.get("/campaigns/<campaign_id>/updates")
def update_list(campaign_id: str) -> Answer:
    """A campaign's updates with all versions, the newest first."""
    open_snapshot(campaign_id)
    with here().database.reading() as db:
        return paging.listed("updates", updates.of_campaign(db, campaign_id), _update, lambda u: (u.number,))


@pages.post("/campaigns/<campaign_id>/updates")
def update_new(campaign_id: str) -> Answer:
    """A new update, published at once."""
    creator, body = callers.creator("write"), json_body.body()
    title, text = json_body.text(body, "title"), json_body.text(body, "text")

    def write(db: Session) -> int:
        return updates.write(db, creator, _published(db, campaign_id), title, text, datetime.now(UTC))

    return once.made(write, lambda db, number: _update(updates.find(db, campaign_id, number)), _words("update"))


@pages.put("/campaigns/<campaign_id>/updates/<number:number>")
def update_edit(campaign_id: str, number: int) -> Answer:
    """Another version of an update; the one before stays readable."""
    creator, body = callers.creator("write"), json_body.body()
    title, text = json_body.text(body, "title"), json_body.text(body, "text")
    _words("update")()
    with here().database.transaction() as db:
        updates.write(db, creator, _published(db, campaign_id), title, text, datetime.now(UTC), number)
        return jsonify(_update(updates.find(db, campaign_id, number)))


@pages.get("/campaigns/<campaign_id>/talk")
def talk(campaign_id: str) -> Answer:
    """Questions with their answers, and comments, the newest first."""
    snapshot, _ = open_snapshot(campaign_id)
    with here().database.reading() as db:
        said = posts.talk_of(db, snapshot)
    entries: list[Thread | PostView] = [*said.threads, *said.comments]
    shown, after = paging.page(entries, lambda one: (one.question.id if isinstance(one, Thread) else one.id,))
    told = {
        "questions": [_thread(each) for each in shown if isinstance(each, Thread)],
        "comments": [_post(each) for each in shown if isinstance(each, PostView)],
        "waiting_questions": len(said.waiting),
    }
    return paging.answer(told, after)


@pages.get("/campaigns/<campaign_id>/questions")
def waiting(campaign_id: str) -> Answer:
    """Questions that wait for an answer or an approval, for the campaign's side alone; the newest first."""
    creator = callers.creator("read")
    with here().database.reading() as db:
        _own(db, creator, campaign_id, Action.ANSWER)
        said = posts.talk_of(db, queries.load(db, campaign_id))
    return paging.listed("questions", said.waiting, _post, lambda post: (post.id,))


@pages.post("/campaigns/<campaign_id>/questions")
def ask(campaign_id: str) -> Answer:
    """Ask a question. Everyone can read it once it is answered or approved; no token is needed."""
    body = json_body.body()
    name, text = json_body.text(body, "name", required=False), json_body.text(body, "text")

    def write(db: Session) -> Post:
        return posts.ask(db, _published(db, campaign_id), name, text, datetime.now(UTC))

    return once.made(write, _written, _words("question"))


@pages.post("/campaigns/<campaign_id>/questions/<number:question_id>/answers")
def answer(campaign_id: str, question_id: int) -> Answer:
    """Answer a question, which shows it to everyone."""
    creator, text = callers.creator("write"), json_body.text(json_body.body(), "text")

    def write(db: Session) -> Post:
        return posts.answer(db, creator, _published(db, campaign_id), question_id, text, datetime.now(UTC))

    return once.made(write, _written, _words("answer"))


@pages.post("/campaigns/<campaign_id>/questions/<number:question_id>/approve")
def approve(campaign_id: str, question_id: int) -> Answer:
    """Show a question that has no answer yet."""
    creator = callers.creator("write")

    def write(db: Session) -> None:
        posts.approve(db, _own(db, creator, campaign_id, Action.ANSWER), question_id, CREATOR, datetime.now(UTC))

    return once.made(write, lambda db, _: {"number": question_id, "shown": True}, code=200)


@pages.post("/campaigns/<campaign_id>/comments")
def comment(campaign_id: str) -> Answer:
    """A comment by the campaign's side."""
    creator, text = callers.creator("write"), json_body.text(json_body.body(), "text")

    def write(db: Session) -> Post:
        return posts.comment_as_creator(db, creator, _published(db, campaign_id), text, datetime.now(UTC))

    return once.made(write, _written, _words("comment"))


@pages.post("/pledges/<pledge_id>/comments")
def backer_comment(pledge_id: str) -> Answer:
    """A comment by who holds the secret id of a pledge that counts."""
    body = json_body.body()
    name, text = json_body.text(body, "name", required=False), json_body.text(body, "text")

    def write(db: Session) -> Post:
        snapshot, pledge = queries.load_by_pledge(db, pledge_id)
        return posts.comment_as_backer(db, snapshot, pledge, name, text, datetime.now(UTC))

    return once.made(write, _written, _words("comment"))


@pages.get("/campaigns/<campaign_id>/moderation")
def log(campaign_id: str) -> Answer:
    """What was hidden in a campaign, or shown again."""
    open_snapshot(campaign_id)
    with here().database.reading() as db:
        return _log_page(moderation.log(db, campaign_id))


@pages.get("/moderation")
def site_log() -> Answer:
    """The same of the whole site."""
    with here().database.reading() as db:
        return _log_page(moderation.log(db))


def _log_page(lines: list[LogLine]) -> Answer:
    def key(line: LogLine) -> paging.Key:
        return line.at.isoformat(), line.campaign_id, line.where, line.action, line.sha256

    return paging.listed("moderation", lines, lambda line: {**asdict(line), "at": format_time(line.at)}, key)


def _words(what: str) -> Callable[[], None]:
    """Counts what somebody says, as the pages do. It raises TooMany."""
    return lambda: door.limit_address(limits.WORDS, what)


def _written(db: Session, row: Post) -> dict[str, Any]:
    """What was written, as its writer gets it back."""
    return {
        "number": row.id,
        "kind": row.kind,
        "role": row.role,
        "name": row.name,
        "text": row.text,
        "written_at": format_time(row.created_at),
    }


def _published(db: Session, campaign_id: str) -> Campaign:
    campaign = db.get(Campaign, campaign_id)
    if campaign is None or campaign.terms is None:
        raise NotFound("There is no such campaign.")
    return campaign


def _own(db: Session, creator: Creator, campaign_id: str, action: Action) -> Campaign:
    """The campaign, if this person may do this. Raises NotFound, as if it were not there."""
    campaign = db.get(Campaign, campaign_id)
    if campaign is None or not may(db, creator, action, campaign):
        raise NotFound("There is no such campaign among yours.")
    return campaign


def _thread(thread: Thread) -> dict[str, Any]:
    return {**_post(thread.question), "answers": [_post(each) for each in thread.answers]}


def _update(update: Update) -> dict[str, Any]:
    return {
        "number": update.number,
        "published_at": format_time(update.published_at),
        "hidden": _hiding(update.hidden),
        "versions": [
            {
                "version": each.version,
                "title": None if update.hidden else each.title,
                "text": None if update.hidden else each.text,
                "sha256": moderation.fingerprint(each.title, each.text),
                "written_at": format_time(each.created_at),
            }
            for each in update.versions
        ],
    }


def _post(post: PostView) -> dict[str, Any]:
    return {
        "number": post.id,
        "role": post.role,
        "name": None if post.hidden else post.name,
        "text": None if post.hidden else post.text,
        "has_pledged": post.has_pledged,
        "hidden": _hiding(post.hidden),
        "written_at": format_time(post.created_at),
    }


def _hiding(why: Hiding | None) -> dict[str, Any] | None:
    if why is None:
        return None
    return {"at": format_time(why.at), "role": why.role, "reason": why.reason, "sha256": why.sha256}
