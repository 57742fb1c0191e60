"""What a mail says: sentences for people, from values. Pure.

Nothing in them is secret or about anybody else: no link of a pledge, no amount, no name of a backer; the one mail with
addresses tells their owner that they have changed. A person who has
lost their link does not get it back from here, and who reads their mail learns nothing that moves money.

What backers and followers read are sentences that are looked up in their language when the mail is written; what only
creators and the operator read, and feeds, stay English.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crowdfund.notices.kinds import OF_ONE_PLEDGE, Kind
from crowdfund.sentences import N_, Sentence

KEPT_LINK = N_("Open the link that you kept when you pledged: it shows where your money is. We never send that link.")


@dataclass(frozen=True)
class Words:
    """A subject and paragraphs; `page` is where the link below them leads: "campaign", "confirm", "account" or ""."""

    subject: str
    paragraphs: tuple[str, ...]
    page: str


def words_for(kind: Kind, title: str, detail: Mapping[str, Any], backer: bool) -> Words:
    """The words of a notice about the campaign `title`. `backer`: its reader has pledged."""
    about: str = _quoted(title) if title else "the site"
    if kind in OF_ONE_PLEDGE:
        addresses = {name: detail.get(name, "") for name in ("old_address", "new_address")}
        told = Sentence(_PLEDGE_SENTENCES[kind], about=about, **addresses)
        return Words(_PLEDGE_SUBJECTS[kind], (told, KEPT_LINK), "campaign")
    subject, sentence = _sentence(kind, about, detail)
    ending = (KEPT_LINK,) if backer and kind is not Kind.UPDATE else ()
    return Words(subject, (sentence, *ending), _PAGES.get(kind, "campaign"))


def feed_words(kind: Kind, title: str, detail: Mapping[str, Any]) -> tuple[str, str]:
    """Title and text of an entry in a feed."""
    subject, sentence = _sentence(kind, _quoted(title), detail)
    return f"{title}: {subject}", sentence


_PAGES = {
    Kind.CONFIRM_ADDRESS: "confirm",
    Kind.WEBHOOK_DISABLED: "account",
    Kind.SITE_INCIDENT: "incidents",
    Kind.HALT: "",
    Kind.HALT_ENDED: "",
}
_PLEDGE_SUBJECTS = {
    Kind.CONFIRMED: N_("Your payment is in a block"),
    Kind.UNCONFIRMED: N_("Your payment waits for a block again"),
    Kind.CONFIRMED_AGAIN: N_("Your payment is in a block again"),
    Kind.READDRESSED: N_("Your refund address was changed"),
    Kind.REFUND_SENT: N_("A refund is on its way to you"),
    Kind.REFUND_FINAL: N_("Your refund has arrived"),
}
_PLEDGE_SENTENCES = {
    Kind.CONFIRMED: N_("A payment for your pledge to {about} is in a block."),
    Kind.UNCONFIRMED: N_(
        "A reorganisation has taken the block away that held your payment to {about}. Nothing is lost: "
        "the payment waits for another block and counts again then. You need not do anything."
    ),
    Kind.CONFIRMED_AGAIN: N_("Your payment to {about}, which had lost its block, is in a block again."),
    Kind.READDRESSED: N_(
        "The refund address of your pledge to {about} was changed, by a signature of the old one, from "
        "{old_address} to {new_address}. If it was not you who did that, somebody has the keys of the old address."
    ),
    Kind.REFUND_SENT: N_(
        "A refund for your pledge to {about} was sent to the refund address that you gave. It arrives "
        "when a block holds it."
    ),
    Kind.REFUND_FINAL: N_("The refund for your pledge to {about} is in a block, and deep enough to stay there."),
}


def _quoted(title: str) -> str:
    return Sentence("“{title}”", title=title)


def _sentence(kind: Kind, about: str, detail: Mapping[str, Any]) -> tuple[str, str]:
    if kind is Kind.DECIDED:
        return _decided(about, detail)
    if kind is Kind.SETTLED:
        return N_("everything is settled"), _settled(about, detail)
    if kind is Kind.MILESTONE:
        percent = detail.get("percent")
        return f"{percent}% of the goal", f"{percent}% of the goal of {about} are confirmed."
    if kind in (Kind.INCIDENT, Kind.SITE_INCIDENT, Kind.HALT, Kind.HALT_ENDED):
        return _trouble(kind, about, detail)
    if kind is Kind.UPDATE:
        news = detail.get("title", "")
        return N_("news from the project"), Sentence("There is news from {about}: “{news}”.", about=about, news=news)
    return _FIXED[kind][0], Sentence(_FIXED[kind][1], about=about)


_FIXED = {
    Kind.PUBLISHED: ("published", "{about} is published and takes pledges. Its terms cannot change any more."),
    Kind.GOAL: (
        N_("the goal is reached"),
        N_("The confirmed pledges to {about} have reached the goal. The outcome is decided after the deadline."),
    ),
    Kind.CONFIRM_ADDRESS: (
        N_("Is this your address?"),
        N_(
            "Somebody, most likely you, wants to hear by mail about {about}. Open the page below and press the button "
            "if that is right. If it is not, do nothing: you will not hear from us again, and the address is forgotten."
        ),
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
        text = N_("{about} is funded: the goal was reached by the deadline. The money goes to the project.")
        return N_("funded"), Sentence(text, about=about)
    if detail.get("cancelled"):
        text = N_("{about} was cancelled by its creator. Every backer gets the money back without asking.")
        return N_("cancelled"), Sentence(text, about=about)
    text = N_("{about} has missed its goal. Every backer gets the money back without asking for it.")
    return N_("the goal was missed"), Sentence(text, about=about)


def _settled(about: str, detail: Mapping[str, Any]) -> str:
    if detail.get("outcome") == "funded":
        text = N_("The money of {about} was paid out to the project, and is deep enough in the chain to stay there.")
    else:
        text = N_("The money of {about} was sent back to the backers, and is deep enough in the chain to stay there.")
    return Sentence(text, about=about)


def _trouble(kind: Kind, about: str, detail: Mapping[str, Any]) -> tuple[str, str]:
    if kind is Kind.INCIDENT:
        return "out of the ordinary", f"{detail.get('sentence', '')} No money is lost by it."
    if kind is Kind.HALT:
        return "Settlement is halted", f"{detail.get('reason', '')} This concerns {about}. `crowdfund check` says more."
    if kind is Kind.HALT_ENDED:
        return "Settlement goes on", f"A halt that concerned {about} was ended: {detail.get('reason', '')}"
    what = "A reorganisation" if detail.get("kind") == "reorganisation" else "Two servers contradict each other"
    return "Out of the ordinary", f"{what}: height {detail.get('height')}, depth {detail.get('depth')}."
