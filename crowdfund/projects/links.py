"""Addresses that people give for pages elsewhere: kept as text, shown as links, never fetched here."""

from __future__ import annotations

from urllib.parse import urlsplit

from crowdfund.errors import UserError

URL_LIMIT = 300


def check_link(text: str, field: str, what: str = "the page") -> str:
    """The address without blanks around it; empty stays empty. Raises UserError unless it is http or https."""
    url = text.strip()
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and url.isascii() and url.isprintable()
    except ValueError:
        usable = False
    if not usable or " " in url or len(url) > URL_LIMIT:
        raise UserError(f"Give {what} as an address that begins with https://.", field)
    return url
