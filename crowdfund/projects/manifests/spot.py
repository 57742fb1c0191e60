"""A place in a manifest, and what is taken from there: clean, bounded, and with its provenance. Pure.

Nothing here raises. What has the wrong type, or is no web address, is left out, and a warning says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from crowdfund.plain_text import clean_text, one_line, shortened
from crowdfund.projects.manifests import prefill as p
from crowdfund.projects.manifests.prefill import Found, Refused
from crowdfund.projects.manifests.tree import Node, Number

UNKNOWN_SHOWN = 5
RAW_LIMIT = 1_000
"""Longer than anything that `raw` is asked for may be, and short enough for any pattern."""

_URL = re.compile(r"(?i:https?)://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_SENTENCE_END = re.compile(r"[.!?](?=\s)")


@dataclass
class Log:
    """What is told of a manifest beside its values. `file` is how sentences call it."""

    file: str
    warnings: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def warn(self, sentence: str) -> None:
        """Keep a sentence for the person whose file it is, once."""
        sentence = shortened(sentence, p.SENTENCE_LIMIT)
        if sentence not in self.warnings and len(self.warnings) < p.LIST_LIMIT:
            self.warnings.append(sentence)

    def refuse(self, value: str, at: str, sentence: str) -> None:
        """Keep a licence that is not taken over."""
        if len(self.refused) < p.LIST_LIMIT:
            value = shortened(value, p.LICENSE_LIMIT)
            self.refused.append(Refused(value, self.source(at), shortened(sentence, p.SENTENCE_LIMIT)))

    def source(self, at: str) -> str:
        """The provenance of what is at a place."""
        return shortened(f"from {self.file}, {at}", p.SOURCE_LIMIT)


@dataclass(frozen=True)
class Spot:
    """A value and its place, such as `projects[0].name`; the value is None where the file has nothing there."""

    value: Node
    at: str
    log: Log

    def __bool__(self) -> bool:
        return self.value is not None

    def __getitem__(self, key: str) -> Spot:
        at = f"{self.at}.{shortened(one_line(key), 40)}" if self.at else key
        if isinstance(self.value, dict):
            return Spot(self.value.get(key), at, self.log)
        if self.value is not None:
            self._wrong("a group of keys")
        return Spot(None, at, self.log)

    def first(self, *keys: str) -> Spot:
        """The first of these that the file has; versions of a format have renamed some."""
        for key in keys:
            if found := self[key]:
                return found
        return self[keys[0]]

    def each(self) -> Iterator[Spot]:
        """The entries of a list; a single value is taken for a list of one."""
        if not isinstance(self.value, list):
            if self:
                yield self
            return
        if len(self.value) > p.LIST_LIMIT:
            self.log.warn(f"“{self.at}” has {len(self.value)} entries; the first {p.LIST_LIMIT} were read.")
        for number, entry in enumerate(self.value[: p.LIST_LIMIT]):
            if entry is not None:
                yield Spot(entry, f"{self.at}[{number}]", self.log)

    def names(self) -> list[str]:
        """The keys of a group; what is no group has none."""
        return list(self.value) if isinstance(self.value, dict) else []

    def found(self, value: p.T) -> Found[p.T]:
        """A value that came from here."""
        return Found(value, self.log.source(self.at))

    def raw(self) -> str:
        """A clean text of one line, its beginning if it is long; numbers count as texts. Empty where there is none."""
        if isinstance(self.value, str):
            return one_line(self.value)[:RAW_LIMIT]
        if self.value is not None:
            self._wrong("a text")
        return ""

    def line(self, limit: int) -> Found[str] | None:
        """A text of one line."""
        return self._text(one_line, limit)

    def text(self, limit: int) -> Found[str] | None:
        """A text of any number of lines."""
        return self._text(clean_text, limit)

    def lines(self, limit: int) -> tuple[Found[str], ...]:
        """Each text of a list, once."""
        return unique([found for entry in self.each() if (found := entry.line(limit))])

    def url(self) -> Found[str] | None:
        """A web address."""
        if not (text := self.raw()):
            return None
        if not (address := web_address(text)):
            self.log.warn(f"“{self.at}” is not a web address that begins with https://, so it was left out.")
            return None
        return self.found(address)

    def unknown(self, known: Container[str]) -> None:
        """Warn of keys that nobody reads here."""
        names = [shortened(one_line(key), 40) for key in self.names() if key not in known]
        if names:
            more = f" and {len(names) - UNKNOWN_SHOWN} more" if len(names) > UNKNOWN_SHOWN else ""
            where = f" in “{self.at}”" if self.at else ""
            listed = ", ".join(names[:UNKNOWN_SHOWN])
            self.log.warn(
                f"Keys that {self.log.file} does not have by its standard{where} were left out: {listed}{more}."
            )

    def _text(self, clean: Callable[[str], str], limit: int) -> Found[str] | None:
        if isinstance(self.value, Number) or not isinstance(self.value, str):
            if self:
                self._wrong("a text")
            return None
        text = clean(self.value)
        if len(text) > limit:
            self.log.warn(f"“{self.at}” has {len(text)} characters and was shortened to {limit}.")
        return self.found(shortened(text, limit)) if text else None

    def _wrong(self, wanted: str) -> None:
        self.log.warn(f"“{self.at or 'The whole file'}” is not {wanted}, so it was left out.")


def web_address(text: str) -> str:
    """The address in the form that is kept; empty if it is not http or https, too long, or names a password."""
    text = text.strip().removeprefix("git+")
    if len(text) > p.URL_LIMIT or not _URL.fullmatch(text):
        return ""
    try:
        parts = urlsplit(text)
        usable = parts.hostname and parts.username is None and (parts.port is None or parts.port > 0)
    except ValueError:
        return ""
    scheme, _, rest = text.partition(":")
    return f"{scheme.lower()}:{rest}" if usable else ""


def unique(found: list[Found[p.T]]) -> tuple[Found[p.T], ...]:
    """Each value once, with its first provenance, and no more than a list may have."""
    by_value: dict[p.T, Found[p.T]] = {}
    for entry in found:
        by_value.setdefault(entry.value, entry)
    return tuple(by_value.values())[: p.LIST_LIMIT]


def beginning(text: Found[str] | None) -> Found[str] | None:
    """A summary from a description: its first sentences, as far as they fit."""
    if text is None:
        return None
    first = one_line(text.value.partition("\n\n")[0])
    if len(first) > p.SUMMARY_LIMIT:
        ends = [end.end() for end in _SENTENCE_END.finditer(first, 0, p.SUMMARY_LIMIT)]
        first = first[: ends[-1]] if ends else shortened(first, p.SUMMARY_LIMIT)
    return Found(first, f"{shortened(text.source, p.SOURCE_LIMIT - 20)} (its beginning)") if first else None
