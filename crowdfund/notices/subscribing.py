"""Mail addresses: asking for mails, saying that an address is right, and hearing no more. One function each.

An address gets one question and nothing else before its owner has answered it; a few of them a day, whoever asks.
Links carry an HMAC made with the subscription's own key, so that they need no log-in and end with it. `language` is the
one that whoever gives the address reads; it stays with the address until that is taken away.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from crowdfund.campaigns.models import Campaign, Pledge
from crowdfund.errors import NotFound, UserError
from crowdfund.languages import LANGUAGES
from crowdfund.notices.mail import check_address
from crowdfund.notices.models import MailAsk, Subscription

ASKS_OF_ONE_ADDRESS = 3
ASKS_OF_ALL_AN_HOUR = 300
DAY = timedelta(days=1)
FORGOTTEN_AFTER = timedelta(days=3)
CONFIRM, OFF = "confirm", "off"


def follow_pledge(
    session: Session, pledge_id: str, email: str, now: datetime, language: str = LANGUAGES[0]
) -> Subscription:
    """Mails about one pledge, to one address: a new one takes the place of the old one. Raises UserError, NotFound."""
    if session.get(Pledge, pledge_id) is None:
        raise NotFound("There is no such pledge.")
    address = check_address(email)
    held = of_pledge(session, pledge_id)
    if held is not None and (held.email != address or held.confirmed_at is None):
        session.delete(held)
        session.flush()
    wanted = Subscription(about=f"pledge:{pledge_id}", pledge_id=pledge_id, language=language)
    return _ask(session, wanted, address, now)


def follow_campaign(
    session: Session, campaign_id: str, email: str, now: datetime, language: str = LANGUAGES[0]
) -> Subscription:
    """Mails about a published campaign. Raises UserError, NotFound."""
    campaign = session.get(Campaign, campaign_id)
    if campaign is None or campaign.terms is None:
        raise NotFound("There is no such campaign.")
    address = check_address(email)
    wanted = Subscription(about=f"campaign:{campaign_id}", campaign_id=campaign_id, language=language)
    return _ask(session, wanted, address, now)


def follow_creator(session: Session, creator_id: int, email: str, now: datetime) -> Subscription:
    """Mails about all of a creator's campaigns, to one address of the creator. Raises UserError."""
    address = check_address(email)
    for other in session.scalars(select(Subscription).where(Subscription.creator_id == creator_id)):
        if other.email != address or other.confirmed_at is None:
            session.delete(other)
    session.flush()
    return _ask(session, Subscription(about=f"creator:{creator_id}", creator_id=creator_id), address, now)


def of_pledge(session: Session, pledge_id: str) -> Subscription | None:
    """The address of a pledge."""
    return session.scalar(select(Subscription).where(Subscription.pledge_id == pledge_id))


def of_creator(session: Session, creator_id: int) -> Subscription | None:
    """The address of a creator."""
    return session.scalar(select(Subscription).where(Subscription.creator_id == creator_id).limit(1))


def forget_pledge(session: Session, pledge_id: str) -> None:
    """The pledge has no address any more."""
    session.execute(delete(Subscription).where(Subscription.pledge_id == pledge_id))


def forget_creator(session: Session, creator_id: int) -> None:
    """The creator has no address any more."""
    session.execute(delete(Subscription).where(Subscription.creator_id == creator_id))


def token(subscription: Subscription, purpose: str) -> str:
    """What a link carries that lets its reader do one thing."""
    return hmac.digest(bytes.fromhex(subscription.key), f"{purpose} {subscription.id}".encode(), sha256).hex()[:40]


def by_token(session: Session, subscription_id: int, purpose: str, given: str) -> Subscription:
    """The subscription that a link names. Raises NotFound, also for one that is gone."""
    found = session.get(Subscription, subscription_id)
    if found is None or not hmac.compare_digest(token(found, purpose).encode(), given.encode()):
        raise NotFound("This link is used up, or a part of it is missing. Nothing is sent to an address without one.")
    return found


def confirm(subscription: Subscription, now: datetime) -> None:
    """Its owner says that the address is right."""
    if subscription.confirmed_at is None:
        subscription.confirmed_at = now


def forget_unanswered(session: Session, now: datetime) -> None:
    """Addresses whose owner did not answer, and notes of who was asked, are not kept."""
    unanswered = Subscription.confirmed_at.is_(None) & (Subscription.asked_at < now - FORGOTTEN_AFTER)
    session.execute(delete(Subscription).where(unanswered))
    session.execute(delete(MailAsk).where(MailAsk.at < now - DAY))


def _ask(session: Session, wanted: Subscription, address: str, now: datetime) -> Subscription:
    """Keep the address and have its owner asked. One that is confirmed already is left as it is, and nobody who asks
    learns that: it is counted like every other, so that the sentence for too many comes as soon."""
    _count(session, address, now)
    held = session.scalar(select(Subscription).where(Subscription.email == address, Subscription.about == wanted.about))
    if held is not None and held.confirmed_at is not None:
        return held
    if held is not None:
        session.delete(held)
        session.flush()
    wanted.email, wanted.key, wanted.asked_at = address, secrets.token_hex(16), now
    session.add(wanted)
    session.flush()
    return wanted


def _count(session: Session, address: str, now: datetime) -> None:
    """Raises UserError where too many mails were asked for already."""
    digest = sha256(address.casefold().encode()).hexdigest()
    of_one = select(func.count()).where(MailAsk.email_sha256 == digest, MailAsk.at > now - DAY)
    of_all = select(func.count()).where(MailAsk.at > now - timedelta(hours=1))
    if (session.scalar(of_one) or 0) >= ASKS_OF_ONE_ADDRESS:
        raise UserError(
            "This address was asked several times today; look for one of those mails, or wait a day.", "email"
        )
    if (session.scalar(of_all) or 0) >= ASKS_OF_ALL_AN_HOUR:
        raise UserError("Too many people ask for mails at the moment; please try again in an hour.", "email")
    session.add(MailAsk(email_sha256=digest, at=now))
