"""The languages that the site speaks, and what a sentence is in each of them.

Knows of no reader: whoever calls says in which language. Pages find that in the request (`crowdfund.web.i18n`), mails
beside the address that they go to.
"""

from __future__ import annotations

import string
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import NullTranslations, Translations

from crowdfund.sentences import Sentence

# The first is the language that every sentence is written in.
LANGUAGES = ("en", "es", "de")
NAMES = {"en": "English", "es": "Español", "de": "Deutsch"}
# What stands in the address of a page for its language: /about?lang=de.
ASKED = "lang"
CATALOGUES = Path(__file__).parents[1] / "translations"


def spoken(code: str) -> str:
    """The language of that code; the first, where it is not offered any more."""
    return code if code in LANGUAGES else LANGUAGES[0]


def read_all() -> None:
    """Read every catalogue now, not when the first reader comes. Raises OSError where one is not there."""
    for language in LANGUAGES:
        catalogue(language)


def direction(language: str) -> str:
    """Into which direction it is written: ltr or rtl."""
    return str(Locale.parse(language).text_direction)


@cache
def catalogue(language: str) -> NullTranslations:
    """The sentences of a language, read from its catalogue and kept. Raises OSError where that is not there."""
    if language not in LANGUAGES[1:]:
        return NullTranslations()
    with (CATALOGUES / language / "LC_MESSAGES" / "messages.po").open("rb") as file:
        read = read_po(file, locale=language)
    compiled = BytesIO()
    write_mo(compiled, read)
    compiled.seek(0)
    return Translations(compiled)


def said(text: str, language: str, found: NullTranslations | None = None) -> str:
    """A sentence in a language, with the numbers in it as they are written there. `found` are the language's sentences,
    where they are not in a catalogue of ours."""
    found = catalogue(language) if found is None else found
    if not isinstance(text, Sentence):
        return str(found.ugettext(text)) if text else ""
    values = {
        name: said(value, language, found) if isinstance(value, Sentence) else value
        for name, value in text.values.items()
    }
    if text.plural:
        template = str(found.ungettext(text.template, text.plural, text.number))
    else:
        template = str(found.ugettext(text.template))
    return _Format(language).vformat(template, (), values) if values else template


class _Format(string.Formatter):
    """Groups the digits of a number as its language does, where the sentence asks for that."""

    def __init__(self, language: str) -> None:
        self._language = language

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec == "," and isinstance(value, int):
            return str(format_decimal(value, locale=self._language))
        return str(super().format_field(value, format_spec))
