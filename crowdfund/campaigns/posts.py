"""Questions, answers and comments, as plain text.

Anyone may ask; a question waits, seen by the campaign's side alone, until it is answered or approved, and everyone sees
how many wait. Backers whose money counts, and creators, comment at once: a comment has cost a pledge, and a creator who
could keep back what backers say would be believed too easily. What is said stays; see `moderation` for hiding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crowdfund.campaigns import moderation
from crowdfund.campaigns.drafts import clean_text
from crowdfund.campaigns.lifecycle import Standing
from crowdfund.campaigns.models import Campaign, Creator, Pledge
from crowdfund.campaigns.moderation import Hiding, Target
from crowdfund.campaigns.queries import Snapshot
from crowdfund.campaigns.recording import tell_pages
from crowdfund.campaigns.rights import may
from crowdfund.campaigns.talk_models import Approval, Post
from crowdfund.errors import NotFound, Problems, UserError
from crowdfund.projects.roles import Action
from crowdfund.sentences import N_, Sentence

NAME_LIMIT = 60
TEXT_LIMIT = 2_000
MOST_WAITING = 50
MOST_OF_ONE_PLEDGE = 20
SHOWN = 100


@dataclass(frozen=True)
class PostView:
    """A post as everyone may see it. `text` is empty while it is hidden. `has_pledged`: money of its writer counts."""

    id: int
    kind: str
    role: str
    name: str
    text: str
    has_pledged: bool
    hidden: Hiding | None
    created_at: datetime


@dataclass(frozen=True)
class Thread:
    """A question with its answers, the oldest first."""

    question: PostView
    answers: Sequence[PostView]


@dataclass(frozen=True)
class Talk:
    """All that is said under a campaign, the newest first; `waiting` questions are for its own side only."""

    threads: Sequence[Thread]
    comments: Sequence[PostView]
    waiting: Sequence[PostView]


def ask(session: Session, campaign: Campaign, name: str, text: str, now: datetime) -> Post:
    """A visitor's question; it waits for an answer or an approval. Raises Problems, UserError, NotFound."""
    name, text = _checked(name, text)
    if campaign.terms is None:
        raise NotFound("There is no such campaign.")
    if _waiting_count(session, campaign.id) >= MOST_WAITING:
        raise UserError("Many questions wait for an answer here, so no more are taken; please come back later.")
    return _add(session, campaign, Post(kind="question", role="visitor", name=name, text=text, created_at=now))


def answer(session: Session, creator: Creator, campaign: Campaign, question_id: int, text: str, now: datetime) -> Post:
    """An answer, which lets everyone read the question too. Raises Problems, NotFound."""
    if not may(session, creator, Action.ANSWER, campaign):
        raise NotFound("There is no such campaign among yours.")
    _, text = _checked("", text)
    question = _question(session, campaign.id, question_id)
    post = Post(kind="answer", role="creator", question_id=question.id, creator_id=creator.id, name=creator.name,
                text=text, created_at=now)  # fmt: skip
    return _add(session, campaign, post)


def approve(session: Session, campaign: Campaign, question_id: int, role: str, now: datetime) -> None:
    """Let everyone read a question that has no answer yet; twice is the same as once. Raises NotFound."""
    question = _question(session, campaign.id, question_id)
    if session.get(Approval, question.id) is None:
        session.add(Approval(post_id=question.id, role=role, created_at=now))
        session.flush()
        tell_pages(session)


def comment_as_backer(
    session: Session, snapshot: Snapshot, pledge: Pledge, name: str, text: str, now: datetime
) -> Post:
    """A comment by who holds a pledge's secret link. Raises Problems, and UserError while the pledge does not count."""
    why_not = why_no_comment(session, snapshot, pledge)
    if why_not:
        raise UserError(why_not)
    name, text = _checked(name, text)
    post = Post(kind="comment", role="backer", pledge_id=pledge.id, name=name, text=text, created_at=now)
    return _add(session, snapshot.campaign, post)


def comment_as_creator(session: Session, creator: Creator, campaign: Campaign, text: str, now: datetime) -> Post:
    """A comment by the campaign's side. Raises Problems, NotFound."""
    if not may(session, creator, Action.ANSWER, campaign):
        raise NotFound("There is no such campaign among yours.")
    _, text = _checked("", text)
    post = Post(kind="comment", role="creator", creator_id=creator.id, name=creator.name, text=text, created_at=now)
    return _add(session, campaign, post)


