"""The sentences that people read about states: what happened, what comes next, in plain words."""

from __future__ import annotations

from datetime import datetime, timedelta

from markupsafe import Markup

from crowdfund.campaigns.lifecycle import CampaignState, Outcome
from crowdfund.campaigns.pledges import PledgeFacts, PledgeState
from crowdfund.campaigns.progress import Forecast, Verdict
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


CANCELLED_LABELS = {
    CampaignState.CLOSING: "Cancelled, not yet deep",
    CampaignState.REFUNDING: "Cancelled, refunding",
    CampaignState.REFUNDED: "Cancelled, refunded",
}


def state_label(state: CampaignState, cancelled: bool) -> str:
    """The state in a few words."""
    return CANCELLED_LABELS.get(state, STATE_LABELS[state]) if cancelled else STATE_LABELS[state]


def cancelled_sentence(state: CampaignState, height: int, confirmations: int) -> str:
    """What is happening with a campaign that its creator has cancelled in the block at this height."""
    if state is CampaignState.REFUNDED:
        return "The creator has cancelled it. Every backer has been paid back, less the network fee."
    if state is CampaignState.REFUNDING:
        return "The creator has cancelled it. The refunds are on their way to every backer and wait for a block."
    blocks = "one block" if confirmations == 1 else f"{confirmations} blocks"
    return f"The creator has cancelled it in block {height}. When {blocks} confirm that, every backer is refunded."


def cap_sentence(cap_sats: int) -> Markup:
    """What a cap means, before anybody pays; empty where there is none."""
    return _say("Once {} are reached, what comes later is sent back.", cap_sats) if cap_sats else Markup()


def campaign_sentence(
    state: CampaignState, goal_reached: bool, closing_height: int | None, confirmations: int, full: bool = False
) -> str:
    """What is happening with a campaign, and what comes next. `full`: its cap is reached."""
    match state:
        case CampaignState.DRAFT:
            return "Only you can see it. Nothing is frozen before you publish."
        case CampaignState.OPEN if full:
            return "It has all that it accepts. What comes now is sent back after the deadline."
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


def watching_sentence(state: str) -> str:
    """For visitors while the chain is not watched as it should be: `state` as the worker left it."""
    if "catching up" in state:
        return f"These numbers may be old: {state}. Money already sent is safe, and they follow block by block."
    if state.startswith("node unreachable"):
        return (
            f"These numbers may be old: {state}. Money already sent is safe; "
            "this page catches up by itself once the node answers again."
        )
    return (
        f"These numbers may be old: {state}. Money already sent is safe; "
        "whoever runs this site has to look after it, then this page catches up by itself."
    )


def settlement_sentence(kind: str, final: int, total: int, stuck: int = 0) -> str:
    """How far a settlement has come; `stuck` transactions need a person."""
    what = "The payout" if kind == "release" else "The refunds"
    if stuck:
        each = "transaction is refused by the network and needs" if stuck == 1 else "transactions are refused and need"
        return f"{stuck} of {total} {each} a person: the operator is told. Everything else goes on without it."
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
    PledgeState.OVER_CAP: "Your payment comes back to you",
    PledgeState.MATURING: "Your payment has arrived and ripens",
    PledgeState.REPLACED: "Your payment was replaced by another",
    PledgeState.DOUBLE_SPENT: "Your payment cannot arrive any more",
    PledgeState.EVICTED: "The network has dropped your payment",
    PledgeState.IN_SETTLEMENT: "Your money is on its way out",
    PledgeState.PAID_OUT: "Your pledge went to the project",
    PledgeState.REFUNDED: "You have been refunded",
    PledgeState.UNCLAIMED: "Your refund waits for lower fees",
    PledgeState.TAKEN: "Somebody else has taken your money",
}


def pledge_headline(state: PledgeState, closed: bool, full: bool = False) -> str:
    """Where a pledge stands, in a few words. `full`: the campaign's cap is reached."""
    if closed and state is PledgeState.AWAITING:
        return "This pledge was not paid"
    if full and state is PledgeState.AWAITING:
        return "Please do not pay any more"
    return HEADLINES[state]


