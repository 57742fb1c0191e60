"""An installation on paper that tells people: settings with a mail server, subscriptions, a sender."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update

from crowdfund.backup.tables import without_triggers
from crowdfund.campaigns.models import Campaign
from crowdfund.notices import hooks, subscribing
from crowdfund.notices.kinds import HOOKABLE
from crowdfund.notices.models import Happening, Notice, Subscription, Webhook
from crowdfund.notices.posting import PinnedPoster
from crowdfund.notices.sender import Sender
from crowdfund.notices.smtp import Mailer
from support.paper import Paper

FROM = "site@fund.example.org"
BASE = "https://fund.example.org"


@dataclass
class Telling:
    """A Paper, and what it takes to tell people of it."""

    paper: Paper
    smtp_url: str = ""
    operator: str = ""

    def sender(self, timeout_s: float = 1.0) -> Sender:
        """A sender of the test's own, which reaches programs on this machine."""
        settings = replace(
            self.paper.settings, smtp_url=self.smtp_url, mail_from=FROM, operator_mail=self.operator, base_url=BASE
        )
        mailer = Mailer(self.smtp_url, timeout_s, timeout_s) if self.smtp_url else None
        poster = PinnedPoster(plain=True, allowed=("127.0.0.1",), timeout_s=timeout_s)
        return Sender(self.paper.database, settings, mailer, poster)

    def tell(self, sender: Sender | None = None) -> None:
        """Note everything and send all that is due."""
        sender = sender or self.sender()
        while look_again(sender):
            pass
        for channel in ("mail", "webhook"):
            while sender.step(channel):
                pass

    def backer(self, pledge_id: str, email: str, language: str = "en") -> int:
        """A confirmed address of a pledge."""
        with self.paper.database.transaction() as session:
            return _confirmed(subscribing.follow_pledge(session, pledge_id, email, _now(), language))

    def follower(self, campaign_id: str, email: str, language: str = "en") -> int:
        """A confirmed address that follows a campaign."""
        with self.paper.database.transaction() as session:
            return _confirmed(subscribing.follow_campaign(session, campaign_id, email, _now(), language))

    def creator(self, campaign_id: str, email: str) -> int:
        """A confirmed address of the campaign's creator."""
        with self.paper.database.transaction() as session:
            owner = session.get_one(Campaign, campaign_id).creator_id
            return _confirmed(subscribing.follow_creator(session, owner, email, _now()))

    def hook(self, campaign_id: str, url: str, *events: str) -> Webhook:
        """A webhook of the campaign's creator, for these events or for all."""
        with self.paper.database.transaction() as session:
            owner = session.get_one(Campaign, campaign_id).creator_id
            return hooks.register(session, owner, url, events or [kind.value for kind in HOOKABLE], _now())

    def notices(self, channel: str = "mail") -> list[Notice]:
        """The outbox, in the order in which it was filled."""
        with self.paper.database.reading() as session:
            return list(session.scalars(select(Notice).where(Notice.channel == channel).order_by(Notice.id)))

    def kinds(self, channel: str = "mail") -> list[tuple[str, str]]:
        """(kind, state) of each notice."""
        with self.paper.database.reading() as session:
            rows = session.execute(
                select(Happening.kind, Notice.state)
                .join(Notice, Notice.happening_id == Happening.id)
                .where(Notice.channel == channel)
                .order_by(Notice.id)
            )
            return [(kind, state) for kind, state in rows]

    def happened(self) -> list[str]:
        """The keys of all that was noted."""
        with self.paper.database.reading() as session:
            return list(session.scalars(select(Happening.key).order_by(Happening.id)))

    def wait(self, how_long: timedelta) -> None:
        """As if so much time had passed for all that waits in the outbox. `created_at` is frozen and stays."""
        with self.paper.database.transaction() as session:
            for notice in session.scalars(select(Notice).where(Notice.state == "queued")):
                notice.next_at -= how_long
                if notice.leased_until is not None:
                    notice.leased_until -= how_long


def grow_old(telling: Telling, how_long: timedelta) -> None:
    """As if everything had been queued, and every webhook had begun to fail, so much earlier."""
    with telling.paper.database.engine.begin() as connection, without_triggers(connection):
        for column in ("created_at", "next_at"):
            for row in connection.execute(select(Notice.id, getattr(Notice, column))).all():
                connection.execute(update(Notice).where(Notice.id == row[0]).values({column: row[1] - how_long}))
        for hook_id, since in connection.execute(select(Webhook.id, Webhook.failing_since)).all():
            if since is not None:
                connection.execute(update(Webhook).where(Webhook.id == hook_id).values(failing_since=since - how_long))


def look_again(sender: Sender) -> int:
    """Note what happened, whether or not there was a hint."""
    sender._mark = None
    return sender.note()


def _confirmed(subscription: Subscription) -> int:
    subscribing.confirm(subscription, _now())
    return subscription.id


def _now() -> datetime:
    return datetime.now(UTC)
