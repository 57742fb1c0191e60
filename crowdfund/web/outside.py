"""The way of the web process to files of projects elsewhere: one fetcher for the process, so that its bounds hold."""

from __future__ import annotations

from flask import Flask, current_app

from crowdfund.accounts import limits
from crowdfund.config import Settings
from crowdfund.projects.fetching import fetcher_of
from crowdfund.projects.urls import LOCAL, STRICT, Fetch, Rules
from crowdfund.web import door
from crowdfund.web.site import here

FETCH = "crowdfund-fetch"
"""Key of `app.extensions` for what fetches."""


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
    """Count it against the address that asks. Raises TooMany."""
    door.limit_address(limits.LOOK, what)