def pledge_sentence(
    facts: PledgeFacts,
    amount_sats: int,
    outcome: Outcome | None,
    closed: bool,
    ended: bool,
    full: bool = False,
    cancelled: bool = False,
) -> Markup:
    """What happened to a pledge's money, and what happens next.

    `closed`: no new pledges are taken, the deadline has passed; `ended`: the closing block is there, so that nothing
    more can count; `full`: nothing more can count because the campaign's cap is reached; `cancelled`: the creator has
    ended the campaign.
    """
    if cancelled and facts.state in GOES_BACK:
        return _say("The creator has cancelled the campaign; your money comes back. " + CANCELLED_BACK)
    sentence = _pledge_sentence(facts, amount_sats, outcome, closed, ended, full)
    if facts.over_cap_sats and facts.state in (PledgeState.CONFIRMED, PledgeState.SHORT, PledgeState.OVER):
        return sentence + _say(
            " Another {} came when the campaign had all that it accepts. " + LATER, facts.over_cap_sats
        )
    return sentence


def _pledge_sentence(
    facts: PledgeFacts, amount_sats: int, outcome: Outcome | None, closed: bool, ended: bool, full: bool
) -> Markup:
    match facts.state:
        case PledgeState.AWAITING if closed:
            return _say("The campaign has ended and nothing arrived for this pledge, so it cost you nothing.")
        case PledgeState.AWAITING if full:
            return _say("The campaign has all that it accepts. What you paid now would be sent back to you.")
        case PledgeState.AWAITING:
            return _say("Scan the code with your wallet. The payment shows here a moment after you send it.")
        case PledgeState.SEEN:
            return _seen_sentence(facts, closed, ended, full)
        case PledgeState.CONFIRMED:
            return _say("{} are in a block and count toward the goal. You need not do anything.", facts.counted_sats)
        case PledgeState.SHORT:
            return _short_sentence(facts, amount_sats, closed, full)
        case PledgeState.OVER:
            return _say("All {} that you sent count, also what is above {}.", facts.counted_sats, amount_sats)
        case PledgeState.LATE:
            return _say("{} came after the deadline. They do not count. " + BACK, facts.late_sats)
        case PledgeState.OVER_CAP:
            return _say(
                "{} came when the campaign had all that it accepts, so they do not count. Nothing is lost. " + LATER,
                facts.over_cap_sats,
            )
        case PledgeState.MATURING:
            return _say(
                "{} come straight from a miner. Such coins may not move for 100 blocks, so they count after these, "
                "about 17 hours after they were mined. If the campaign ends before, they are sent back to you.",
                facts.maturing_sats,
            )
        case PledgeState.REPLACED | PledgeState.DOUBLE_SPENT | PledgeState.EVICTED:
            return _lost_sentence(facts.state, closed, ended, full)
        case _:
            return _settlement_sentence(facts, outcome)


GOES_BACK = (PledgeState.CONFIRMED, PledgeState.SHORT, PledgeState.OVER, PledgeState.LATE, PledgeState.OVER_CAP)
CANCELLED_BACK = (
    "It is sent to the address that you gave with your pledge, less the network fee, as soon as the cancellation is "
    "deep enough in the chain."
)
BACK = "They are sent back to the address that you gave with your pledge, less the network fee."
LATER = "After the deadline they are sent back to the address that you gave with your pledge, less the network fee."


def _seen_sentence(facts: PledgeFacts, closed: bool, ended: bool, full: bool) -> Markup:
    if ended:
        return _say("The campaign has ended, so the {} in sight come too late to count. " + BACK, facts.seen_sats)
    if full:
        return _say("Your {} are in sight, and the campaign has all that it accepts. " + LATER, facts.seen_sats)
    if closed:
        return _say(
            "The network has your {} in sight, and the deadline has passed. They still count if they are in a block "
            "before the one that closes the campaign; if not, they are sent back to you.",
            facts.seen_sats,
        )
    return _say("The network has your {} in sight. They count once they are in a block.", facts.seen_sats)


def _settlement_sentence(facts: PledgeFacts, outcome: Outcome | None) -> Markup:
    """For money that is on its way out, or there."""
    more = ""
    if facts.seen_sats:
        more = f" Another {sats(facts.seen_sats)} in sight came too late to count and will be sent back to you."
    elif facts.late_sats and facts.state is PledgeState.PAID_OUT:
        more = " What came too late to count was sent back to you."
    elif facts.over_cap_sats and facts.counted_sats and outcome is Outcome.FUNDED:
        more = " What came when the campaign had all that it accepts goes back to you."
    return _say(_settlement_words(facts, outcome)) + Markup(more)


