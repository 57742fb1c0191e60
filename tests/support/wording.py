"""What of a page is not translated: text that does not stand in the brackets of the pseudo-language."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from crowdfund.web.pseudo import CLOSE, OPEN

LETTERS = re.compile(r"[^\W\d_]{2,}")
TEXT_ATTRIBUTES = ("aria-label", "alt", "title", "placeholder", "data-label", "data-copied", "data-by-hand")
VOID = {"meta", "link", "input", "br", "img", "hr", "source", "path", "rect", "circle", "line", "wbr"}
# Code and addresses are the same in every language; what a person wrote is in theirs.
KEPT_TAGS = {"code", "pre", "style", "script", "q", "textarea", "abbr"}
KEPT_CLASSES = {"story", "said", "fours", "address"}


class Leftovers(HTMLParser):
    """Gathers text outside of the brackets, with the element that it stands in."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._open: list[tuple[str, bool]] = []
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        kept = tag in KEPT_TAGS or given.get("lang") not in (None, "ar-XB") or given.get("translate") == "no"
        kept = kept or bool(KEPT_CLASSES & set((given.get("class") or "").split())) or self._kept
        if not kept and not self._depth:
            for name in TEXT_ATTRIBUTES:
                value = given.get(name) or ""
                if LETTERS.search(_outside(value)):
                    self.found.append(f"{tag} {name}: {value}")
        if (
            tag == "meta"
            and given.get("name") == "description"
            and LETTERS.search(_outside(given.get("content") or ""))
        ):
            self.found.append(f"description: {given.get('content')}")
        if tag not in VOID:
            self._open.append((tag, kept))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if any(name == tag for name, _ in self._open):
            while self._open.pop()[0] != tag:
                pass

    def handle_data(self, data: str) -> None:
        outside = ""
        for piece in re.split(f"([{OPEN}{CLOSE}])", data):
            if piece == OPEN:
                self._depth += 1
            elif piece == CLOSE:
                self._depth -= 1
            elif not self._depth:
                outside += piece
        if LETTERS.search(outside) and not self._kept:
            self.found.append(" ".join(outside.split()))

    @property
    def _kept(self) -> bool:
        return bool(self._open) and self._open[-1][1]


def _outside(text: str) -> str:
    return re.sub(f"{OPEN}.*{CLOSE}", "", text, flags=re.S)


def leftovers(page: str) -> list[str]:
    """Each piece of text of an HTML page that no catalogue can translate."""
    parser = Leftovers()
    parser.feed(page)
    return parser.found


MARKED = re.compile(r"{%-? trans\b.*?{%-? endtrans -?%}|{#.*?#}", re.S)
JINJA = re.compile(r"{{.*?}}|{%.*?%}", re.S)
# Texts that stand in an expression: a choice between two, or what stands for something missing.
SAID_THERE = re.compile(
    r"""(?<![\w(\[=|])(?<!== )(?:'([A-Z][^']*)'|"([A-Z][^"]*)")(?= if | else |\s*}})"""
    r"""|(?<= or )'([^']*)'"""
)
NAMES = {"SHA-256", "API", "sat", "BTC", "POST", "funding.json"}


def unmarked(template: str) -> list[str]:
    """Each piece of text of a template that stands outside of what is translated."""
    rest = MARKED.sub("", template)
    said = [next(filter(None, found)) for each in JINJA.findall(rest) for found in SAID_THERE.findall(each)]
    found = leftovers(JINJA.sub("", rest))
    return [text for text in [*found, *said] if text.strip(" .·:,%✓") not in NAMES]
