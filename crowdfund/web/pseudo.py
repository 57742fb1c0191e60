"""A language made from English by rule, for tests: what has no brackets on a page was not translated.

Sentences are a third longer, as German ones are, and each has marks in it that are written from right to left. It is
only offered where the application is told so.
"""

from __future__ import annotations

import re

from babel.support import NullTranslations

OPEN, CLOSE = "⟦", "⟧"
# A letter of Hebrew after each word's end makes browsers lay the line out from the right.
MARK = "ש"
KEPT = re.compile(r"(%\(\w+\)s|%%|\{\w*(?:[:!][^}]*)?\}|<[^>]*>|&\w+;)")
WORD = re.compile(r"[A-Za-z]{4,}")


def pseudo(text: str) -> str:
    """The sentence in brackets, with its places and tags as they were."""
    if not text:
        return text
    pieces = [piece if KEPT.fullmatch(piece) else WORD.sub(_longer, piece) for piece in KEPT.split(text)]
    return f"{OPEN}{''.join(pieces)}{CLOSE}"


def _longer(found: re.Match[str]) -> str:
    return f"{found[0]}{MARK * max(1, len(found[0]) // 4)}"


class PseudoTranslations(NullTranslations):
    """Makes each sentence when it is asked for."""

    def gettext(self, message: str) -> str:
        return pseudo(message)

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return pseudo(msgid1 if n == 1 else msgid2)

    ugettext = gettext
    ungettext = ngettext
