"""Which language a page speaks."""

from __future__ import annotations

from flask import Flask
from flask_babel import Babel

# The first is the language that every sentence is written in.
LANGUAGES = ("en",)


def locale() -> str:
    """The language of this request."""
    return LANGUAGES[0]


def install(app: Flask) -> None:
    """Give every template `_` and `ngettext`."""
    Babel(app, locale_selector=locale)
