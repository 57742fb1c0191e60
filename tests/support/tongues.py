"""What a page must say in a language, looked up in its catalogue, and what on it is left in English."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from playwright.sync_api import Page

from crowdfund.languages import LANGUAGES
from support.browsing import flat
from support.catalogues import PLACE, catalogue_file

ENGLISH = LANGUAGES[0]
LONG_ENOUGH = 12  # shorter pieces may be a word of the other language, or a part of one
WORDS = re.compile(r"[^\W\d_]{2,}")
# What is visible of the page's own part; and all text there is, piece by piece, also what is folded away or for screen
# readers only. Not what people wrote, not code and addresses, not the test bench, and not what says itself that it is
# in another language.
TEXTS = """() => {
  const others = ".bench, .story, .said, .url, code, pre, q, script, style, template, [translate=no], body [lang]";
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [document.title];
  for (let node; (node = walker.nextNode()); )
    if (node.data.trim() && !node.parentElement.closest(others)) found.push(node.data);
  for (const name of ["aria-label", "title", "alt", "placeholder", "data-copied", "data-by-hand"])
    for (const el of document.body.querySelectorAll(`[${name}]`))
      if (!el.closest(others)) found.push(el.getAttribute(name));
  return [document.querySelector("main").innerText, found];
}"""


def read(page: Page) -> tuple[str, list[str]]:
    """What the open page shows on one line, and everything that it says, in pieces."""
    shown, found = page.evaluate(TEXTS)
    return flat(shown), [flat(text) for text in found]


@cache
def catalogue(language: str) -> Catalog:
    """The translators' file."""
    with catalogue_file(language).open("rb") as opened:
        return read_po(opened, locale=language)


@cache
def _by_english(language: str) -> dict[str, str]:
    """What each sentence is in this language; both forms of a plural by themselves."""
    found: dict[str, str] = {}
    for message in catalogue(language):
        found |= dict(zip(_forms(message.id), _forms(message.string), strict=False))
    return found


def translated(language: str, sentence: str) -> str:
    """This English sentence as the catalogue has it. Raises AssertionError where it is missing, or the same."""
    if language == ENGLISH:
        return sentence
    given = _by_english(language).get(sentence)
    assert given is not None, f"{language}: not in the catalogue: {sentence!r}"
    assert given and given != sentence, f"{language}: not translated: {sentence!r}"
    return given


def pattern(language: str, sentence: str) -> re.Pattern[str]:
    """Matches the sentence in this language with anything at its places, written large or small."""
    pieces = [re.escape(flat(piece)) for piece in PLACE.split(translated(language, sentence)) if piece.strip()]
    return re.compile(r"\s*.{0,60}?\s*".join(pieces), re.IGNORECASE)


@dataclass
class Leftovers:
    """English in a language's pages: pieces of the catalogue's sentences that its translations do not have, and whole
    texts that the same page has in English. `written` is what people wrote, in their own language."""

    language: str
    written: frozenset[str] = frozenset()
    _theirs: list[str] = field(init=False)
    _own: set[str] = field(init=False)

    def __post_init__(self) -> None:
        messages = [message for message in catalogue(self.language) if message.id]
        self._own = {piece for message in messages for piece in _pieces(_forms(message.string))}
        theirs = {piece for message in messages for piece in _pieces(_forms(message.id))}
        self._theirs = sorted(
            (piece for piece in theirs - self._own if len(piece) > LONG_ENOUGH), key=len, reverse=True
        )

    def of(self, page_texts: list[str], english_texts: list[str]) -> list[str]:
        """What is left in English; `english_texts` is what the same page says in English."""
        ours = [self._without_written(text) for text in page_texts]
        whole, alike = "\n".join(ours), set(english_texts)
        found = [f"in English: “{piece}”" for piece in self._theirs if piece in whole and _by_itself(piece, whole)]
        return found + [f"the same as in English: “{text}”" for text in ours if text in alike and self._says(text)]

    def _without_written(self, text: str) -> str:
        for one in self.written:
            text = text.replace(one, "")
        return text.strip()

    def _says(self, text: str) -> bool:
        return len(text) > LONG_ENOUGH and len(WORDS.findall(text)) > 1 and text not in self._own


def _by_itself(piece: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(piece)}(?!\w)", text) is not None


def _forms(given: str | tuple[str, ...] | list[str] | None) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


def _pieces(forms: tuple[str, ...]) -> list[str]:
    return [flat(piece) for form in forms for piece in PLACE.split(form) if piece.strip()]
