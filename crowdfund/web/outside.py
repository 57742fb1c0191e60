"""The way of the web process to files of projects elsewhere: one fetcher for the process, so that its bounds hold."""

from __future__ import annotations

from flask import Flask, current_app

from crowdfund.config import Settings
from crowdfund.projects.fetching import fetcher_of
from crowdfund.projects.urls import LOCAL, STRICT, Fetch, Rules
from crowdfund.web.site import here

FETCH = "crowdfund-fetch"
"""Key of `app.extensions` for what fetches."""
LIMITER = "crowdfund-limiter"
"""Key of `app.extensions` for a function that raises UserError where an address has asked for too much; given a word
for what is asked. Nothing is limited by address while there is none."""


def install(app: Flask, settings: Settings) -> None:
    """Give the application its fetcher."""
    app.extensions[FETCH] = fetcher_of(settings)


def fetcher() -> Fetch:
    """What fetches here. Each call raises UserError where that is switched off."""
    found: Fetch = current_app.extensions[FETCH]
    return found


def rules() -> Rules:
    """Which addresses are taken."""
    return LOCAL if here().settings.fetching == "local" else STRICT


def is_open() -> bool:
    """May this process fetch anything at all?"""
    return here().settings.fetching != "off"


def not_too_often(what: str) -> None:
    """Raises UserError where somebody asks for this too often."""
    limiter = current_app.extensions.get(LIMITER)
    if limiter is not None:
        limiter(what)
