"""The API's description: cancelling, mails and webhooks, and the messages that we send."""

from __future__ import annotations

from typing import Any

from crowdfund.languages import LANGUAGES
from crowdfund.notices.kinds import HOOKABLE
from crowdfund.web.openapi.shape import (
    Op,
    listed,
    made_of,
    maybe,
    number,
    one_of,
    page_of,
    ref,
    sats,
    text,
    time,
    truth,
)

_PAPER = made_of(
    reason=text(),
    txid=text(),
    psbt=text("base64, to be signed by the payout address"),
    fee_sats=sats(),
    back_sats=sats("what comes back to the payout address"),
    feerate_sat_vb=number(least=1),
    made_at=time(),
)
_SENT = made_of(
    txid=text(),
    brought_at=time(),
    sent_at=maybe(time("null until it was sent")),
    answer=text("why the network did not take it; empty where it did"),
)
_WHERE_TO = text("Where to; one mail asks first whether it is right.")
_EVENTS = [kind.value for kind in HOOKABLE]
_HOOK = {
    "id": number(),
    "url": text(),
    "events": listed(text()),
    "created_at": time(),
    "failing_since": maybe(time()),
    "disabled_at": maybe(time()),
    "disabled_reason": text(),
}
_DELIVERY = made_of(at=time(), ok=truth(), status=maybe(number()), took_ms=number(), sentence=text())

SCHEMAS: dict[str, Any] = {
    "CancellationRequest": made_of(
        title=text("The campaign's title, so that it is no mistake."),
        reason=text("For everyone to read."),
        coin=text("A raw transaction, in hex, that paid the payout address."),
        feerate_sat_vb=number(least=1),
    )
    | {"examples": [{"title": "A seed drill", "reason": "The smith has died.", "coin": "0200…", "feerate_sat_vb": 3}]},
    "CancellationToSign": _PAPER,
    "CancellationBrought": _SENT,
    "Cancellation": made_of(to_sign=maybe(_PAPER), brought=listed(_SENT)),
    "SignedRequest": made_of(signed=text("PSBT in base64, or transaction in hex"))
    | {"examples": [{"signed": "cHNidP8BA…"}]},
    "MailRequest": made_of(
        optional=("language",),
        email=_WHERE_TO,
        language=one_of(*LANGUAGES, description="What the mails speak; en where it is not said."),
    )
    | {"examples": [{"email": "zoe@example.org", "language": "de"}]},
    "OwnMailRequest": made_of(email=_WHERE_TO) | {"examples": [{"email": "zoe@example.org"}]},
    "MailAsked": made_of(state=text("asked, whatever is known of the address")),
    "Mail": made_of(address=maybe(text("not all of it")), confirmed=truth()),
    "WebhookRequest": made_of(
        url=text("An address that anybody on the internet can reach.", format="uri"),
        events=listed(one_of(*_EVENTS), minItems=1),
    )
    | {"examples": [{"url": "https://example.org/hook", "events": _EVENTS[:2]}]},
    "Webhook": made_of(**_HOOK),
    "WebhookMade": made_of(**_HOOK, secret=text("Shown in this answer alone.")),
    "WebhookWithMessages": made_of(
        **_HOOK,
        messages=listed(
            made_of(id=number(), type=text(), state=text(), created_at=time(), deliveries=listed(_DELIVERY)),
            "The last ones, newest first.",
        ),
    ),
    "Webhooks": page_of("webhooks", "Webhook"),
    "Queued": made_of(state=text()),
    "WebhookMessage": made_of(
        type=text("What happened."),
        timestamp=time("When, RFC 3339 in UTC. The order of messages is not certain."),
        data={
            "type": "object",
            "description": "All but webhook.registered have campaign_id and campaign_url; by type: percent, "
            "counted_sats and goal_sats; outcome, counted_sats and closing_height; outcome, txids (at most 20) and "
            "transactions; sentence, kind, height and depth; title and update_id; for payments and refunds outpoint, "
            "value_sats, height, pledge_index, address and name, and txid of a refund that is final. More may come.",
        },
    ),
}
OPERATIONS: tuple[Op, ...] = (
    Op(
        "GET", "/campaigns/{id}/cancellation", "What was asked for to cancel, and brought", "Cancellation", 200, "read",
        problems=(400,),
    ),
    Op(
        "POST", "/campaigns/{id}/cancellation", "Ask for the transaction that cancels", "CancellationToSign", 201,
        "publish", "CancellationRequest", made=True,
        description="It ends nothing by itself. The payout address alone can sign it.",
    ),
    Op(
        "POST", "/campaigns/{id}/cancellation/signed", "Bring it signed", "CancellationBrought", 202, "publish",
        "SignedRequest", made=True,
        description="It is sent to the network; the campaign is cancelled once a block holds it.",
    ),
    Op(
        "POST", "/campaigns/{id}/followers", "Mails about a campaign", "MailAsked", 202, body="MailRequest",
        limited=True, made=True, description="No token is needed.",
    ),
    Op(
        "POST", "/pledges/{id}/mail", "Mails about a pledge", "MailAsked", 202, body="MailRequest", limited=True,
        made=True,
    ),
    Op("DELETE", "/pledges/{id}/mail", "Forget the address of a pledge", code=204),
    Op("GET", "/me/mail", "Where mails about one's own campaigns go", "Mail", 200, "notices"),
    Op(
        "PUT", "/me/mail", "Mails about one's own campaigns", "MailAsked", 202, "notices", "OwnMailRequest",
        problems=(404,), limited=True, made=True,
    ),
    Op("DELETE", "/me/mail", "Forget one's own address", code=204, scope="notices"),
    Op("GET", "/webhooks", "One's webhooks", "Webhooks", 200, "notices", pages=True),
    Op("POST", "/webhooks", "A new webhook", "WebhookMade", 201, "notices", "WebhookRequest", made=True),
    Op(
        "GET", "/webhooks/{number}", "A webhook and its last messages", "WebhookWithMessages", 200, "notices",
        problems=(405,),
    ),
    Op("DELETE", "/webhooks/{number}", "Forget a webhook", code=204, scope="notices", problems=(405,)),
    Op(
        "POST", "/webhooks/{number}/messages/{message}/again", "Send a message once more", "Queued", 202, "notices",
        problems=(400,), made=True,
    ),
)  # fmt: skip


def hook(words: str) -> dict[str, Any]:
    """A message that we send."""
    headers = {
        "webhook-id": "The same at each attempt; keep it, and do nothing the second time.",
        "webhook-timestamp": "Seconds since 1970 at this attempt; refuse what is older than five minutes.",
        "webhook-signature": "`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; the key is what the secret "
        "holds behind `whsec_`, base64-decoded.",
    }
    return {
        "summary": f"Sent when {words}",
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": text(), "description": told}
            for name, told in headers.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": ref("WebhookMessage")}}},
        "responses": {"200": {"description": "Any 2xx within 10 s says that it has arrived; 410 ends all messages."}},
    }
