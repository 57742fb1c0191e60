"""An account's log and sessions in the words of its page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from crowdfund.accounts.models import AccountEvent, WebSession

# kind -> what happened, and whether the owner should look at it twice
EVENTS = {
    "signed_up": ("The account was made", False),
    "logged_in": ("Logged in", False),
    "failed": ("A wrong password was tried", True),
    "second_failed": ("The password was right, the code after it was wrong", True),
    "confirm_failed": ("Somebody logged in as you tried to change something, and did not prove to be you", True),
    "recovered": ("Came in with a recovery code; nothing was removed", True),
    "recovery_failed": ("Somebody tried to come in with a recovery code", True),
    "passkey_added": ("A passkey was added", False),
    "passkey_renamed": ("A passkey got another name", False),
    "passkey_removed": ("A passkey was removed", False),
    "passkey_refused": ("A passkey was refused: its counter went back, as that of a copy does", True),
    "password_set": ("The password was set, and all other browsers logged out", False),
    "password_removed": ("The password was removed", False),
    "app_added": ("An authenticator app was set up", False),
    "app_removed": ("The authenticator app was removed", False),
    "codes_made": ("New recovery codes were made", False),
    "session_ended": ("Another browser was logged out from here", False),
    "sessions_ended": ("All other browsers were logged out from here", False),
    "renamed": ("The account got another name", False),
    "token_made": ("A token for programs was made", False),
    "token_revoked": ("A token for programs was taken back", False),
}
WAYS = {"password": "password", "passkey": "passkey", "recovery": "recovery code"}
BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chromium"),
    ("Safari/", "Safari"),
)
SYSTEMS = ("Android", "iPhone", "iPad", "Windows", "Mac OS X", "CrOS", "Linux")


@dataclass(frozen=True)
class EventView:
    """A line of the log."""

    happened_at: datetime
    sentence: str
    address: str
    alarming: bool


@dataclass(frozen=True)
class SessionView:
    """A browser that is in."""

    id: int
    browser: str
    way: str
    began_at: datetime
    seen_at: datetime
    address: str
    mine: bool
    half: bool


def event_view(event: AccountEvent) -> EventView:
    """The line as a sentence."""
    said, alarming = EVENTS.get(event.kind, (event.kind, True))
    times = f" ({event.times} times within an hour)" if event.times > 1 else ""
    detail = f": {event.detail}" if event.detail else ""
    return EventView(event.happened_at, f"{said}{detail}{times}.", event.address, alarming)


def session_view(row: WebSession, own_id: int) -> SessionView:
    """The session as its owner may recognise it."""
    way = WAYS[row.way]
    return SessionView(
        row.id, browser(row.agent), way, row.began_at, row.seen_at, row.address, row.id == own_id, row.second_due
    )


def browser(agent: str) -> str:
    """What a browser calls itself, in two words."""
    program = next((name for mark, name in BROWSERS if mark in agent), "")
    system = next((name for name in SYSTEMS if name in agent), "")
    if program:
        return f"{program} on {system}" if system else program
    return re.sub(r"[^\w ./-]", "", agent)[:40] or "An unknown browser"


def password_set(ended: int) -> str:
    """After a new password."""
    return f"The password is set. {sessions_ended(ended)}"


def sessions_ended(ended: int) -> str:
    """How many were logged out."""
    if ended == 0:
        return "No other browser was logged in."
    return "One other browser is logged out." if ended == 1 else f"{ended} other browsers are logged out."
