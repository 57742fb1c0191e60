"""The way of a pledge in five steps, as its page lists them: what is done, where it stands, what comes next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask_babel import gettext as _
from markupsafe import Markup

from crowdfund.campaigns.lifecycle import Outcome
from crowdfund.campaigns.pledges import PledgeFacts, PledgeState
from crowdfund.web.filters import fours, when

LOST = (PledgeState.REPLACED, PledgeState.DOUBLE_SPENT, PledgeState.EVICTED)


@dataclass(frozen=True)
class Step:
    """A stage of a pledge's way: done, now or todo."""

    text: Markup
    status: str


def steps(
    refund_address: str,
    facts: PledgeFacts,
    deadline_at: datetime,
    closed: bool,
    ended: bool,
    full: bool = False,
    cancelled: bool = False,
    outcome: Outcome | None = None,
) -> list[Step]:
    """Refund address, payment, seen, counted, the end. `closed`: no new pledges; `ended`: by a block; `full`: the cap
    is reached; `cancelled`: the creator has ended the campaign; `outcome`: what was decided."""
    progress = _progress(facts.state)
    texts = (
        Markup(_("Refund address noted: %(address)s.")) % {"address": fours(refund_address)},
        Markup(_payment(facts, closed, full)),
        Markup(_("The network sees the payment, usually within a second or two.")),
        Markup(_block(facts, ended, full)),
        _back() if cancelled else _end(facts, deadline_at, ended or full, outcome),
    )
    return [Step(text, "done" if n < progress else "now" if n == progress else "todo") for n, text in enumerate(texts)]


def _progress(state: PledgeState) -> int:
    """How many of the five steps are behind."""
    if state is PledgeState.AWAITING or state in LOST:
        return 1
    if state in (PledgeState.SEEN, PledgeState.MATURING):
        return 3
    return 5 if state in (PledgeState.PAID_OUT, PledgeState.REFUNDED) else 4


def _payment(facts: PledgeFacts, closed: bool, full: bool) -> str:
    state = facts.state
    if closed and (state is PledgeState.AWAITING or state in LOST):
        return _("No payment arrived before the campaign ended. There is nothing left to do.")
    if full and (state is PledgeState.AWAITING or state in LOST):
        return _("The campaign has all that it accepts. There is nothing left to do.")
    if state is PledgeState.EVICTED:
        return _("You raise the fee of your payment, or pay again.")
    if state in LOST:
        return _("You pay again, if you still want to. The first payment will not come.")
    if facts.late_sats and not facts.counted_sats:
        return _("You pay from any wallet.")
    return _("You pay from any wallet, in time for a block before the deadline.")


def _block(facts: PledgeFacts, ended: bool, full: bool) -> str:
    if facts.state is PledgeState.MATURING:
        return _("A block holds it. Freshly mined coins may not move for 100 blocks, so it counts after these.")
    if not facts.counted_sats and (facts.late_sats or (ended and facts.seen_sats)):
        return _("A block confirms it, too late to count.")
    if not facts.counted_sats and (facts.over_cap_sats or (full and facts.seen_sats)):
        return _("A block confirms it, when the campaign has all that it accepts.")
    if not facts.counted_sats and facts.dust_sats:
        return _("A block confirmed it, but it is too small to count.")
    return _("A block confirms it, and it counts. That takes about ten minutes, sometimes an hour.")


def _end(facts: PledgeFacts, deadline_at: datetime, nothing_counts: bool, outcome: Outcome | None) -> Markup:
    if not facts.counted_sats and (facts.late_sats or facts.over_cap_sats or (nothing_counts and facts.seen_sats)):
        return _back()
    if facts.state is PledgeState.FOREIGN:
        return Markup(_("Halted: a transaction that is not ours has spent it, and a person has to look into that."))
    if facts.state is PledgeState.TAKEN:
        return Markup(_("Taken by somebody else: a transaction that is not ours has spent it."))
    decided = outcome if facts.counted_sats else None
    if facts.state is PledgeState.PAID_OUT or (decided is Outcome.FUNDED and facts.state is not PledgeState.REFUNDED):
        text = _("%(when)s: paid to the project.")
    elif facts.state is PledgeState.REFUNDED or decided is Outcome.FAILED:
        text = _("%(when)s: back to you.")
    else:
        text = _("%(when)s: paid to the project, or back to you.")
    return Markup(text) % {"when": when(deadline_at)}


def _back() -> Markup:
    return Markup(_("Back to you, at the refund address."))
