"""The catalogues of the site's sentences: bringing them up to date, and what is wrong with them.

`python -m support.catalogues` does both; that is `make translations`. With the code of a language it begins another.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from babel.messages.catalog import Catalog, Message
from babel.messages.frontend import CommandLineInterface
from babel.messages.pofile import read_po

from crowdfund.db import ROOT
from crowdfund.languages import CATALOGUES, LANGUAGES

# What marks a sentence, besides what Babel knows itself; 1 and 2 say which argument it is.
MARKS = ("later:1", "N_:1", "Sentence:1", "counted:1,2", "UserError:1", "NotFound:1", "TooMany:2")
PLACE = re.compile(r"%\(\w+\)s|%%|\{\w*[^}]*\}|</?[a-z][^>]*>")


def catalogue_file(language: str) -> Path:
    """Where it is kept."""
    return CATALOGUES / language / "LC_MESSAGES" / "messages.po"


@cache
def sentences() -> Catalog:
    """All sentences that the sources hold now."""
    with TemporaryDirectory() as folder:
        return _read(_extract(Path(folder)))


def update() -> None:
    """New sentences come in, without a translation; what no source says any more goes."""
    with TemporaryDirectory() as folder:
        _pybabel(
            "update", "-i", str(_extract(Path(folder))), "-d", str(CATALOGUES), "--width", "120",
            "--no-fuzzy-matching", "--ignore-obsolete", "--ignore-pot-creation-date",
        )  # fmt: skip


def begin(language: str) -> None:
    """A catalogue without translations."""
    with TemporaryDirectory() as folder:
        _pybabel("init", "-i", str(_extract(Path(folder))), "-d", str(CATALOGUES), "-l", language, "--width", "120")


def faults(language: str) -> list[str]:
    """A line for each sentence that is missing, not sure, said by nobody any more, or has other places and tags."""
    held, found = _read(catalogue_file(language), language), list[str]()
    for message in sentences():
        if message.id and held.get(message.id) is None:
            found.append(f"{language}: not in the catalogue: {message.id!r}")
    for message in held:
        if message.id and sentences().get(message.id) is None:
            found.append(f"{language}: said nowhere any more: {message.id!r}")
        elif message.id:
            found += [f"{language}: {fault}: {message.id!r}" for fault in _faults(message)]
    found += [f"{language}: said nowhere any more: {message.id!r}" for message in held.obsolete.values()]
    return found


def _faults(message: Message) -> Iterable[str]:
    asked = (message.id,) if isinstance(message.id, str) else tuple(message.id)
    given = (message.string,) if isinstance(message.string, str) else tuple(message.string or ("",))
    if not all(given):
        yield "not translated"
        return
    if message.fuzzy:
        yield "not sure"
    for text in given:
        # A plural may say “one” instead of a number.
        most, least = set(PLACE.findall(asked[-1])), set(PLACE.findall(asked[0])) if len(asked) == 1 else set()
        here = set(PLACE.findall(text))
        if not least <= here <= most | set(PLACE.findall(asked[0])):
            yield f"other places or tags, {sorted(here ^ most)}"
        if len(asked) == 1 and sorted(PLACE.findall(text)) != sorted(PLACE.findall(asked[0])):
            yield "places or tags in another number"


def _extract(folder: Path) -> Path:
    into = folder / "messages.pot"
    marks = [part for mark in MARKS for part in ("-k", mark)]
    mapping = str(ROOT / "babel.cfg")
    _pybabel("extract", "-F", mapping, *marks, "--no-location", "--sort-output", "-o", str(into), str(ROOT))
    return into


def _pybabel(*arguments: str) -> None:
    logging.getLogger("babel").setLevel(logging.ERROR)
    CommandLineInterface().run(["pybabel", "--quiet", *arguments])  # type: ignore[no-untyped-call]


def _read(file: Path, language: str | None = None) -> Catalog:
    with file.open("rb") as opened:
        return read_po(opened, locale=language)


if __name__ == "__main__":
    for new in sys.argv[1:]:
        begin(new)
    update()
    missing = [fault for language in LANGUAGES[1:] for fault in faults(language)]
    print("\n".join(missing) or "Every sentence is translated.")
    sys.exit(bool(missing))
