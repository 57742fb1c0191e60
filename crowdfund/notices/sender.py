"""The sender: notes what happened and hands it to mail server and webhooks. Holds no key, and settles nothing.

A process of its own, so that a slow server delays nothing else; two of them share the work by leases. What was handed
over is written down afterwards: who dies in between hands it over once more, under the same id. Never less than once.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from crowdfund.campaigns.models import Campaign, ChainView, Creator, Pledge
from crowdfund.config import Settings
from crowdfund.db import Database
from crowdfund.errors import UserError, WorldError
from crowdfund.languages import ASKED, LANGUAGES, spoken
from crowdfund.notices import deriving, hooks, outbox, subscribing
from crowdfund.notices.kinds import Kind
from crowdfund.notices.mail import Mail, message_bytes
from crowdfund.notices.models import Happening, Notice, Subscription, Webhook
from crowdfund.notices.outbox import MAIL, WEBHOOK, Result
from crowdfund.notices.posting import Poster
from crowdfund.notices.smtp import Mailer
from crowdfund.notices.subscribing import OFF
from crowdfund.notices.words import words_for

log = logging.getLogger("crowdfund.notify")

POLL_S = 1.0
# Without a hint that anything has changed, everything is looked at this often all the same.
LOOK_ANYWAY_S = 30.0
HOUSEKEEPING_S = 3600.0
# How many happenings are written in one transaction, so that no other writer waits long.
TOGETHER = 50
HOOK_THREADS = 2
# Where the mail server itself is the trouble, no other mail is tried for so long.
PAUSES_S = (10.0, 60.0, 600.0)


@dataclass
class Sender:
    """What sending needs. `mailer` is None while there is no mail server: then mails wait."""

    database: Database
    settings: Settings
    mailer: Mailer | None
    poster: Poster
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    _mark: object = None
    _looked_at: float = float("-inf")
    _tidied_at: float = float("-inf")
    _pause_until: float = float("-inf")
    _pauses: int = 0

    def note(self) -> int:
        """Note what has happened since; returns how much."""
        with self.database.reading() as session:
            mark = _mark(session)
            if mark == self._mark and time.monotonic() - self._looked_at < LOOK_ANYWAY_S:
                return 0
            found = deriving.news(session, datetime.now(UTC))
        new, operator = 0, bool(self.settings.operator_mail)
        for start in range(0, len(found), TOGETHER):
            with self.database.transaction() as session:
                new += outbox.note(session, found[start : start + TOGETHER], operator, datetime.now(UTC))
        with self.database.transaction() as session:
            new += outbox.repeat_asked(session, datetime.now(UTC))
        self._tidy()
        if len(found) < deriving.AT_ONCE:  # else there may be more behind what was found
            self._mark, self._looked_at = mark, time.monotonic()
        return new

    def step(self, channel: str) -> bool:
        """Hand over one notice of a channel; False where none is due."""
        if channel == MAIL and (self.mailer is None or time.monotonic() < self._pause_until):
            return False
        with self.database.transaction() as session:
            notice_id = outbox.claim(session, channel, self.name, datetime.now(UTC))
        if notice_id is None:
            return False
        if channel == MAIL:
            self._mail(notice_id)
        else:
            self._post(notice_id)
        return True

    def _mail(self, notice_id: int) -> None:
        with self.database.reading() as session:
            mail = _mail_of(session, session.get_one(Notice, notice_id), self.settings)
        if mail is None:
            self._finish(notice_id, Result(False, "The address was taken away.", final=True))
            return
        assert self.mailer is not None
        try:
            result = self.mailer.send(mail.sender, mail.recipient, message_bytes(mail))
        except WorldError as error:
            self._pause(notice_id, error)
            return
        self._pauses = 0
        self._finish(notice_id, result)

    def _pause(self, notice_id: int, error: WorldError) -> None:
        """The mail server is the trouble: this mail has failed once, and the others wait."""
        wait_s = PAUSES_S[min(self._pauses, len(PAUSES_S) - 1)]
        self._pauses += 1
        self._pause_until = time.monotonic() + wait_s
        log.warning("%s Mails wait %d s.", error.sentence, wait_s)
        self._finish(notice_id, Result(False, error.sentence))

    def _post(self, notice_id: int) -> None:
        with self.database.reading() as session:
            notice = session.get_one(Notice, notice_id)
            hook = session.get(Webhook, notice.recipient_id)
            if hook is not None and hook.disabled_at is None:
                happening = notice.happening
                body = hooks.body_of(session, happening, self.settings.base_url)
                headers = hooks.headers_for(hook, happening, body, datetime.now(UTC))
        if hook is None or hook.disabled_at is not None:
            self._finish(notice_id, Result(False, "The webhook was deleted or turned off.", final=True))
            return
        began = time.monotonic()
        result = _posted(self.poster, hook.url, body, headers)
        took_ms = int((time.monotonic() - began) * 1000)
        self._finish(notice_id, Result(result.ok, result.sentence, result.status, result.final, took_ms))

    def _finish(self, notice_id: int, result: Result) -> None:
        now = datetime.now(UTC)
        with self.database.transaction() as session:
            outbox.finish(session, notice_id, self.name, result, now)
            notice = session.get_one(Notice, notice_id)
            hook = session.get(Webhook, notice.recipient_id) if notice.channel == WEBHOOK else None
            if hook is not None:
                hooks.note_outcome(session, hook, notice, result, now)

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied_at >= HOUSEKEEPING_S:
            with self.database.transaction() as session:
                subscribing.forget_unanswered(session, datetime.now(UTC))
            self._tidied_at = time.monotonic()


def run(sender: Sender, stop: threading.Event) -> None:
    """Note and send until `stop` is set."""
    threads = [threading.Thread(target=_send, args=(sender, MAIL, stop), name="mail")]
    threads += [threading.Thread(target=_send, args=(sender, WEBHOOK, stop), name="hooks") for _ in range(HOOK_THREADS)]
    for thread in threads:
        thread.start()
    while not stop.wait(POLL_S):
        _guarded(sender.note)
    for thread in threads:
        thread.join()


def _send(sender: Sender, channel: str, stop: threading.Event) -> None:
    while not stop.is_set():
        if not _guarded(lambda: sender.step(channel)):
            stop.wait(POLL_S)


def _guarded(work: Callable[[], object]) -> bool:
    """The only place that catches everything: one fault must not end telling. A lease brings back what was begun."""
    try:
        return bool(work())
    except SQLAlchemyError as error:
        log.warning("The database cannot be used: %s.", type(error).__name__)
    except Exception:
        log.exception("Telling has met a fault; what was not told is tried again.")
    return False


def _mark(session: Session) -> object:
    """Becomes another one when there may be something to note."""
    view = session.get(ChainView, 1)
    return (
        view.changes if view else 0,
        session.scalar(select(func.count()).where(Campaign.terms.is_not(None))),
        session.scalar(select(func.max(Subscription.id))),
        session.scalar(select(func.max(Webhook.id))),
        session.scalar(select(func.count()).where(Notice.again_at.is_not(None))),
    )


def _posted(poster: Poster, url: str, body: bytes, headers: dict[str, str]) -> Result:
    try:
        answer = poster.post(url, body, headers)
    except (WorldError, UserError) as error:
        return Result(False, error.sentence)
    if 200 <= answer.status < 300:
        return Result(True, "accepted", answer.status)
    if 300 <= answer.status < 400:
        return Result(False, "It answered with a redirection, which is not followed.", answer.status)
    return Result(False, f"It answered {answer.status}.", answer.status)


def _mail_of(session: Session, notice: Notice, settings: Settings) -> Mail | None:
    """The mail of a notice as it is sent, the same at each attempt; None where its reader is gone."""
    happening = notice.happening
    subscription = session.get(Subscription, notice.recipient_id)
    kind = Kind(happening.kind)
    if notice.recipient_id == outbox.OPERATOR:
        recipient, off = settings.operator_mail, ""
    elif subscription is None or (subscription.confirmed_at is None) == (kind is not Kind.CONFIRM_ADDRESS):
        return None
    else:
        recipient = subscription.email
        off = "" if kind is Kind.CONFIRM_ADDRESS else _link(settings, OFF, subscription)
    backer = subscription is not None and subscription.pledge_id is not None
    words = words_for(kind, _title(session, happening, subscription), json.loads(happening.detail), backer)
    language = LANGUAGES[0] if subscription is None else spoken(subscription.language)
    return Mail(
        sender=settings.mail_from,
        recipient=recipient,
        site_name=settings.site_name,
        words=words,
        message_id=hooks.stable_id(happening.key, MAIL, notice.recipient_id),
        at=happening.noted_at,
        link=_in(language, _page(settings, words.page, happening, subscription)),
        off_link=_in(language, off),
        language=language,
    )


def _in(language: str, link: str) -> str:
    """The page behind the link, in the language of the mail."""
    return link if not link or language == LANGUAGES[0] else f"{link}?{ASKED}={language}"


def _title(session: Session, happening: Happening, subscription: Subscription | None) -> str:
    """The campaign's title; for the question to an address, the title of what it would hear of."""
    campaign_id = happening.campaign_id
    if campaign_id is None and subscription is not None:
        if subscription.creator_id is not None:
            return session.get_one(Creator, subscription.creator_id).name
        campaign_id = subscription.campaign_id or _campaign_of_pledge(session, subscription.pledge_id)
    return "" if campaign_id is None else session.get_one(Campaign, campaign_id).title


def _campaign_of_pledge(session: Session, pledge_id: str | None) -> str | None:
    return session.scalar(select(Pledge.campaign_id).where(Pledge.id == pledge_id))


def _page(settings: Settings, page: str, happening: Happening, subscription: Subscription | None) -> str:
    if page == "confirm" and subscription is not None:
        return _link(settings, subscribing.CONFIRM, subscription)
    if page == "campaign" and happening.campaign_id is not None:
        return f"{settings.base_url}/campaigns/{happening.campaign_id}"
    if page in ("account", "incidents"):
        return f"{settings.base_url}/{'dashboard/notices' if page == 'account' else 'incidents'}"
    return ""


def _link(settings: Settings, purpose: str, subscription: Subscription) -> str:
    return f"{settings.base_url}/mail/{purpose}/{subscription.id}/{subscribing.token(subscription, purpose)}"
