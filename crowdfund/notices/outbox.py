"""The outbox: what is to be told to whom, each thing once, and how far it has come.

Every function writes or reads in the caller's session. A notice goes queued → sent, or given up; while somebody is at
it, it is leased, and a lease that runs out is anybody's again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from crowdfund.campaigns.models import Campaign, Pledge
from crowdfund.notices.deriving import STALE, News
from crowdfund.notices.kinds import HOOKABLE, OF_ONE_PLEDGE, TO_BACKERS, TO_CREATOR, TO_FOLLOWERS, TO_OPERATOR, Kind
from crowdfund.notices.models import Delivery, Happening, Notice, Subscription, Webhook

MAIL, WEBHOOK = "mail", "webhook"
CHANNELS = (MAIL, WEBHOOK)
STATES = ("queued", "sent", "given_up")
OPERATOR = 0
WAITS = (timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6))
GIVE_UP_AFTER = timedelta(days=3)
# Longer than any attempt can last, so that a lease runs out only where its sender has died.
LEASE = timedelta(minutes=3)
SENTENCE_LIMIT = 200
PART = 500


@dataclass(frozen=True)
class Result:
    """How an attempt ended. `final`: trying again would be of no use. `status`: what the other side answered."""

    ok: bool
    sentence: str
    status: int | None = None
    final: bool = False
    took_ms: int = 0


@dataclass(frozen=True)
class Count:
    """How many notices of a channel are in a state, and when the oldest of them was made."""

    channel: str
    state: str
    number: int
    oldest_at: datetime


def note(session: Session, found: Sequence[News], operator: bool, now: datetime) -> int:
    """Note what happened, with a notice for everybody concerned, and return how much was new. What is known already
    stays as it is. `operator`: there is an address for the operator."""
    known = _known(session, [one.key for one in found])
    new = 0
    for one in found:
        if one.key in known:
            continue
        known.add(one.key)
        happening = Happening(
            key=one.key, kind=one.kind.value, campaign_id=one.campaign_id, pledge_id=one.pledge_id,
            target_id=one.target_id, at=one.at, noted_at=now, detail=one.detail_json,
        )  # fmt: skip
        session.add(happening)
        session.flush()
        _queue(session, happening, operator, now)
        new += 1
    return new


def claim(session: Session, channel: str, owner: str, now: datetime) -> int | None:
    """Lease the next notice that is due to `owner`; returns its id, None where nothing is due. At most one at a time
    goes to each webhook, in the order in which things happened."""
    other = aliased(Notice)
    busy = select(other.id).where(
        other.channel == WEBHOOK, Notice.channel == WEBHOOK, other.recipient_id == Notice.recipient_id,
        other.state == "queued", other.leased_until > now,
    )  # fmt: skip
    notice = session.scalar(
        select(Notice)
        .where(Notice.channel == channel, Notice.state == "queued", Notice.next_at <= now)
        .where(or_(Notice.leased_until.is_(None), Notice.leased_until <= now), ~busy.exists())
        .order_by(Notice.next_at, Notice.id)
        .limit(1)
    )
    if notice is None:
        return None
    notice.leased_by, notice.leased_until = owner, now + LEASE
    return notice.id


def finish(session: Session, notice_id: int, owner: str, result: Result, now: datetime) -> None:
    """Write down how an attempt ended. What was sent is sent, also where the lease had run out meanwhile; a failure
    counts only for whoever holds the lease."""
    notice = session.get_one(Notice, notice_id)
    session.add(
        Delivery(
            notice_id=notice_id, at=now, ok=result.ok, status=result.status, took_ms=result.took_ms,
            sentence=plain(result.sentence),
        )
    )  # fmt: skip
    if notice.state != "queued" or (not result.ok and notice.leased_by != owner):
        return
    notice.tries += 1
    notice.leased_by, notice.leased_until = "", None
    if result.ok:
        _end(notice, "sent", "", now)
    elif result.final or now - notice.created_at >= GIVE_UP_AFTER:
        _end(notice, "given_up", result.sentence, now)
    else:
        notice.next_at, notice.trouble = now + wait_after(notice.tries), plain(result.sentence)


def release(session: Session, notice_id: int, owner: str, until: datetime) -> None:
    """Give a notice back untried, not before `until`: the fault was not its own."""
    session.execute(
        update(Notice)
        .where(Notice.id == notice_id, Notice.leased_by == owner, Notice.state == "queued")
        .values(leased_by="", leased_until=None, next_at=until)
    )


def give_up_waiting(session: Session, channel: str, recipient_id: int, why: str, now: datetime) -> None:
    """Nothing that waits for this recipient is sent any more."""
    waiting = _waiting(channel, recipient_id)
    session.execute(
        update(Notice)
        .where(waiting)
        .values(state="given_up", finished_at=now, trouble=plain(why), leased_by="", leased_until=None)
    )


def put_off(session: Session, channel: str, recipient_id: int, until: datetime) -> None:
    """Nothing goes to this recipient before `until`: it has just failed."""
    session.execute(update(Notice).where(_waiting(channel, recipient_id), Notice.next_at < until).values(next_at=until))


def ask_again(session: Session, notice_id: int, now: datetime) -> None:
    """Somebody wants a finished notice to be sent once more; `repeat_asked` does it. All that the web process may
    write into the outbox."""
    session.execute(
        update(Notice)
        .where(Notice.id == notice_id, Notice.state != "queued", Notice.again_at.is_(None))
        .values(again_at=now)
    )


def repeat_asked(session: Session, now: datetime) -> int:
    """Make a new round of each notice for which that was asked; returns how many."""
    later = aliased(Notice)
    repeated = select(later.id).where(
        later.happening_id == Notice.happening_id, later.channel == Notice.channel,
        later.recipient_id == Notice.recipient_id, later.round > Notice.round,
    )  # fmt: skip
    rows = session.scalars(select(Notice).where(Notice.again_at.is_not(None), ~repeated.exists())).all()
    session.add_all(_notice(row.happening_id, row.channel, row.recipient_id, now, row.round + 1) for row in rows)
    return len(rows)


def counts(session: Session) -> list[Count]:
    """How many notices are in which state, for the operator."""
    rows = session.execute(
        select(Notice.channel, Notice.state, func.count(), func.min(Notice.created_at))
        .group_by(Notice.channel, Notice.state)
        .order_by(Notice.channel, Notice.state)
    )
    return [Count(*row) for row in rows]


def in_trouble(session: Session, limit: int = 20) -> list[Notice]:
    """Notices that have failed at least once and wait, and those given up, the newest first."""
    wanted = or_(Notice.state == "given_up", and_(Notice.state == "queued", Notice.tries > 0))
    return list(session.scalars(select(Notice).where(wanted).order_by(Notice.id.desc()).limit(limit)))


def wait_after(tries: int) -> timedelta:
    """How long to wait after so many failures: 10 s, 1 min, 10 min, 1 h, and then every 6 h."""
    return WAITS[min(max(tries, 1), len(WAITS)) - 1]


def plain(text: str) -> str:
    """One line of visible characters, for logs and pages: what a server answers can be anything."""
    return "".join(c if c.isprintable() else " " for c in text)[:SENTENCE_LIMIT]


def _end(notice: Notice, state: str, trouble: str, now: datetime) -> None:
    notice.state, notice.finished_at, notice.trouble = state, now, plain(trouble)


def _waiting(channel: str, recipient_id: int) -> ColumnElement[bool]:
    return and_(Notice.channel == channel, Notice.recipient_id == recipient_id, Notice.state == "queued")


def _known(session: Session, keys: Sequence[str]) -> set[str]:
    parts = (keys[i : i + PART] for i in range(0, len(keys), PART))
    return {key for part in parts for key in session.scalars(select(Happening.key).where(Happening.key.in_(part)))}


def _queue(session: Session, happening: Happening, operator: bool, now: datetime) -> None:
    kind = Kind(happening.kind)
    mails: list[int] = _mail_recipients(session, happening, kind)
    if operator and kind in TO_OPERATOR and now - happening.at < STALE:
        mails.append(OPERATOR)
    hooks = _hooks(session, happening, kind)
    session.add_all(_notice(happening.id, MAIL, each, now) for each in mails)
    session.add_all(_notice(happening.id, WEBHOOK, each, now) for each in hooks)


def _notice(happening_id: int, channel: str, recipient_id: int, now: datetime, round_: int = 0) -> Notice:
    return Notice(
        happening_id=happening_id, channel=channel, recipient_id=recipient_id, created_at=now, next_at=now,
        round=round_, state="queued", tries=0,
    )  # fmt: skip


def _mail_recipients(session: Session, happening: Happening, kind: Kind) -> list[int]:
    """Confirmed addresses, each once, whatever else it is subscribed to. The backer's own subscription comes first."""
    if kind is Kind.CONFIRM_ADDRESS:
        return [happening.target_id or 0]
    wanted: list[ColumnElement[bool]] = []
    if kind in OF_ONE_PLEDGE:
        wanted.append(Subscription.pledge_id == happening.pledge_id)
    if kind in TO_BACKERS:
        own = select(Pledge.id).where(Pledge.campaign_id == happening.campaign_id)
        wanted.append(Subscription.pledge_id.in_(own))
    if kind in TO_FOLLOWERS:
        wanted.append(Subscription.campaign_id == happening.campaign_id)
    if kind in TO_CREATOR:
        owner = select(Campaign.creator_id).where(Campaign.id == happening.campaign_id)
        wanted.append(Subscription.creator_id.in_(owner))
    if kind is Kind.WEBHOOK_DISABLED:
        owner = select(Webhook.creator_id).where(Webhook.id == happening.target_id)
        wanted.append(Subscription.creator_id.in_(owner))
    if not wanted:
        return []
    rows = session.execute(
        select(Subscription.email, Subscription.id)
        .where(or_(*wanted), Subscription.confirmed_at.is_not(None))
        .order_by(Subscription.pledge_id.is_(None), Subscription.creator_id.is_(None), Subscription.id)
    )
    return _first_of_each(rows)


def _first_of_each(rows: Iterable[Sequence[object]]) -> list[int]:
    found: dict[object, int] = {}
    for email, subscription_id in rows:
        assert isinstance(subscription_id, int)
        found.setdefault(email, subscription_id)
    return list(found.values())


def _hooks(session: Session, happening: Happening, kind: Kind) -> list[int]:
    if kind is Kind.WEBHOOK_REGISTERED:
        return [happening.target_id or 0]
    if kind not in HOOKABLE:
        return []
    owner = select(Campaign.creator_id).where(Campaign.id == happening.campaign_id)
    rows = session.scalars(
        select(Webhook).where(Webhook.creator_id.in_(owner), Webhook.disabled_at.is_(None)).order_by(Webhook.id)
    )
    return [hook.id for hook in rows if kind.value in hook.events.split()]
