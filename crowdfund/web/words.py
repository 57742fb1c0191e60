"""The sentences that people read about states: what happened, what comes next, in plain words."""

from __future__ import annotations

from datetime import datetime, timedelta

from flask_babel import gettext as _
from flask_babel import ngettext
from markupsafe import Markup

from crowdfund.campaigns.lifecycle import CampaignState, Outcome
from crowdfund.campaigns.pledges import PledgeFacts, PledgeState
from crowdfund.campaigns.progress import Forecast, Verdict
from crowdfund.sentences import N_
from crowdfund.web.filters import sats
from crowdfund.web.stored_words import watch_state

STATE_LABELS = {
    CampaignState.DRAFT: N_("Draft"),
    CampaignState.OPEN: N_("Open"),
    CampaignState.CLOSING: N_("Closing"),
    CampaignState.RELEASING: N_("Funded, paying out"),
    CampaignState.RELEASED: N_("Funded and paid out"),
    CampaignState.REFUNDING: N_("Not funded, refunding"),
    CampaignState.REFUNDED: N_("Not funded, refunded"),
}


CANCELLED_LABELS = {
    CampaignState.CLOSING: N_("Cancelled, not yet deep"),
    CampaignState.REFUNDING: N_("Cancelled, refunding"),
    CampaignState.REFUNDED: N_("Cancelled, refunded"),
}


def state_label(state: CampaignState, cancelled: bool) -> str:
    """The state in a few words."""
    return _(CANCELLED_LABELS.get(state, STATE_LABELS[state]) if cancelled else STATE_LABELS[state])


def cancelled_sentence(state: CampaignState, height: int, confirmations: int) -> str:
    """What is happening with a campaign that its creator has cancelled in the block at this height."""
    if state is CampaignState.REFUNDED:
        return _("The creator has cancelled it. Every backer has been paid back, less the network fee.")
    if state is CampaignState.REFUNDING:
        return _("The creator has cancelled it. The refunds are on their way to every backer and wait for a block.")
    return ngettext(
        "The creator has cancelled it in block %(height)s. When one block confirms that, every backer is refunded.",
        "The creator has cancelled it in block %(height)s. When %(num)s blocks confirm that, every backer is refunded.",
        confirmations, height=height,
    )  # fmt: skip


def cap_sentence(cap_sats: int) -> Markup:
    """What a cap means, before anybody pays; empty where there is none."""
    return _say(_("Once %(cap)s are reached, what comes later is sent back."), cap=cap_sats) if cap_sats else Markup()


def campaign_sentence(
    state: CampaignState, goal_reached: bool, closing_height: int | None, confirmations: int, full: bool = False
) -> str:
    """What is happening with a campaign, and what comes next. `full`: its cap is reached."""
    match state:
        case CampaignState.DRAFT:
            return _("Only you can see it. Nothing is frozen before you publish.")
        case CampaignState.OPEN if full:
            return _("It has all that it accepts. What comes now is sent back after the deadline.")
        case CampaignState.OPEN if goal_reached:
            return _("The goal is reached with confirmed pledges. The outcome is decided at the deadline.")
        case CampaignState.OPEN:
            return _("Pledges are welcome. A pledge counts once its payment is in a block.")
        case CampaignState.CLOSING:
            return ngettext(
                "Block %(height)s ended the campaign; the outcome is decided when one block confirms it.",
                "Block %(height)s ended the campaign; the outcome is decided when %(num)s blocks confirm it.",
                confirmations, height=closing_height,
            )  # fmt: skip
        case CampaignState.RELEASING:
            return _("The goal was reached. The payout is on its way to the project and waits for a block.")
        case CampaignState.RELEASED:
            return _("The goal was reached and the project has been paid.")
        case CampaignState.REFUNDING:
            return _("The goal was missed. The refunds are on their way to every backer and wait for a block.")
        case CampaignState.REFUNDED:
            return _("The goal was missed. Every backer has been paid back, less the network fee.")


def watching_sentence(state: str) -> str:
    """For visitors while the chain is not watched as it should be: `state` as the worker left it."""
    if "catching up" in state:
        return _(
            "These numbers may be old: %(state)s. Money already sent is safe, and they follow block by block.",
            state=watch_state(state),
        )
    if state.startswith("node unreachable"):
        return _(
            "These numbers may be old: %(state)s. Money already sent is safe; "
            "this page catches up by itself once the node answers again.",
            state=watch_state(state),
        )
    return _(
        "These numbers may be old: %(state)s. Money already sent is safe; "
        "whoever runs this site has to look after it, then this page catches up by itself.",
        state=watch_state(state),
    )


