"""What people are told of, and who is told. Pure.

A kind's value is also the `type` of a message to a creator's program, so it never changes.
"""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What can happen."""

    PUBLISHED = "campaign.published"
    MILESTONE = "campaign.milestone"
    GOAL = "campaign.goal_reached"
    DECIDED = "campaign.decided"
    SETTLED = "campaign.settled"
    INCIDENT = "campaign.incident"
    UPDATE = "campaign.update"
    CONFIRMED = "pledge.confirmed"
    UNCONFIRMED = "pledge.unconfirmed"
    CONFIRMED_AGAIN = "pledge.confirmed_again"
    READDRESSED = "pledge.refund_address_changed"
    REFUND_SENT = "refund.sent"
    REFUND_FINAL = "refund.final"
    SITE_INCIDENT = "site.incident"
    HALT = "site.halt"
    HALT_ENDED = "site.halt_ended"
    CONFIRM_ADDRESS = "address.confirm"
    WEBHOOK_REGISTERED = "webhook.registered"
    WEBHOOK_DISABLED = "webhook.disabled"


OF_ONE_PLEDGE = (
    Kind.CONFIRMED, Kind.UNCONFIRMED, Kind.CONFIRMED_AGAIN, Kind.READDRESSED, Kind.REFUND_SENT, Kind.REFUND_FINAL,
)  # fmt: skip
TO_BACKERS = (Kind.GOAL, Kind.DECIDED, Kind.SETTLED, Kind.UPDATE)
TO_FOLLOWERS = (Kind.GOAL, Kind.DECIDED, Kind.SETTLED, Kind.UPDATE)
TO_CREATOR = (Kind.PUBLISHED, Kind.MILESTONE, Kind.GOAL, Kind.DECIDED, Kind.SETTLED, Kind.INCIDENT)
TO_OPERATOR = (Kind.SITE_INCIDENT, Kind.HALT, Kind.HALT_ENDED)
IN_CAMPAIGN_FEED = (
    Kind.PUBLISHED, Kind.MILESTONE, Kind.GOAL, Kind.DECIDED, Kind.SETTLED, Kind.INCIDENT, Kind.UPDATE,
)  # fmt: skip
IN_SITE_FEED = (Kind.PUBLISHED, Kind.GOAL, Kind.DECIDED, Kind.SETTLED, Kind.UPDATE)
# What a creator can choose, with the words that stand beside it.
HOOKABLE = {
    Kind.PUBLISHED: "a campaign of yours is published",
    Kind.MILESTONE: "a quarter, half or three quarters of the goal are confirmed",
    Kind.GOAL: "the goal is reached",
    Kind.DECIDED: "the outcome is decided",
    Kind.SETTLED: "everything is paid out or refunded",
    Kind.INCIDENT: "something out of the ordinary concerns a campaign of yours",
    Kind.UPDATE: "an update is posted",
    Kind.CONFIRMED: "a payment is in a block",
    Kind.UNCONFIRMED: "a reorganisation has taken a payment out of its block",
    Kind.CONFIRMED_AGAIN: "such a payment is in a block again",
    Kind.REFUND_SENT: "a refund is on its way",
    Kind.REFUND_FINAL: "a refund has arrived for good",
}
QUARTERS = (25, 50, 75)
WHOLE = 100


def milestone(counted_sats: int, goal_sats: int) -> int:
    """The highest of 25, 50, 75 and 100 per cent that is reached; 0 for none."""
    percent = counted_sats * 100 // goal_sats
    return max((step for step in (*QUARTERS, WHOLE) if percent >= step), default=0)
