"""What a mail says: sentences for people, from values. Pure.

Nothing in them is secret or about anybody else: no link of a pledge, no amount, no name of a backer; the one mail with
addresses tells their owner that they have changed. A person who has
lost their link does not get it back from here, and who reads their mail learns nothing that moves money.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crowdfund.notices.kinds import OF_ONE_PLEDGE, Kind

KEPT_LINK = "Open the link that you kept when you pledged: it shows where your money is. We never send that link."


@dataclass(frozen=True)
class Words:
    """A subject and paragraphs; `page` is where the link below them leads: "campaign", "confirm", "account" or ""."""

    subject: str
    paragraphs: tuple[str, ...]
    page: str


def words_for(kind: Kind, title: str, detail: Mapping[str, Any], backer: bool) -> Words:
    """The words of a notice about the campaign `title`. `backer`: its reader has pledged."""
    about = f"“{title}”" if title else "the site"
    if kind in OF_ONE_PLEDGE:
        addresses = {name: detail.get(name, "") for name in ("old_address", "new_address")}
        sentence = _PLEDGE_SENTENCES[kind].format(about=about, **addresses)
        return Words(_PLEDGE_SUBJECTS[kind], (sentence, KEPT_LINK), "campaign")
    subject, sentence = _sentence(kind, about, detail)
    ending = (KEPT_LINK,) if backer and kind is not Kind.UPDATE else ()
    return Words(subject, (sentence, *ending), _PAGES.get(kind, "campaign"))


def feed_words(kind: Kind, title: str, detail: Mapping[str, Any]) -> tuple[str, str]:
    """Title and text of an entry in a feed."""
    subject, sentence = _sentence(kind, f"“{title}”", detail)
    return f"{title}: {subject}", sentence


_PAGES = {
    Kind.CONFIRM_ADDRESS: "confirm",
    Kind.WEBHOOK_DISABLED: "account",
    Kind.SITE_INCIDENT: "incidents",
    Kind.HALT: "",
    Kind.HALT_ENDED: "",
}
_PLEDGE_SUBJECTS = {
    Kind.CONFIRMED: "Your payment is in a block",
    Kind.UNCONFIRMED: "Your payment waits for a block again",
    Kind.CONFIRMED_AGAIN: "Your payment is in a block again",
    Kind.READDRESSED: "Your refund address was changed",
    Kind.REFUND_SENT: "A refund is on its way to you",
    Kind.REFUND_FINAL: "Your refund has arrived",
}
_PLEDGE_SENTENCES = {
    Kind.CONFIRMED: "A payment for your pledge to {about} is in a block.",
    Kind.UNCONFIRMED: "A reorganisation has taken the block away that held your payment to {about}. Nothing is lost: "
    "the payment waits for another block and counts again then. You need not do anything.",
    Kind.CONFIRMED_AGAIN: "Your payment to {about}, which had lost its block, is in a block again.",
    Kind.READDRESSED: "The refund address of your pledge to {about} was changed, by a signature of the old one, from "
    "{old_address} to {new_address}. If it was not you who did that, somebody has the keys of the old address.",
    Kind.REFUND_SENT: "A refund for your pledge to {about} was sent to the refund address that you gave. It arrives "
    "when a block holds it.",
    Kind.REFUND_FINAL: "The refund for your pledge to {about} is in a block, and deep enough to stay there.",
}


def _sentence(kind: Kind, about: str, detail: Mapping[str, Any]) -> tuple[str, str]:
    if kind is Kind.DECIDED:
        return _decided(about, detail)
    if kind is Kind.SETTLED:
        went = "paid out to the project" if detail.get("outcome") == "funded" else "sent back to the backers"
        return (
            "everything is settled",
            f"The money of {about} was {went}, and is deep enough in the chain to stay there.",
        )
    if kind is Kind.MILESTONE:
        percent = detail.get("percent")
        return f"{percent}% of the goal", f"{percent}% of the goal of {about} are confirmed."
    if kind in (Kind.INCIDENT, Kind.SITE_INCIDENT, Kind.HALT, Kind.HALT_ENDED):
        return _trouble(kind, about, detail)
    if kind is Kind.UPDATE:
        return "news from the project", f"There is news from {about}: “{detail.get('title', '')}”."
    return _FIXED[kind][0], _FIXED[kind][1].format(about=about)


_FIXED = {
    Kind.PUBLISHED: ("published", "{about} is published and takes pledges. Its terms cannot change any more."),
    Kind.GOAL: (
        "the goal is reached",
        "The confirmed pledges to {about} have reached the goal. The outcome is decided after the deadline.",
    ),
    Kind.CONFIRM_ADDRESS: (
        "Is this your address?",
        "Somebody, most likely you, wants to hear by mail about {about}. Open the page below and press the button if "
        "that is right. If it is not, do nothing: you will not hear from us again, and the address is forgotten.",
    ),
    Kind.WEBHOOK_REGISTERED: ("Your webhook is registered", "A webhook of yours is registered."),
    Kind.WEBHOOK_DISABLED: (
        "Your webhook was turned off",
        "A webhook of yours has failed for three days, so nothing is sent to it any more. Its page says what it "
        "answered; you can register it anew.",
    ),
}


def _decided(about: str, detail: Mapping[str, Any]) -> tuple[str, str]:
    if detail.get("outcome") == "funded":
        return "funded", f"{about} is funded: the goal was reached by the deadline. The money goes to the project."
    if detail.get("cancelled"):
        return "cancelled", f"{about} was cancelled by its creator. Every backer gets the money back without asking."
    return (
        "the goal was missed",
        f"{about} has missed its goal. Every backer gets the money back without asking for it.",
    )


def _trouble(kind: Kind, about: str, detail: Mapping[str, Any]) -> tuple[str, str]:
    if kind is Kind.INCIDENT:
        return "out of the ordinary", f"{detail.get('sentence', '')} No money is lost by it."
    if kind is Kind.HALT:
        return "Settlement is halted", f"{detail.get('reason', '')} This concerns {about}. `crowdfund check` says more."
    if kind is Kind.HALT_ENDED:
        return "Settlement goes on", f"A halt that concerned {about} was ended: {detail.get('reason', '')}"
    what = "A reorganisation" if detail.get("kind") == "reorganisation" else "Two servers contradict each other"
    return "Out of the ordinary", f"{what}: height {detail.get('height')}, depth {detail.get('depth')}."
