"""Webhooks of creators: registering them, what is sent, how it is signed (in the style of Standard Webhooks).

The body of a message follows from stored facts alone, so that it is the same at each attempt, and so is its id.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from crowdfund.campaigns.models import Pledge
from crowdfund.campaigns.terms import format_time
from crowdfund.errors import NotFound, UserError
from crowdfund.notices import outbox
from crowdfund.notices.deriving import News
from crowdfund.notices.kinds import HOOKABLE, OF_ONE_PLEDGE, Kind
from crowdfund.notices.models import Happening, Notice, Webhook
from crowdfund.notices.outbox import WEBHOOK, Result

SECRET_PREFIX = "whsec_"
MOST_WEBHOOKS = 5
SHOWN = 20
DISABLED_AFTER = timedelta(days=3)
GONE = 410
AGENT = "crowdfund-webhook/1"


def register(session: Session, creator_id: int, url: str, events: Sequence[str], now: datetime) -> Webhook:
    """A new webhook, whose `secret` is to be shown now and never again. `url` was checked by a `Poster`. Raises
    UserError."""
    known = [kind.value for kind in HOOKABLE if kind.value in events]
    if not known:
        raise UserError("Choose at least one event.", "events")
    if (session.scalar(select(func.count()).where(Webhook.creator_id == creator_id)) or 0) >= MOST_WEBHOOKS:
        raise UserError(f"You have {MOST_WEBHOOKS} webhooks, and more are not possible; delete one first.", "url")
    secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    hook = Webhook(
        creator_id=creator_id, url=url, secret=secret, events=" ".join(known), created_at=now, disabled_reason=""
    )
    session.add(hook)
    session.flush()
    return hook


def own_hooks(session: Session, creator_id: int) -> list[Webhook]:
    """The creator's webhooks, the oldest first."""
    return list(session.scalars(select(Webhook).where(Webhook.creator_id == creator_id).order_by(Webhook.id)))


def own_hook(session: Session, creator_id: int, hook_id: int) -> Webhook:
    """Raises NotFound for another's, as if it were not there."""
    hook = session.get(Webhook, hook_id)
    if hook is None or hook.creator_id != creator_id:
        raise NotFound("There is no such webhook among yours.")
    return hook


def remove(session: Session, creator_id: int, hook_id: int) -> None:
    """Forget a webhook; what waits for it is given up by the sender."""
    session.delete(own_hook(session, creator_id, hook_id))


def last_messages(session: Session, hook: Webhook) -> list[Notice]:
    """The last messages to a webhook with their deliveries, the newest first."""
    rows = select(Notice).where(Notice.channel == WEBHOOK, Notice.recipient_id == hook.id)
    loaded = rows.options(selectinload(Notice.happening), selectinload(Notice.deliveries))
    return list(session.scalars(loaded.order_by(Notice.id.desc()).limit(SHOWN)))


def send_again(session: Session, hook: Webhook, notice_id: int, now: datetime) -> None:
    """Have a message of this webhook sent once more. Raises NotFound, and UserError where it waits still or the
    webhook is off."""
    notice = session.get(Notice, notice_id)
    if notice is None or (notice.channel, notice.recipient_id) != (WEBHOOK, hook.id):
        raise NotFound("There is no such message to this webhook.")
    if hook.disabled_at is not None:
        raise UserError("This webhook is turned off. Register it anew, and the messages go there.")
    if notice.state == "queued":
        raise UserError("This message waits to be sent anyway.")
    outbox.ask_again(session, notice_id, now)


def body_of(session: Session, happening: Happening, base_url: str) -> bytes:
    """The message's body. It tells what the campaign's public pages tell, and no pledge's link."""
    data: dict[str, Any] = dict(json.loads(happening.detail))
    if happening.campaign_id is not None:
        data["campaign_id"] = happening.campaign_id
        data["campaign_url"] = f"{base_url}/campaigns/{happening.campaign_id}"
    if Kind(happening.kind) in OF_ONE_PLEDGE and happening.pledge_id is not None:
        pledge = session.get_one(Pledge, happening.pledge_id)
        data |= {"pledge_index": pledge.index, "address": pledge.address, "name": pledge.name}
    message = {"type": happening.kind, "timestamp": format_time(happening.at.astimezone(UTC)), "data": data}
    return json.dumps(message, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def headers_for(hook: Webhook, happening: Happening, body: bytes, now: datetime) -> dict[str, str]:
    """Id, time and signature: HMAC-SHA256, with the secret's bytes, over `id.timestamp.body`."""
    message_id, timestamp = stable_id(happening.key, WEBHOOK, hook.id), str(int(now.timestamp()))
    return {
        "Content-Type": "application/json",
        "User-Agent": AGENT,
        "Connection": "close",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature(hook.secret, message_id, timestamp, body),
    }


def signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """As the receiver computes it to compare."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def stable_id(key: str, channel: str, recipient_id: int) -> str:
    """The name of what is told to somebody, the same at each attempt, from which nothing can be read."""
    return f"msg_{sha256(f'{key} {channel} {recipient_id}'.encode()).hexdigest()[:40]}"


def note_outcome(session: Session, hook: Webhook, notice: Notice, result: Result, now: datetime) -> None:
    """What an attempt, which `notice` knows of already, means for the webhook: a success ends its bad time; three days
    of failures, or the answer that it is gone, turn it off. Whatever else waits for it waits as long as this."""
    if result.ok:
        hook.failing_since = None
        return
    hook.failing_since = hook.failing_since or now
    if result.status == GONE:
        _disable(session, hook, "It answered 410: gone.", now)
    elif now - hook.failing_since >= DISABLED_AFTER:
        _disable(session, hook, "It has failed for three days.", now)
    elif notice.state == "queued":
        outbox.put_off(session, WEBHOOK, hook.id, notice.next_at)


def _disable(session: Session, hook: Webhook, why: str, now: datetime) -> None:
    if hook.disabled_at is not None:
        return
    hook.disabled_at, hook.disabled_reason = now, why
    session.flush()
    outbox.give_up_waiting(session, WEBHOOK, hook.id, why, now)
    key = f"webhook_disabled:{hook.id}"
    outbox.note(session, [News(key, Kind.WEBHOOK_DISABLED, now, target_id=hook.id)], False, now)