def _settlement_words(facts: PledgeFacts, outcome: Outcome | None) -> str:
    match facts.state:
        case PledgeState.IN_SETTLEMENT if outcome is Outcome.FUNDED and not _only_goes_back(facts):
            return "The goal was reached. The payout is on its way to the project."
        case PledgeState.IN_SETTLEMENT:
            return "Your refund is on its way to the address that you gave."
        case PledgeState.PAID_OUT:
            return "The goal was reached, and the project has been paid. Thank you."
        case PledgeState.REFUNDED:
            return "Your money, less its share of the network fee, is back at the address that you gave."
        case PledgeState.TAKEN:
            return (
                "Your payment arrived. Then a transaction that is not ours has spent it: it went neither to the "
                "project nor back to you. Ask whoever runs this site."
            )
        case _:
            return "At today's fees the refund would cost more than it holds. It is kept and sent when fees fall."


def _only_goes_back(facts: PledgeFacts) -> bool:
    return bool(facts.late_sats or (facts.over_cap_sats and not facts.counted_sats))


LOST = {
    PledgeState.REPLACED: "The wallet that paid has sent another transaction in its place, and that one pays nothing "
    "here. The money is with that transaction.",
    PledgeState.DOUBLE_SPENT: "A block holds another transaction that spends the same money, so this payment "
    "cannot be confirmed any more.",
    PledgeState.EVICTED: "It left the network before a block took it, most often because its fee was too low. "
    "The money is still in the wallet that sent it.",
}


def _lost_sentence(state: PledgeState, closed: bool, ended: bool, full: bool) -> Markup:
    """For who paid, and yet nothing came: where the money is now, and what can be done."""
    if closed:
        last = " Should it still arrive, it is sent back to you." if ended and state is PledgeState.EVICTED else ""
        return _say(f"{LOST[state]} Nothing was counted, and the campaign has ended.{last}")
    if full:
        return _say(f"{LOST[state]} Nothing was counted, and the campaign has all that it accepts: let it be.")
    if state is PledgeState.EVICTED:
        return _say(
            f"{LOST[state]} It may come back by itself, so do not pay twice needlessly: raise its fee in your wallet, "
            "or pay again. If both arrive, both count."
        )
    return _say(f"{LOST[state]} Nothing was counted. To take part, pay again: the address is still yours.")


def _short_sentence(facts: PledgeFacts, amount_sats: int, closed: bool, full: bool) -> Markup:
    if not facts.counted_sats:
        return _say("{} arrived. That is too little to count, and too little to send back.", facts.dust_sats)
    if full:
        return _say("{} count toward the goal. The campaign has all that it accepts.", facts.counted_sats)
    missing_sats = amount_sats - facts.counted_sats - facts.seen_sats - facts.maturing_sats
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


def course_words(total_sats: int, goal_sats: int, days: int) -> str:
    """The course of a campaign's money, in words: the text equivalent of its drawing."""
    if not total_sats:
        return "Nothing counts yet."
    came = "on one day" if days == 1 else f"on {days} days"
    return f"{total_sats:,} sat count, which is {total_sats * 100 // goal_sats} % of the goal; they came {came}."


def forecast_words(forecast: Forecast) -> Markup:
    """What a forecast says, as a sentence that does not claim more than it knows."""
    range_ = (forecast.low_sats, forecast.middle_sats, forecast.high_sats)
    match forecast.verdict:
        case Verdict.ENDED:
            return _say("The deadline has passed: there is nothing left to foresee.")
        case Verdict.REACHED:
            return _say("The goal is reached with what counts today. A reorganisation is all that could change it.")
        case Verdict.TOO_EARLY:
            return _say("Too early to tell: that takes three full days and five pledges that count.")
        case Verdict.ON_COURSE:
            return _say("On course: it would end between {0} and {2}, most likely near {1}.", *range_)
        case Verdict.OPEN:
            return _say("Open: it would end between {0} and {2}, and near {1} at the pace of all these days.", *range_)
        case _:
            return _say("Not on course: it would end between {0} and {2}, below the goal, and near {1}.", *range_)