def why_no_comment(session: Session, snapshot: Snapshot, pledge: Pledge) -> str | None:
    """What keeps a backer from commenting, in one sentence; None if nothing does."""
    if pledge.id not in counting_pledges(snapshot):
        return N_("You can comment once a payment of this pledge counts.")
    written = session.scalar(select(func.count()).where(Post.pledge_id == pledge.id)) or 0
    if written >= MOST_OF_ONE_PLEDGE:
        return Sentence("{most} comments have come from this pledge, which is the most.", most=MOST_OF_ONE_PLEDGE)
    return None


def counting_pledges(snapshot: Snapshot) -> set[str]:
    """Ids of the pledges that money counts for; they are secret."""
    return {c.pledge_id for c in snapshot.coins if snapshot.standing(c) is Standing.COUNTED}


def talk_of(session: Session, snapshot: Snapshot) -> Talk:
    """Everything, for the campaign's page. Hidden texts are left out, their place and the reason are not."""
    campaign_id = snapshot.campaign.id
    rows = session.scalars(select(Post).where(Post.campaign_id == campaign_id).order_by(Post.id)).all()
    hidden, backers = moderation.hidden(session, campaign_id), counting_pledges(snapshot)
    views = {row.id: _view(row, hidden, backers) for row in rows}
    answers: dict[int | None, list[PostView]] = {}
    for row in rows:
        if row.kind == "answer":
            answers.setdefault(row.question_id, []).append(views[row.id])
    approved = set(session.scalars(select(Approval.post_id).join(Post).where(Post.campaign_id == campaign_id)))
    questions = [row for row in reversed(rows) if row.kind == "question"]
    open_to_all = [q for q in questions if q.id in answers or q.id in approved]
    # A question that was hidden while it waited waits no more.
    waiting = [q for q in questions if q not in open_to_all and not views[q.id].hidden]
    return Talk(
        threads=[Thread(views[q.id], answers.get(q.id, [])) for q in open_to_all[:SHOWN]],
        comments=[views[row.id] for row in reversed(rows) if row.kind == "comment"][:SHOWN],
        waiting=[views[q.id] for q in waiting],
    )


def waiting(session: Session, campaign_id: str, post_id: int) -> bool:
    """Is this a question that waits for an answer or an approval?"""
    post = session.get(Post, post_id)
    if post is None or post.campaign_id != campaign_id or post.kind != "question":
        return False
    answered = session.scalar(select(Post.id).where(Post.question_id == post_id).limit(1)) is not None
    hidden = Target.post(post_id) in moderation.hidden(session, campaign_id)
    return not answered and not hidden and session.get(Approval, post_id) is None


def _waiting_count(session: Session, campaign_id: str) -> int:
    """Questions that nobody answered or approved, also those that were hidden: a flood is a flood."""
    replies = select(Post.question_id).where(Post.question_id.is_not(None))
    wanted = (Post.campaign_id == campaign_id, Post.kind == "question", Post.id.not_in(replies))
    return session.scalar(select(func.count()).where(*wanted, Post.id.not_in(select(Approval.post_id)))) or 0


def _question(session: Session, campaign_id: str, question_id: int) -> Post:
    question = session.get(Post, question_id)
    if question is None or question.campaign_id != campaign_id or question.kind != "question":
        raise NotFound("There is no such question.")
    return question


def _add(session: Session, campaign: Campaign, post: Post) -> Post:
    post.campaign_id = campaign.id
    session.add(post)
    session.flush()
    tell_pages(session)
    return post


def _view(row: Post, hidden: Mapping[Target, Hiding], backers: set[str]) -> PostView:
    why = hidden.get(Target.post(row.id))
    return PostView(
        id=row.id, kind=row.kind, role=row.role, name="" if why else row.name or "anonymous",
        text="" if why else row.text, has_pledged=row.pledge_id in backers, hidden=why, created_at=row.created_at,
    )  # fmt: skip


def _checked(name: str, text: str) -> tuple[str, str]:
    """Tidied up. Raises Problems with a sentence for each field."""
    problems: dict[str, str] = {}
    name, text = " ".join(clean_text(name).split()), clean_text(text)
    if len(name) > NAME_LIMIT:
        problems["name"] = Sentence(
            "The name has {count} characters; at most {limit} fit.", count=len(name), limit=NAME_LIMIT
        )
    if not text:
        problems["text"] = N_("Please write something.")
    elif len(text) > TEXT_LIMIT:
        problems["text"] = Sentence(
            "The text has {count} characters; at most {limit} fit.", count=len(text), limit=TEXT_LIMIT
        )
    if problems:
        raise Problems(problems)
    return name, text
