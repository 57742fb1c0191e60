"""Text that strangers wrote, made fit to be kept and shown. Pure, and below everything that needs it."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean_text(text: str) -> str:
    """Without control characters and the marks that turn the direction of writing."""
    return _CONTROL.sub("", text.replace("\r\n", "\n")).strip()


def one_line(text: str) -> str:
    """Cleaned, and with one blank wherever there was blank space of any kind."""
    return " ".join(clean_text(text).split())


def shortened(text: str, limit: int) -> str:
    """The text, or its first words and “…” where it has more than `limit` characters."""
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    words = head.rpartition(" ")[0] if " " in head[limit // 2 :] else head
    return words.rstrip(" \n,;:") + "…"