def settlement_sentence(kind: str, final: int, total: int, stuck: int = 0) -> str:
    """How far a settlement has come; `stuck` transactions need a person."""
    if stuck:
        return ngettext(
            "%(num)s of %(total)s transactions is refused by the network and needs a person: the operator is told. "
            "Everything else goes on without it.",
            "%(num)s of %(total)s transactions are refused and need a person: the operator is told. "
            "Everything else goes on without it.",
            stuck, total=total,
        )  # fmt: skip
    if final == total and kind == "release":
        return _("The payout is in the chain for good.")
    if final == total:
        return _("The refunds are in the chain for good.")
    if total == 1 and kind == "release":
        return _("The payout was made in one transaction and waits for its block.")
    if total == 1:
        return _("The refunds were made in one transaction, which waits for its block.")
    return _(
        "%(final)s of %(total)s transactions are final; the others wait for their block and are sent again at each "
        "one.",
        final=final, total=total,
    )  # fmt: skip


def time_left(deadline: datetime, now: datetime) -> str:
    """`9 days`, `3 hours`, `closed`."""
    left = deadline - now
    if left <= timedelta(0):
        return _("closed")
    if left >= timedelta(days=1):
        return ngettext("%(num)s day left", "%(num)s days left", left // timedelta(days=1))
    if left >= timedelta(hours=1):
        return ngettext("%(num)s hour left", "%(num)s hours left", left // timedelta(hours=1))
    if left >= timedelta(minutes=1):
        return ngettext("%(num)s minute left", "%(num)s minutes left", left // timedelta(minutes=1))
    return _("seconds left")


HEADLINES = {
    PledgeState.AWAITING: N_("Send your pledge"),
    PledgeState.SEEN: N_("Your payment is on its way"),
    PledgeState.CONFIRMED: N_("Your pledge counts"),
    PledgeState.SHORT: N_("A part of your pledge has arrived"),
    PledgeState.OVER: N_("Your pledge counts, and more"),
    PledgeState.LATE: N_("Your payment came too late"),
    PledgeState.OVER_CAP: N_("Your payment comes back to you"),
    PledgeState.MATURING: N_("Your payment has arrived and ripens"),
    PledgeState.REPLACED: N_("Your payment was replaced by another"),
    PledgeState.DOUBLE_SPENT: N_("Your payment cannot arrive any more"),
    PledgeState.EVICTED: N_("The network has dropped your payment"),
    PledgeState.IN_SETTLEMENT: N_("Your money is on its way out"),
    PledgeState.PAID_OUT: N_("Your pledge went to the project"),
    PledgeState.REFUNDED: N_("You have been refunded"),
    PledgeState.UNCLAIMED: N_("Your refund waits for lower fees"),
    PledgeState.FOREIGN: N_("Your money was moved, and not by us"),
    PledgeState.TAKEN: N_("Somebody else has taken your money"),
}


def pledge_headline(state: PledgeState, closed: bool, full: bool = False) -> str:
    """Where a pledge stands, in a few words. `full`: the campaign's cap is reached."""
    if closed and state is PledgeState.AWAITING:
        return _("This pledge was not paid")
    if full and state is PledgeState.AWAITING:
        return _("Please do not pay any more")
    return _(HEADLINES[state])


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
        return _say(
            _(
                "The creator has cancelled the campaign; your money comes back. It is sent to the address that you "
                "gave with your pledge, less the network fee, as soon as the cancellation is deep enough in the chain."
            )
        )
    sentence = _pledge_sentence(facts, amount_sats, outcome, closed, ended, full)
    if facts.over_cap_sats and facts.state in (PledgeState.CONFIRMED, PledgeState.SHORT, PledgeState.OVER):
        more = _(
            "Another %(amount)s came when the campaign had all that it accepts. After the deadline they are sent back "
            "to the address that you gave with your pledge, less the network fee."
        )
        return sentence + " " + _say(more, amount=facts.over_cap_sats)
    return sentence


def _pledge_sentence(
    facts: PledgeFacts, amount_sats: int, outcome: Outcome | None, closed: bool, ended: bool, full: bool
) -> Markup:
    match facts.state:
        case PledgeState.AWAITING if closed:
            return _say(_("The campaign has ended and nothing arrived for this pledge, so it cost you nothing."))
        case PledgeState.AWAITING if full:
            return _say(_("The campaign has all that it accepts. What you paid now would be sent back to you."))
        case PledgeState.AWAITING:
            return _say(_("Scan the code with your wallet. The payment shows here a moment after you send it."))
        case PledgeState.SEEN:
            return _seen_sentence(facts, closed, ended, full)
        case PledgeState.CONFIRMED:
            return _say(
                _("%(amount)s are in a block and count toward the goal. You need not do anything."),
                amount=facts.counted_sats,
            )
        case PledgeState.SHORT:
            return _short_sentence(facts, amount_sats, closed, full)
        case PledgeState.OVER:
            return _say(
                _("All %(amount)s that you sent count, also what is above %(pledged)s."),
                amount=facts.counted_sats,
                pledged=amount_sats,
            )
        case PledgeState.LATE:
            return _say(
                _(
                    "%(amount)s came after the deadline. They do not count. They are sent back to the address that you "
                    "gave with your pledge, less the network fee."
                ),
                amount=facts.late_sats,
            )
        case PledgeState.OVER_CAP:
            return _say(
                _(
                    "%(amount)s came when the campaign had all that it accepts, so they do not count. Nothing is lost. "
                    "After the deadline they are sent back to the address that you gave with your pledge, less the "
                    "network fee."
                ),
                amount=facts.over_cap_sats,
            )
        case PledgeState.MATURING:
            return _say(
                _(
                    "%(amount)s come straight from a miner. Such coins may not move for 100 blocks, so they count "
                    "after these, about 17 hours after they were mined. If the campaign ends before, they are sent "
                    "back to you."
                ),
                amount=facts.maturing_sats,
            )
        case PledgeState.REPLACED | PledgeState.DOUBLE_SPENT | PledgeState.EVICTED:
            return _lost_sentence(facts.state, closed, ended, full)
        case _:
            return _settlement_sentence(facts, outcome)


GOES_BACK = (PledgeState.CONFIRMED, PledgeState.SHORT, PledgeState.OVER, PledgeState.LATE, PledgeState.OVER_CAP)


def _seen_sentence(facts: PledgeFacts, closed: bool, ended: bool, full: bool) -> Markup:
    if ended:
        text = _(
            "The campaign has ended, so the %(amount)s in sight come too late to count. They are sent back to the "
            "address that you gave with your pledge, less the network fee."
        )
    elif full:
        text = _(
            "Your %(amount)s are in sight, and the campaign has all that it accepts. After the deadline they are sent "
            "back to the address that you gave with your pledge, less the network fee."
        )
    elif closed:
        text = _(
            "The network has your %(amount)s in sight, and the deadline has passed. They still count if they are in a "
            "block before the one that closes the campaign; if not, they are sent back to you."
        )
    else:
        text = _("The network has your %(amount)s in sight. They count once they are in a block.")
    return _say(text, amount=facts.seen_sats)


def _settlement_sentence(facts: PledgeFacts, outcome: Outcome | None) -> Markup:
    """For money that is on its way out, or there."""
    told = _say(_settlement_words(facts, outcome))
    if facts.seen_sats:
        more = _("Another %(amount)s in sight came too late to count and will be sent back to you.")
    elif facts.late_sats and facts.state is PledgeState.PAID_OUT:
        more = _("What came too late to count was sent back to you.")
    elif facts.over_cap_sats and facts.counted_sats and outcome is Outcome.FUNDED:
        more = _("What came when the campaign had all that it accepts goes back to you.")
    else:
        return told
    return told + " " + _say(more, amount=facts.seen_sats)


def _settlement_words(facts: PledgeFacts, outcome: Outcome | None) -> str:
    match facts.state:
        case PledgeState.IN_SETTLEMENT if outcome is Outcome.FUNDED and not _only_goes_back(facts):
            return _("The goal was reached. The payout is on its way to the project.")
        case PledgeState.IN_SETTLEMENT:
            return _("Your refund is on its way to the address that you gave.")
        case PledgeState.PAID_OUT:
            return _("The goal was reached, and the project has been paid. Thank you.")
        case PledgeState.REFUNDED:
            return _("Your money, less its share of the network fee, is back at the address that you gave.")
        case PledgeState.FOREIGN:
            return _(
                "Your payment arrived. Then a transaction that is not ours has spent it. Until whoever runs this site "
                "has looked into it, nobody is paid or refunded. What they find is written here."
            )
        case PledgeState.TAKEN:
            return _(
                "Your payment arrived. Then a transaction that is not ours has spent it: it went neither to the "
                "project nor back to you. Ask whoever runs this site."
            )
        case _:
            return _("At today's fees the refund would cost more than it holds. It is kept and sent when fees fall.")


def _only_goes_back(facts: PledgeFacts) -> bool:
    return bool(facts.late_sats or (facts.over_cap_sats and not facts.counted_sats))


LOST = {
    PledgeState.REPLACED: N_(
        "The wallet that paid has sent another transaction in its place, and that one pays nothing here. The money is "
        "with that transaction."
    ),
    PledgeState.DOUBLE_SPENT: N_(
        "A block holds another transaction that spends the same money, so this payment cannot be confirmed any more."
    ),
    PledgeState.EVICTED: N_(
        "It left the network before a block took it, most often because its fee was too low. The money is still in the "
        "wallet that sent it."
    ),
}


def _lost_sentence(state: PledgeState, closed: bool, ended: bool, full: bool) -> Markup:
    """For who paid, and yet nothing came: where the money is now, and what can be done."""
    more = [_(LOST[state])]
    if closed:
        more.append(_("Nothing was counted, and the campaign has ended."))
        if ended and state is PledgeState.EVICTED:
            more.append(_("Should it still arrive, it is sent back to you."))
    elif full:
        more.append(_("Nothing was counted, and the campaign has all that it accepts: let it be."))
    elif state is PledgeState.EVICTED:
        more.append(
            _(
                "It may come back by itself, so do not pay twice needlessly: raise its fee in your wallet, or pay "
                "again. If both arrive, both count."
            )
        )
    else:
        more.append(_("Nothing was counted. To take part, pay again: the address is still yours."))
    return _say(" ".join(more))


def _short_sentence(facts: PledgeFacts, amount_sats: int, closed: bool, full: bool) -> Markup:
    counted_sats = facts.counted_sats
    missing_sats = amount_sats - counted_sats - facts.seen_sats - facts.maturing_sats
    if not counted_sats:
        text = _("%(dust)s arrived. That is too little to count, and too little to send back.")
    elif full:
        text = _("%(amount)s count toward the goal. The campaign has all that it accepts.")
    elif missing_sats <= 0:
        text = _("%(amount)s count toward the goal, and more is on its way.")
    elif closed:
        text = _("%(amount)s count toward the goal. The campaign has ended, so nothing can be added.")
    else:
        text = _(
            "%(amount)s count toward the goal. %(missing)s are missing: scan again to add them, or leave it as it is."
        )
    return _say(text, amount=counted_sats, missing=missing_sats, dust=facts.dust_sats)


def _say(sentence: str, **amounts_sats: int) -> Markup:
    """A sentence that has been translated, with amounts at its places."""
    return Markup(sentence) % {name: sats(value) for name, value in amounts_sats.items()}


def course_words(total_sats: int, goal_sats: int, days: int) -> str:
    """The course of a campaign's money, in words: the text equivalent of its drawing."""
    if not total_sats:
        return "Nothing counts yet."
    came = "on one day" if days == 1 else f"on {days} days"
    return f"{total_sats:,} sat count, which is {total_sats * 100 // goal_sats} % of the goal; they came {came}."


def forecast_words(forecast: Forecast) -> Markup:
    """What a forecast says, as a sentence that does not claim more than it knows."""
    match forecast.verdict:
        case Verdict.ENDED:
            return _say("The deadline has passed: there is nothing left to foresee.")
        case Verdict.REACHED:
            return _say("The goal is reached with what counts today. A reorganisation is all that could change it.")
        case Verdict.TOO_EARLY:
            return _say("Too early to tell: that takes three full days and five pledges that count.")
        case Verdict.ON_COURSE:
            text = "On course: it would end between %(low)s and %(high)s, most likely near %(middle)s."
        case Verdict.OPEN:
            text = "Open: it would end between %(low)s and %(high)s, and near %(middle)s at the pace of all these days."
        case _:
            text = "Not on course: it would end between %(low)s and %(high)s, below the goal, and near %(middle)s."
    return _say(text, low=forecast.low_sats, middle=forecast.middle_sats, high=forecast.high_sats)
