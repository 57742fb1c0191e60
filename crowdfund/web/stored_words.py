"""Words that stand in the database or in a form, as people read them. Text only."""

from __future__ import annotations

import re

from flask_babel import gettext as _

from crowdfund.sentences import N_

# What stands in the database, or in a form, as people read it.
WORDS = {
    "seen": N_("seen"), "confirmed": N_("confirmed"), "replaced": N_("replaced"), "evicted": N_("evicted"),
    "double_spent": N_("double spent"), "maturing": N_("maturing"), "late": N_("late"), "over_cap": N_("over cap"),
    "dust": N_("dust"), "counted": N_("counted"), "in_settlement": N_("in settlement"), "paid_out": N_("paid out"),
    "refunded": N_("refunded"), "unclaimed": N_("unclaimed"), "foreign_spend": N_("foreign spend"),
    "planned": N_("planned"), "signed": N_("signed"), "sent": N_("sent"), "input lost": N_("input lost"),
    "final": N_("final"), "partitioned": N_("partitioned"), "superseded": N_("superseded"),
    "task": N_("task"), "material": N_("material"), "infrastructure": N_("infrastructure"),
    "skill": N_("skill"), "tool": N_("tool"), "time": N_("time"),
    "owner": N_("owner"), "editor": N_("editor"), "treasurer": N_("treasurer"),
    "question": N_("question"), "answer": N_("answer"), "comment": N_("comment"),
    "software": N_("software"), "hardware": N_("hardware"), "culture": N_("culture"), "data": N_("data"),
    "any page": N_("any page"), "an update": N_("an update"), "a question": N_("a question"),
    "an answer": N_("an answer"), "a comment": N_("a comment"),
    "a backer’s name and message": N_("a backer’s name and message"),
}  # fmt: skip


def word(value: str) -> str:
    """One of these, in the reader's language; what is none of these as it is."""
    return _(WORDS[value]) if value in WORDS else value.replace("_", " ")


# What the worker notes of how it watches the chain, as it writes it, and with the places in it named.
WATCHING = (
    (re.compile("live"), N_("live")),
    (
        re.compile(r"node catching up (?P<done>\d+) of (?P<all>\d+) blocks"),
        N_("node catching up %(done)s of %(all)s blocks"),
    ),
    (re.compile(r"catching up (?P<done>\d+) of (?P<all>\d+) blocks"), N_("catching up %(done)s of %(all)s blocks")),
    (re.compile("node unreachable since (?P<when>.+)"), N_("node unreachable since %(when)s")),
    (re.compile("watching stopped since (?P<when>.+)"), N_("watching stopped since %(when)s")),
    (
        re.compile("restored from a backup, looking through the chain"),
        N_("restored from a backup, looking through the chain"),
    ),
)


def watch_state(state: str) -> str:
    """How the chain is watched, in the reader's language where the worker said it in words that are known."""
    for pattern, words in WATCHING:
        found = pattern.fullmatch(state)
        if found:
            return _(words, **found.groupdict())
    return state
