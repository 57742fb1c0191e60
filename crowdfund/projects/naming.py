"""Names of projects: a first one from an address, and the short one that stands in the address of a page. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container
from itertools import count

SLUG_LIMIT = 40
NAME_LIMIT = 80

_HOST = re.compile(r"^[a-z]+://([^/?#]+)")
_LAST = re.compile(r"^[a-z]+://[^/?#]+/(?:[^?#]*/)?([^/?#]+)/?(?:[?#]|$)")
_HARDWARE, _CULTURE, _DATA = ("CERN-OHL", "TAPR-OHL", "SHL-"), ("CC-", "GFDL", "LAL-"), ("ODBL", "ODC-", "PDDL")


def name_from_url(url: str) -> str:
    """`https://example.org/tools/seed-drill.git` as “Seed drill”; the host where the address has no path."""
    last = _LAST.match(url)
    host = _HOST.match(url)
    word = last[1].removesuffix(".git") if last else (host[1].rpartition("@")[2] if host else url)
    words = " ".join(word.replace("-", " ").replace("_", " ").split()) if last else word
    return (words[:1].upper() + words[1:])[:NAME_LIMIT] or "Project"


def slug_of(name: str, taken: Container[str]) -> str:
    """Small letters, digits and hyphens from a name; with a number where that is `taken` already."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    base = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:SLUG_LIMIT].strip("-") or "project"
    if base not in taken:
        return base
    return next(f"{base}-{n}" for n in count(2) if f"{base}-{n}" not in taken)


def guessed_kind(license_: str) -> str:
    """The kind of project that a licence is usually for."""
    expression = license_.upper()
    for marks, kind in ((_HARDWARE, "hardware"), (_DATA, "data"), (_CULTURE, "culture")):
        if any(mark in expression for mark in marks):
            return kind
    return "software"
