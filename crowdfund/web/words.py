"""The sentences that people read about states: what happened, what comes next, in plain words."""

from __future__ import annotations

from datetime import datetime, timedelta

from markupsafe import Markup

from crowdfund.campaigns.lifecycle import CampaignState, Outcome
from crowdfund.campaigns.pledges import PledgeFacts, PledgeState
from crowdfund.web.filters import sats

STATE_LABELS = {
    CampaignState.DRAFT: "Draft",
    CampaignState.OPEN: "Open",
    CampaignState.CLOSING: "Closing",
    CampaignState.RELEASING: "Funded, paying out",
    CampaignState.RELEASED: "Funded and paid out",
    CampaignState.REFUNDING: "Not funded, refunding",
    CampaignState.REFUNDED: "Not funded, refunded",
}


def campaign_sentence(state: CampaignState, goal_reached: bool, closing_height: int | None, confirmations: int) -> str:
    """What is happening with a campaign, and what comes next."""
    match state:
        case CampaignState.DRAFT:
            return "Only you can see it. Nothing is frozen before you publish."
        case CampaignState.OPEN if goal_reached:
            return "The goal is reached with confirmed pledges. The outcome is decided at the deadline."
        case CampaignState.OPEN:
            return "Pledges are welcome. A pledge counts once its payment is in a block."
        case CampaignState.CLOSING:
            blocks = "one block" if confirmations == 1 else f"{confirmations} blocks"
            return f"Block {closing_height} ended the campaign; the outcome is decided when {blocks} confirm it."
        case CampaignState.RELEASING:
            return "The goal was reached. The payout is on its way to the project and waits for a block."
        case CampaignState.RELEASED:
            return "The goal was reached and the project has been paid."
        case CampaignState.REFUNDING:
            return "The goal was missed. The refunds are on their way to every backer and wait for a block."
        case CampaignState.REFUNDED:
            return "The goal was missed. Every backer has been paid back, less the network fee."


def settlement_sentence(kind: str, final: int, total: int) -> str:
    """How far a settlement has come."""
    what = "The payout" if kind == "release" else "The refunds"
    if final == total:
        return f"{what} {'is' if kind == 'release' else 'are'} in the chain for good."
    if total == 1:
        return f"{what} {'was' if kind == 'release' else 'were'} made in one transaction and waits for its block."
    return f"{final} of {total} transactions are final; the others wait for their block and are sent again at each one."


def time_left(deadline: datetime, now: datetime) -> str:
    """`9 days`, `3 hours`, `closed`."""
    left = deadline - now
    if left <= timedelta(0):
        return "closed"
    for size, word in ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute")):
        count = left // size
        if count:
            return f"{count} {word}{'' if count == 1 else 's'} left"
    return "seconds left"


HEADLINES = {
    PledgeState.AWAITING: "Send your pledge",
    PledgeState.SEEN: "Your payment is on its way",
    PledgeState.CONFIRMED: "Your pledge counts",
    PledgeState.SHORT: "A part of your pledge has arrived",
    PledgeState.OVER: "Your pledge counts, and more",
    PledgeState.LATE: "Your payment came too late",
    PledgeState.REPLACED: "Your payment has vanished from the network",
    PledgeState.IN_SETTLEMENT: "Your money is on its way out",
    PledgeState.PAID_OUT: "Your pledge went to the project",
    PledgeState.REFUNDED: "You have been refunded",
    PledgeState.UNCLAIMED: "Your refund waits for lower fees",
}


def pledge_headline(state: PledgeState, closed: bool) -> str:
    """Where a pledge stands, in a few words."""
    if closed and state is PledgeState.AWAITING:
        return "This pledge was not paid"
    return HEADLINES[state]


def pledge_sentence(facts: PledgeFacts, amount_sats: int, outcome: Outcome | None, closed: bool) -> Markup:
    """What happened to a pledge's money, and what happens next."""
    match facts.state:
        case PledgeState.AWAITING if closed:
            return _say("The campaign has ended and nothing arrived for this pledge, so it cost you nothing.")
        case PledgeState.AWAITING:
            return _say("Scan the code with your wallet. The payment shows here a moment after you send it.")
        case PledgeState.SEEN:
            return _say("The network has your {} in sight. They count once they are in a block.", facts.seen_sats)
        case PledgeState.CONFIRMED:
            return _say("{} are in a block and count toward the goal. You need not do anything.", facts.counted_sats)
        case PledgeState.SHORT:
            return _short_sentence(facts, amount_sats, closed)
        case PledgeState.OVER:
            return _say("All {} that you sent count, also what is above {}.", facts.counted_sats, amount_sats)
        case PledgeState.LATE:
            return _say("{} came after the deadline. They do not count and are sent back to you.", facts.late_sats)
        case PledgeState.REPLACED if closed:
            return _say("Your wallet or the network withdrew it before it counted. The campaign has ended.")
        case PledgeState.REPLACED:
            return _say("Your wallet or the network withdrew it. Nothing was counted, and you can pay again.")
        case PledgeState.IN_SETTLEMENT if outcome is Outcome.FUNDED and not facts.late_sats:
            return _say("The goal was reached. The payout to the project was sent and waits for a block.")
        case PledgeState.IN_SETTLEMENT:
            return _say("Your refund was sent to the address that you gave and waits for a block.")
        case PledgeState.PAID_OUT:
            return _say("The goal was reached, and the project has been paid. Thank you.")
        case PledgeState.REFUNDED:
            return _say("Your money, less its share of the network fee, is back at the address that you gave.")
        case PledgeState.UNCLAIMED:
            return _say("At today's fees the refund would cost more than it holds. It is kept and sent when fees fall.")


def _short_sentence(facts: PledgeFacts, amount_sats: int, closed: bool) -> Markup:
    if not facts.counted_sats:
        return _say("{} arrived. That is too little to count, and too little to send back.", facts.dust_sats)
    missing_sats = amount_sats - facts.counted_sats - facts.seen_sats
    if missing_sats <= 0:
        return _say("{} count toward the goal, and more is on its way.", facts.counted_sats)
    if closed:
        return _say("{} count toward the goal. The campaign has ended, so nothing can be added.", facts.counted_sats)
    return _say(
        "{} count toward the goal. {} are missing: scan again to add them, or leave it as it is.",
        facts.counted_sats,
        missing_sats,
    )


def _say(sentence: str, *amounts_sats: int) -> Markup:
    return Markup(sentence).format(*map(sats, amounts_sats))
